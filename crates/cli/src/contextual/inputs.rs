//! The files that windows are cut from.

use std::path::{Path, PathBuf};

use clap::Args;
use gradome::epigenome::contextual::{Tracks, around};
use gradome::io::genome::{BedRecord, ChromSizes, Window, read_bed};

use crate::error::{Result, wrong};

/// Where DNA, tracks and windows come from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Input")]
pub struct Sources {
    /// The genome, FASTA, gzipped or not; a .fai beside it saves reading it whole
    #[arg(long, value_name = "FILE")]
    pub genome: Option<PathBuf>,
    /// A signal track: bigWig (.bw, .bigWig) or bedGraph; may be repeated
    #[arg(long, value_name = "NAME=FILE")]
    track: Vec<String>,
    /// Presence calls of chromatin marks, ChromHMM's binarised text, a file a chromosome; each mark is a track; may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    pub marks: Vec<PathBuf>,
    /// Lengths of chromosomes (chrom.sizes) [default: those of bigWig files and presence calls]
    #[arg(long, value_name = "FILE")]
    sizes: Option<PathBuf>,
    /// Windows of equal length around the middle of these intervals, BED [default: side by side over all chromosomes]
    #[arg(long, value_name = "FILE")]
    pub windows: Option<PathBuf>,
}

impl Sources {
    /// Opens all tracks.
    pub fn tracks(&self) -> Result<Tracks> {
        let sizes = self.sizes.as_deref().map(ChromSizes::read).transpose()?;
        let mut tracks = Tracks::new(sizes);
        if !self.marks.is_empty() {
            tracks.add_marks(&self.marks)?;
        }
        for track in &self.track {
            let Some((name, file)) = track.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty())
            else {
                return Err(wrong(format!("--track {track}: give NAME=FILE")));
            };
            tracks.add_signal(name, Path::new(file))?;
        }
        Ok(tracks)
    }

    /// The intervals that were given, if any.
    pub fn records(&self) -> Result<Option<Vec<BedRecord>>> {
        let Some(file) = &self.windows else { return Ok(None) };
        let records = read_bed(file, None)?;
        if records.is_empty() {
            return Err(wrong(format!("{}: holds no interval", file.display())));
        }
        Ok(Some(records))
    }

    /// Windows of so many base pairs.
    pub fn cut(&self, tracks: &Tracks, records: Option<&[BedRecord]>, bp: usize, bin: usize) -> Result<Vec<Window>> {
        match records {
            Some(records) => Ok(records.iter().map(|record| around(record, bp, bin)).collect()),
            None => Ok(tracks.tile(bp)?),
        }
    }
}
