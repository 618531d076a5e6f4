//! Several losses in one.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Gradients, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::check::check_step;
use crate::error::{Error, Result};
use crate::layers::waves;
use crate::optim::norm_of;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// What a loss is minus the logarithm of, up to the noise: it decides how uncertainty weighs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// A squared error, of a normal law.
    Regression,
    /// A cross-entropy, of a softmax at a temperature.
    Classification,
}

/// Weighs losses by their noise, which is learnt with the model (Kendall, Gal & Cipolla 2018, eq. 7 and 10).
///
/// With s = ln sigma^2 of each loss: the sum of e^-s / 2 L + s / 2 over regressions and e^-s L + s / 2 over
/// classifications.
#[derive(Clone, Debug)]
pub struct UncertaintyWeighting {
    /// `[losses]` ln sigma^2.
    pub ln_variances: ParamId,
    kinds: Vec<LossKind>,
}

impl UncertaintyWeighting {
    /// Adds the logarithms of the variances, 0 at first.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, kinds: &[LossKind]) -> Self {
        let ln_variances = scope.parameter_from("ln_variances", Tensor::zeros([kinds.len()]));
        Self { ln_variances, kinds: kinds.to_vec() }
    }

    /// The weighted sum of the losses, each of which is one number.
    ///
    /// # Panics
    /// When there is not one loss for each kind.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, losses: &[Var<'t, T>]) -> Var<'t, T> {
        assert_eq!(
            losses.len(),
            self.kinds.len(),
            "uncertainty weighting: {} losses of {}",
            losses.len(),
            self.kinds.len()
        );
        let ln_variances = step.param(self.ln_variances);
        let factors = self.kinds.iter().map(|kind| match kind {
            LossKind::Regression => 0.5,
            LossKind::Classification => 1.0,
        });
        let factors = Tensor::from_f64([losses.len()], &factors.collect::<Vec<_>>());
        let flat: Vec<_> = losses.iter().map(|loss| loss.reshape([1])).collect();
        let losses = step.tape.concat(&flat, 0) * step.tape.constant(&factors);
        ((-ln_variances).exp() * losses + ln_variances * 0.5).sum()
    }
}

/// Balances losses so that all train at similar rates (Chen et al. 2018, GradNorm).
///
/// The weights of the losses follow a gradient of their own: loss i should pull at the shared parameters with the mean
/// pull of all losses times r_i^alpha, where r_i says how little it has fallen against the others (eq. 1 and 2).
/// A step takes one backward pass for each loss, and one for their weighted sum. Its state is what serde writes.
///
/// ```
/// use gradome_nn::losses::GradNorm;
/// use gradome_nn::ParamStore;
/// use gradome_tape::{Tape, Tensor};
///
/// let mut store = ParamStore::<f64>::new(0);
/// let shared = store.add("shared", Tensor::scalar(1.0), true);
/// let mut balance = GradNorm::new(2, 0.0, 0.005)?;
/// for _ in 0..200 {
///     let tape = Tape::new();
///     let w = tape.parameter(shared.key(), store.get(shared));
///     // the first loss pulls four times as hard
///     balance.backward(&[w * 4.0, w], &[shared])?;
/// }
/// assert!((balance.weights()[1] / balance.weights()[0] - 4.0).abs() < 0.5);
/// # Ok::<(), gradome_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradNorm {
    alpha: f64,
    learning_rate: f64,
    weights: Vec<f64>,
    /// The losses of the first step.
    first: Option<Vec<f64>>,
}

/// No weight falls below this share of the mean: the step could make it negative.
const LEAST_WEIGHT: f64 = 1e-3;

impl GradNorm {
    /// Weights of 1 for `losses` losses. `alpha` is the strength with which training rates are brought together, 0 or
    /// more (the paper uses 0.12 to 1.5); `learning_rate` is that of the weights.
    ///
    /// # Errors
    /// When a number is out of its range; the error names it.
    pub fn new(losses: usize, alpha: f64, learning_rate: f64) -> Result<Self> {
        if losses == 0 {
            return Err(Error::config("losses", "there is nothing to weigh; give 1 or more"));
        }
        if !(alpha >= 0.0 && alpha.is_finite()) {
            return Err(Error::config("alpha", format!("{alpha} is not a number of 0 or more")));
        }
        if !(learning_rate > 0.0 && learning_rate.is_finite()) {
            return Err(Error::config("learning_rate", format!("{learning_rate} is not a positive number")));
        }
        Ok(Self { alpha, learning_rate, weights: vec![1.0; losses], first: None })
    }

