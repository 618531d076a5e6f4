//! Benchmarks and reference figures of gradome; see `BENCHMARKS.md`.
#![forbid(unsafe_code)]

pub mod resident;
pub mod tasks;
