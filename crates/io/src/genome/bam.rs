//! Alignments (BAM, <https://samtools.github.io/hts-specs/SAMv1.pdf> section 4), read from start to end without an index.

use std::{
    fs::File,
    io::{BufRead, Read, Seek, SeekFrom},
    path::Path,
};

use super::{ChromSizes, reads::merge_sizes};
use crate::{
    Error, Result,
    text::{decompressed, open_raw},
};

/// The first bytes of a BAM stream, behind its compression.
pub(super) const BAM_MAGIC: &[u8; 4] = b"BAM\x01";

/// The empty block at the end of every whole BAM file (SAMv1 4.1.2).
const END_OF_FILE: [u8; 28] =
    [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, b'B', b'C', 2, 0, 0x1b, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// No reference is called by a longer name than this (bytes); the header of a damaged file claims anything.
const LONGEST_NAME: u32 = 1 << 16;
/// Bytes of the fields of fixed size in a record.
const FIXED: usize = 32;

const PAIRED: u16 = 1;
const PROPER_PAIR: u16 = 2;
const REVERSE: u16 = 16;
/// Unmapped, secondary, failed the checks, supplementary.
const NO_READ: u16 = 4 | 256 | 512 | 2048;
/// Mate unmapped, last of its pair.
const NO_FIRST: u16 = 8 | 128;

/// A sequence that reads are aligned to.
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) size: u32,
}

/// What one record says of its alignment.
pub(super) struct Alignment {
    flags: u16,
    reference: i32,
    start: i32,
    /// Base pairs of the reference that are covered.
    span: u64,
    mate_start: i32,
    template_length: i32,
    /// Bases of the read; 0 where the sequence is not stored.
    pub(super) read_length: u32,
}

/// One mapped record of a BAM file as it stands there; positions in bp from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedRead<'a> {
    /// Name of the reference sequence.
    pub chromosome: &'a str,
    /// Leftmost position.
    pub start: i64,
    /// Position behind the last that is covered.
    pub end: i64,
    /// Whether the read is reverse.
    pub reverse: bool,
    /// Whether the read is one of a pair.
    pub paired: bool,
    /// Whether it is the first of a proper pair.
    pub first_of_proper_pair: bool,
    /// Signed length of the template (TLEN).
    pub template_length: i32,
}

/// Hands every mapped record of a BAM file, duplicates and secondary alignments too, to `take`; its refusal becomes an
/// error at that record.
///
/// # Errors
/// What `take` says, a damaged or truncated file, a mapped record without a position.
pub fn for_each_mapped_read(path: &Path, mut take: impl FnMut(&MappedRead<'_>) -> Result<(), String>) -> Result<()> {
    let file = path.display().to_string();
    let mut bam = Alignments::new(&file, open_bam(path)?, None)?;
    while let Some(record) = bam.next()? {
        const UNMAPPED: u16 = 4;
        const FIRST: u16 = 64;
        if record.flags & UNMAPPED != 0 || record.reference == -1 {
            continue;
        }
        let reference = usize::try_from(record.reference).ok().and_then(|place| bam.references.get(place));
        let Some(reference) = reference.filter(|_| record.start >= 0) else {
            return Err(bam.error("is mapped, but to no position of a reference in the header"));
        };
        let start = i64::from(record.start);
        let read = MappedRead {
            chromosome: &reference.name,
            start,
            end: start + record.span as i64,
            reverse: record.flags & REVERSE != 0,
            paired: record.flags & PAIRED != 0,
            first_of_proper_pair: record.flags & PROPER_PAIR != 0 && record.flags & FIRST != 0,
            template_length: record.template_length,
        };
        if let Err(problem) = take(&read) {
            return Err(bam.error(&problem));
        }
    }
    Ok(())
}

/// Reads a BAM stream record by record.
pub(super) struct Alignments<'a> {
    file: &'a str,
    reader: Box<dyn BufRead + 'a>,
    pub(super) references: Vec<Reference>,
    number: u64,
    buffer: Vec<u8>,
}

impl<'a> Alignments<'a> {
    /// Reads the header. References whose length differs from `sizes` are of another assembly.
    pub(super) fn new(file: &'a str, source: impl Read + 'a, sizes: Option<&ChromSizes>) -> Result<Self> {
        let reader = decompressed(file, source)?;
        let mut bam = Self { file, reader, references: Vec::new(), number: 0, buffer: Vec::new() };
        if bam.take(4)? != BAM_MAGIC {
            return Err(Error::file(
                file,
                "is not BAM: name its format (BED, BEDPE, FRAG), or convert it with samtools",
            ));
        }
        let text = u64::from(bam.length()?);
        bam.skip(text)?;
        for _ in 0..bam.length()? {
            let length = bam.length()?;
            if !(2..=LONGEST_NAME).contains(&length) {
                return Err(Error::file(file, format!("the header is damaged: a reference name of {length} bytes")));
            }
            let name = String::from_utf8(bam.take(length as usize)?[..length as usize - 1].to_vec())
                .map_err(|_| Error::file(file, "the header is damaged: a reference name is not text"))?;
            let size = bam.length()?;
            if let Some(other) = sizes.and_then(|sizes| sizes.get(&name)) {
                merge_sizes(&mut Some(size), Some(other), &name)?;
            }
            bam.references.push(Reference { name, size });
        }
        Ok(bam)
    }

