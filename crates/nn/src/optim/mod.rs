//! Optimisers: how gradients move parameters.

mod average;
mod clip;
pub mod lbfgs;
mod line_search;
pub mod proximal;
mod second_order;
mod update;

use gradome_tape::{Float, Gradients, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::{ParamId, ParamStore};

pub use average::{Average, AverageConfig, AverageStart};
pub use clip::{clip_factor, global_norm, norm_of};
pub use lbfgs::{Lbfgs, LbfgsReport, LbfgsStop};
pub use proximal::{Fista, FistaReport, Penalty};
pub use second_order::hessian_vector;

/// Which rule moves the parameters, with its constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Adam (Kingma & Ba 2015, algorithm 1). PyTorch: `optim.Adam`, with weight decay `optim.AdamW`.
    Adam {
        /// Decay rate of the running mean of gradients, 0..1.
        #[serde(default = "default_beta1")]
        beta1: f64,
        /// Decay rate of the running mean of squared gradients, 0..1.
        #[serde(default = "default_beta2")]
        beta2: f64,
        /// Added to the root of the mean square, outside of it.
        #[serde(default = "default_epsilon")]
        epsilon: f64,
    },
    /// Stochastic gradient descent with momentum (Polyak 1964). PyTorch: `optim.SGD`.
    Sgd {
        /// The share of the last step that is kept, 0..1; 0 is plain descent.
        #[serde(default)]
        momentum: f64,
        /// Whether the gradient counts as if taken further along the momentum (Sutskever et al. 2013); needs
        /// momentum. Default false.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam with a rectified variance: a warm-up of its own (Liu et al. 2020, algorithm 2). PyTorch: `optim.RAdam` with
    /// `decoupled_weight_decay=True`.
    Radam {
        /// Decay rate of the running mean of gradients, 0..1.
        #[serde(default = "default_beta1")]
        beta1: f64,
        /// Decay rate of the running mean of squared gradients, 0..1.
        #[serde(default = "default_beta2")]
        beta2: f64,
        /// Added to the root of the mean square, outside of it and before its bias correction.
        #[serde(default = "default_epsilon")]
        epsilon: f64,
    },
    /// The sign of an interpolated momentum (Chen et al. 2023, algorithm 2). Every weight moves by the learning rate, so
    /// that takes a third to a tenth of Adam's, and three to ten times the weight decay.
    Lion {
        /// The share of the momentum in the step's direction, 0..1.
        #[serde(default = "default_beta1")]
        beta1: f64,
        /// Decay rate of the momentum, 0..1. Default 0.99.
        #[serde(default = "default_lion_beta2")]
        beta2: f64,
    },
}

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.999
}

fn default_lion_beta2() -> f64 {
    0.99
}

fn default_epsilon() -> f64 {
    1e-8
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam { beta1: default_beta1(), beta2: default_beta2(), epsilon: default_epsilon() }
    }
}

impl OptimizerConfig {
    /// Checks the constants.
    ///
    /// # Errors
    /// When one is out of its range; the error names it.
    pub fn validate(&self) -> Result<()> {
        let rate = |field: &str, value: f64| match value {
            0.0..1.0 => Ok(()),
            _ => Err(Error::config(field, format!("{value} is outside of 0 to below 1"))),
        };
        match *self {
            Self::Adam { beta1, beta2, epsilon } | Self::Radam { beta1, beta2, epsilon } => {
                rate("optimizer.beta1", beta1)?;
                rate("optimizer.beta2", beta2)?;
                if !(epsilon > 0.0 && epsilon.is_finite()) {
                    return Err(Error::config("optimizer.epsilon", format!("{epsilon} is not a positive number")));
                }
                Ok(())
            }
            Self::Sgd { momentum, nesterov } => {
                rate("optimizer.momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(Error::config(
                        "optimizer.nesterov",
                        "there is no momentum to look ahead along; set it",
                    ));
                }
                Ok(())
            }
            Self::Lion { beta1, beta2 } => {
                rate("optimizer.beta1", beta1)?;
                rate("optimizer.beta2", beta2)
            }
        }
    }

    /// What the running arrays of this rule are called in checkpoints.
    pub(crate) fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Adam { .. } | Self::Radam { .. } => &["first-moment", "second-moment"],
            Self::Sgd { .. } | Self::Lion { .. } => &["momentum"],
        }
    }
}

