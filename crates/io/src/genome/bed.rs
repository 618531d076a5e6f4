//! Intervals (BED3 to BED9, <https://samtools.github.io/hts-specs/BEDv1.pdf>).

use std::{fmt, io::Read, path::Path};

use super::{
    ChromSizes,
    rows::{Problem, Row, for_each_row},
};
use crate::{Result, text::open_raw};

/// The strand of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strand {
    /// The strand of the reference sequence, `+`.
    Forward,
    /// The complement, `-`.
    Reverse,
}

impl fmt::Display for Strand {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Forward => "+",
            Self::Reverse => "-",
        })
    }
}

impl Strand {
    /// `+` and `-` are strands, `.` is none.
    pub(super) fn parse(word: &str) -> Result<Option<Self>, Problem> {
        match word {
            "+" => Ok(Some(Self::Forward)),
            "-" => Ok(Some(Self::Reverse)),
            "." => Ok(None),
            _ => Err(format!("strand `{word}` is none of `+`, `-` and `.`")),
        }
    }
}

/// One interval of a BED file; what the file does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BedRecord {
    /// Name of the chromosome.
    pub chromosome: String,
    /// First position (bp, from 0).
    pub start: u32,
    /// Position behind the last one (bp).
    pub end: u32,
    /// Name of the record (column 4), `None` for `.`.
    pub name: Option<String>,
    /// Score (column 5), `None` for `.`.
    pub score: Option<f64>,
    /// Strand (column 6), `None` for `.`.
    pub strand: Option<Strand>,
    /// Where a thick drawing starts and ends (columns 7 and 8).
    pub thick: Option<(u32, u32)>,
    /// Red, green and blue (column 9), `None` for `0` and `.`.
    pub color: Option<[u8; 3]>,
}

impl BedRecord {
    pub(super) fn parse(row: &Row<'_>, sizes: Option<&ChromSizes>) -> Result<Self, Problem> {
        let (chromosome, start, end) = row.interval(sizes)?;
        let given = |column| row.get(column).filter(|word| *word != "." && !word.is_empty());
        Ok(Self {
            chromosome: chromosome.to_owned(),
            start,
            end,
            name: given(3).map(str::to_owned),
            score: given(4).map(|_| row.number(4, "score")).transpose()?,
            strand: row.get(5).map_or(Ok(None), Strand::parse)?,
            thick: match row.count() {
                0..8 => None,
                _ => Some((row.position(6, "thick start")?, row.position(7, "thick end")?)),
            },
            color: given(8).map_or(Ok(None), parse_color)?,
        })
    }
}

/// `255,0,0`, or `0` for none.
fn parse_color(word: &str) -> Result<Option<[u8; 3]>, Problem> {
    if word == "0" {
        return Ok(None);
    }
    let parts: Vec<Option<u8>> = word.split(',').map(|part| part.trim().parse().ok()).collect();
    match parts[..] {
        [Some(red), Some(green), Some(blue)] => Ok(Some([red, green, blue])),
        _ => Err(format!("color `{word}` (column 9) is not `red,green,blue` with numbers up to 255")),
    }
}

/// Reads the intervals of a BED file with three to nine columns or more, in the order of the file.
///
/// With `sizes`, records past a chromosome's end and unknown chromosomes are errors.
///
/// # Errors
/// The line whose positions, score, strand or color cannot be understood.
pub fn read_bed(path: &Path, sizes: Option<&ChromSizes>) -> Result<Vec<BedRecord>> {
    bed_from(&path.display().to_string(), open_raw(path)?, sizes)
}

/// As [`read_bed`], from any source; `file` names it in errors.
///
/// # Errors
/// As [`read_bed`].
pub fn bed_from(file: &str, source: impl Read, sizes: Option<&ChromSizes>) -> Result<Vec<BedRecord>> {
    let mut records = Vec::new();
    for_each_row(file, source, |row| {
        records.push(BedRecord::parse(row, sizes)?);
        Ok(())
    })?;
    Ok(records)
}
