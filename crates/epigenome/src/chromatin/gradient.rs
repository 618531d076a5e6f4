//! Fits along the gradient of the likelihood, in parameters that are scaled to equal curvature.

use gradome_nn::optim::{Lbfgs, LbfgsReport};
use gradome_nn::{Error, Operator, ParamStore, Result, Step};
use gradome_tape::{Float, Tape, Tensor};

use super::annotator::{ChromatinArrays, ChromatinStateAnnotator};
use super::emission::Emission;

/// A probability's part p (1 - p) of a curvature is not taken below this: probabilities near 0 may have far to go.
const LEAST_PART: f64 = 1e-3;

impl ChromatinStateAnnotator {
    /// Climbs to a local optimum of the total log-likelihood by L-BFGS on all parameters.
    ///
    /// Each part of the data is looked at by itself, so that memory is that of the largest. `each` is told the total
    /// log-likelihood of every evaluation.
    ///
    /// The search runs in parameters divided by the root of their expected curvature at the start, as if states were
    /// known there: a common state's logits bend the likelihood thousands of times more than a rare one's, and without
    /// scaling the first long steps end in poorer optima.
    ///
    /// # Errors
    /// When the likelihood at the start is not finite.
    pub fn fit_gradient<T: Float>(
        &self,
        store: &mut ParamStore<T>,
        parts: &[ChromatinArrays<T>],
        optimizer: &Lbfgs,
        mut each: impl FnMut(f64),
    ) -> Result<LbfgsReport> {
        let roots: Vec<f64> = self.curvature(store, parts)?.into_iter().map(f64::sqrt).collect();
        let mut y: Vec<f64> = store.flatten().iter().zip(&roots).map(|(x, root)| x * root).collect();
        let unscaled = |y: &[f64]| -> Vec<f64> { y.iter().zip(&roots).map(|(y, root)| y / root).collect() };
        let mut tape = Tape::<T>::new();
        let mut probe = store.clone();
        let mut part_gradient = vec![0.0; y.len()];
        let mut failed = None;
        let report = optimizer.minimize(&mut y, |y, gradient| {
            probe.unflatten(&unscaled(y));
            gradient.fill(0.0);
            let mut total = 0.0;
            for part in parts {
                {
                    let bound = probe.bind(&tape);
                    match self.forward(Step::eval(&tape, &bound), &part.on(&tape)) {
                        Ok(output) => {
                            let loss = -output.ln_likelihood().sum();
                            probe.flatten_gradients(&loss.backward(), &mut part_gradient);
                            total += loss.item().to_f64();
                        }
                        Err(error) => failed = Some(error),
                    }
                }
                tape.reset();
                gradient.iter_mut().zip(&part_gradient).for_each(|(sum, g)| *sum += g);
            }
            gradient.iter_mut().zip(&roots).for_each(|(g, root)| *g /= root);
            each(-total);
            if failed.is_some() { f64::NAN } else { total }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let report = report?;
        store.unflatten(&unscaled(&y));
        Ok(report)
    }

    /// `[cell types, states]` expected number of bins, and the number of sequences.
    fn occupancy<T: Float>(&self, store: &ParamStore<T>, parts: &[ChromatinArrays<T>]) -> Result<(Vec<f64>, usize)> {
        let (states, types) = (self.config().states, self.config().cell_types);
        let (mut occupancy, mut sequences) = (vec![0.0; types * states], 0);
        let mut tape = Tape::<T>::new();
        for part in parts {
            let posteriors = {
                let bound = store.bind(&tape);
                let output = self.forward(Step::eval(&tape, &bound), &part.on(&tape))?;
                output.posteriors().value()
            };
            tape.reset();
            let weights = part.cell_types.as_ref().map_or_else(|| vec![1.0; part.lengths.len()], Tensor::to_f64);
            let mut rows = posteriors.data().chunks_exact(states);
            for (weights, &length) in weights.chunks_exact(types).zip(&part.lengths) {
                let mut own = vec![0.0; states];
                for row in rows.by_ref().take(length) {
                    own.iter_mut().zip(row).for_each(|(sum, p)| *sum += p.to_f64());
                }
                for (weight, sums) in weights.iter().zip(occupancy.chunks_exact_mut(states)) {
                    sums.iter_mut().zip(&own).for_each(|(sum, own)| *sum += weight * own);
                }
            }
            sequences += part.lengths.len();
        }
        Ok((occupancy, sequences))
    }

    /// The expected curvature of every parameter with the states as the posteriors have them, in the order of
    /// [`ParamStore::flatten`]; more than 0.
    fn curvature<T: Float>(&self, store: &ParamStore<T>, parts: &[ChromatinArrays<T>]) -> Result<Vec<f64>> {
        let config = self.config();
        let (states, marks) = (config.states, config.marks);
        let (occupancy, sequences) = self.occupancy(store, parts)?;
        let bins: f64 = occupancy.iter().sum();
        let part = |p: f64| (p * (1.0 - p)).max(LEAST_PART);
        let (location, scale) = self.emissions(store);
        let own = |values: Option<&Vec<f64>>, i: usize| {
            values.map_or(0.0, |values| if values.len() == location.len() { values[i] } else { values[i % marks] })
        };
        let of_location = location.iter().enumerate().map(|(i, &x)| {
            let each = match config.emission {
                Emission::Bernoulli => part(1.0 / (1.0 + (-x).exp())),
                Emission::Poisson => x.exp(),
                Emission::NegativeBinomial => 1.0 / ((-x).exp() + (-own(scale.as_ref(), i)).exp()),
                Emission::Gaussian => 1.0 / (own(scale.as_ref(), i).exp() + config.variance_floor),
            };
            occupancy[i / marks] * each.max(LEAST_PART)
        });
        let of_location: Vec<f64> = of_location.collect();
        let of_scale: Vec<f64> = match config.emission {
            Emission::Gaussian => (0..location.len()).map(|i| occupancy[i / marks] / 2.0).collect(),
            _ => vec![bins / 10.0; marks],
        };
        let tape = Tape::<T>::new();
        let bound = store.bind(&tape);
        let [initial, transitions] =
            self.chain().log_probabilities(Step::eval(&tape, &bound)).map(|ln| ln.exp().value().to_f64());
        let of_initial: Vec<f64> = initial.iter().map(|&p| sequences as f64 * part(p)).collect();
        let of_transitions: Vec<f64> = transitions
            .iter()
            .enumerate()
            .map(|(i, &p)| occupancy.iter().skip(i / states).step_by(states).sum::<f64>() * part(p))
            .collect();
        // laid out as the parameters are
        let mut layout = store.clone();
        self.set_emissions(&mut layout, &of_location, scale.is_some().then_some(&of_scale));
        for (id, values) in [(self.chain().initial, &of_initial), (self.chain().transition, &of_transitions)] {
            let shape = layout.get(id).shape();
            layout.set(id, Tensor::from_f64(shape, values));
        }
        let curvature = layout.flatten();
        if curvature.iter().any(|value| !value.is_finite()) {
            return Err(Error::data("first point", "the likelihood at the start is not finite; start elsewhere"));
        }
        // a state that nothing visits has none
        Ok(curvature.into_iter().map(|value| value.max(LEAST_PART)).collect())
    }
}
