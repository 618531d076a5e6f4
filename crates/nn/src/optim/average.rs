//! Exponential moving averages of parameters.

use gradome_tape::{Float, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::{ParamId, ParamStore};

/// How parameters are averaged over the steps of training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AverageConfig {
    /// The share of the average that a step keeps, 0..1. Default 0.999.
    pub decay: f64,
    /// What the first steps count. Default bias-corrected.
    pub start: AverageStart,
}

impl Default for AverageConfig {
    fn default() -> Self {
        Self { decay: 0.999, start: AverageStart::default() }
    }
}

/// What the first weights and steps count in an average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AverageStart {
    /// The first weights count nothing: the average is that of the steps alone, with weights that add up to 1, as the
    /// bias-corrected moments of Adam (Kingma & Ba 2015, section 3).
    #[default]
    BiasCorrected,
    /// The average starts at the first weights and keeps at most (1 + t) / (10 + t) at step t. TensorFlow:
    /// `ExponentialMovingAverage` with `num_updates`.
    WarmUp,
    /// The average starts at the first weights and keeps `decay` from the first step. PyTorch:
    /// `AveragedModel` with `get_ema_multi_avg_fn(decay)` does so from its second update.
    FirstWeights,
}

impl AverageConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When the decay is out of its range.
    pub fn validate(&self) -> Result<()> {
        match self.decay {
            0.0..1.0 => Ok(()),
            decay => Err(Error::config("average.decay", format!("{decay} is outside of 0 to below 1"))),
        }
    }

    /// The share of the new weights in the average at step `step`, counted from 1.
    fn fresh(&self, step: u64) -> f64 {
        let t = step as f64;
        match self.start {
            AverageStart::BiasCorrected => (1.0 - self.decay) / (1.0 - self.decay.powf(t)),
            AverageStart::WarmUp => 1.0 - self.decay.min((1.0 + t) / (10.0 + t)),
            AverageStart::FirstWeights => 1.0 - self.decay,
        }
    }
}

/// The exponential moving averages of a store's trained parameters.
///
/// Averages often score better than the last weights: [`Average::swap`] puts them into the store for an evaluation, and
/// puts the weights back. Arrays that are not trained, such as running means, are left as they are.
///
/// ```
/// use gradome_nn::ParamStore;
/// use gradome_nn::optim::{Average, AverageConfig};
/// use gradome_tape::Tensor;
///
/// let mut store = ParamStore::<f64>::new(0);
/// let w = store.add("w", Tensor::scalar(7.0), true);
/// let mut average = Average::new(AverageConfig { decay: 0.5, ..AverageConfig::default() }, &store);
/// for value in [1.0, 4.0] {
///     store.set(w, Tensor::scalar(value));
///     average.update(&store);
/// }
/// average.swap(&mut store);
/// assert_eq!(store.get(w).item(), 3.0); // (0.5 * 1 + 1 * 4) / 1.5
/// average.swap(&mut store);
/// assert_eq!(store.get(w).item(), 4.0);
/// ```
#[derive(Clone, Debug)]
pub struct Average<T: Float> {
    config: AverageConfig,
    pub(crate) steps: u64,
    pub(crate) values: Vec<(ParamId, Tensor<T>)>,
}

impl<T: Float> Average<T> {
    /// Averages of the parameters that the store trains now; before the first update they are the weights themselves.
    pub fn new(config: AverageConfig, store: &ParamStore<T>) -> Self {
        Self { config, steps: 0, values: store.trained().map(|id| (id, store.get(id).clone())).collect() }
    }

    /// Takes in the weights after a step.
    ///
    /// # Panics
    /// When the store is not the one the averages were made for.
    pub fn update(&mut self, store: &ParamStore<T>) {
        self.steps += 1;
        let fresh = T::of(self.config.fresh(self.steps));
        for (id, average) in &mut self.values {
            let weights = store.get(*id);
            assert_eq!(average.shape(), weights.shape(), "the averages are of another store");
            average.data_mut().iter_mut().zip(weights.data()).for_each(|(a, w)| *a += (*w - *a) * fresh);
        }
    }

    /// Exchanges the store's weights and the averages; a second call brings the weights back.
    ///
    /// # Panics
    /// When the store is not the one the averages were made for.
    pub fn swap(&mut self, store: &mut ParamStore<T>) {
        for (id, average) in &mut self.values {
            assert_eq!(average.shape(), store.get(*id).shape(), "the averages are of another store");
            std::mem::swap(average, store.get_mut(*id));
        }
    }
}
