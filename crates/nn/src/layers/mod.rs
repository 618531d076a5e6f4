//! Layers: plain structs of parameter ids.

mod attention;
mod conv;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod position;
mod recurrent;

pub use attention::{AttentionSize, MultiHeadAttention, TransformerEncoderLayer};
pub use conv::{Conv1d, ConvConfig, ConvTranspose1d};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use linear::Linear;
pub use norm::{BatchNorm, LayerNorm, Norm};
pub use position::{rotary, sinusoidal_positions};
pub use recurrent::{Gru, Lstm, RecurrentSize};

use gradome_tape::{Float, Var};
use serde::{Deserialize, Serialize};

use crate::operator::OperatorEntry;

/// A pointwise nonlinearity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(x, 0).
    #[default]
    Relu,
    /// The Gaussian error linear unit, tanh form.
    Gelu,
    /// x sigmoid(x).
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// None: the layers are linear.
    Identity,
}

impl Activation {
    /// Applies it element by element.
    pub fn apply<T: Float>(self, x: Var<'_, T>) -> Var<'_, T> {
        match self {
            Self::Relu => x.relu(),
            Self::Gelu => x.gelu(),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
            Self::Identity => x,
        }
    }
}

pub(crate) fn checks() -> Vec<OperatorEntry> {
    let layer = |name, check| OperatorEntry { name, kind: "layer", check };
    vec![
        layer("linear-layer", linear::check),
        layer("conv1d-layer", conv::check),
        layer("conv-transpose1d-layer", conv::check_transpose),
        layer("layer-norm-layer", norm::check_layer_norm),
        layer("batch-norm-layer", norm::check_batch_norm),
        layer("dropout-layer", dropout::check),
        layer("embedding-layer", embedding::check),
        layer("multi-head-attention-layer", attention::check_attention),
        layer("transformer-encoder-layer", attention::check_transformer),
        layer("lstm-layer", recurrent::check_lstm),
        layer("gru-layer", recurrent::check_gru),
    ]
}

/// Smooth made-up values for the checks.
pub(crate) fn waves(shape: impl Into<gradome_tape::Shape>, phase: f64) -> gradome_tape::Tensor<f64> {
    gradome_tape::Tensor::from_fn(shape, |i| (1.7 * i as f64 + phase).sin())
}
