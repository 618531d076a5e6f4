//! Presence calls of chromatin marks in bins of the genome, as ChromHMM's binarised text.
//!
//! A file holds one chromosome of one cell type: a line `cell<TAB>chromosome`, a line of mark names, then a line a bin
//! with 0 (absent), 1 (present) or 2 (not measured) for each mark. Few of the possible combinations of calls occur, so
//! a bin is kept as the number of its combination in a table that all files share.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    text::{Lines, open},
    write::write_text,
};

/// The mark was looked for and not found.
pub const ABSENT: u8 = 0;
/// The mark was found.
pub const PRESENT: u8 = 1;
/// The mark was not measured.
pub const MISSING: u8 = 2;

/// The combinations of calls that occur in some bins, numbered in order of first appearance.
#[derive(Clone, Debug, Default)]
pub struct MarkPatterns {
    marks: usize,
    calls: Vec<u8>,
    numbers: HashMap<Box<[u8]>, u32>,
}

impl MarkPatterns {
    /// An empty table for so many marks.
    pub fn new(marks: usize) -> Self {
        Self { marks, ..Self::default() }
    }

    /// The number of marks.
    pub fn marks(&self) -> usize {
        self.marks
    }

    /// The number of combinations.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether no combination was seen.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The calls `[marks]` of a combination: [`ABSENT`], [`PRESENT`] or [`MISSING`].
    ///
    /// # Panics
    /// When there is no combination of this number.
    pub fn calls(&self, pattern: u32) -> &[u8] {
        let start = pattern as usize * self.marks;
        &self.calls[start..start + self.marks]
    }

    /// The number of a combination, which is added when it is new.
    ///
    /// # Panics
    /// When the number of calls is not that of the marks.
    pub fn number_of(&mut self, calls: &[u8]) -> u32 {
        assert_eq!(calls.len(), self.marks, "a combination has a call for each mark");
        if let Some(&number) = self.numbers.get(calls) {
            return number;
        }
        // a table of 2^32 combinations would need more memory than there is
        let number = self.numbers.len() as u32;
        self.numbers.insert(calls.into(), number);
        self.calls.extend_from_slice(calls);
        number
    }
}

/// The bins of one chromosome of one cell type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinarisedSequence {
    /// Name of the cell type.
    pub cell: String,
    /// Name of the chromosome.
    pub chromosome: String,
    /// `[bins]` numbers of combinations.
    pub patterns: Vec<u32>,
}

/// Calls of the same marks along several chromosomes of one or more cell types.
#[derive(Clone, Debug, Default)]
pub struct Binarised {
    /// Names of the marks.
    pub marks: Vec<String>,
    /// The combinations that occur.
    pub patterns: MarkPatterns,
    /// The sequences in the order in which they were read.
    pub sequences: Vec<BinarisedSequence>,
}

impl Binarised {
    /// No sequences of some marks.
    pub fn new(marks: Vec<String>) -> Self {
        Self { patterns: MarkPatterns::new(marks.len()), marks, sequences: Vec::new() }
    }

    /// Reads files, plain or gzipped, in the order given.
    ///
    /// # Errors
    /// Names the line and column of a call that is not 0, 1 or 2, of a line that is too short or too long, and a file
    /// whose marks are not those of the first.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for (number, file) in files.iter().enumerate() {
            let name = file.display().to_string();
            let mut lines = Lines::new(&name, open(file)?);
            let (cell, chromosome) = read_names(&mut lines)?;
            let marks = read_marks(&mut lines)?;
            if number == 0 {
                all = Self::new(marks);
            } else if marks != all.marks {
                let first = files[0].display();
                return Err(lines.error(format!(
                    "the marks are {}, but those of {first} are {}: all files need the same columns in the same order",
                    marks.join(", "),
                    all.marks.join(", ")
                )));
            }
            let patterns = read_bins(&mut lines, &all.marks, &mut all.patterns)?;
            all.sequences.push(BinarisedSequence { cell, chromosome, patterns });
        }
        Ok(all)
    }

    /// The number of bins of all sequences.
    pub fn bins(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.patterns.len()).sum()
    }

    /// The calls `[marks]` of a bin.
    pub fn calls(&self, sequence: usize, bin: usize) -> &[u8] {
        self.patterns.calls(self.sequences[sequence].patterns[bin])
    }
}

