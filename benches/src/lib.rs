//! Benchmarks and reference figures of gradome; see `BENCHMARKS.md`.
#![forbid(unsafe_code)]

pub mod npz;
pub mod resident;
pub mod tasks;
