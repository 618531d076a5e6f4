//! Chromatin states: hidden Markov models of which histone marks occur together along the genome.

mod annotator;

mod bin_counts;
mod binarise;
mod cell_mark_table;
mod checks;
mod colours;
mod counts;
mod data;
mod decode;
mod division;
mod em;
mod emission;
mod enrichment;
mod fit;
mod gradient;
mod java;
mod model;
mod order;
mod segments;
mod select;
mod signals;
mod smooth;
mod start;
mod trained;
mod uncertainty;

pub use annotator::{
    ChromatinArrays, ChromatinInput, ChromatinOutput, ChromatinStateAnnotator, ChromatinStatesConfig, ChromatinTracks,
};
pub use binarise::{BinariseOptions, ReadFiles, binarise};
pub use cell_mark_table::CellMarkTable;
pub use checks::check;
pub use colours::diverse_colours;
pub use counts::{ExpectedCounts, MOST_STATES};
pub use data::{ChromatinData, ChromatinSequence, Region};
pub use em::{Algorithm, EmSettings, Pass};
pub use emission::Emission;
pub use enrichment::{Enrichment, NeighborhoodOptions, OverlapOptions, annotation_files};
pub use fit::{Attempt, ChromatinFit, FitMethod, FitStart};
pub use java::JavaRandom;
pub use model::{ChromHmmModel, StateOrder};
pub use segments::{Annotates, Decoding, Segment, Segmentation, SegmentationFiles};
pub use select::{EmissionErrors, StateCountScore, compare_state_counts, cut_into_blocks};
pub use signals::SignalOptions;
pub use start::Split;
pub use trained::{Annotation, ChromatinHeader, TrainedChromatinStates};