fn read_names(lines: &mut Lines<'_>) -> Result<(String, String)> {
    let names = lines.next()?.unwrap_or_default().trim_end().to_owned();
    let mut parts = names.split('\t').map(str::trim);
    match (parts.next(), parts.next(), parts.next()) {
        // an empty name of the cell type is allowed
        (Some(cell), Some(chromosome), None) if !chromosome.is_empty() => Ok((cell.to_owned(), chromosome.to_owned())),
        _ => Err(lines.error("the first line must be the cell type, a tab and the chromosome")),
    }
}

fn read_marks(lines: &mut Lines<'_>) -> Result<Vec<String>> {
    let header = lines.next()?.unwrap_or_default();
    let marks: Vec<String> = header.split('\t').map(|mark| mark.trim().to_owned()).filter(|m| !m.is_empty()).collect();
    if marks.is_empty() {
        return Err(lines.error("the second line must hold the names of the marks, with tabs between"));
    }
    if let Some(twice) = marks.iter().enumerate().find(|(at, mark)| marks[..*at].contains(mark)) {
        return Err(lines.error(format!("the mark '{}' stands there twice", twice.1)));
    }
    Ok(marks)
}

fn read_bins(lines: &mut Lines<'_>, marks: &[String], patterns: &mut MarkPatterns) -> Result<Vec<u32>> {
    let mut bins = Vec::new();
    let (mut last, mut calls) = (String::new(), Vec::with_capacity(marks.len()));
    let mut pattern = None;
    while let Some(line) = lines.next()? {
        // most bins are like the one before
        if pattern.is_none() || line != last {
            calls.clear();
            let problem = parse_calls(line, marks, &mut calls).err();
            line.clone_into(&mut last);
            if let Some(problem) = problem {
                return Err(lines.error(problem));
            }
            pattern = Some(patterns.number_of(&calls));
        }
        bins.extend(pattern);
    }
    Ok(bins)
}

fn parse_calls(line: &str, marks: &[String], calls: &mut Vec<u8>) -> Result<(), String> {
    for (column, field) in line.split(['\t', ' ']).filter(|field| !field.is_empty()).enumerate() {
        let Some(mark) = marks.get(column) else {
            return Err(format!("holds more than {} calls, one a mark", marks.len()));
        };
        calls.push(match field {
            "0" => ABSENT,
            "1" => PRESENT,
            "2" => MISSING,
            _ => {
                let column = column + 1;
                return Err(format!(
                    "column {column} ({mark}) holds '{field}'; a call is 0, 1 or 2 (not measured): binarise signals first"
                ));
            }
        });
    }
    if calls.len() < marks.len() {
        return Err(format!("holds {} calls, {} were expected, one a mark", calls.len(), marks.len()));
    }
    Ok(())
}

/// The files of a folder whose names hold `_binary` and do not start with a dot, sorted by name.
///
/// # Errors
/// When there is no such folder or no such file in it.
pub fn binarised_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = folder.display().to_string();
    let entries = std::fs::read_dir(folder).map_err(|source| Error::Io { file: name.clone(), source })?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| Error::Io { file: name.clone(), source })?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if file.contains("_binary") && !file.starts_with('.') {
            files.push(entry.path());
        }
    }
    if files.is_empty() {
        return Err(Error::file(&name, "holds no file with '_binary' in its name; `BinarizeBed` writes such files"));
    }
    files.sort();
    Ok(files)
}

