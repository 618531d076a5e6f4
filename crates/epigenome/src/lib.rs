//! Regulatory genomics: peaks, chromatin states and models of the epigenome.
#![forbid(unsafe_code)]

mod error;
pub mod macs;

pub use error::{Error, Result};