    /// The next record, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Alignment>> {
        if self.reader.fill_buf().map_err(|source| Error::io(self.file, source))?.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let size = self.length()? as u64;
        if size < FIXED as u64 {
            return Err(self.error(&format!("claims {size} bytes, {FIXED} are the least")));
        }
        let fixed: [u8; FIXED] = self.take(FIXED)?.try_into().expect("as many bytes as asked for");
        let i32_at = |at: usize| i32::from_le_bytes(fixed[at..at + 4].try_into().expect("four bytes"));
        let u16_at = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let (name, operations, read_length) = (fixed[8], u16_at(12), i32_at(16) as u32);
        let cigar = usize::from(name) + 4 * usize::from(operations);
        let least = FIXED as u64 + cigar as u64 + u64::from(read_length).div_ceil(2) + u64::from(read_length);
        if least > size {
            return Err(self.error(&format!("claims {size} bytes, but its parts need {least}: the file is damaged")));
        }
        let operations = &self.take(cigar)?[usize::from(name)..];
        let span = operations.chunks_exact(4).map(covered).sum();
        self.skip(size - FIXED as u64 - cigar as u64)?;
        Ok(Some(Alignment {
            flags: u16_at(14),
            reference: i32_at(0),
            start: i32_at(4),
            span,
            mate_start: i32_at(24),
            template_length: i32_at(28),
            read_length,
        }))
    }

    /// The 5' end of a read that counts: its reference, position and whether it is reverse.
    ///
    /// As MACS (`bam_fw_binary_parse`): of a pair the first read, if the pair is proper.
    pub(super) fn five_prime_end(&self, record: &Alignment) -> Result<Option<(usize, u32, bool)>> {
        let Some((reference, start)) = self.counted(record)? else { return Ok(None) };
        if record.flags & REVERSE == 0 {
            return Ok(Some((reference, start, false)));
        }
        if record.span == 0 {
            return Err(self.error("a reverse read without CIGAR: where it ends is not known"));
        }
        let end = u32::try_from(u64::from(start) + record.span).map_err(|_| self.error("ends beyond any position"))?;
        Ok(Some((reference, end, true)))
    }

    /// The fragment of a proper pair, told by its first read: reference, start, end.
    ///
    /// As MACS (`bampe_pe_binary_parse`): from the leftmost start over the template's length.
    pub(super) fn fragment(&self, record: &Alignment) -> Result<Option<(usize, u32, u32)>> {
        if record.flags & PAIRED == 0 || record.template_length == 0 {
            return Ok(None);
        }
        let Some((reference, start)) = self.counted(record)? else { return Ok(None) };
        let mate =
            u32::try_from(record.mate_start).map_err(|_| self.error("a proper pair whose mate has no position"))?;
        let start = start.min(mate);
        let end = start.checked_add(record.template_length.unsigned_abs());
        Ok(Some((reference, start, end.ok_or_else(|| self.error("ends beyond any position"))?)))
    }

    /// Reference and leftmost position of a record that counts.
    fn counted(&self, record: &Alignment) -> Result<Option<(usize, u32)>> {
        let flags = record.flags;
        let no_first = flags & PAIRED != 0 && (flags & NO_FIRST != 0 || flags & PROPER_PAIR == 0);
        if flags & NO_READ != 0 || no_first || record.reference == -1 {
            return Ok(None);
        }
        let reference = usize::try_from(record.reference).ok().filter(|&place| place < self.references.len());
        let Some(reference) = reference else {
            let (place, count) = (record.reference, self.references.len());
            return Err(self.error(&format!("lies on reference {place}, the header has {count}")));
        };
        let start = u32::try_from(record.start).map_err(|_| self.error("is mapped but has no position"))?;
        Ok(Some((reference, start)))
    }

    /// An error at the record that was read last.
    pub(super) fn error(&self, problem: &str) -> Error {
        Error::file(self.file, format!("record {}: {problem}", self.number))
    }

    fn length(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    /// The next bytes, fewer than a mebibyte of them.
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        self.buffer.resize(count, 0);
        self.reader.read_exact(&mut self.buffer).map_err(|source| Error::io(self.file, source))?;
        Ok(&self.buffer)
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let ready = self.reader.fill_buf().map_err(|source| Error::io(self.file, source))?.len();
            if ready == 0 {
                return Err(Error::io(self.file, std::io::ErrorKind::UnexpectedEof.into()));
            }
            let step = count.min(ready as u64);
            self.reader.consume(step as usize);
            count -= step;
        }
        Ok(())
    }
}

/// Base pairs of the reference that a CIGAR operation covers: those of M, D, N, = and X.
fn covered(operation: &[u8]) -> u64 {
    let code = u32::from_le_bytes(operation.try_into().expect("four bytes"));
    if matches!(code & 15, 0 | 2 | 3 | 7 | 8) { u64::from(code >> 4) } else { 0 }
}

/// Opens a BAM file; one that was cut short lacks the empty block at its end.
pub(super) fn open_bam(path: &Path) -> Result<File> {
    let file = path.display().to_string();
    let mut raw = open_raw(path)?;
    let failed = |source| Error::Io { file: file.clone(), source };
    let mut end = [0; END_OF_FILE.len()];
    let length = raw.seek(SeekFrom::End(0)).map_err(failed)?;
    if length >= end.len() as u64 {
        raw.seek(SeekFrom::End(-(end.len() as i64))).and_then(|_| raw.read_exact(&mut end)).map_err(failed)?;
    }
    if end != END_OF_FILE {
        return Err(Error::file(&file, "has no end-of-file block: it is truncated or no BAM; copy or write it again"));
    }
    raw.rewind().map_err(failed)?;
    Ok(raw)
}
