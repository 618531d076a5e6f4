//! Called peaks (ENCODE narrowPeak, broadPeak and gappedPeak, <https://genome.ucsc.edu/FAQ/FAQformat.html>).

use std::{
    io::{Read, Write},
    path::Path,
};

use super::{
    ChromSizes, Strand,
    bed::{ColorColumn, StrandColumn, parse_color},
    general::general,
    rows::{Problem, Row, for_each_row},
};
use crate::{Result, text::open_raw, write::write_text};

/// One called peak.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peak {
    /// Name of the chromosome.
    pub chromosome: String,
    /// First position (bp, from 0).
    pub start: u32,
    /// Position behind the last one (bp).
    pub end: u32,
    /// Name of the peak.
    pub name: String,
    /// How dark a browser draws it; MACS writes ten times the q-score, which may pass 1000.
    pub score: u32,
    /// Strand, mostly none.
    pub strand: Option<Strand>,
    /// Strength of the signal; MACS: fold enrichment at the summit (narrow) or on average (broad).
    pub signal: f64,
    /// -log10 of the p-value.
    pub p_score: Option<f64>,
    /// -log10 of the q-value.
    pub q_score: Option<f64>,
    /// Summit as an offset from the start (bp); narrow peaks only.
    pub summit: Option<u32>,
}

/// A broad peak with the strong stretches inside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GappedPeak {
    /// The whole stretch; it has no summit.
    pub peak: Peak,
    /// Where a thick drawing starts and ends (bp).
    pub thick: (u32, u32),
    /// Red, green and blue.
    pub color: Option<[u8; 3]>,
    /// Offset from the start and length of each strong stretch (bp), in order, without overlap.
    pub blocks: Vec<(u32, u32)>,
}

/// What the format writes where there is no p-score, q-score or summit.
const NONE: &str = "-1";

impl Peak {
    /// The first six columns, and signal, p-score and q-score from column `signal` on (from 0).
    fn parse(row: &Row<'_>, signal: usize, sizes: Option<&ChromSizes>) -> Result<Self, Problem> {
        let (chromosome, start, end) = row.stretch(sizes)?;
        let score = |column, what| match row.number(column, what)? {
            score if score >= 0.0 => Ok(Some(score)),
            -1.0 => Ok(None),
            other => Err(format!("{what} {other} (column {}) is negative: -1 is none", column + 1)),
        };
        Ok(Self {
            chromosome: chromosome.to_owned(),
            start,
            end,
            name: row.text(3, "name")?.to_owned(),
            score: row.position(4, "score")?,
            strand: Strand::parse(row.text(5, "strand")?)?,
            signal: row.number(signal, "signal")?,
            p_score: score(signal + 1, "p-score")?,
            q_score: score(signal + 2, "q-score")?,
            summit: None,
        })
    }

    fn parse_narrow(row: &Row<'_>, sizes: Option<&ChromSizes>) -> Result<Self, Problem> {
        let mut peak = Self::parse(row, 6, sizes)?;
        if row.text(9, "summit")? != NONE {
            let summit = row.position(9, "summit")?;
            let length = peak.end - peak.start;
            if summit >= length {
                return Err(format!("summit {summit} (column 10) is past the end of a peak of {length} bp"));
            }
            peak.summit = Some(summit);
        }
        Ok(peak)
    }

    fn write_first(&self, to: &mut dyn Write) -> std::io::Result<()> {
        let Self { chromosome, start, end, name, score, .. } = self;
        let name = if name.is_empty() { "." } else { name };
        write!(to, "{chromosome}\t{start}\t{end}\t{name}\t{score}\t{}", StrandColumn(self.strand))
    }

    fn write_scores(&self, to: &mut dyn Write) -> std::io::Result<()> {
        let score = |score: Option<f64>| score.map_or(NONE.to_owned(), |score| general(score, 6));
        write!(to, "\t{}\t{}\t{}", general(self.signal, 6), score(self.p_score), score(self.q_score))
    }
}

impl GappedPeak {
    fn parse(row: &Row<'_>, sizes: Option<&ChromSizes>) -> Result<Self, Problem> {
        let peak = Peak::parse(row, 12, sizes)?;
        let thick = (row.position(6, "thick start")?, row.position(7, "thick end")?);
        let color = parse_color(row.text(8, "color")?)?;
        let list = |column, what: &str| -> Result<Vec<u32>, Problem> {
            let word = row.text(column, what)?;
            let numbers = word.trim_end_matches(',').split(',').map(|part| part.trim().parse());
            numbers.collect::<Result<_, _>>().map_err(|_| format!("{what} `{word}` are not whole numbers with commas"))
        };
        let (count, lengths) = (row.position(9, "number of blocks")?, list(10, "lengths of blocks")?);
        let offsets = list(11, "starts of blocks")?;
        if lengths.len() != offsets.len() || lengths.len() as u64 != u64::from(count) {
            return Err(format!("{count} blocks have {} lengths and {} starts", lengths.len(), offsets.len()));
        }
        let blocks: Vec<(u32, u32)> = offsets.into_iter().zip(lengths).collect();
        let mut free = 0;
        for &(offset, length) in &blocks {
            let end = u64::from(offset) + u64::from(length);
            if u64::from(offset) < free || end > u64::from(peak.end - peak.start) {
                return Err(format!("block at {offset} of {length} bp overlaps another or passes the end of the peak"));
            }
            free = end;
        }
        Ok(Self { peak, thick, color, blocks })
    }

