//! The networks of one modality: its encoder and the trunk of its decoder.

use gradome_nn::{Activation, BatchNorm, Dropout, LayerNorm, Linear, Norm, Scope, Step};
use gradome_tape::{Float, Var};

use crate::config::MlpConfig;

/// Added to variances by the normalising layers; as in scvi-tools.
const NORM_EPSILON: f64 = 1e-3;
/// The share of a new batch in running averages.
const NORM_MOMENTUM: f64 = 0.1;

enum Normalizer {
    None,
    Batch(BatchNorm),
    Layer(LayerNorm),
}

/// Hidden layers: linear, normalisation, nonlinearity, dropout.
pub(crate) struct Mlp {
    layers: Vec<(Linear, Normalizer)>,
    activation: Activation,
    dropout: Dropout,
    /// Width of the output.
    pub outputs: usize,
}

impl Mlp {
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, inputs: usize, config: &MlpConfig) -> Self {
        let mut width = inputs;
        let layers = config
            .hidden
            .iter()
            .enumerate()
            .map(|(i, &outputs)| {
                let mut scope = scope.scope(i);
                let linear = Linear::new(&mut scope, width, outputs);
                let norm = match config.norm {
                    Norm::None => Normalizer::None,
                    Norm::Batch => Normalizer::Batch(BatchNorm::new(
                        &mut scope.scope("norm"),
                        outputs,
                        NORM_EPSILON,
                        NORM_MOMENTUM,
                    )),
                    Norm::Layer => Normalizer::Layer(LayerNorm::new(&mut scope.scope("norm"), outputs, NORM_EPSILON)),
                };
                width = outputs;
                (linear, norm)
            })
            .collect();
        Self { layers, activation: config.activation, dropout: Dropout { rate: config.dropout }, outputs: width }
    }

    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        self.layers.iter().fold(x, |x, (linear, norm)| {
            let x = linear.forward(step, x);
            let x = match norm {
                Normalizer::None => x,
                Normalizer::Batch(norm) => norm.forward(step, x),
                Normalizer::Layer(norm) => norm.forward(step, x),
            };
            self.dropout.forward(step, self.activation.apply(x))
        })
    }
}
