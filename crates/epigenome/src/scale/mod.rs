//! Cells of single-cell ATAC-seq: embedding, clusters and denoised peaks from one model.

mod checks;
mod fit;
mod gaussian_mixture;
mod mixture;
mod model;
mod trained;

pub(crate) use checks::check;
pub use fit::{ClusterCount, ScaleFit, ScaleFitOptions, default_scale_trainer};
pub use gaussian_mixture::GaussianMixture;
pub(crate) use mixture::MixtureParameters;
pub use mixture::{Mixture, MixtureEpsilons};
pub use model::{OpenChromatin, Scale, ScaleConfig, ScaleInput, ScaleOutput};
pub use trained::{Denoised, ScaleCells, TrainedScale};
