//! Layers, distributions, optimisers, trainer and checkpoints on the gradome tape.
//!
//! Parameters live in a [`ParamStore`] under dotted paths; layers hold ids, so a model is a plain struct. A training
//! step binds the store to a tape, computes a loss and hands the gradients to an optimiser:
//!
//! ```
//! use gradome_nn::{Linear, ParamStore, Step};
//! use gradome_tape::{Tape, Tensor};
//!
//! let mut store = ParamStore::<f32>::new(7);
//! let layer = Linear::new(&mut store.scope("head"), 3, 2);
//! let tape = Tape::new();
//! let bound = store.bind(&tape);
//! let step = Step::eval(&tape, &bound);
//! let y = layer.forward(step, tape.constant(&Tensor::zeros([4, 3])));
//! assert_eq!(&*y.shape(), &[4, 2]);
//! assert!(store.find("head.weight").is_some());
//! ```
#![forbid(unsafe_code)]

pub mod check;
pub mod checkpoint;
pub mod data;
pub mod distributions;
mod error;
mod init;
mod layers;
pub mod losses;
pub mod metrics;
mod operator;
pub mod optim;
pub mod parts;
mod random;
mod schedule;
mod store;
mod threads;
pub mod trainer;

pub use checkpoint::{Checkpoint, ModelCard};
pub use error::{Error, Result};
pub use init::{Fan, Init, Law};
pub use layers::{
    Activation, AttentionSize, BatchNorm, Conv1d, ConvConfig, ConvTranspose1d, Crf, Dropout, Embedding, FftConv1d,
    Fno1d, FnoBlock, FnoConfig, GroupNorm, Gru, Hmm, LayerNorm, Linear, Lstm, MultiHeadAttention, Norm, RecurrentSize,
    RmsNorm, SelectiveScan, SpectralConv1d, TransformerEncoderLayer, rotary, sinusoidal_positions,
};
pub use operator::{Operator, OperatorEntry};
pub use schedule::{Decay, Schedule};
pub use store::{Bound, ParamId, ParamStore, Rng, Scope, Step};
pub use threads::{available_threads, set_threads};
pub use trainer::{Trainer, TrainerConfig};
