//! Differentiable genomics for CPUs: one name for all of gradome's libraries.
//!
//! | module | what it is | feature |
//! | --- | --- | --- |
//! | [`tape`] | reverse-mode automatic differentiation, its ops and their checks | `tape` |
//! | [`gradcheck`] | finite-difference checks of any gradient | `gradcheck` |
//! | [`nn`] | layers, distributions, optimisers, training, checkpoints | `nn` |
//! | [`io`] | omics files to typed data sets and back | `io` |
//! | [`report`] | clusters, layouts, figures and one-file reports | `report` |
//! | [`epigenome`] | chromatin states, peaks and models of the epigenome | `epigenome` |
//! | [`multiomics`] | joint models of several omics in the same cells | `multiomics` |
//!
//! All features are on by default; with `default-features = false` a program takes what it needs.
//!
//! ```
//! use gradome::prelude::*;
//!
//! // one layer, its loss, and the gradient of every parameter
//! let mut store = ParamStore::<f32>::new(7);
//! let layer = Linear::new(&mut store.scope("head"), 3, 2);
//! let tape = Tape::new();
//! let bound = store.bind(&tape);
//! let y = layer.forward(Step::eval(&tape, &bound), tape.constant(&Tensor::full([4, 3], 1.0)));
//! let gradients = y.square().mean().backward();
//! assert_eq!(gradients.keys().len(), 2); // head.weight and head.bias
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "epigenome")]
pub use gradome_epigenome as epigenome;
#[cfg(feature = "gradcheck")]
pub use gradome_gradcheck as gradcheck;
#[cfg(feature = "io")]
pub use gradome_io as io;
#[cfg(feature = "multiomics")]
pub use gradome_multiomics as multiomics;
#[cfg(feature = "nn")]
pub use gradome_nn as nn;
#[cfg(feature = "report")]
pub use gradome_report as report;
#[cfg(feature = "tape")]
pub use gradome_tape as tape;

#[cfg(feature = "tape")]
mod checks;
#[cfg(feature = "tape")]
pub use checks::{Check, checks};

/// What most programs need, for `use gradome::prelude::*`.
pub mod prelude {
    #[cfg(feature = "io")]
    pub use gradome_io::{Dataset, Modality, ReadOptions, read};
    #[cfg(feature = "multiomics")]
    pub use gradome_multiomics::{
        Likelihood, ModalityConfig, MultiOmicsData, MultiOmicsVae, MultiOmicsVaeConfig, TrainedMultiOmicsVae,
    };
    #[cfg(feature = "nn")]
    pub use gradome_nn::{Linear, Operator, ParamStore, Step};
    #[cfg(feature = "tape")]
    pub use gradome_tape::{Float, Gradients, Tape, Tensor, Var};
}

/// The examples of the README, so that they are compiled and run with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct ReadmeExamples;
