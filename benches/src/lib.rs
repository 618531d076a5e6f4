//! Benchmarks and reference figures of gradome; see `BENCHMARKS.md`.
#![forbid(unsafe_code)]
