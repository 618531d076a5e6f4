//! Regulatory genomics: peaks, chromatin states and models of the epigenome.
#![forbid(unsafe_code)]

mod checks;
pub mod chromatin;
pub mod contextual;
mod curves;
mod error;
pub mod macs;
pub mod peaks;
pub mod scale;

pub use checks::checks;
pub use curves::Curves;
pub use error::{Error, Result};
