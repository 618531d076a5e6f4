//! Omics files to typed data sets and back.
//!
//! [`read`] takes any of the formats and tells them apart by content: `.h5ad`, 10x folders and `.h5`,
//! MatrixMarket, CSV and TSV, with or without gzip. It gives a [`Dataset`]: cells, one [`Modality`] a kind of
//! measurement, annotations, and notes that say what was chosen or noticed. Sparse data stays sparse. Genomic files
//! (reads, peaks, signal, sequence) are in [`genome`].
//!
//! ```
//! use gradome_io::{Orientation, read_table_bytes};
//!
//! let text = "cell,CD4,CD8\nAAAC,12,0\nAAAG,3,NA\n";
//! let data = read_table_bytes("adt.csv", text.as_bytes(), Orientation::CellsByFeatures)?;
//! assert_eq!(data.cells, ["AAAC", "AAAG"]);
//! let proteins = data.modality("protein")?;
//! assert_eq!(proteins.matrix.row_sums(), [12.0, 3.0]);
//! assert_eq!(proteins.measured.as_ref().map(|measured| measured.cell(1)), Some(&[true, false][..]));
//! # Ok::<(), gradome_io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod dataset;
mod error;
mod folder;
mod frame;
pub mod genome;
mod h5ad;
mod h5ad_write;
mod hdf;
mod inspect;
mod loess;
mod matrix;
mod mtx;
mod names;
mod prepare;
mod read;
mod table;
mod tenx_h5;
mod text;
mod variable;
mod write;

pub use dataset::{Column, ColumnValues, Dataset, Feature, Kind, Measured, Modality};
pub use error::{Error, Result};
pub use folder::{read_mtx, read_tenx_folder, read_tenx_parts};
pub use h5ad::{read_h5ad, read_h5ad_bytes};
pub use h5ad_write::{h5ad_bytes, write_h5ad};
pub use inspect::{AnnotationSummary, ModalitySummary, Summary, inspect};
pub use matrix::{CsrMatrix, Matrix};
pub use mtx::{read_matrix_market, write_matrix_market};
pub use prepare::{Alignment, align, check_counts, check_finite, make_names_unique, zero_depth_cells};
pub use read::{Orientation, ReadOptions, read};
pub use table::{read_table, read_table_bytes};
pub use tenx_h5::{read_tenx_h5, read_tenx_h5_bytes};
pub use text::for_each_line;
pub use variable::{VARIANCE_TREND_SPAN, VariableFeatures, variable_features};
pub use write::{write_atomic, write_csv, write_tenx_folder, write_text};
