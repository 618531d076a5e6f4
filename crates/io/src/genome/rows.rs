//! Columns of genomic text files.

use std::{collections::HashMap, io::Read};

use super::ChromSizes;
use crate::{
    Result,
    text::{Lines, decompressed_or_empty},
};

/// More columns than any format here has; what follows is not looked at.
const MOST_COLUMNS: usize = 16;

/// The columns of one record, split at tabs, or at any white space where there is no tab.
pub(super) struct Row<'a> {
    words: [&'a str; MOST_COLUMNS],
    count: usize,
}

/// What is wrong with a record; the file and the line are added by the reader.
pub(super) type Problem = String;

impl<'a> Row<'a> {
    fn new(line: &'a str) -> Self {
        let mut row = Self { words: [""; MOST_COLUMNS], count: 0 };
        let mut fill = |words: &mut dyn Iterator<Item = &'a str>| {
            for (place, word) in row.words.iter_mut().zip(words) {
                *place = word;
                row.count += 1;
            }
        };
        if line.contains('\t') {
            fill(&mut line.split('\t'))
        } else {
            fill(&mut line.split_ascii_whitespace())
        }
        row
    }

    /// How many columns there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A column, counted from 0, if it is there.
    pub(super) fn get(&self, column: usize) -> Option<&'a str> {
        (column < self.count).then(|| self.words[column])
    }

    /// A column that must be there.
    pub(super) fn text(&self, column: usize, what: &str) -> Result<&'a str, Problem> {
        self.get(column).ok_or_else(|| format!("has {} columns: {what} (column {}) is missing", self.count, column + 1))
    }

    /// A position or count: a whole number from 0.
    pub(super) fn position(&self, column: usize, what: &str) -> Result<u32, Problem> {
        let word = self.text(column, what)?;
        word.parse().map_err(|_| {
            let digits = word.strip_prefix('-').unwrap_or(word);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            match (is_number, word.starts_with('-')) {
                (true, true) => format!("{what} {word} is negative: positions count from 0"),
                (true, false) => format!("{what} {word} is beyond {}, the largest position", u32::MAX),
                (false, _) => format!("{what} `{word}` (column {}) is not a whole number", column + 1),
            }
        })
    }

    /// A finite number.
    pub(super) fn number(&self, column: usize, what: &str) -> Result<f64, Problem> {
        let word = self.text(column, what)?;
        match word.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(format!("{what} `{word}` (column {}) is not a finite number", column + 1)),
        }
    }

    /// Chromosome, start and end from the first three columns; the end is not before the start.
    pub(super) fn interval(&self, sizes: Option<&ChromSizes>) -> Result<(&'a str, u32, u32), Problem> {
        let chromosome = self.text(0, "chromosome")?;
        if chromosome.is_empty() {
            return Err("the chromosome (column 1) is empty".into());
        }
        let (start, end) = (self.position(1, "start")?, self.position(2, "end")?);
        if end < start {
            return Err(format!("end {end} is before start {start}"));
        }
        if let Some(sizes) = sizes {
            sizes.check(chromosome, end)?;
        }
        Ok((chromosome, start, end))
    }

    /// As [`Self::interval`], with at least one base pair.
    pub(super) fn stretch(&self, sizes: Option<&ChromSizes>) -> Result<(&'a str, u32, u32), Problem> {
        let (chromosome, start, end) = self.interval(sizes)?;
        if start == end {
            Err(format!("start and end are both {start}: the record is empty"))
        } else {
            Ok((chromosome, start, end))
        }
    }
}

/// The records of a text file; blank lines, comments, `track` and `browser` lines are left out.
pub(super) struct Rows<'a>(Lines<'a>);

impl<'a> Rows<'a> {
    pub(super) fn new(file: &'a str, source: impl Read + 'a) -> Result<Self> {
        Ok(Self(Lines::new(file, decompressed_or_empty(file, source)?)))
    }

    /// What `take` makes of the next record, or `None` at the end.
    pub(super) fn next<T>(&mut self, take: impl FnOnce(&Row<'_>) -> Result<T, Problem>) -> Result<Option<T>> {
        let taken = loop {
            let Some(line) = self.0.next()? else { return Ok(None) };
            let line = line.trim_ascii_end();
            if !line.is_empty() && !line.starts_with('#') && !is_display_line(line) {
                break take(&Row::new(line));
            }
        };
        taken.map(Some).map_err(|problem| self.0.error(problem))
    }
}

/// Whether a line tells a genome browser how to draw; a chromosome may be called `track` all the same.
fn is_display_line(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    matches!(words.next(), Some("track" | "browser")) && words.next().is_none_or(|word| word.parse::<u32>().is_err())
}

/// Hands every record to `take`.
pub(super) fn for_each_row(
    file: &str,
    source: impl Read,
    mut take: impl FnMut(&Row<'_>) -> Result<(), Problem>,
) -> Result<()> {
    let mut rows = Rows::new(file, source)?;
    while rows.next(&mut take)?.is_some() {}
    Ok(())
}

/// The place of each name (chromosome, barcode) in the order in which they first appear.
#[derive(Default)]
pub(super) struct Places(HashMap<String, usize>);

impl Places {
    /// The places of names that are listed already.
    pub(super) fn known<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self(names.enumerate().map(|(place, name)| (name.to_owned(), place)).collect())
    }

    /// The place of a name in `list`, which gets a new entry for a new one.
    pub(super) fn of<T>(&mut self, name: &str, list: &mut Vec<T>, new: impl FnOnce(String) -> T) -> usize {
        if let Some(&place) = self.0.get(name) {
            return place;
        }
        list.push(new(name.to_owned()));
        self.0.insert(name.to_owned(), list.len() - 1);
        list.len() - 1
    }
}
