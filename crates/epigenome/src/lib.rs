//! Regulatory genomics: peaks, chromatin states and models of the epigenome.
#![forbid(unsafe_code)]

pub mod chromatin;
mod error;
pub mod macs;

pub use error::{Error, Result};
