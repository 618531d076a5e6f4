//! The files that observations come from.

use std::path::{Path, PathBuf};

use clap::Args;
use gradome::epigenome::chromatin::{CellMarkTable, ChromatinData, SignalOptions};
use gradome::io::genome::ChromSizes;
use gradome::io::genome::binarised::{Binarised, binarised_files};

use crate::error::{Result, wrong};

/// Where observations come from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Input")]
pub struct Sources {
    /// Presence calls, ChromHMM's binarised text: a folder, or a file a chromosome and cell type; may be repeated
    #[arg(long, value_name = "PATH")]
    pub calls: Vec<PathBuf>,
    /// Signal or reads: a table of cell type, mark and file with tabs between, as ChromHMM's; files are bigWig or
    /// bedGraph (averaged in bins), or BED, tagAlign or BAM (reads counted in bins), gzipped or not
    #[arg(long, value_name = "FILE", conflicts_with = "calls")]
    pub table: Option<PathBuf>,
    /// The folder that file names of --table are relative to [default: the table's own]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Lengths of chromosomes (chrom.sizes); segments end there [default: those of the first bigWig file; whole bins]
    #[arg(long, value_name = "FILE")]
    sizes: Option<PathBuf>,
    /// Base pairs of a bin; calls must be of this size [default: 200, or that of the model]
    #[arg(long, value_name = "BP")]
    pub bin: Option<u32>,
    /// Base pairs by which a read is shifted from its 5' end, half a fragment
    #[arg(long, value_name = "BP", default_value_t = 100)]
    shift: u32,
    /// Leave a chromosome out; may be repeated
    #[arg(long, value_name = "CHROM")]
    leave_out: Vec<String>,
}

/// What is asked of the files.
pub struct Wanted {
    pub bin: u32,
    /// Whether values are counts.
    pub counts: bool,
    pub arcsinh: bool,
}

impl Sources {
    /// The lengths of chromosomes, if they were given.
    pub fn chromosome_sizes(&self) -> Result<Option<ChromSizes>> {
        Ok(self.sizes.as_deref().map(ChromSizes::read).transpose()?)
    }

    /// Reads everything; what is worth knowing goes to the log.
    pub fn read(&self, wanted: &Wanted) -> Result<ChromatinData> {
        let mut data = match &self.table {
            Some(table) => self.read_table(table, wanted)?,
            None => self.read_calls(wanted)?,
        };
        for chromosome in &self.leave_out {
            let before = data.sequences.len();
            data.sequences.retain(|sequence| sequence.chromosome != *chromosome);
            if data.sequences.len() == before {
                return Err(wrong(format!("--leave-out {chromosome}: the data has no such chromosome")));
            }
        }
        data.validate()?;
        Ok(data)
    }

    fn read_calls(&self, wanted: &Wanted) -> Result<ChromatinData> {
        if self.calls.is_empty() {
            return Err(wrong("no input; give --calls (ChromHMM's binarised text) or --table (signal or reads)"));
        }
        let mut files = Vec::new();
        for path in &self.calls {
            match path.is_dir() {
                true => files.extend(binarised_files(path)?),
                false => files.push(path.clone()),
            }
        }
        let calls = Binarised::read(&files)?;
        for (at, sequence) in calls.sequences.iter().enumerate() {
            let same = |other: &&gradome::io::genome::binarised::BinarisedSequence| {
                (&other.cell, &other.chromosome) == (&sequence.cell, &sequence.chromosome)
            };
            if calls.sequences[..at].iter().any(|other| same(&other)) {
                let (file, cell, chromosome) = (files[at].display(), &sequence.cell, &sequence.chromosome);
                return Err(wrong(format!("{file}: {cell} {chromosome} stands in another file as well")));
            }
            if sequence.patterns.is_empty() {
                log::warn!("{}: has no bins and is left out", files[at].display());
            }
        }
        Ok(ChromatinData::of_calls(&calls, u64::from(wanted.bin)))
    }

    fn read_table(&self, table: &Path, wanted: &Wanted) -> Result<ChromatinData> {
        let own = table.parent().unwrap_or(Path::new(""));
        let folder = self.folder.as_deref().unwrap_or(own);
        let options = SignalOptions {
            bin_size: wanted.bin,
            sizes: self.chromosome_sizes()?,
            shift: self.shift,
            counts: wanted.counts,
            arcsinh: wanted.arcsinh,
        };
        let (data, notes) = ChromatinData::read_signals(&CellMarkTable::read(table, false)?, folder, &options)?;
        for note in notes {
            log::warn!("{note}");
        }
        Ok(data)
    }
}
