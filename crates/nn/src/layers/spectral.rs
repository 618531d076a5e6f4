//! Layers that work on frequencies: the spectral convolution and the long convolution.

use gradome_tape::check::Outcome;
use gradome_tape::{ConvEnds, Float, Var};

use super::waves;
use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// Multiplies the lowest frequencies by learned complex weights that mix the channels (Li et al. 2021, eq. 4).
///
/// neuraloperator: `SpectralConv`, whose `n_modes` m keeps m / 2 + 1 frequencies.
#[derive(Clone, Debug)]
pub struct SpectralConv1d {
    /// `[inputs, outputs, modes]`
    pub weight_re: ParamId,
    /// `[inputs, outputs, modes]`
    pub weight_im: ParamId,
    /// `[outputs, 1]`
    pub bias: Option<ParamId>,
}

impl SpectralConv1d {
    /// Adds complex weights with variance 2 / (inputs + outputs), and a bias of that variance when wanted.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, inputs: usize, outputs: usize, modes: usize, bias: bool) -> Self {
        let sd = (2.0 / (inputs + outputs).max(1) as f64).sqrt();
        // each part has half the variance
        let part = Init::Normal(sd * std::f64::consts::FRAC_1_SQRT_2);
        Self {
            weight_re: scope.parameter("weight_re", [inputs, outputs, modes], part),
            weight_im: scope.parameter("weight_im", [inputs, outputs, modes], part),
            bias: bias.then(|| scope.parameter("bias", [outputs, 1], Init::Normal(sd))),
        }
    }

    /// `[batch, inputs, length]` to `[batch, outputs, length]`, at any length.
    ///
    /// # Panics
    /// When the channels differ or the length is zero.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        let y = x.spectral_conv(step.param(self.weight_re), step.param(self.weight_im));
        self.bias.map_or(y, |bias| y + step.param(bias))
    }
}

/// A convolution with a long kernel, by Fourier transforms. PyTorch: `nn.Conv1d`.
#[derive(Clone, Debug)]
pub struct FftConv1d {
    /// `[outputs, inputs / groups, kernel]`
    pub weight: ParamId,
    /// `[outputs, 1]`
    pub bias: ParamId,
    ends: ConvEnds,
}

impl FftConv1d {
    /// Adds weight and bias, uniform within 1 / sqrt(inputs kernel / groups) as PyTorch draws them; `groups` = inputs =
    /// outputs is depthwise.
    ///
    /// # Panics
    /// When the groups do not divide inputs and outputs.
    pub fn new<T: Float>(
        scope: &mut Scope<'_, T>,
        (inputs, outputs): (usize, usize),
        kernel: usize,
        groups: usize,
        ends: ConvEnds,
    ) -> Self {
        assert!(
            groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
            "fft_conv1d: {groups} groups do not divide {inputs} inputs and {outputs} outputs"
        );
        let each = inputs / groups;
        let init = Init::Uniform((1.0 / (each * kernel).max(1) as f64).sqrt());
        Self {
            weight: scope.parameter("weight", [outputs, each, kernel], init),
            bias: scope.parameter("bias", [outputs, 1], init),
            ends,
        }
    }

    /// `[batch, inputs, length]` to `[batch, outputs, length + zeros - kernel + 1]`.
    ///
    /// # Panics
    /// When the channels differ or the signal with its zeros is shorter than the kernel.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        x.fft_conv1d(step.param(self.weight), self.ends) + step.param(self.bias)
    }
}

pub(super) fn check_spectral() -> Outcome {
    let mut outcome = Outcome::new("spectral-conv-layer");
    for bias in [false, true] {
        let mut store = ParamStore::new(1);
        let layer = SpectralConv1d::new(&mut store.scope("layer"), 3, 2, 4, bias);
        check_step(&mut outcome, "[2, 3, 9]", &store, &[("x", waves([2, 3, 9], 0.1))], false, |step, x| {
            layer.forward(step, x[0])
        });
    }
    outcome
}

pub(super) fn check_fft_conv() -> Outcome {
    let mut outcome = Outcome::new("fft-conv-layer");
    for (groups, ends) in [(1, ConvEnds::Same), (2, ConvEnds::Causal)] {
        let mut store = ParamStore::new(1);
        let layer = FftConv1d::new(&mut store.scope("layer"), (2, 4), 5, groups, ends);
        check_step(&mut outcome, "[2, 2, 7]", &store, &[("x", waves([2, 2, 7], 0.1))], false, |step, x| {
            layer.forward(step, x[0])
        });
    }
    outcome
}
