//! `gradome apply scale`: embedding, clusters or denoised peaks of cells.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gradome::epigenome::scale::{Denoised, TrainedScale};
use gradome::io::{Column, ColumnValues, Dataset, Kind, Matrix, Modality, write_h5ad, write_tenx_folder};

use super::{Cells, table};
use crate::console::print;
use crate::error::{Result, wrong};
use crate::table::write_table;

/// Apply a trained SCALE model to cells.
///
/// Peaks are matched by name: those that the model does not know are left out, those that the file lacks count as closed.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome apply scale --model run/model.safetensors --atac new.h5ad --output cells --out cells.csv
  gradome apply scale --model run/model.safetensors --atac new.h5ad --output denoised --out denoised.h5ad
  gradome apply scale --model run/model.safetensors --atac 10x/ --output denoised --binary --out denoised_10x")]
pub struct ApplyScale {
    /// The trained model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    cells: Cells,
    /// What to compute
    #[arg(long, value_enum, help_heading = "Output")]
    output: Output,
    /// Write denoised peaks as 1, not as probabilities
    #[arg(long, help_heading = "Output")]
    binary: bool,
    /// What to write: .csv, .csv.gz or .h5ad for cells; .h5ad or a folder (MatrixMarket, as 10x) for denoised peaks
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
}

/// What to compute.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Embedding, cluster and the probability of each cluster: a table, or X_scale and cluster beside the peaks
    Cells,
    /// Peaks that are open with a probability above both the cell's and the peak's share of open places; others are 0
    Denoised,
}

impl ApplyScale {
    pub fn run(&self) -> Result<()> {
        let out = self.out.display();
        let name = self.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (h5ad, csv) = (name.ends_with(".h5ad"), name.ends_with(".csv") || name.ends_with(".csv.gz"));
        if self.output == Output::Cells && !h5ad && !csv {
            return Err(wrong(format!("--out {out}: the name must end in .csv, .csv.gz or .h5ad")));
        }
        if self.output == Output::Denoised && csv {
            return Err(wrong(format!("--out {out}: denoised peaks go to an .h5ad file or a folder")));
        }
        if let Some(folder) = self.out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            return Err(wrong(format!("--out {out}: there is no folder {}", folder.display())));
        }
        let model = TrainedScale::load(&self.model)?;
        let data = self.cells.read()?;
        let (peaks, found) = model.arrange(&data.modalities[0])?;
        let (known, given) = (model.features().len(), data.modalities[0].features.len());
        if (found, found) != (known, given) {
            log::warn!("{found} of the model's {known} peaks found, {} others left out", given - found);
        }
        let cells = model.cells(&peaks)?;
        if csv {
            let (header, rows) = table(&cells);
            write_table(&self.out, &header, &data.cells, rows)?;
        } else {
            let matrix = match self.output {
                Output::Cells => peaks.matrix.clone(),
                Output::Denoised => {
                    model.denoised(&peaks, if self.binary { Denoised::Binary } else { Denoised::Probability })?
                }
            };
            let peaks = Modality { matrix, ..peaks };
            let name = peaks.name.clone();
            let written = Dataset { modalities: vec![peaks], ..data };
            if !h5ad {
                write_tenx_folder(&self.out, &written)?;
            } else {
                let z = Matrix::dense(written.cells.len(), cells.dimensions, cells.embedding.clone());
                let names = (1..=cells.dimensions).map(|i| format!("z{i}"));
                let clusters = cells.clusters();
                let labels: Vec<String> = clusters.iter().map(|cluster| (cluster + 1).to_string()).collect();
                let p = clusters.iter().zip(cells.probabilities.chunks_exact(cells.components));
                let sure = ColumnValues::Numeric(p.map(|(&cluster, p)| f64::from(p[cluster])).collect());
                let mut written = written;
                written.obs.retain(|column| !["cluster", "cluster_probability"].contains(&column.name.as_str()));
                written.modalities.push(Modality::new("X_scale", Kind::Other("latent".into()), names, z));
                written.obs.push(Column::categorical("cluster", &labels));
                written.obs.push(Column { name: "cluster_probability".into(), values: sure });
                write_h5ad(&self.out, &written, Some(&name))?;
            }
        }
        print(format_args!("{out}\n"));
        Ok(())
    }
}
