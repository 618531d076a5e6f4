//! Signal tracks, as bedGraph or bigWig by the name of the file.

use std::path::Path;

use gradome::io::genome::{ChromSizes, Signal, write_bedgraph, write_bigwig};

use crate::error::{Result, wrong};

/// What a track is written as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrackFormat {
    BedGraph,
    BigWig,
}

impl TrackFormat {
    /// The format that a file's name ends in, if any.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        let ends = |endings: &[&str], name: &str| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&[".bw", ".bigwig"], &name) {
            Some(Self::BigWig)
        } else {
            ends(&[".bedgraph", ".bdg"], plain).then_some(Self::BedGraph)
        }
    }
}

/// Writes a track. What reaches past the end of a chromosome, as the last bin does, is cut off there; without sizes
/// chromosomes end with their last value.
pub fn write_track(
    path: &Path,
    format: TrackFormat,
    sizes: Option<&ChromSizes>,
    decimals: usize,
    mut signal: Signal,
) -> Result<()> {
    for chromosome in signal.chromosomes.iter_mut().filter(|_| sizes.is_some()) {
        let Some(size) = sizes.and_then(|sizes| sizes.get(&chromosome.name)) else {
            let name = &chromosome.name;
            return Err(wrong(format!("chromosome '{name}' is not among the chromosome sizes: another assembly?")));
        };
        chromosome.runs.retain(|run| run.start < size);
        chromosome.runs.iter_mut().for_each(|run| run.end = run.end.min(size));
    }
    match format {
        TrackFormat::BedGraph => write_bedgraph(path, None, Some(decimals), &signal)?,
        TrackFormat::BigWig => {
            let ends = signal.chromosomes.iter().filter_map(|c| Some((&c.name, c.runs.last()?.end)));
            let sizes = sizes.cloned().map_or_else(|| ChromSizes::new(ends), Ok)?;
            write_bigwig(path, &sizes, &signal)?;
        }
    }
    Ok(())
}