    fn write(&self, to: &mut dyn Write) -> std::io::Result<()> {
        self.peak.write_first(to)?;
        let (start, end) = self.thick;
        write!(to, "\t{start}\t{end}\t{}\t{}", ColorColumn(self.color), self.blocks.len())?;
        let joined = |numbers: Vec<String>| numbers.join(",");
        write!(to, "\t{}", joined(self.blocks.iter().map(|block| block.1.to_string()).collect()))?;
        write!(to, "\t{}", joined(self.blocks.iter().map(|block| block.0.to_string()).collect()))?;
        self.peak.write_scores(to)?;
        writeln!(to)
    }
}

/// Which columns a peak has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeakFormat {
    /// narrowPeak: ten columns, the last of them the summit.
    Narrow,
    /// broadPeak: nine columns.
    Broad,
}

/// Reads narrowPeak or broadPeak in the order of the file.
///
/// With `sizes`, records past a chromosome's end and unknown chromosomes are errors.
///
/// # Errors
/// The line and column that cannot be understood.
pub fn read_peaks(path: &Path, format: PeakFormat, sizes: Option<&ChromSizes>) -> Result<Vec<Peak>> {
    peaks_from(&path.display().to_string(), open_raw(path)?, format, sizes)
}

/// As [`read_peaks`], from any source; `file` names it in errors.
///
/// # Errors
/// As [`read_peaks`].
pub fn peaks_from(file: &str, source: impl Read, format: PeakFormat, sizes: Option<&ChromSizes>) -> Result<Vec<Peak>> {
    let mut peaks = Vec::new();
    for_each_row(file, source, |row| {
        peaks.push(match format {
            PeakFormat::Narrow => Peak::parse_narrow(row, sizes)?,
            PeakFormat::Broad => Peak::parse(row, 6, sizes)?,
        });
        Ok(())
    })?;
    Ok(peaks)
}

/// Writes narrowPeak or broadPeak with six significant digits, atomically; gzipped when the name ends in `.gz`.
///
/// `header` is a line above the records, such as `track type=narrowPeak`.
///
/// # Errors
/// What the system says.
pub fn write_peaks(path: &Path, format: PeakFormat, header: Option<&str>, peaks: &[Peak]) -> Result<()> {
    write_lines(path, header, peaks, |peak, to| {
        peak.write_first(to)?;
        peak.write_scores(to)?;
        match (format, peak.summit) {
            (PeakFormat::Broad, _) => writeln!(to),
            (PeakFormat::Narrow, Some(summit)) => writeln!(to, "\t{summit}"),
            (PeakFormat::Narrow, None) => writeln!(to, "\t{NONE}"),
        }
    })
}

/// Reads gappedPeak in the order of the file, as [`read_peaks`].
///
/// # Errors
/// The line and column that cannot be understood, blocks that overlap or leave the peak.
pub fn read_gapped_peaks(path: &Path, sizes: Option<&ChromSizes>) -> Result<Vec<GappedPeak>> {
    gapped_peaks_from(&path.display().to_string(), open_raw(path)?, sizes)
}

/// As [`read_gapped_peaks`], from any source; `file` names it in errors.
///
/// # Errors
/// As [`read_gapped_peaks`].
pub fn gapped_peaks_from(file: &str, source: impl Read, sizes: Option<&ChromSizes>) -> Result<Vec<GappedPeak>> {
    let mut peaks = Vec::new();
    for_each_row(file, source, |row| {
        peaks.push(GappedPeak::parse(row, sizes)?);
        Ok(())
    })?;
    Ok(peaks)
}

/// Writes gappedPeak, as [`write_peaks`].
///
/// # Errors
/// What the system says.
pub fn write_gapped_peaks(path: &Path, header: Option<&str>, peaks: &[GappedPeak]) -> Result<()> {
    write_lines(path, header, peaks, GappedPeak::write)
}

fn write_lines<R>(
    path: &Path,
    header: Option<&str>,
    records: &[R],
    line: impl Fn(&R, &mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    write_text(path, |to| {
        if let Some(header) = header {
            writeln!(to, "{header}")?;
        }
        records.iter().try_for_each(|record| line(record, to))
    })
}
