//! Sequences (FASTA), whole or in windows, and as numbers.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use super::{BedRecord, rows::for_each_row};
use crate::{
    Error, Result,
    text::{GZIP_MAGIC, decompressed, open_raw},
};

/// No name of a sequence comes near this (bytes); a longer one is a file of another kind.
const LONGEST_NAME: u64 = 1 << 16;

/// One sequence of a FASTA file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FastaRecord {
    /// The first word behind `>`.
    pub name: String,
    /// The bases as they stand, small letters (masked repeats) included, `[length]`.
    pub sequence: Vec<u8>,
}

/// A stretch of a chromosome; it may reach past either end.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Name of the chromosome.
    pub chromosome: String,
    /// First position (bp, from 0).
    pub start: i64,
    /// Position behind the last one (bp).
    pub end: i64,
}

impl From<&BedRecord> for Window {
    fn from(record: &BedRecord) -> Self {
        Self { chromosome: record.chromosome.clone(), start: record.start.into(), end: record.end.into() }
    }
}

/// What becomes of windows that reach past an end of their chromosome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastEnd {
    /// They are an error.
    Refuse,
    /// They are filled with N.
    Pad,
}

/// Reads all sequences of a FASTA file, gzipped or not.
///
/// # Errors
/// The line that cannot be understood, a name that stands twice, a file without a sequence.
pub fn read_fasta(path: &Path) -> Result<Vec<FastaRecord>> {
    fasta_from(&path.display().to_string(), open_raw(path)?)
}

/// As [`read_fasta`], from any source; `file` names it in errors.
///
/// # Errors
/// As [`read_fasta`].
pub fn fasta_from(file: &str, source: impl Read) -> Result<Vec<FastaRecord>> {
    let mut records: Vec<FastaRecord> = Vec::new();
    scan(file, source, |piece| {
        match piece {
            Piece::Name(name) => records.push(FastaRecord { name, sequence: Vec::new() }),
            Piece::Bases(bases) => records.last_mut().expect("a name comes first").sequence.extend(bases),
        }
        Ok(())
    })?;
    Ok(records)
}

/// Reads windows of the sequences, in the order of the windows.
///
/// With an index beside it (`genome.fa.fai`, by `samtools faidx`) only the windows are read from a plain file; without
/// one, and from a gzipped file, the file is read once from start to end. Memory is in proportion to the windows.
///
/// # Errors
/// A window of no base pair or on an unknown chromosome, one past an end if those are refused, an index that does not
/// fit the file, a line that cannot be understood.
pub fn read_windows(path: &Path, windows: &[Window], past_end: PastEnd) -> Result<Vec<Vec<u8>>> {
    let file = path.display().to_string();
    let mut index = path.as_os_str().to_owned();
    index.push(".fai");
    let index = Path::new(&index);
    let mut raw = open_raw(path)?;
    let mut start = Vec::new();
    let failed = |source| Error::Io { file: file.clone(), source };
    Read::by_ref(&mut raw).take(2).read_to_end(&mut start).and_then(|_| raw.rewind()).map_err(failed)?;
    if start == GZIP_MAGIC || !index.is_file() {
        return windows_from(&file, raw, windows, past_end);
    }
    let index = Index::read(index)?;
    windows.iter().map(|window| index.window(&file, &mut raw, window, past_end)).collect()
}

/// As [`read_windows`] by one scan of any source; `file` names it in errors.
///
/// # Errors
/// As [`read_windows`].
pub fn windows_from(file: &str, source: impl Read, windows: &[Window], past_end: PastEnd) -> Result<Vec<Vec<u8>>> {
    let mut waiting: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, window) in windows.iter().enumerate() {
        window.check(file)?;
        window.check_ends(file, i64::MAX, past_end)?;
        waiting.entry(&window.chromosome).or_default().push(place);
    }
    for places in waiting.values_mut() {
        // The next to begin is the last of the list.
        places.sort_by_key(|&place| std::cmp::Reverse((windows[place].start, place)));
    }
    let mut sequences: Vec<Vec<u8>> = vec![Vec::new(); windows.len()];
    // Windows of the sequence that is being read: those to come, and those that have begun.
    let (mut to_come, mut begun): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut length = 0i64;
    let mut left: Vec<(usize, i64)> = Vec::new();
    scan(file, source, |piece| {
        match piece {
            Piece::Name(name) => {
                left.extend(to_come.drain(..).chain(begun.drain(..)).map(|place| (place, length)));
                to_come = waiting.remove(name.as_str()).unwrap_or_default();
                length = 0;
            }
            Piece::Bases(bases) => {
                let end = length + bases.len() as i64;
                while let Some(place) = to_come.pop_if(|place| windows[*place].start < end) {
                    sequences[place].resize(windows[place].padding_before(), b'N');
                    begun.push(place);
                }
                begun.retain(|&place| {
                    let window = &windows[place];
                    let (from, to) = (window.start.max(length), window.end.min(end));
                    if from < to {
                        sequences[place].extend(&bases[(from - length) as usize..(to - length) as usize]);
                    }
                    window.end > end
                });
                length = end;
            }
        }
        Ok(())
    })?;
    left.extend(to_come.into_iter().chain(begun).map(|place| (place, length)));
    if let Some(&place) = waiting.values().flatten().min() {
        return Err(Error::file(
            file,
            format!("has no sequence `{}`: is this another assembly?", windows[place].chromosome),
        ));
    }
    left.sort_unstable();
    for (place, length) in left {
        windows[place].check_ends(file, length, past_end)?;
    }
    for (sequence, window) in sequences.iter_mut().zip(windows) {
        sequence.resize(window.len(), b'N');
    }
    Ok(sequences)
}

