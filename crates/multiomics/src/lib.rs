//! Joint models of several omics in the same cells.
#![forbid(unsafe_code)]

mod checks;
mod config;
mod data;
mod decoder;
mod encoder;
mod fit;
mod network;
mod start;
mod trained;
mod vae;

pub use checks::checks;
pub use config::{
    Likelihood, MlpConfig, ModalityConfig, ModalityWeights, MultiOmicsVaeConfig, SITES_WEIGHT, Standardize, Transform,
};
pub use data::{ModalityValues, MultiOmicsBatch, MultiOmicsData};
pub use decoder::{Decoded, NORMALIZED_DEPTH};
pub use fit::{Fit, Split, default_trainer};
pub use trained::{Decode, Latent, LogLikelihood, TrainedMultiOmicsVae, View};
pub use vae::{ModalityInput, MultiOmicsInput, MultiOmicsOutput, MultiOmicsVae};
