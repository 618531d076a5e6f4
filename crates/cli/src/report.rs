//! `gradome report`: the page about a run, from what its folder holds.

use std::path::{Path, PathBuf};

use clap::Args;
use gradome::nn::trainer::EpochMetrics;
use gradome::report::points::Points;

use crate::console::print;
use crate::error::{Result, wrong};
use crate::page;
use crate::run_dir::{LATENT_FILE, METRICS_FILE, REPORT_FILE, SUMMARY_FILE};
use crate::summary::Summary;

/// Write the HTML report of a run again.
///
/// Reads summary.json, metrics.jsonl and latent.csv in the folder of a finished run and writes report.html, one file
/// that needs no network. Cells are coloured by the columns `cluster` and `batch` of latent.csv as they stand there, so
/// clusters that were given names in that file appear under them.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome report run/")]
pub struct Report {
    /// The folder of a run
    #[arg(value_name = "RUN_DIR")]
    folder: PathBuf,
}

impl Report {
    pub fn run(&self) -> Result<()> {
        let path = write(&self.folder)?;
        print(format_args!("{}\n", path.display()));
        Ok(())
    }
}

/// Writes the report of the run in a folder.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let summary = Summary::read(&folder.join(SUMMARY_FILE))?;
    let epochs = read_metrics(&folder.join(METRICS_FILE))?;
    let cells = read_latent(&folder.join(LATENT_FILE))?;
    if let Some(shown) = summary.shown.iter().find(|shown| shown.values.len() != cells.names.len()) {
        let (have, want) = (cells.names.len(), shown.values.len());
        let file = folder.join(LATENT_FILE);
        return Err(wrong(format!("{}: {have} cells, but {SUMMARY_FILE} is about {want}", file.display())));
    }
    let path = folder.join(REPORT_FILE);
    page::page(&summary, &epochs, &cells)?.write(&path)?;
    Ok(path)
}

/// The cells of `latent.csv`.
pub struct Cells {
    pub names: Vec<String>,
    /// `[cells, latent]`
    pub latent: Points,
    pub clusters: Vec<String>,
    /// Empty texts without batches.
    pub batches: Vec<String>,
}

fn read_metrics(path: &Path) -> Result<Vec<EpochMetrics>> {
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    let epoch = |(line, text): (usize, &str)| {
        serde_json::from_str(text).map_err(|error| wrong(format!("{} line {}: {error}", path.display(), line + 1)))
    };
    text.lines().enumerate().map(epoch).collect()
}

fn read_latent(path: &Path) -> Result<Cells> {
    let at_file = |problem: String| wrong(format!("{}: {problem}", path.display()));
    let mut table = csv::Reader::from_path(path).map_err(|error| at_file(error.to_string()))?;
    let header = table.headers().map_err(|error| at_file(error.to_string()))?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|column| column == name);
        found.ok_or_else(|| at_file(format!("has no column '{name}'")))
    };
    let (name, cluster, batch) = (column("cell")?, column("cluster")?, column("batch")?);
    let dims = (1..).take_while(|i| column(&format!("z{i}")).is_ok()).count();
    let z: Vec<usize> = (1..=dims).map(|i| column(&format!("z{i}"))).collect::<Result<_>>()?;
    let (mut names, mut clusters, mut batches, mut latent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (row, record) in table.records().enumerate() {
        let record = record.map_err(|error| at_file(error.to_string()))?;
        for &column in &z {
            let text = &record[column];
            let value =
                text.parse::<f64>().map_err(|_| at_file(format!("line {}: '{text}' is not a number", row + 2)))?;
            latent.push(value);
        }
        names.push(record[name].to_owned());
        clusters.push(record[cluster].to_owned());
        batches.push(record[batch].to_owned());
    }
    let latent = Points::new(&latent, [names.len(), dims]).map_err(|error| at_file(error.to_string()))?;
    Ok(Cells { names, latent, clusters, batches })
}