    /// How much each loss counts; they add up to the number of losses.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The weighted sum of the losses' gradients for the optimiser; the weights move afterwards, by the pull of each
    /// loss at the `shared` parameters (the paper takes those of the last shared layer).
    ///
    /// # Errors
    /// When a loss is not finite, or not above 0 in the first step, or a gradient is not finite.
    ///
    /// # Panics
    /// When there is another number of losses, or one is not one number.
    pub fn backward<T: Float>(&mut self, losses: &[Var<'_, T>], shared: &[ParamId]) -> Result<Gradients<T>> {
        assert_eq!(losses.len(), self.weights.len(), "GradNorm: {} losses of {}", losses.len(), self.weights.len());
        let weighted = losses.iter().zip(&self.weights).map(|(&loss, &weight)| loss * weight);
        let total = weighted.reduce(|a, b| a + b).expect("there is at least one loss");
        let gradients = total.backward();
        let values: Vec<f64> = losses.iter().map(|loss| loss.item().to_f64()).collect();
        let norms: Vec<f64> = losses.iter().map(|loss| norm_of(&loss.backward(), shared)).collect();
        self.update(&values, &norms)?;
        Ok(gradients)
    }

    /// Moves the weights, given each loss and the norm of its gradient, not weighted, with respect to the shared
    /// parameters.
    ///
    /// # Errors
    /// When a number is not finite, or a loss is not above 0 in the first step.
    ///
    /// # Panics
    /// When there is another number of losses or norms.
    pub fn update(&mut self, losses: &[f64], norms: &[f64]) -> Result<()> {
        let count = self.weights.len();
        assert!(losses.len() == count && norms.len() == count, "GradNorm: {count} losses and as many norms expected");
        for (i, (loss, norm)) in losses.iter().zip(norms).enumerate() {
            if !loss.is_finite() || !norm.is_finite() {
                return Err(Error::data(format!("loss {i}"), format!("it is {loss}, its gradient's norm {norm}")));
            }
            if self.first.is_none() && *loss <= 0.0 {
                return Err(Error::data(
                    format!("loss {i}"),
                    format!("the first one is {loss}; rates need one above 0"),
                ));
            }
        }
        let first = self.first.get_or_insert_with(|| losses.to_vec());
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count as f64;
        let ratios: Vec<f64> = losses.iter().zip(first).map(|(loss, first)| (loss / *first).max(0.0)).collect();
        let pulls: Vec<f64> = norms.iter().zip(&self.weights).map(|(norm, weight)| norm * weight).collect();
        let (mean_pull, mean_ratio) = (mean(&pulls), mean(&ratios));
        for (i, weight) in self.weights.iter_mut().enumerate() {
            // all losses at 0 have fallen alike
            let rate = if mean_ratio > 0.0 { ratios[i] / mean_ratio } else { 1.0 };
            let excess = pulls[i] - mean_pull * rate.powf(self.alpha);
            // the slope of |excess| with respect to the weight, the target held fixed
            let slope = if excess == 0.0 { 0.0 } else { excess.signum() * norms[i] };
            *weight = (*weight - self.learning_rate * slope).max(LEAST_WEIGHT);
        }
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|weight| *weight *= count as f64 / sum);
        Ok(())
    }
}

pub(super) fn check() -> Outcome {
    let mut outcome = Outcome::new("uncertainty-weighting");
    let mut store = ParamStore::new(1);
    let kinds = [LossKind::Regression, LossKind::Classification];
    let layer = UncertaintyWeighting::new(&mut store.scope("weighting"), &kinds);
    store.set(layer.ln_variances, Tensor::new([2], &[0.3, -0.4]));
    check_step(&mut outcome, "two losses", &store, &[("x", waves([5], 0.3))], true, |step, x| {
        layer.forward(step, &[x[0].square().mean(), x[0].softplus().sum()])
    });
    outcome
}
