//! The affine layer.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Var};

use super::Activation;
use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// y = x W + b over the last axis; `weight` is `[inputs, outputs]`, `bias` is `[outputs]`.
///
/// PyTorch: `nn.Linear` (whose weight is the transpose). Starts uniform within 1 / sqrt(inputs), as there.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`
    pub weight: ParamId,
    /// `[outputs]`
    pub bias: ParamId,
}

impl Linear {
    /// Adds the layer's parameters.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, inputs: usize, outputs: usize) -> Self {
        Self::with_init(scope, inputs, outputs, Init::FanIn, Init::Uniform((1.0 / inputs.max(1) as f64).sqrt()))
    }

    /// Adds the layer's parameters with other first values.
    pub fn with_init<T: Float>(
        scope: &mut Scope<'_, T>,
        inputs: usize,
        outputs: usize,
        weight: Init,
        bias: Init,
    ) -> Self {
        Self {
            weight: scope.parameter("weight", [inputs, outputs], weight),
            bias: scope.parameter("bias", [outputs], bias),
        }
    }

    /// [.., inputs] to [.., outputs].
    ///
    /// # Panics
    /// When the last axis has another size.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        x.linear(step.param(self.weight), step.param(self.bias))
    }

    /// The layer followed by a nonlinearity, in one pass where the nonlinearity allows it.
    ///
    /// # Panics
    /// When the last axis has another size.
    pub fn forward_with<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        x: Var<'t, T>,
        activation: Activation,
    ) -> Var<'t, T> {
        let (fused, rest) = activation.split();
        rest.apply(x.linear_with(step.param(self.weight), step.param(self.bias), fused))
    }
}

pub(super) fn check() -> Outcome {
    let mut outcome = Outcome::new("linear-layer");
    let mut store = ParamStore::new(1);
    let layer = Linear::new(&mut store.scope("layer"), 4, 3);
    check_step(&mut outcome, "[5, 4]", &store, &[("x", super::waves([5, 4], 0.1))], false, |step, x| {
        layer.forward(step, x[0])
    });
    for activation in [Activation::Tanh, Activation::Silu] {
        let case = format!("[5, 4], {activation:?}");
        check_step(&mut outcome, &case, &store, &[("x", super::waves([5, 4], 0.1))], false, |step, x| {
            layer.forward_with(step, x[0], activation)
        });
    }
    outcome
}
