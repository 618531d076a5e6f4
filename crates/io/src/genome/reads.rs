//! Which formats hold reads, and how they are read.

use std::{collections::HashSet, io::BufRead, path::Path};

use super::{ChromSizes, bam::BAM_MAGIC, rows::Rows};
use crate::{
    Error, Result,
    text::{decompressed, open_raw},
};

/// A format of reads or of paired ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFormat {
    /// Single reads as text: chromosome, start, end, name, score, strand.
    Bed,
    /// Alignments: of paired reads the first of each proper pair counts as a single read.
    Bam,
    /// Paired ends as text: chromosome, start, end of the fragment; or bedtools' ten columns, two intervals a pair.
    Bedpe,
    /// Fragments of single cells (10x `fragments.tsv.gz`): chromosome, start, end, barcode, count.
    Frag,
    /// Alignments of pairs: the fragment of each proper pair.
    Bampe,
}

/// What is asked of a file of reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadsOptions<'a> {
    /// With sizes, reads past a chromosome's end and unknown chromosomes are errors.
    pub sizes: Option<&'a ChromSizes>,
    /// Reads without a strand column are forward ones, as in MACS; otherwise they are an error.
    pub strandless_is_forward: bool,
    /// Keeps the fragments of these barcodes alone.
    pub barcodes: Option<&'a HashSet<String>>,
}

/// Reads that the mean length is taken over (MACS: `tsize`).
const READS_FOR_LENGTH: u32 = 10;
/// Mean lengths (bp) of what can be a file of single reads (MACS: `sniff`), ends not included.
const BELIEVABLE_LENGTHS: std::ops::Range<u32> = 11..10_000;

impl ReadFormat {
    /// Tells the format of single reads by the file's content, as MACS does for `AUTO`.
    ///
    /// Paired ends cannot be told from single reads by their content; their format must be named.
    ///
    /// # Errors
    /// A format that is not read here, with the remedy; records whose mean length is no read's.
    pub fn detect(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let mut reader = decompressed(&file, open_raw(path)?)?;
        let start = reader.fill_buf().map_err(|source| Error::io(&file, source))?;
        if start.starts_with(BAM_MAGIC) {
            return Ok(Self::Bam);
        }
        if start.starts_with(b"CRAM") {
            return Err(Error::file(&file, "is CRAM, which is not read here: convert it with `samtools view -b`"));
        }
        if start.starts_with(b"@HD\t") || start.starts_with(b"@SQ\t") {
            return Err(Error::file(&file, "is SAM text, which is not read here: convert it with `samtools view -b`"));
        }
        let mut rows = Rows::new(&file, reader)?;
        let mut length = ReadLength::default();
        while !length.is_complete()
            && let Some((_, start, end)) =
                rows.next(|row| row.interval(None).map(|(_, start, end)| ((), start, end)))?
        {
            if end > start {
                length.add(end - start);
            }
        }
        match length.mean() {
            Some(mean) if BELIEVABLE_LENGTHS.contains(&mean) => Ok(Self::Bed),
            Some(mean) => {
                Err(Error::file(&file, format!("its records are {mean} bp long, which no reads are: name the format")))
            }
            None => Err(holds_none(&file, "reads", 0)),
        }
    }
}

/// The mean length of the first reads.
#[derive(Default)]
pub(super) struct ReadLength {
    sum: u64,
    count: u32,
}

impl ReadLength {
    /// Takes a read's length.
    pub(super) fn add(&mut self, length: u32) {
        if !self.is_complete() {
            self.sum += u64::from(length);
            self.count += 1;
        }
    }

    fn is_complete(&self) -> bool {
        self.count == READS_FOR_LENGTH
    }

    /// The mean, rounded down; none where no length is known.
    pub(super) fn mean(&self) -> Option<u32> {
        (self.sum > 0).then(|| (self.sum / u64::from(self.count)) as u32)
    }
}

/// The error of a file without reads or fragments.
pub(super) fn holds_none(file: &str, what: &str, skipped: u64) -> Error {
    let skipped = if skipped > 0 { format!(" ({skipped} records were left out)") } else { String::new() };
    Error::file(file, format!("holds no {what}{skipped}"))
}

/// Joins what two files say of a chromosome's length.
pub(super) fn merge_sizes(own: &mut Option<u32>, other: Option<u32>, name: &str) -> Result<()> {
    if let (Some(own), Some(other)) = (*own, other)
        && own != other
    {
        return Err(Error::Data(format!("{name} has {own} bp in one file and {other} bp in another: two assemblies")));
    }
    *own = own.or(other);
    Ok(())
}
