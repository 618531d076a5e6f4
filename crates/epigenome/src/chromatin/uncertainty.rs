//! How sure the emissions of a trained annotator are.

use gradome_nn::optim::Lbfgs;
use gradome_nn::{Operator, Step};
use gradome_tape::Tape;

use super::EmSettings;
use super::annotator::ChromatinArrays;
use super::data::{ChromatinData, ChromatinSequence};
use super::emission::Emission;
use super::java::JavaRandom;
use super::select::{cut_into_blocks, variances};
use super::trained::TrainedChromatinStates;
use crate::{Error, Result};

/// Iterations of a refit; it starts at the optimum of nearly the same data.
const REFIT_ITERATIONS: usize = 50;

impl TrainedChromatinStates {
    /// `[cell types, states, marks]` standard errors of [`TrainedChromatinStates::expected`] from the observed
    /// information; NaN where the data say nothing.
    ///
    /// The gradient of the ln-likelihood by logits, ln-means or means is differenced over all of them (Louis 1982 has the
    /// same matrix in closed form); starts, transitions, variances and dispersions are held fixed.
    ///
    /// # Errors
    /// When the data does not fit the model.
    pub fn emission_errors(&self, data: &ChromatinData) -> Result<Vec<f64>> {
        /// Step of a parameter; the gradient is known to about 1e-10 of its size.
        const STEP: f64 = 1e-4;
        if let [model] = &self.models_of_calls()?[..] {
            return Ok(model.emission_errors(&data.calls()?)?.standard_errors);
        }
        let parts = data.tracks(self.own_cells())?;
        let parts: Vec<ChromatinArrays<f64>> =
            parts.iter().map(|p| self.annotator.arrays(p)).collect::<Result<_, _>>()?;
        let (location, _) = self.annotator.emissions(&self.store);
        let mut tape = Tape::<f64>::new();
        let mut gradient = |location: &[f64]| -> Result<Vec<f64>> {
            let mut store = self.store.clone();
            self.annotator.set_emissions(&mut store, location, None);
            let mut total = vec![0.0; location.len()];
            for part in &parts {
                {
                    let bound = store.bind(&tape);
                    let output = self.annotator.forward(Step::eval(&tape, &bound), &part.on(&tape))?;
                    let gradients = output.ln_likelihood().sum().backward();
                    if let Some(part) = gradients.get(self.annotator.location_key()) {
                        total.iter_mut().zip(part.to_f64()).for_each(|(sum, g)| *sum += g);
                    }
                }
                tape.reset();
            }
            Ok(total)
        };
        // a probability of 0 or 1, or a mean of nothing, lies on the border, where no curvature tells its error
        let expected = self.expected();
        let inside: Vec<usize> = (0..location.len())
            .filter(|&i| match self.config().emission {
                Emission::Bernoulli => expected[i] > 1e-12 && expected[i] < 1.0 - 1e-12,
                Emission::Poisson | Emission::NegativeBinomial => expected[i] > 1e-12,
                Emission::Gaussian => true,
            })
            .collect();
        let mut rows = Vec::with_capacity(inside.len());
        for &place in &inside {
            let mut moved = |by: f64| {
                let mut location = location.clone();
                location[place] += by;
                gradient(&location)
            };
            let (up, down) = (moved(STEP)?, moved(-STEP)?);
            rows.push(inside.iter().map(|&i| -(up[i] - down[i]) / (2.0 * STEP)).collect());
        }
        let mut errors = vec![f64::NAN; location.len()];
        for (&place, variance) in inside.iter().zip(variances(&rows)) {
            // from the parameter to what is expected (delta method)
            let slope = match self.config().emission {
                Emission::Bernoulli => expected[place] * (1.0 - expected[place]),
                Emission::Poisson | Emission::NegativeBinomial => expected[place],
                Emission::Gaussian => 1.0,
            };
            errors[place] = if variance > 0.0 { variance.sqrt() * slope } else { f64::NAN };
        }
        Ok(errors)
    }

    /// The same by refitting to blocks of so many bins that are drawn with replacement (Efron 1979).
    ///
    /// Every refit starts from this model, so states keep their numbers; calls with shared emissions are refitted by
    /// expectation-maximisation, all others along the gradient.
    ///
    /// # Errors
    /// When a refit fails, or there are fewer than two blocks or draws.
    pub fn bootstrap_errors(&self, data: &ChromatinData, block: usize, draws: usize, seed: u64) -> Result<Vec<f64>> {
        if let [model] = &self.models_of_calls()?[..] {
            let blocks = cut_into_blocks(&data.calls()?, block);
            let settings = EmSettings { max_iterations: REFIT_ITERATIONS, ..EmSettings::default() };
            return Ok(model.bootstrap_errors(&blocks, draws, seed as i64, &settings)?.standard_errors);
        }
        let size = block.max(1) * data.marks.len();
        let blocks: Vec<ChromatinSequence> = data
            .sequences
            .iter()
            .flat_map(|s| {
                s.values.chunks(size).map(|values| ChromatinSequence { values: values.to_vec(), ..s.named() })
            })
            .collect();
        if blocks.len() < 2 || draws < 2 {
            return Err(Error::Data("a bootstrap needs two blocks and two draws at least; give smaller blocks".into()));
        }
        let optimizer = Lbfgs { max_iterations: REFIT_ITERATIONS, value_tolerance: 1e-9, ..Lbfgs::default() };
        let (mut sums, mut squares) = (vec![0.0; self.expected().len()], vec![0.0; self.expected().len()]);
        let first = self.expected();
        for draw in 0..draws {
            let mut random = JavaRandom::new((seed as i64).wrapping_add(draw as i64));
            let drawn = |_| blocks[random.next_below(blocks.len() as u32) as usize].clone();
            let drawn = ChromatinData { sequences: (0..blocks.len()).map(drawn).collect(), ..data.without_sequences() };
            let parts = drawn.tracks(self.own_cells())?;
            let parts: Vec<_> = parts.iter().map(|part| self.annotator.arrays(part)).collect::<Result<_, _>>()?;
            let mut refit = self.clone();
            self.annotator.fit_gradient(&mut refit.store, &parts, &optimizer, |_| {})?;
            for ((sum, square), (value, first)) in
                sums.iter_mut().zip(&mut squares).zip(refit.expected().iter().zip(&first))
            {
                *sum += value - first;
                *square += (value - first).powi(2);
            }
        }
        let n = draws as f64;
        let spread = |(sum, square): (&f64, &f64)| ((square - sum * sum / n).max(0.0) / (n - 1.0)).sqrt();
        Ok(sums.iter().zip(&squares).map(spread).collect())
    }
}
