//! Fourier neural operators on one axis (Li et al. 2021).

use gradome_tape::check::Outcome;
use gradome_tape::{Convolution, Float, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::spectral::SpectralConv1d;
use super::{Activation, waves};
use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// The size and form of a Fourier neural operator.
///
/// The default is neuraloperator's form; [`FnoConfig::plain`] is that of Li et al.'s first code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FnoConfig {
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Channels between the blocks.
    pub hidden: usize,
    /// Frequencies that a block keeps, 0 included.
    pub modes: usize,
    /// Blocks.
    pub blocks: usize,
    /// Channels within the map to `hidden` channels; 0: a single linear map.
    pub lifting: usize,
    /// Channels within the map to `outputs` channels.
    pub projection: usize,
    /// Channels within the network of each position that ends a block; 0: none.
    pub block_mlp: usize,
    /// Whether a channel with the position, from 0 up to but not including 1, is added to the input.
    pub grid: bool,
    /// Zeros that follow the lifted signal through the blocks, so that its ends do not meet; in positions.
    pub padding: usize,
    /// Whether spectral convolutions have a bias.
    pub spectral_bias: bool,
    /// Whether the linear maps beside spectral convolutions have a bias.
    pub skip_bias: bool,
    /// The nonlinearity; there is none after the last block.
    pub activation: Activation,
}

impl FnoConfig {
    /// neuraloperator's form: lifting and projection through twice, block networks through half of `hidden`.
    pub fn new(inputs: usize, outputs: usize, hidden: usize, modes: usize, blocks: usize) -> Self {
        Self {
            inputs,
            outputs,
            hidden,
            modes,
            blocks,
            lifting: 2 * hidden,
            projection: 2 * hidden,
            block_mlp: hidden / 2,
            grid: true,
            padding: 0,
            spectral_bias: true,
            skip_bias: false,
            activation: Activation::GeluErf,
        }
    }

    /// The plain form: linear lifting, blocks without a network of their own, a projection through at least 128
    /// channels.
    pub fn plain(inputs: usize, outputs: usize, hidden: usize, modes: usize, blocks: usize) -> Self {
        Self {
            lifting: 0,
            projection: hidden.max(128),
            block_mlp: 0,
            grid: false,
            spectral_bias: false,
            skip_bias: true,
            activation: Activation::Gelu,
            ..Self::new(inputs, outputs, hidden, modes, blocks)
        }
    }
}

/// The same linear map at every position: `[batch, inputs, length]` to `[batch, outputs, length]`.
#[derive(Clone, Debug)]
struct Pointwise {
    /// `[inputs, outputs]`
    weight: ParamId,
    /// `[outputs, 1]`
    bias: Option<ParamId>,
}

impl Pointwise {
    fn new<T: Float>(mut scope: Scope<'_, T>, inputs: usize, outputs: usize, bias: bool) -> Self {
        let weight = scope.parameter("weight", [inputs, outputs], Init::FanIn);
        let bound = (1.0 / inputs.max(1) as f64).sqrt();
        Self { weight, bias: bias.then(|| scope.parameter("bias", [outputs, 1], Init::Uniform(bound))) }
    }

    /// The weights as those of a convolution, `[outputs, inputs, 1]`.
    fn kernel<'t, T: Float>(&self, step: Step<'_, 't, T>) -> Var<'t, T> {
        step.param(self.weight).permute(&[1, 0]).unsqueeze(-1)
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        x.conv1d(self.kernel(step), self.bias.map(|bias| step.param(bias).squeeze(-1)), Convolution::new())
    }
}

/// A network of each position: one linear map, or two with a nonlinearity between.
#[derive(Clone, Debug)]
struct PointwiseMlp {
    layers: Vec<Pointwise>,
    activation: Activation,
}

impl PointwiseMlp {
    /// With no `hidden` channels it is one linear map.
    fn new<T: Float>(mut scope: Scope<'_, T>, sizes: [usize; 3], activation: Activation) -> Self {
        let [inputs, hidden, outputs] = sizes;
        let layers = if hidden == 0 {
            vec![Pointwise::new(scope.scope(0), inputs, outputs, true)]
        } else {
            vec![
                Pointwise::new(scope.scope(0), inputs, hidden, true),
                Pointwise::new(scope.scope(1), hidden, outputs, true),
            ]
        };
        Self { layers, activation }
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        let first = self.layers[0].forward(step, x);
        self.layers[1..].iter().fold(first, |x, layer| layer.forward(step, self.activation.apply(x)))
    }
}

