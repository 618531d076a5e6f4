//! Normalising layers.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::waves;
use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// Which normalisation follows a linear layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// None.
    None,
    /// Of each feature over the batch.
    #[default]
    Batch,
    /// Of each cell over its features.
    Layer,
}

/// Normalises the last axis, then scales and shifts (Ba, Kiros & Hinton 2016). PyTorch: `nn.LayerNorm`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    scale: ParamId,
    shift: ParamId,
    epsilon: f64,
}

impl LayerNorm {
    /// Adds scale (1) and shift (0).
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, features: usize, epsilon: f64) -> Self {
        Self {
            scale: scope.parameter("scale", [features], Init::Constant(1.0)),
            shift: scope.parameter("shift", [features], Init::Constant(0.0)),
            epsilon,
        }
    }

    /// [.., features] to the same shape.
    ///
    /// # Panics
    /// When the last axis has another size.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        x.layer_norm(step.param(self.scale), step.param(self.shift), self.epsilon)
    }
}

/// Normalises each feature over the batch, then scales and shifts (Ioffe & Szegedy 2015). PyTorch: `nn.BatchNorm1d`.
///
/// Training uses the batch's mean and biased variance and folds them (the variance unbiased) into running averages;
/// evaluation uses those.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    scale: ParamId,
    shift: ParamId,
    running_mean: ParamId,
    running_variance: ParamId,
    epsilon: f64,
    momentum: f64,
}

impl BatchNorm {
    /// Adds scale (1), shift (0) and the running mean (0) and variance (1). `momentum` is the share of the new batch.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, features: usize, epsilon: f64, momentum: f64) -> Self {
        Self {
            scale: scope.parameter("scale", [features], Init::Constant(1.0)),
            shift: scope.parameter("shift", [features], Init::Constant(0.0)),
            running_mean: scope.constant("running_mean", Tensor::zeros([features])),
            running_variance: scope.constant("running_variance", Tensor::full([features], T::ONE)),
            epsilon,
            momentum,
        }
    }

    /// `[batch, features]` to the same shape. A training batch of one row has no variance and uses the averages.
    ///
    /// # Panics
    /// When the last axis has another size.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        let (scale, shift) = (step.param(self.scale), step.param(self.shift));
        let rows = x.shape().len() / x.shape().last_size().max(1);
        if !step.training() || rows < 2 {
            let inverse_sd = (step.param(self.running_variance) + self.epsilon).rsqrt();
            return (x - step.param(self.running_mean)) * (inverse_sd * scale) + shift;
        }
        let [y, mean, variance] = x.batch_norm(scale, shift, self.epsilon);
        let unbiased = rows as f64 / (rows - 1) as f64;
        for (id, batch, factor) in [(self.running_mean, mean, 1.0), (self.running_variance, variance, unbiased)] {
            let (old, new) = (step.param(id).value(), batch.value());
            let blend = |i: usize| {
                (1.0 - self.momentum) * old.data()[i].to_f64() + self.momentum * factor * new.data()[i].to_f64()
            };
            step.update(id, Tensor::from_fn(old.shape(), |i| T::of(blend(i))));
        }
        y
    }
}

/// Normalises groups of channels of each sample, then scales and shifts each channel (Wu & He 2018).
///
/// One channel a group is instance normalisation. PyTorch: `nn.GroupNorm`.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    scale: ParamId,
    shift: ParamId,
    groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    /// Adds scale (1) and shift (0).
    ///
    /// # Panics
    /// When the groups do not divide the channels.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, groups: usize, channels: usize, epsilon: f64) -> Self {
        assert!(
            groups > 0 && channels.is_multiple_of(groups),
            "group norm: {groups} groups do not divide {channels} channels"
        );
        Self {
            scale: scope.parameter("scale", [channels], Init::Constant(1.0)),
            shift: scope.parameter("shift", [channels], Init::Constant(0.0)),
            groups,
            epsilon,
        }
    }

    /// `[batch, channels, ..]` to the same shape.
    ///
    /// # Panics
    /// When the second axis has another size.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        x.group_norm(self.groups, step.param(self.scale), step.param(self.shift), self.epsilon)
    }
}

/// Divides the last axis by its root mean square, then scales (Zhang & Sennrich 2019). PyTorch: `nn.RMSNorm`.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    scale: ParamId,
    epsilon: f64,
}

impl RmsNorm {
    /// Adds the scale (1).
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, features: usize, epsilon: f64) -> Self {
        Self { scale: scope.parameter("scale", [features], Init::Constant(1.0)), epsilon }
    }

    /// `[.., features]` to the same shape.
    ///
    /// # Panics
    /// When the last axis has another size.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        x.rms_norm(step.param(self.scale), self.epsilon)
    }
}

pub(super) fn check_group_norm() -> Outcome {
    let mut outcome = Outcome::new("group-norm-layer");
    let mut store = ParamStore::new(1);
    let layer = GroupNorm::new(&mut store.scope("norm"), 2, 4, 1e-5);
    check_step(&mut outcome, "[2, 4, 5]", &store, &[("x", waves([2, 4, 5], 0.3))], true, |step, x| {
        layer.forward(step, x[0])
    });
    outcome
}

pub(super) fn check_rms_norm() -> Outcome {
    let mut outcome = Outcome::new("rms-norm-layer");
    let mut store = ParamStore::new(1);
    let layer = RmsNorm::new(&mut store.scope("norm"), 6, 1e-5);
    check_step(&mut outcome, "[4, 6]", &store, &[("x", waves([4, 6], 0.3))], true, |step, x| layer.forward(step, x[0]));
    outcome
}

pub(super) fn check_layer_norm() -> Outcome {
    let mut outcome = Outcome::new("layer-norm-layer");
    let mut store = ParamStore::new(1);
    let layer = LayerNorm::new(&mut store.scope("norm"), 6, 1e-5);
    check_step(&mut outcome, "[4, 6]", &store, &[("x", waves([4, 6], 0.3))], true, |step, x| layer.forward(step, x[0]));
    outcome
}

pub(super) fn check_batch_norm() -> Outcome {
    let mut outcome = Outcome::new("batch-norm-layer");
    let mut store = ParamStore::new(1);
    let layer = BatchNorm::new(&mut store.scope("norm"), 3, 1e-3, 0.1);
    for training in [true, false] {
        let case = if training { "training" } else { "evaluation" };
        check_step(&mut outcome, case, &store, &[("x", waves([7, 3], 0.3))], training, |step, x| {
            layer.forward(step, x[0])
        });
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Rng;
    use gradome_tape::Tape;
    use rand::SeedableRng;

    #[test]
    fn running_averages_move_by_momentum_with_the_unbiased_variance() {
        let mut store = ParamStore::<f64>::new(0);
        let layer = BatchNorm::new(&mut store.scope("norm"), 1, 1e-3, 0.1);
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let x = tape.constant(&Tensor::new([4, 1], &[1.0, 2.0, 3.0, 6.0]));
        layer.forward(Step::train(&tape, &bound, Rng::seed_from_u64(0)), x);
        let updates = bound.into_updates();
        store.apply(updates);
        // mean 3, sum of squares 14, unbiased variance 14 / 3
        assert!((store.get(layer.running_mean).item() - 0.3).abs() < 1e-12);
        assert!((store.get(layer.running_variance).item() - (0.9 + 0.1 * 14.0 / 3.0)).abs() < 1e-12);
    }
}
