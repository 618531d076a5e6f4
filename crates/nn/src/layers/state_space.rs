//! The selective state space of Mamba (Gu & Dao 2023).

use gradome_tape::check::Outcome;
use gradome_tape::{Float, SelectiveScan as ScanOptions, Tensor, Var};

use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// The step sizes that channels start with, spread evenly in the logarithm (Gu & Dao 2023, section 3.6).
const STEP_SIZES: (f64, f64) = (1e-3, 0.1);

/// A selective scan whose step sizes, inputs and outputs depend on what it reads (S6). mamba_ssm: the part of `Mamba`
/// between convolution and output projection.
#[derive(Clone, Debug)]
pub struct SelectiveScan {
    /// `[channels, rank + 2 states]` to step sizes (of low rank), B and C.
    pub projection: ParamId,
    /// `[rank, channels]`
    pub delta: ParamId,
    /// `[channels]` before softplus.
    pub delta_bias: ParamId,
    /// `[channels, states]` ln of minus A; starts at ln 1, ln 2, ... (S4D-Real: Gu et al. 2022).
    pub ln_a: ParamId,
    /// `[channels]`
    pub skip: ParamId,
    rank: usize,
    states: usize,
}

impl SelectiveScan {
    /// Adds the parameters.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, channels: usize, states: usize, rank: usize) -> Self {
        let (low, high) = (STEP_SIZES.0.ln(), STEP_SIZES.1.ln());
        let between = |i: usize| (low + (high - low) * (i as f64 + 0.5) / channels as f64).exp();
        // the inverse of softplus
        let bias = Tensor::from_fn([channels], |i| T::of(between(i).exp_m1().ln()));
        Self {
            projection: scope.parameter("projection", [channels, rank + 2 * states], Init::FanIn),
            delta: scope.parameter("delta", [rank, channels], Init::FanIn),
            delta_bias: scope.parameter_from("delta_bias", bias),
            ln_a: scope.parameter_from(
                "ln_a",
                Tensor::from_fn([channels, states], |i| T::of((1.0 + (i % states) as f64).ln())),
            ),
            skip: scope.parameter("skip", [channels], Init::Constant(1.0)),
            rank,
            states,
        }
    }

    /// `[batch, length, channels]` to the same shape; with a `gate` of that shape, times silu(gate).
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>, gate: Option<Var<'t, T>>) -> Var<'t, T> {
        let shape = x.shape();
        assert_eq!(shape.rank(), 3, "selective scan: {shape}: expected [batch, length, channels]");
        let (batch, length, channels) = (shape[0], shape[1], shape[2]);
        let rows = x.reshape([batch * length, channels]).matmul(step.param(self.projection));
        let low_rank = rows.narrow(1, 0, self.rank);
        let delta = low_rank.matmul(step.param(self.delta)).reshape(shape);
        let [b, c] = [0, 1]
            .map(|k| rows.narrow(1, self.rank + k * self.states, self.states).reshape([batch, length, self.states]));
        let options = ScanOptions { skip: true, gate: gate.is_some(), bias: true, softplus: true, reverse: false };
        let mut operands = vec![step.param(self.skip)];
        operands.extend(gate);
        operands.push(step.param(self.delta_bias));
        let a = -step.param(self.ln_a).exp();
        x.selective_scan(delta, a, [b, c], &operands, options)[0]
    }
}

pub(super) fn check() -> Outcome {
    let mut outcome = Outcome::new("selective-scan-layer");
    let mut store = ParamStore::new(1);
    let layer = SelectiveScan::new(&mut store.scope("scan"), 3, 2, 1);
    let inputs = [("x", super::waves([2, 4, 3], 0.2)), ("gate", super::waves([2, 4, 3], 0.5))];
    check_step(&mut outcome, "gated", &store, &inputs, false, |step, x| layer.forward(step, x[0], Some(x[1])));
    check_step(&mut outcome, "plain", &store, &inputs[..1], false, |step, x| layer.forward(step, x[0], None));
    outcome
}