/// Moves the trained parameters of one store against their gradients.
///
/// Weight decay is decoupled from the gradient: each parameter shrinks by `learning_rate * weight_decay` of itself
/// before it moves (Loshchilov & Hutter 2019, algorithm 2). A parameter without a gradient in a step does not move,
/// nor does its state. Results do not depend on the number of threads.
///
/// ```
/// use gradome_nn::optim::{Optimizer, OptimizerConfig};
/// use gradome_nn::ParamStore;
/// use gradome_tape::{Tape, Tensor};
///
/// let mut store = ParamStore::<f64>::new(0);
/// let w = store.add("w", Tensor::scalar(5.0), true);
/// let mut adam = Optimizer::new(OptimizerConfig::default(), 0.0, &store);
/// let mut tape = Tape::new();
/// for _ in 0..200 {
///     let gradients = tape.parameter(w.key(), store.get(w)).square().sum().backward();
///     tape.reset();
///     adam.step(&mut store, &gradients, 0.1, 1.0);
/// }
/// assert!(store.get(w).item().abs() < 0.1);
/// ```
#[derive(Clone, Debug)]
pub struct Optimizer<T: Float> {
    config: OptimizerConfig,
    weight_decay: f64,
    slots: Vec<Slot<T>>,
}

/// What an optimiser remembers of one parameter.
#[derive(Clone, Debug)]
pub(crate) struct Slot<T: Float> {
    pub id: ParamId,
    /// How often the parameter has moved.
    pub steps: u64,
    /// In the order of [`OptimizerConfig::moments`], each of the parameter's shape.
    pub moments: Vec<Tensor<T>>,
}

impl<T: Float> Optimizer<T> {
    /// An optimiser of the parameters that the store trains now.
    pub fn new(config: OptimizerConfig, weight_decay: f64, store: &ParamStore<T>) -> Self {
        let moments = config.moments().len();
        let slot = |id| {
            let zeros = || Tensor::zeros(store.get(id).shape());
            Slot { id, steps: 0, moments: (0..moments).map(|_| zeros()).collect() }
        };
        Self { config, weight_decay, slots: store.trained().map(slot).collect() }
    }

    /// Moves the parameters once; gradients count `gradient_scale` times (see [`clip_factor`]).
    ///
    /// # Panics
    /// When the store is not the one the optimiser was made for.
    pub fn step(
        &mut self,
        store: &mut ParamStore<T>,
        gradients: &Gradients<T>,
        learning_rate: f64,
        gradient_scale: f64,
    ) {
        for slot in &mut self.slots {
            let Some(gradient) = gradients.get(slot.id.key()) else { continue };
            slot.steps += 1;
            let weights = store.get_mut(slot.id).data_mut();
            let keep = 1.0 - learning_rate * self.weight_decay;
            let (scale, steps) = (gradient_scale, slot.steps as f64);
            let mut state = slot.moments.iter_mut().map(Tensor::data_mut);
            let state = [state.next().unwrap_or_default(), state.next().unwrap_or_default()];
            let gradient = gradient.data();
            match self.config {
                OptimizerConfig::Adam { beta1, beta2, epsilon } => {
                    let step_size = learning_rate / (1.0 - beta1.powf(steps));
                    let root_correction = (1.0 - beta2.powf(steps)).sqrt();
                    let rule = update::Adam { keep, scale, beta1, beta2, epsilon, step_size, root_correction };
                    gradome_tape::update(&rule, weights, state, gradient);
                }
                OptimizerConfig::Radam { beta1, beta2, epsilon } => {
                    let step_size = learning_rate / (1.0 - beta1.powf(steps));
                    let rectified = rectification(beta2, steps);
                    let rule = update::Radam { keep, scale, beta1, beta2, epsilon, step_size, rectified };
                    gradome_tape::update(&rule, weights, state, gradient);
                }
                OptimizerConfig::Sgd { momentum, nesterov } => {
                    let rule = update::Sgd { keep, scale, momentum, learning_rate, nesterov };
                    gradome_tape::update(&rule, weights, state, gradient);
                }
                OptimizerConfig::Lion { beta1, beta2 } => {
                    let rule = update::Lion { keep, scale, beta1, beta2, learning_rate };
                    gradome_tape::update(&rule, weights, state, gradient);
                }
            }
        }
    }

    pub(crate) fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    pub(crate) fn slots(&self) -> &[Slot<T>] {
        &self.slots
    }

    pub(crate) fn slots_mut(&mut self) -> &mut [Slot<T>] {
        &mut self.slots
    }
}

/// The variance rectification r_t of RAdam times the bias correction sqrt(1 - beta2^t) of the mean square; none while
/// the approximated number of degrees of freedom is at most 5 (Liu et al. 2020, section 5.3, with PyTorch's bound).
fn rectification(beta2: f64, steps: f64) -> Option<f64> {
    let decayed = beta2.powf(steps);
    let limit = 2.0 / (1.0 - beta2) - 1.0;
    let freedom = limit - 2.0 * steps * decayed / (1.0 - decayed);
    let ratio = (freedom - 4.0) * (freedom - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * freedom);
    (freedom > 5.0).then(|| ratio.sqrt() * (1.0 - decayed).sqrt())
}
