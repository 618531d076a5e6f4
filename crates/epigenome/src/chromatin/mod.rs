//! Chromatin states: hidden Markov models of which histone marks occur together along the genome.

mod binarise;
mod colours;
mod counts;
mod decode;
mod em;
mod enrichment;
mod java;
mod model;
mod order;
mod segments;
mod smooth;
mod start;

pub use binarise::{BinariseOptions, CellMarkTable, ReadFiles, binarise};
pub use colours::diverse_colours;
pub use counts::{ExpectedCounts, MOST_STATES};
pub use em::{Algorithm, EmSettings, Pass};
pub use enrichment::{Enrichment, NeighborhoodOptions, OverlapOptions, annotation_files};
pub use java::JavaRandom;
pub use model::{ChromHmmModel, StateOrder};
pub use segments::{Decoding, Segment, Segmentation, SegmentationFiles};
pub use start::Split;
