//! Intervals (BED3 to BED9, <https://samtools.github.io/hts-specs/BEDv1.pdf>).

use std::{
    fmt,
    io::{Read, Write},
    path::Path,
};

use super::{
    ChromSizes,
    rows::{Problem, Row, for_each_row},
};
use crate::{Result, text::open_raw, write::write_text};

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
pub(super) fn parse_color(word: &str) -> Result<Option<[u8; 3]>, Problem> {
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

/// Writes intervals with the first three to nine columns of BED, atomically; gzipped when the name ends in `.gz`.
///
/// What a record does not say becomes `.`, its own start and end (thick), or `0` (color). `header` is a line above the
/// records, such as `track name=\"states\"`.
///
/// # Errors
/// What the system says.
///
/// # Panics
/// If `columns` is not from 3 to 9.
pub fn write_bed<'r>(
    path: &Path,
    header: Option<&str>,
    columns: usize,
    records: impl IntoIterator<Item = &'r BedRecord>,
) -> Result<()> {
    assert!((3..=9).contains(&columns), "write_bed: BED has 3 to 9 columns, not {columns}");
    write_text(path, |to| {
        if let Some(header) = header {
            writeln!(to, "{header}")?;
        }
        records.into_iter().try_for_each(|record| write_record(to, record, columns))
    })
}

fn write_record(to: &mut dyn Write, record: &BedRecord, columns: usize) -> std::io::Result<()> {
    let (start, end) = (record.start, record.end);
    write!(to, "{}\t{start}\t{end}", record.chromosome)?;
    let (thick_start, thick_end) = record.thick.unwrap_or((start, end));
    for column in 3..columns {
        match column {
            3 => write!(to, "\t{}", record.name.as_deref().unwrap_or("."))?,
            4 => match record.score {
                Some(score) => write!(to, "\t{score}")?,
                None => write!(to, "\t.")?,
            },
            5 => write!(to, "\t{}", StrandColumn(record.strand))?,
            6 => write!(to, "\t{thick_start}")?,
            7 => write!(to, "\t{thick_end}")?,
            _ => write!(to, "\t{}", ColorColumn(record.color))?,
        }
    }
    writeln!(to)
}

/// A strand as its column says it.
pub(super) struct StrandColumn(pub(super) Option<Strand>);

impl fmt::Display for StrandColumn {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(strand) => strand.fmt(to),
            None => to.write_str("."),
        }
    }
}

/// A color as its column says it.
pub(super) struct ColorColumn(pub(super) Option<[u8; 3]>);

impl fmt::Display for ColorColumn {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some([red, green, blue]) => write!(to, "{red},{green},{blue}"),
            None => to.write_str("0"),
        }
    }
}
