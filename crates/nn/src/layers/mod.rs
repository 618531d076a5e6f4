//! Layers: plain structs of parameter ids.

mod attention;
mod chain;
mod conv;
mod dropout;
mod embedding;
mod fno;
mod linear;
mod norm;
mod position;
mod recurrent;
mod spectral;
mod state_space;

pub use attention::{AttentionSize, MultiHeadAttention, TransformerEncoderLayer};
pub use chain::{Crf, Hmm};
pub use conv::{Conv1d, ConvConfig, ConvTranspose1d};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use fno::{Fno1d, FnoBlock, FnoConfig};
pub use linear::Linear;
pub use norm::{BatchNorm, GroupNorm, LayerNorm, Norm, RmsNorm};
pub use position::{rotary, sinusoidal_positions};
pub use recurrent::{Gru, Lstm, RecurrentSize};
pub use spectral::{FftConv1d, SpectralConv1d};
pub use state_space::SelectiveScan;

use gradome_tape::{Activation as Fused, Float, Var};
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
    /// The Gaussian error linear unit, exact form.
    GeluErf,
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
            Self::GeluErf => x.gelu_erf(),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
            Self::Identity => x,
        }
    }

    /// What the op before it applies in the same pass, and what is left to do afterwards: the slopes of some need the
    /// value before them.
    fn split(self) -> (Fused, Self) {
        match self {
            Self::Relu => (Fused::Relu, Self::Identity),
            Self::Tanh => (Fused::Tanh, Self::Identity),
            Self::Identity | Self::Gelu | Self::GeluErf | Self::Silu => (Fused::Identity, self),
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
        layer("group-norm-layer", norm::check_group_norm),
        layer("rms-norm-layer", norm::check_rms_norm),
        layer("dropout-layer", dropout::check),
        layer("embedding-layer", embedding::check),
        layer("multi-head-attention-layer", attention::check_attention),
        layer("transformer-encoder-layer", attention::check_transformer),
        layer("lstm-layer", recurrent::check_lstm),
        layer("gru-layer", recurrent::check_gru),
        layer("spectral-conv-layer", spectral::check_spectral),
        layer("fft-conv-layer", spectral::check_fft_conv),
        layer("fno-layer", fno::check),
        layer("hmm-layer", chain::check_hmm),
        layer("crf-layer", chain::check_crf),
        layer("selective-scan-layer", state_space::check),
    ]
}

/// Smooth made-up values for the checks.
pub(crate) fn waves(shape: impl Into<gradome_tape::Shape>, phase: f64) -> gradome_tape::Tensor<f64> {
    gradome_tape::Tensor::from_fn(shape, |i| (1.7 * i as f64 + phase).sin())
}
