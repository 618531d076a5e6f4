//! The folder of a run and what may be in it.

use std::path::{Path, PathBuf};

use clap::Args;
pub use gradome::nn::trainer::{CHECKPOINT_FILE, METRICS_FILE, MODEL_FILE};

use crate::error::{Result, wrong};

/// The settings that repeat the run.
pub const SETTINGS_FILE: &str = "run.toml";
/// The latent state, cluster and batch of each cell.
pub const LATENT_FILE: &str = "latent.csv";
/// What the report says beside that.
pub const SUMMARY_FILE: &str = "summary.json";
/// The report.
pub const REPORT_FILE: &str = "report.html";

/// What a model says of held-out windows of the genome.
pub const PREDICTIONS_FILE: &str = "predictions.tsv";

const FILES: [&str; 8] = [
    MODEL_FILE,
    CHECKPOINT_FILE,
    METRICS_FILE,
    SETTINGS_FILE,
    LATENT_FILE,
    SUMMARY_FILE,
    REPORT_FILE,
    PREDICTIONS_FILE,
];

/// What to do when the folder is not empty.
#[derive(Args, Clone, Copy)]
#[command(next_help_heading = "Output")]
pub struct Reuse {
    /// Go on with the interrupted run in the folder
    #[arg(long)]
    pub resume: bool,
    /// Replace the run in the folder; files that are not of a run stay
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
}

/// Where a run goes that cannot go on after a stop.
#[derive(Args, Clone)]
#[command(next_help_heading = "Output")]
pub struct NewRun {
    /// The folder to write to; made when it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run in the folder; files that are not of a run stay
    #[arg(long)]
    overwrite: bool,
}

impl NewRun {
    /// The folder, when it may be used; writes nothing.
    pub fn folder(&self) -> Result<&Path> {
        let Some(out) = &self.out else {
            return Err(wrong("no --out; give the folder to write to (or `out` in the --config file)"));
        };
        may_use(out, self.overwrite, "give another --out, or --overwrite to replace the run in it")?;
        Ok(out)
    }

    pub fn dir(&self) -> Result<RunDir> {
        RunDir::new(self.folder()?, Reuse { resume: false, overwrite: self.overwrite })
    }
}

/// Fails when a folder holds something that may not be replaced.
pub fn may_use(folder: &Path, overwrite: bool, remedy: &str) -> Result<()> {
    let in_use = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(wrong(format!("{}: {error}", folder.display()))),
    };
    match in_use && !overwrite {
        true => Err(wrong(format!("{}: the folder is not empty; {remedy}", folder.display()))),
        false => Ok(()),
    }
}

/// The folder of a run.
pub struct RunDir {
    folder: PathBuf,
    reuse: Reuse,
}

impl RunDir {
    /// Looks whether the folder may be used; writes nothing.
    pub fn new(folder: &Path, reuse: Reuse) -> Result<Self> {
        let run = Self { folder: folder.to_owned(), reuse };
        if reuse.resume {
            if !run.file(CHECKPOINT_FILE).exists() {
                let why = match run.file(MODEL_FILE).exists() {
                    true => "the run in it has ended; leave out --resume and give --overwrite or another --out",
                    false => "there is no checkpoint.safetensors in it; leave out --resume to start a run",
                };
                return Err(wrong(format!("{}: nothing to go on with: {why}", folder.display())));
            }
            return Ok(run);
        }
        let remedy = "give another --out, --overwrite to replace the run in it, or --resume to go on with it";
        may_use(folder, reuse.overwrite, remedy)?;
        Ok(run)
    }

    /// Makes the folder, and takes away what an earlier run left in it unless that goes on.
    pub fn start(&self) -> Result<()> {
        let failed = |error: std::io::Error| wrong(format!("{}: {error}", self.folder.display()));
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        for file in FILES.map(|name| self.file(name)) {
            if self.reuse.overwrite && file.exists() {
                std::fs::remove_file(file).map_err(failed)?;
            }
        }
        Ok(())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn resume(&self) -> bool {
        self.reuse.resume
    }
}
