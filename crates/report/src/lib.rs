//! Clusters, 2-D layouts, plots and one-file HTML reports for learned embeddings.
//!
//! The crate takes numbers that some model learned (a latent space, training curves, predictions)
//! and turns them into what a biologist looks at: cells in the plane coloured by cluster, batch or
//! a protein, curves of a training run, the fit of predictions, tables, and one HTML page that
//! holds it all and opens anywhere without a network. It knows nothing of models, so every domain
//! uses it in the same way.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`points`] | cells in a space: the checked input of everything numerical |
//! | [`knn`] | exact nearest neighbours, and the guess they make |
//! | [`pca`] | principal components, fitted on some cells and applied to others |
//! | [`cluster`] | k-means |
//! | [`layout`] | t-SNE, and how far to trust a layout |
//! | [`plot`] | figures as SVG that follow the page's light or dark theme |
//! | [`html`] | the page |
//!
//! Every result depends on the input and the seed alone, never on the number of threads.
//!
#![forbid(unsafe_code)]

pub mod cluster;
pub mod knn;
pub mod layout;
pub mod pca;
pub mod points;

mod error;

pub use error::Error;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;
