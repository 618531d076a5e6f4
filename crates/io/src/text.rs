//! Lines of plain or gzipped text, with their numbers.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use crate::{Error, Result};

/// No line of the formats here comes near this; a longer one is a file of another kind.
const LONGEST_LINE: u64 = 64 << 20;

/// The first two bytes of a gzip stream (RFC 1952).
pub(crate) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads through gzip if the bytes say so, whatever the file is called.
pub(crate) fn decompressed<'a>(file: &str, raw: impl Read + 'a) -> Result<Box<dyn BufRead + 'a>> {
    let mut reader = decompressed_or_empty(file, raw)?;
    let start = reader.fill_buf().map_err(|source| Error::io(file, source))?;
    if start.is_empty() {
        return Err(Error::file(file, "the file is empty"));
    }
    Ok(reader)
}

/// Reads through gzip if the bytes say so; a file without a byte is one without a line.
pub(crate) fn decompressed_or_empty<'a>(file: &str, raw: impl Read + 'a) -> Result<Box<dyn BufRead + 'a>> {
    let mut raw = BufReader::with_capacity(1 << 16, raw);
    let start = raw.fill_buf().map_err(|source| Error::io(file, source))?;
    Ok(if start.starts_with(&GZIP_MAGIC) {
        Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(raw)))
    } else {
        Box::new(raw)
    })
}

/// Opens a file, through gzip if its bytes say so.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    decompressed(&path.display().to_string(), open_raw(path)?)
}

/// Opens a file as its bytes stand; a folder is an error.
pub(crate) fn open_raw(path: &Path) -> Result<File> {
    let file = path.display().to_string();
    let raw = File::open(path).map_err(|source| Error::Io { file: file.clone(), source })?;
    if path.is_dir() {
        return Err(Error::file(&file, "is a folder, not a file"));
    }
    Ok(raw)
}

/// Hands out lines without their ends, as UTF-8, and counts them.
pub(crate) struct Lines<'a> {
    pub(crate) file: &'a str,
    /// Number of the line that was read last, from 1.
    pub(crate) number: u64,
    reader: Box<dyn BufRead + 'a>,
    buffer: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(file: &'a str, reader: Box<dyn BufRead + 'a>) -> Self {
        Self { file, number: 0, reader, buffer: Vec::new() }
    }

    /// The next line, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<&str>> {
        self.buffer.clear();
        let limited = &mut (&mut self.reader).take(LONGEST_LINE);
        let read = limited.read_until(b'\n', &mut self.buffer).map_err(|source| Error::io(self.file, source))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 == LONGEST_LINE {
            return Err(self.error("a line of more than 64 MiB: this is not a text file of the expected kind"));
        }
        let bom = if self.number == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let number = self.number;
        let text = std::str::from_utf8(&self.buffer[bom..]).map_err(|_| {
            Error::line(self.file, number, "the text is not UTF-8: this is a binary file or one in an old encoding")
        })?;
        Ok(Some(text.trim_end_matches(['\n', '\r'])))
    }

    /// An error at the line that was read last.
    pub(crate) fn error(&self, problem: impl Into<String>) -> Error {
        Error::line(self.file, self.number, problem)
    }
}

/// Hands each line of a file, plain or gzipped, without its end to `take`; its refusal becomes an error at that line.
///
/// # Errors
/// What `take` or the system says.
pub fn for_each_line(path: &Path, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<()> {
    let name = path.display().to_string();
    let mut lines = Lines::new(&name, open(path)?);
    while let Some(line) = lines.next()? {
        if let Err(problem) = take(line) {
            return Err(lines.error(problem));
        }
    }
    Ok(())
}

/// Reads the next record of a table; false at the end.
pub(crate) fn read_record<R: Read>(
    file: &str,
    records: &mut csv::Reader<R>,
    record: &mut csv::StringRecord,
) -> Result<bool> {
    records.read_record(record).map_err(|error| {
        let line = error.position().map_or(0, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(source) => Error::io(file, source),
            csv::ErrorKind::Utf8 { .. } => {
                Error::line(file, line, "the text is not UTF-8: this is a binary file or one in an old encoding")
            }
            kind => Error::line(file, line, format!("{kind:?}")),
        }
    })
}