/// Writes a file; gzipped when its name ends in `.gz`. `bins` are the calls `[marks]` of each bin.
///
/// # Errors
/// What the system says.
pub fn write_binarised<'a>(
    path: &Path,
    (cell, chromosome): (&str, &str),
    marks: &[String],
    bins: impl Iterator<Item = &'a [u8]>,
) -> Result<()> {
    write_text(path, |to| {
        writeln!(to, "{cell}\t{chromosome}\n{}", marks.join("\t"))?;
        let mut line = Vec::with_capacity(2 * marks.len());
        for calls in bins {
            line.clear();
            for &call in calls {
                line.extend([b'0' + call, b'\t']);
            }
            line.pop();
            line.push(b'\n');
            to.write_all(&line)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, texts: &[&str]) -> Result<Binarised> {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..texts.len()).map(|i| folder.path().join(format!("{name}{i}.txt"))).collect();
        for (file, text) in files.iter().zip(texts) {
            std::fs::write(file, text).unwrap();
        }
        Binarised::read(&files)
    }

    fn problem(texts: &[&str]) -> String {
        read_text("c", texts).unwrap_err().to_string()
    }

    #[test]
    fn bins_become_numbers_of_combinations_shared_by_all_files() {
        let read = read_text("c", &["a\tchr1\nx\ty\n0\t1\n0\t1\n2\t0\n", "b\tchr1\nx\ty\n2\t0\n0 1\n1\t1\n"]).unwrap();
        assert_eq!(read.marks, ["x", "y"]);
        assert_eq!(read.sequences[0].patterns, [0, 0, 1]);
        assert_eq!(read.sequences[1].patterns, [1, 0, 2]);
        assert_eq!((read.sequences[1].cell.as_str(), read.sequences[1].chromosome.as_str()), ("b", "chr1"));
        assert_eq!(read.calls(0, 2), [MISSING, ABSENT]);
        assert_eq!((read.bins(), read.patterns.len()), (6, 3));
    }

    #[test]
    fn what_was_written_is_read_again_plain_and_gzipped() {
        let folder = tempfile::tempdir().unwrap();
        let marks = vec!["H3K4me3".to_owned(), "CTCF".to_owned()];
        let bins = [[0u8, 1], [2, 2], [1, 0]];
        for name in ["a_binary.txt", "a_binary.txt.gz"] {
            let path = folder.path().join(name);
            write_binarised(&path, ("a", "chr2"), &marks, bins.iter().map(|bin| &bin[..])).unwrap();
            let read = Binarised::read(&[path]).unwrap();
            assert_eq!(read.marks, marks);
            assert!((0..3).all(|bin| read.calls(0, bin) == bins[bin]), "{name}");
        }
        assert_eq!(binarised_files(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn errors_name_line_column_and_mark() {
        let bad = problem(&["a\tchr1\nx\ty\n0\t1\n0\t7\n"]);
        assert!(bad.contains("c0.txt line 4: column 2 (y) holds '7'"), "{bad}");
        let short = problem(&["a\tchr1\nx\ty\n0\n"]);
        assert!(short.contains("line 3: holds 1 calls, 2 were expected"), "{short}");
        let long = problem(&["a\tchr1\nx\n0\t1\n"]);
        assert!(long.contains("line 3: holds more than 1 calls"), "{long}");
        let names = problem(&["chr1\nx\n0\n"]);
        assert!(names.contains("line 1: the first line must be the cell type"), "{names}");
        let twice = problem(&["a\tchr1\nx\tx\n0\t1\n"]);
        assert!(twice.contains("line 2: the mark 'x' stands there twice"), "{twice}");
        let other = problem(&["a\tchr1\nx\ty\n0\t1\n", "b\tchr1\ny\tx\n0\t1\n"]);
        assert!(other.contains("c1.txt line 2: the marks are y, x, but those of"), "{other}");
        let none = problem(&["a\tchr1\n"]);
        assert!(none.contains("names of the marks"), "{none}");
    }
}