/// One block of a Fourier neural operator: a spectral convolution beside a linear map, then, where the config says so,
/// a network of each position beside a gate on the block's input.
#[derive(Clone, Debug)]
pub struct FnoBlock {
    spectral: SpectralConv1d,
    skip: Pointwise,
    /// The network and its gate, `[hidden, 1]`.
    mlp: Option<(PointwiseMlp, ParamId)>,
    activation: Activation,
}

impl FnoBlock {
    /// Adds the block's parameters.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, config: &FnoConfig) -> Self {
        let hidden = config.hidden;
        Self {
            spectral: SpectralConv1d::new(
                &mut scope.scope("spectral"),
                hidden,
                hidden,
                config.modes,
                config.spectral_bias,
            ),
            skip: Pointwise::new(scope.scope("skip"), hidden, hidden, config.skip_bias),
            mlp: (config.block_mlp > 0).then(|| {
                let mlp = PointwiseMlp::new(scope.scope("mlp"), [hidden, config.block_mlp, hidden], config.activation);
                (mlp, scope.parameter("gate", [hidden, 1], Init::Constant(1.0)))
            }),
            activation: config.activation,
        }
    }

    /// `[batch, hidden, length]` to the same shape; the last block of a network ends without nonlinearity.
    ///
    /// # Panics
    /// When the channels differ or the length is zero.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>, last: bool) -> Var<'t, T> {
        let activation = if last { Activation::Identity } else { self.activation };
        let SpectralConv1d { weight_re, weight_im, bias } = self.spectral;
        let biases = [bias, self.skip.bias].into_iter().flatten().map(|bias| step.param(bias).squeeze(-1));
        let (re, im) = (step.param(weight_re), step.param(weight_im));
        let mixed = x.spectral_conv_beside(re, im, self.skip.kernel(step), biases.reduce(|a, b| a + b));
        let mixed = activation.apply(mixed);
        match &self.mlp {
            Some((mlp, gate)) => activation.apply(mlp.forward(step, mixed) + x * step.param(*gate)),
            None => mixed,
        }
    }
}

/// A Fourier neural operator on one axis: lifting, blocks, projection. neuraloperator: `FNO(n_modes=(m,))` with
/// m / 2 + 1 = modes.
#[derive(Clone, Debug)]
pub struct Fno1d {
    config: FnoConfig,
    lifting: PointwiseMlp,
    blocks: Vec<FnoBlock>,
    projection: PointwiseMlp,
}

impl Fno1d {
    /// Adds the network's parameters.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, config: FnoConfig) -> Self {
        let inputs = config.inputs + usize::from(config.grid);
        let FnoConfig { hidden, outputs, activation, .. } = config;
        Self {
            lifting: PointwiseMlp::new(scope.scope("lifting"), [inputs, config.lifting, hidden], activation),
            blocks: (0..config.blocks)
                .map(|i| FnoBlock::new(&mut scope.scope(format!("blocks.{i}")), &config))
                .collect(),
            projection: PointwiseMlp::new(scope.scope("projection"), [hidden, config.projection, outputs], activation),
            config,
        }
    }

    /// `[batch, inputs, length]` to `[batch, outputs, length]`, at any length.
    ///
    /// # Panics
    /// When the channels differ or the length is zero.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        let (batch, length) = (x.shape()[0], x.shape()[2]);
        let mut x = x;
        if self.config.grid {
            let grid = Tensor::from_fn([batch, 1, length], |i| T::of((i % length) as f64 / length as f64));
            x = step.tape.concat(&[x, step.tape.constant(&grid)], 1);
        }
        x = self.lifting.forward(step, x);
        if self.config.padding > 0 {
            let zeros = step.tape.full([batch, self.config.hidden, self.config.padding], 0.0);
            x = step.tape.concat(&[x, zeros], 2);
        }
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(step, x, i + 1 == self.blocks.len());
        }
        if self.config.padding > 0 {
            x = x.narrow(2, 0, length);
        }
        self.projection.forward(step, x)
    }
}

pub(super) fn check() -> Outcome {
    let mut outcome = Outcome::new("fno-layer");
    let padded = FnoConfig { padding: 3, ..FnoConfig::new(2, 1, 4, 3, 2) };
    for (case, config) in [("with networks, grid and padding", padded), ("plain", FnoConfig::plain(2, 1, 3, 9, 2))] {
        let mut store = ParamStore::new(1);
        let layer = Fno1d::new(&mut store.scope("fno"), config);
        check_step(&mut outcome, case, &store, &[("x", waves([2, 2, 7], 0.1))], false, |step, x| {
            layer.forward(step, x[0])
        });
    }
    outcome
}
