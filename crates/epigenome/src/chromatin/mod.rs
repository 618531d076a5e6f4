//! Chromatin states: hidden Markov models of which histone marks occur together along the genome.

mod annotator;
mod bin_counts;
mod binarise;
mod cell_mark_table;
mod checks;
mod colours;
mod counts;
mod decode;
mod em;
mod enrichment;
mod filter;
mod java;
mod model;
mod order;
mod segments;
mod select;
mod smooth;
mod start;

pub use annotator::{
    ChromatinInput, ChromatinOutput, ChromatinStateAnnotator, ChromatinStatesConfig, ChromatinTracks, Emission,
};
pub use binarise::{BinariseOptions, ReadFiles, binarise};
pub use cell_mark_table::CellMarkTable;
pub use checks::check;
pub use colours::diverse_colours;
pub use counts::{ExpectedCounts, MOST_STATES};
pub use em::{Algorithm, EmSettings, Pass};
pub use enrichment::{Enrichment, NeighborhoodOptions, OverlapOptions, annotation_files};
pub use java::JavaRandom;
pub use model::{ChromHmmModel, StateOrder};
pub use segments::{Decoding, Segment, Segmentation, SegmentationFiles};
pub use select::{EmissionErrors, StateCountScore, compare_state_counts, cut_into_blocks};
pub use start::Split;