impl Window {
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    fn check(&self, file: &str) -> Result<()> {
        if self.start < self.end && self.end.checked_sub(self.start).is_some() {
            return Ok(());
        }
        Err(Error::file(file, format!("window {}:{}-{} has no base pair", self.chromosome, self.start, self.end)))
    }

    /// How many N stand before the sequence begins.
    fn padding_before(&self) -> usize {
        (self.start.min(0).unsigned_abs() as usize).min(self.len())
    }

    /// Refuses a window that reaches past an end of a sequence of so many base pairs, unless it is to be padded.
    fn check_ends(&self, file: &str, length: i64, past_end: PastEnd) -> Result<()> {
        let Self { chromosome, start, end } = self;
        let problem = match past_end {
            PastEnd::Refuse if *start < 0 => "starts before position 0".into(),
            PastEnd::Refuse if *end > length => format!("ends past the sequence, which has {length} bp"),
            _ => return Ok(()),
        };
        Err(Error::file(file, format!("window {chromosome}:{start}-{end} {problem}: is this another assembly?")))
    }
}

/// Where sequences lie in a plain FASTA file (`.fai`).
struct Index(HashMap<String, Place>);

struct Place {
    length: u64,
    offset: u64,
    line_bases: u64,
    line_bytes: u64,
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let mut places = HashMap::new();
        for_each_row(&path.display().to_string(), open_raw(path)?, |row| {
            let number = |column, what: &str| -> Result<u64, String> {
                let word = row.text(column, what)?;
                word.parse().map_err(|_| format!("{what} `{word}` (column {}) is not a whole number", column + 1))
            };
            let place = Place {
                length: number(1, "length")?,
                offset: number(2, "offset")?,
                line_bases: number(3, "bases a line")?,
                line_bytes: number(4, "bytes a line")?,
            };
            if place.line_bases == 0 || place.line_bytes < place.line_bases || place.line_bytes > place.line_bases + 2 {
                return Err(format!("lines of {} bases in {} bytes cannot be", place.line_bases, place.line_bytes));
            }
            places.insert(row.text(0, "name")?.to_owned(), place);
            Ok(())
        })?;
        Ok(Self(places))
    }

    fn window(&self, file: &str, raw: &mut File, window: &Window, past_end: PastEnd) -> Result<Vec<u8>> {
        window.check(file)?;
        let Some(place) = self.0.get(&window.chromosome) else {
            let problem = format!("has no sequence `{}` in its index: is this another assembly?", window.chromosome);
            return Err(Error::file(file, problem));
        };
        let length = i64::try_from(place.length).unwrap_or(i64::MAX - 1);
        window.check_ends(file, length, past_end)?;
        let (from, to) = (window.start.clamp(0, length), window.end.clamp(0, length));
        let mut sequence = vec![b'N'; window.padding_before()];
        if from < to {
            let misfit =
                || Error::file(file, "the index beside it does not fit: remove it or run `samtools faidx` again");
            let failed = |source| Error::Io { file: file.to_owned(), source };
            let bytes = raw.metadata().map_err(failed)?.len();
            let byte = |position: i64| {
                let (lines, rest) = (position as u64 / place.line_bases, position as u64 % place.line_bases);
                let lines = lines.checked_mul(place.line_bytes).and_then(|before| before.checked_add(rest));
                lines.and_then(|before| before.checked_add(place.offset)).filter(|byte| *byte < bytes)
            };
            let (first, last) = (byte(from).ok_or_else(misfit)?, byte(to - 1).ok_or_else(misfit)?);
            raw.seek(SeekFrom::Start(first)).map_err(failed)?;
            let mut bytes = Vec::new();
            raw.take(last - first + 1).read_to_end(&mut bytes).map_err(failed)?;
            bytes.retain(|byte| !matches!(byte, b'\n' | b'\r'));
            if bytes.len() as i64 != to - from || !bytes.iter().all(is_base) {
                return Err(misfit());
            }
            sequence.append(&mut bytes);
        }
        sequence.resize(window.len(), b'N');
        Ok(sequence)
    }
}

