//! What states emit: ln-probabilities of observations as products of few matrices, whatever the kind.

use gradome_tape::{Float, Var};
use serde::{Deserialize, Serialize};

/// What a state emits at each bin, independently for each mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emission {
    /// Calls, 0 or 1 (ChromHMM).
    #[default]
    Bernoulli,
    /// Counts with variance equal to the mean.
    Poisson,
    /// Counts with variance mean + mean^2 / dispersion; a dispersion a mark, shared by the states (as EpiCSeg's).
    NegativeBinomial,
    /// Real values, such as arcsinh-transformed signal (Segway).
    Gaussian,
}

/// Observations of some bins.
#[derive(Clone, Copy)]
pub(super) struct Observed<'t, T: Float> {
    /// `[bins, marks]`; 0 where not measured.
    pub values: Var<'t, T>,
    /// `[bins, marks]` 1 where measured, else 0; nothing when all were.
    pub measured: Option<Var<'t, T>>,
}

impl<'t, T: Float> Observed<'t, T> {
    /// The values with zero where nothing was measured.
    fn known(&self, values: Var<'t, T>) -> Var<'t, T> {
        self.measured.map_or(values, |measured| values * measured)
    }

    /// `[bins, states]` (or one row of all bins) sums of `constant` `[states, marks]` over the marks that were measured.
    fn constants(&self, constant: Var<'t, T>) -> Var<'t, T> {
        let states = constant.shape()[0];
        match self.measured {
            Some(measured) => measured.matmul_transposed(constant),
            None => constant.sum_axis(1).reshape([1, states]).broadcast_to([self.values.shape()[0], states]),
        }
    }

    /// `[bins, states]` ln-probabilities of calls from logits `[states, marks]`.
    pub fn bernoulli(&self, logits: Var<'t, T>, epsilon: f64, soft: bool) -> Var<'t, T> {
        let (present, absent) = if epsilon > 0.0 {
            let q = logits.sigmoid();
            ((q + epsilon).ln(), (-q + (1.0 + epsilon)).ln())
        } else {
            (logits.log_sigmoid(), (-logits).log_sigmoid())
        };
        let calls = if soft { self.values.sigmoid() } else { self.values };
        self.known(calls).matmul_transposed(present - absent) + self.constants(absent)
    }

    /// `[bins, states]` ln-densities of real values from means and ln-variances `[states, marks]`.
    pub fn gaussian(&self, mean: Var<'t, T>, ln_variance: Var<'t, T>, floor: f64) -> Var<'t, T> {
        const LN_TWO_PI: f64 = 1.837_877_066_409_345_5;
        let variance = ln_variance.exp() + floor;
        let precision = mean.tape().scalar(1.0) / variance;
        // about the middle of the means, so that squares do not cancel; the sum does not depend on the middle
        let middle = mean.mean_axis(0).detach();
        let (x, mean) = (self.values - middle, mean - middle);
        let constant = self.constants(variance.ln() + LN_TWO_PI + mean.square() * precision);
        let squares = self.known(x.square()).matmul_transposed(precision);
        let products = self.known(x).matmul_transposed(mean * precision);
        (squares - products * 2.0 + constant) * -0.5
    }

    /// `[bins, states]` ln-probabilities of counts from ln-means `[states, marks]`, and with ln-dispersions `[marks]`
    /// negative binomial instead of Poisson.
    ///
    /// ln p = ln p at a middle mean, the same for all states, + x (success - middle's) - (failure - middle's), where for
    /// Poisson success is the ln-mean and failure the mean, and for the negative binomial with d = ln(mean / dispersion)
    /// success is -softplus(-d) and failure dispersion softplus(d).
    pub fn counts(&self, ln_mean: Var<'t, T>, ln_dispersion: Option<Var<'t, T>>) -> Var<'t, T> {
        let (states, marks, bins) = (ln_mean.shape()[0], ln_mean.shape()[1], self.values.shape()[0]);
        let middle = ln_mean.mean_axis(0).detach().reshape([1, marks]);
        let each = middle.broadcast_to([bins, marks]);
        let parts = |ln_mean: Var<'t, T>| match ln_dispersion {
            None => (ln_mean, ln_mean.exp()),
            Some(dispersion) => {
                let d = ln_mean - dispersion;
                (-(-d).softplus(), dispersion.exp() * d.softplus())
            }
        };
        let at_middle = match ln_dispersion {
            None => self.values.poisson(each),
            Some(dispersion) => self.values.negative_binomial(each, dispersion, 0.0),
        };
        let ((success, failure), (middle_success, middle_failure)) = (parts(ln_mean), parts(middle));
        let at_middle = self.known(at_middle).sum_axis(1).reshape([bins, 1]).broadcast_to([bins, states]);
        at_middle + self.values.matmul_transposed(success - middle_success) - self.constants(failure - middle_failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gradome_tape::{Tape, Tensor};

    /// ln p of each bin in each state, mark by mark.
    fn summed(each: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
        (0..6).map(|i| (0..2).map(|mark| each(i / 2, i % 2, mark)).sum()).collect()
    }

    #[test]
    fn products_of_matrices_give_the_densities_of_the_counts_and_values() {
        let tape = Tape::<f64>::new();
        let counts = [0.0, 3.0, 40.0, 1.0, 7.0, 0.0];
        let measured = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0];
        let known: Vec<f64> = counts.iter().zip(&measured).map(|(x, m)| x * m).collect();
        let on = |shape: [usize; 2], values: &[f64]| tape.constant(&Tensor::from_f64(shape, values));
        let observed = Observed { values: on([3, 2], &known), measured: Some(on([3, 2], &measured)) };
        let (location, scale) = ([0.3, -1.0, 2.5, 1.1], [-0.4, 1.7]);
        let (location_on, scale_on) = (on([2, 2], &location), tape.constant(&Tensor::from_f64([2], &scale)));
        let element = |which: usize, bin: usize, state: usize, mark: usize| {
            if measured[bin * 2 + mark] == 0.0 {
                return 0.0;
            }
            let one = |value: f64| tape.constant(&Tensor::from_f64([1], &[value]));
            let (x, at) = (counts[bin * 2 + mark], location[state * 2 + mark]);
            match which {
                0 => one(x).poisson(one(at)).item(),
                1 => one(x).negative_binomial(one(at), one(scale[mark]), 0.0).item(),
                _ => {
                    let variance = scale[mark].exp() + 1e-6;
                    -0.5 * ((2.0 * std::f64::consts::PI * variance).ln() + (x - at).powi(2) / variance)
                }
            }
        };
        let ln_variance = on([2, 2], &[scale[0], scale[1], scale[0], scale[1]]);
        let found = [
            observed.counts(location_on, None),
            observed.counts(location_on, Some(scale_on)),
            observed.gaussian(location_on, ln_variance, 1e-6),
        ];
        for (which, found) in found.iter().enumerate() {
            let expected = summed(|bin, state, mark| element(which, bin, state, mark));
            for (ours, expected) in found.value().to_f64().iter().zip(&expected) {
                assert!((ours - expected).abs() < 1e-12 * expected.abs().max(1.0), "{which}: {ours} {expected}");
            }
        }
    }
}
