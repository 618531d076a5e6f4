//! Predictions from DNA, signal tracks and their context.

mod checks;
mod config;
mod data;
mod encoder;
mod heads;
mod model;
mod shuffle;

pub(crate) use checks::check;
pub use config::{
    ContactMap, ContextualEpigenomicsConfig, Encoder, HeadConfig, HeadKind, Level, Pooling, Positions, Strands,
};
pub use data::{BASE_N, ContextualWindows, Region, base_code};
pub use model::{ContextualEpigenomics, ContextualInput, ContextualOutput};
pub use shuffle::dinucleotide_shuffle;
