//! Chromatin states: hidden Markov models of which histone marks occur together along the genome.

mod counts;
mod em;
mod java;
mod model;
mod order;
mod smooth;
mod start;

pub use counts::{ExpectedCounts, MOST_STATES};
pub use em::{Algorithm, EmSettings, Pass};
pub use java::JavaRandom;
pub use model::{ChromHmmModel, StateOrder};
pub use start::Split;
