//! Convolutions over sequences.

use gradome_tape::check::Outcome;
use gradome_tape::{Convolution, Float, Padding as Border, Var};

use super::Activation;
use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// What a convolution layer is made of; the default has a stride of 1, a bias, and neither padding nor nonlinearity.
#[derive(Clone, Copy, Debug)]
pub struct ConvConfig {
    stride: usize,
    dilation: usize,
    groups: usize,
    padding: Padding,
    border: Border,
    output_padding: usize,
    bias: bool,
    activation: Activation,
}

/// Positions added around a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    /// Before and after it.
    At(usize, usize),
    /// As many as keep the length at a stride of 1.
    Same,
}

impl Default for ConvConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            dilation: 1,
            groups: 1,
            padding: Padding::At(0, 0),
            border: Border::Constant(0.0),
            output_padding: 0,
            bias: true,
            activation: Activation::Identity,
        }
    }
}

impl ConvConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Positions from one output to the next.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Positions from one tap of the kernel to the next.
    pub fn dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// Parts of the channels that do not mix.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Positions added at either end of the signal; zeros unless [`ConvConfig::border`] says otherwise.
    pub fn padding(self, positions: usize) -> Self {
        self.padding_at(positions, positions)
    }

    /// Positions added before and after the signal.
    pub fn padding_at(self, left: usize, right: usize) -> Self {
        Self { padding: Padding::At(left, right), ..self }
    }

    /// As many positions as keep the length at a stride of 1; the odd one comes after the signal. PyTorch: `'same'`.
    pub fn same_padding(self) -> Self {
        Self { padding: Padding::Same, ..self }
    }

    /// What stands in the added positions; zeros by default. PyTorch: `padding_mode`. Only zeros are taken by a
    /// transposed convolution.
    pub fn border(self, border: Border) -> Self {
        Self { border, ..self }
    }

    /// For a transposed convolution: positions added at the end of its result.
    pub fn output_padding(self, positions: usize) -> Self {
        Self { output_padding: positions, ..self }
    }

    /// Leaves out the bias.
    pub fn no_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    /// The nonlinearity that is applied to the result, in the same pass.
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Positions added before and after the signal.
    fn ends(&self, kernel: usize) -> (usize, usize) {
        match self.padding {
            Padding::At(left, right) => (left, right),
            Padding::Same => {
                let total = self.dilation * kernel.saturating_sub(1);
                (total / 2, total - total / 2)
            }
        }
    }

    fn convolution(&self, (left, right): (usize, usize)) -> Convolution {
        Convolution::new()
            .stride(self.stride)
            .dilation(self.dilation)
            .groups(self.groups)
            .padding_at(left, right)
            .output_padding(self.output_padding)
            .activation(self.activation.split().0)
    }

    /// The parameters of a layer; `fan_in` is the number of weights that one output sums over, as PyTorch counts it.
    fn parameters<T: Float>(
        &self,
        scope: &mut Scope<'_, T>,
        shape: [usize; 3],
        fan_in: usize,
        outputs: usize,
    ) -> (ParamId, Option<ParamId>) {
        let init = Init::Uniform((1.0 / fan_in.max(1) as f64).sqrt());
        let weight = scope.parameter("weight", shape, init);
        (weight, self.bias.then(|| scope.parameter("bias", [outputs], init)))
    }
}

/// A convolution of `[batch, in, length]`; `weight` is `[out, in / groups, kernel]`, `bias` is `[out]`.
///
/// PyTorch: `nn.Conv1d`. Weights and bias start uniform within 1 / sqrt(in / groups · kernel), as there.
#[derive(Clone, Debug)]
pub struct Conv1d {
    /// `[out, in / groups, kernel]`
    pub weight: ParamId,
    /// `[out]`
    pub bias: Option<ParamId>,
    /// A border that is not of zeros: what it is, and its positions before and after the signal.
    border: Option<(Border, (usize, usize))>,
    convolution: Convolution,
    /// What is left of the nonlinearity after the convolution.
    rest: Activation,
}

impl Conv1d {
    /// Adds the layer's parameters.
    ///
    /// # Panics
    /// When the channels are not multiples of the groups, or a step of the configuration is 0.
    pub fn new<T: Float>(
        scope: &mut Scope<'_, T>,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        config: ConvConfig,
    ) -> Self {
        let ends = config.ends(kernel);
        let border = (config.border != Border::Constant(0.0)).then_some((config.border, ends));
        let convolution = config.convolution(if border.is_some() { (0, 0) } else { ends });
        check_groups("conv1d", inputs, outputs, config.groups);
        let shape = [outputs, inputs / config.groups, kernel];
        let (weight, bias) = config.parameters(scope, shape, shape[1] * kernel, outputs);
        Self { weight, bias, border, convolution, rest: config.activation.split().1 }
    }

    /// `[batch, in, length]` to `[batch, out, positions]`.
    ///
    /// # Panics
    /// When the channels differ, the signal is too short for its border, or the kernel is longer than the padded signal.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        let bias = self.bias.map(|bias| step.param(bias));
        let x = match self.border {
            Some((border, ends)) => x.pad(&[(0, 0), (0, 0), ends], border),
            None => x,
        };
        self.rest.apply(x.conv1d(step.param(self.weight), bias, self.convolution))
    }
}

