//! `gradome fit|apply contextual-epigenomics`: predictions along the genome.

mod apply;
mod fit;
mod inputs;
mod page;

pub use apply::ApplyContextual;
pub use fit::FitContextual;
