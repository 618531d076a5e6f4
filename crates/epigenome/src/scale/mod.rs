//! Cells of single-cell ATAC-seq: embedding, clusters and denoised peaks from one model.

mod checks;
mod mixture;
mod model;

pub(crate) use checks::check;
pub use mixture::{Mixture, MixtureEpsilons};
pub use model::{OpenChromatin, Scale, ScaleConfig, ScaleInput, ScaleOutput};
