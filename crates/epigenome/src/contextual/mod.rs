//! Predictions from DNA, signal tracks and their context.

mod checks;
mod config;
mod contacts;
mod data;
mod encoder;
mod evaluate;
mod fit;
mod heads;
mod model;
mod shuffle;
mod sources;
mod trained;

pub(crate) use checks::check;
pub use config::{
    ContactMap, ContextualEpigenomicsConfig, Encoder, HeadConfig, HeadKind, Level, Pooling, Positions, Strands,
};
pub use contacts::contact_maps;
pub use data::{BASE_N, ContextualWindows, Known, base_code};
pub use evaluate::{HeadScores, evaluate};
pub use fit::{Fit, Split, default_trainer};
pub use model::{ContextualEpigenomics, ContextualInput, ContextualOutput};
pub use shuffle::dinucleotide_shuffle;
pub use sources::{MARK_BIN, Tracks, around};
pub use trained::{Predictions, TrainedContextualEpigenomics};
