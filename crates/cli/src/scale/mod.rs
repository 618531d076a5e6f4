//! `gradome fit|apply scale`: cells of scATAC-seq embedded, clustered and denoised.

mod apply;
mod fit;
mod page;

use std::path::PathBuf;

use clap::Args;
use gradome::epigenome::scale::ScaleCells;
use gradome::io::Dataset;

pub use apply::ApplyScale;
pub use fit::FitScale;

use crate::error::{Result, wrong};
use crate::inputs::{Inputs, Orientation};

/// The cells.
#[derive(Args, Clone)]
#[command(next_help_heading = "Input")]
struct Cells {
    /// Cells x peaks: .h5ad, 10x folder or .h5, .mtx[.gz], .csv[.gz] or .tsv[.gz]; what is not 0 counts as open
    #[arg(long, value_name = "FILE")]
    atac: Option<PathBuf>,
    /// Where in an .h5ad the peaks are: X, layers/NAME, raw/X or obsm/NAME [default: by the names of the features]
    #[arg(long, value_name = "PLACE")]
    place: Option<String>,
    /// Which side of text matrices is the cells
    #[arg(long, value_enum, default_value_t = Orientation::Auto)]
    orientation: Orientation,
}

impl Cells {
    /// The data set with the peaks as its only modality.
    fn read(&self) -> Result<Dataset> {
        let file = self.atac.as_ref().ok_or_else(|| wrong("no input; give --atac with a matrix of cells x peaks"))?;
        Ok(Inputs::of_atac(file, self.place.as_deref(), self.orientation).load()?.data)
    }
}

/// The table of cells: its columns after the name of the cell, and its rows.
fn table(cells: &ScaleCells) -> (Vec<String>, impl Iterator<Item = Vec<String>>) {
    let columns = (1..=cells.dimensions).map(|i| format!("z{i}")).chain(["cluster".to_owned()]);
    let header = columns.chain((1..=cells.components).map(|c| format!("p{c}"))).collect();
    let rows = cells
        .embedding
        .chunks_exact(cells.dimensions)
        .zip(cells.probabilities.chunks_exact(cells.components))
        .zip(cells.clusters())
        .map(|((z, p), cluster)| {
            let numbers = |of: &[f32]| of.iter().map(f32::to_string).collect::<Vec<_>>();
            [numbers(z), vec![(cluster + 1).to_string()], numbers(p)].concat()
        });
    (header, rows)
}