/// A transposed convolution of `[batch, in, length]`; `weight` is `[in, out / groups, kernel]`, `bias` is `[out]`.
///
/// PyTorch: `nn.ConvTranspose1d`. Weights and bias start uniform within 1 / sqrt(out / groups · kernel), as there.
#[derive(Clone, Debug)]
pub struct ConvTranspose1d {
    /// `[in, out / groups, kernel]`
    pub weight: ParamId,
    /// `[out]`
    pub bias: Option<ParamId>,
    convolution: Convolution,
    /// What is left of the nonlinearity after the convolution.
    rest: Activation,
}

impl ConvTranspose1d {
    /// Adds the layer's parameters.
    ///
    /// # Panics
    /// When the channels are not multiples of the groups, a step of the configuration is 0, or the border is not of
    /// zeros.
    pub fn new<T: Float>(
        scope: &mut Scope<'_, T>,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        config: ConvConfig,
    ) -> Self {
        assert!(config.border == Border::Constant(0.0), "conv_transpose1d: a border of {:?}", config.border);
        let convolution = config.convolution(config.ends(kernel));
        check_groups("conv_transpose1d", inputs, outputs, config.groups);
        let shape = [inputs, outputs / config.groups, kernel];
        let (weight, bias) = config.parameters(scope, shape, shape[1] * kernel, outputs);
        Self { weight, bias, convolution, rest: config.activation.split().1 }
    }

    /// `[batch, in, length]` to `[batch, out, positions]`.
    ///
    /// # Panics
    /// When the channels differ.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        let bias = self.bias.map(|bias| step.param(bias));
        self.rest.apply(x.conv_transpose1d(step.param(self.weight), bias, self.convolution))
    }
}

fn check_groups(name: &str, inputs: usize, outputs: usize, groups: usize) {
    assert!(
        inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
        "{name}: {inputs} and {outputs} channels do not divide into {groups} groups"
    );
}

pub(super) fn check() -> Outcome {
    let mut outcome = Outcome::new("conv1d-layer");
    let x = [("x", super::waves([2, 4, 9], 0.1))];
    let same = ConvConfig::new().same_padding().groups(2);
    for (case, config) in [
        ("same padding, groups", same),
        ("stride, tanh", ConvConfig::new().stride(2).padding(1).activation(Activation::Tanh)),
        ("dilation, no bias, silu", ConvConfig::new().dilation(2).no_bias().activation(Activation::Silu)),
        ("mirrored border", ConvConfig::new().same_padding().border(Border::Reflect)),
    ] {
        let mut store = ParamStore::new(1);
        let layer = Conv1d::new(&mut store.scope("layer"), 4, 6, 3, config);
        check_step(&mut outcome, case, &store, &x, false, |step, x| layer.forward(step, x[0]));
    }
    outcome
}

pub(super) fn check_transpose() -> Outcome {
    let mut outcome = Outcome::new("conv-transpose1d-layer");
    let mut store = ParamStore::new(1);
    let config = ConvConfig::new().stride(2).padding(1).output_padding(1);
    let layer = ConvTranspose1d::new(&mut store.scope("layer"), 4, 3, 3, config);
    let x = [("x", super::waves([2, 4, 5], 0.1))];
    check_step(&mut outcome, "stride 2", &store, &x, false, |step, x| layer.forward(step, x[0]));
    outcome
}

#[cfg(test)]
mod tests {
    use gradome_tape::{Tape, Tensor};

    use super::*;

    #[test]
    fn same_padding_keeps_the_length() {
        for kernel in 1..6 {
            let mut store = ParamStore::<f32>::new(1);
            let config = ConvConfig::new().same_padding().dilation(3);
            let layer = Conv1d::new(&mut store.scope("layer"), 2, 5, kernel, config);
            let tape = Tape::new();
            let bound = store.bind(&tape);
            let y = layer.forward(Step::eval(&tape, &bound), tape.constant(&Tensor::zeros([1, 2, 17])));
            assert_eq!(&*y.shape(), &[1, 5, 17]);
        }
    }

    #[test]
    fn a_circular_border_makes_a_convolution_follow_a_rotation_of_its_signal() {
        let mut store = ParamStore::<f64>::new(1);
        let config = ConvConfig::new().same_padding().border(Border::Circular);
        let layer = Conv1d::new(&mut store.scope("layer"), 1, 1, 5, config);
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let at = |turn: usize| {
            let x = Tensor::from_fn([1, 1, 9], |i| ((i + turn) % 9) as f64);
            layer.forward(Step::eval(&tape, &bound), tape.constant(&x)).value().to_f64()
        };
        let (mut still, turned) = (at(0), at(2));
        still.rotate_left(2);
        assert_eq!(still, turned);
    }

    #[test]
    fn a_transposed_layer_undoes_the_change_of_length() {
        let mut store = ParamStore::<f32>::new(1);
        let config = ConvConfig::new().stride(2).padding(1);
        let down = Conv1d::new(&mut store.scope("down"), 2, 3, 4, config);
        let up = ConvTranspose1d::new(&mut store.scope("up"), 3, 2, 4, config);
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let step = Step::eval(&tape, &bound);
        let y = down.forward(step, tape.constant(&Tensor::zeros([1, 2, 16])));
        assert_eq!(&*y.shape(), &[1, 3, 8]);
        assert_eq!(&*up.forward(step, y).shape(), &[1, 2, 16]);
    }
}
