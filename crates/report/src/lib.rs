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
//! ```
//! use gradome_report::{cluster::KMeans, html::Page, layout::Tsne, plot::{Colour, Scatter}, points::Points};
//!
//! // [4 cells, 2 dimensions]
//! let latent = Points::new(&[0.0_f32, 0.1, 0.1, 0.0, 5.0, 5.1, 5.1, 5.0], [4, 2])?;
//! let clusters = KMeans { clusters: 2, ..KMeans::default() }.fit(&latent)?;
//! let layout = Tsne::default().fit(&latent)?;
//! let names: Vec<String> = clusters.labels.iter().map(|k| format!("cluster {k}")).collect();
//! let figure = Scatter::new(&layout.points)
//!     .axes("t-SNE 1", "t-SNE 2")
//!     .colour(Colour::categories(&names))
//!     .draw()?;
//! let mut page = Page::new("My cells");
//! page.section("Latent space").figure(figure, "Four cells in two clusters.");
//! assert!(page.render().starts_with("<!DOCTYPE html>"));
//! # Ok::<(), gradome_report::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod cluster;
pub mod html;
pub mod knn;
pub mod layout;
pub mod palette;
pub mod pca;
pub mod plot;
pub mod points;

mod error;

pub use error::Error;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;