enum Piece<'a> {
    Name(String),
    Bases(&'a [u8]),
}

/// Letters of nucleic acids and proteins, gaps and stops.
fn is_base(byte: &u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'*' | b'.')
}

/// Hands out names and pieces of sequence as they come; a line may be of any length.
fn scan(file: &str, source: impl Read, mut take: impl FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, decompressed(file, source)?);
    let (mut line, mut at_start) = (1, true);
    let mut names = std::collections::HashSet::new();
    loop {
        let failed = |source| Error::io(file, source);
        let bytes = reader.fill_buf().map_err(failed)?;
        let Some(&first) = bytes.first() else { break };
        if at_start && first == b'>' {
            let mut header = Vec::new();
            Read::by_ref(&mut reader).take(LONGEST_NAME).read_until(b'\n', &mut header).map_err(failed)?;
            if header.len() as u64 == LONGEST_NAME {
                return Err(Error::line(file, line, "the name does not end: this is not FASTA"));
            }
            let name = std::str::from_utf8(&header[1..]).ok().and_then(|header| header.split_ascii_whitespace().next());
            let name = name.ok_or_else(|| Error::line(file, line, "`>` without a name: this is not FASTA"))?;
            if !names.insert(name.to_owned()) {
                return Err(Error::line(file, line, format!("sequence `{name}` stands twice")));
            }
            take(Piece::Name(name.to_owned()))?;
            line += 1;
            continue;
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let text = bytes[..end.unwrap_or(bytes.len())].trim_ascii();
        if let Some(&wrong) = text.iter().find(|byte| !is_base(byte)) {
            let wrong = char::from(wrong).escape_default();
            return Err(Error::line(file, line, format!("`{wrong}` is no base: this is not FASTA or is damaged")));
        }
        if !text.is_empty() {
            if names.is_empty() {
                return Err(Error::line(file, line, "bases before the first `>`: this is not FASTA"));
            }
            take(Piece::Bases(text))?;
        }
        let used = end.map_or(bytes.len(), |end| end + 1);
        at_start = end.is_some();
        line += u64::from(at_start);
        reader.consume(used);
    }
    if names.is_empty() { Err(Error::file(file, "holds no sequence")) } else { Ok(()) }
}

/// How a sequence becomes numbers, bases in the order A, C, G, T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneHot {
    /// `[4, length]`: channels of a convolution.
    BasesFirst,
    /// `[length, 4]`: one row a position.
    BasesLast,
}

/// A sequence as ones and zeros; N and all that is none of A, C, G, T (or U) is zeros.
///
/// ```
/// use gradome_io::genome::{OneHot, one_hot};
///
/// assert_eq!(one_hot(b"aN", OneHot::BasesFirst), [1., 0., 0., 0., 0., 0., 0., 0.]);
/// assert_eq!(one_hot(b"CT", OneHot::BasesLast), [0., 1., 0., 0., 0., 0., 0., 1.]);
/// ```
pub fn one_hot(sequence: &[u8], layout: OneHot) -> Vec<f32> {
    let mut values = vec![0.0; 4 * sequence.len()];
    for (position, base) in sequence.iter().enumerate() {
        let base = match base.to_ascii_uppercase() {
            b'A' => 0,
            b'C' => 1,
            b'G' => 2,
            b'T' | b'U' => 3,
            _ => continue,
        };
        let place = match layout {
            OneHot::BasesFirst => base * sequence.len() + position,
            OneHot::BasesLast => 4 * position + base,
        };
        values[place] = 1.0;
    }
    values
}

/// The other strand of a DNA sequence, read in its own direction; letters other than A, C, G, T stay.
pub fn reverse_complement(sequence: &[u8]) -> Vec<u8> {
    let complement = |base: &u8| match base {
        b'A' => b'T',
        b'C' => b'G',
        b'G' => b'C',
        b'T' => b'A',
        b'a' => b't',
        b'c' => b'g',
        b'g' => b'c',
        b't' => b'a',
        other => *other,
    };
    sequence.iter().rev().map(complement).collect()
}
