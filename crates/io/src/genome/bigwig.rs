//! Signal in binary with an index (bigWig, Kent et al. 2010, doi:10.1093/bioinformatics/btq351).

use std::{ops::Range, path::Path};

use gwseq_io::{
    bbi::{BbiKind, BbiReader, BbiWriter, BbiWriterOptions, ValuesRequest},
    genomic::{ChrMap, Locs},
};

use super::{ChromSizes, ChromosomeSignal, Run, Signal};
use crate::{Error, Result, text::open_raw, write::write_atomic_at};

/// Base pairs that are looked at in one go: memory stays at a few megabytes, whatever range is asked for.
const STRETCH: u32 = 1 << 20;

/// A bigWig file that is open for reading.
#[derive(Debug)]
pub struct BigWig {
    file: String,
    reader: BbiReader,
    sizes: ChromSizes,
}

impl BigWig {
    /// Opens a bigWig file and reads its chromosomes.
    ///
    /// # Errors
    /// A file that is no bigWig or is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        open_raw(path)?;
        let name = path.to_str().ok_or_else(|| Error::file(&file, "the file's name is not UTF-8: rename it"))?;
        // One thread, the crate's own choice of zoom levels (none is used here) and of buffers.
        let reader = BbiReader::open(name, 1, 1.0 / 3.0, None, None).map_err(|error| damaged(&file, &error))?;
        if reader.kind() != BbiKind::BigWig {
            return Err(Error::file(&file, "is bigBed, not bigWig"));
        }
        let mut chromosomes = Vec::new();
        for entry in reader.chr_sizes().iter() {
            let size = u32::try_from(entry.size).map_err(|_| Error::file(&file, "a chromosome's length is damaged"))?;
            chromosomes.push((entry.id.clone(), size));
        }
        let sizes = ChromSizes::new(chromosomes).map_err(|error| Error::file(&file, error.to_string()))?;
        Ok(Self { file, reader, sizes })
    }

    /// The chromosomes of the file and their lengths (bp).
    pub fn sizes(&self) -> &ChromSizes {
        &self.sizes
    }

    /// The signal in a range of a chromosome; neighbours of equal value become one run.
    ///
    /// # Errors
    /// A chromosome that the file does not have, a range past its end, a damaged file.
    pub fn read(&self, chromosome: &str, range: Range<u32>) -> Result<ChromosomeSignal> {
        self.sizes.check(chromosome, range.end).map_err(|problem| Error::file(&self.file, problem))?;
        let mut runs: Vec<Run> = Vec::new();
        let mut from = range.start;
        while from < range.end {
            let to = range.end.min(from.saturating_add(STRETCH));
            for (at, value) in (from..to).zip(self.values(chromosome, from, to)?) {
                match runs.last_mut() {
                    _ if value.is_nan() => {}
                    Some(run) if run.end == at && run.value == value => run.end = at + 1,
                    _ => runs.push(Run { start: at, end: at + 1, value }),
                }
            }
            from = to;
        }
        Ok(ChromosomeSignal { name: chromosome.to_owned(), size: self.sizes.get(chromosome), runs })
    }

    /// The whole file; chromosomes without signal are left out.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read_all(&self) -> Result<Signal> {
        let mut chromosomes = Vec::new();
        for (name, size) in self.sizes.iter() {
            chromosomes.push(self.read(name, 0..size)?);
        }
        chromosomes.retain(|chromosome| !chromosome.runs.is_empty());
        Ok(Signal { chromosomes })
    }

    /// The value of each base pair, NaN where there is none.
    fn values(&self, chromosome: &str, from: u32, to: u32) -> Result<impl Iterator<Item = f32> + use<>> {
        let read = || {
            let place = Locs::spans(&[chromosome.to_owned()], &[i64::from(from)], &[i64::from(to)])?;
            self.reader.read_values(&ValuesRequest::new(place).bin_size(1.0).def_value(f32::NAN))
        };
        let values = read().map_err(|error| damaged(&self.file, &error))?;
        if values.len() != (to - from) as usize {
            return Err(Error::file(&self.file, format!("gives {} values for {chromosome}:{from}-{to}", values.len())));
        }
        Ok(values.into_iter())
    }
}

fn damaged(file: &str, error: &gwseq_io::Error) -> Error {
    Error::file(file, format!("cannot be read as bigWig ({error}): copy or write it again"))
}

/// Writes bigWig with its zoom levels, atomically; the file names only the chromosomes that have signal.
///
/// # Errors
/// Runs that are out of order, overlap, are not finite or lie past a chromosome's end; a chromosome that has no size;
/// what the system says.
pub fn write_bigwig(path: &Path, sizes: &ChromSizes, signal: &Signal) -> Result<()> {
    let file = path.display().to_string();
    for chromosome in &signal.chromosomes {
        chromosome.validate()?;
        let end = chromosome.runs.last().map_or(0, |run| run.end);
        sizes.check(&chromosome.name, end).map_err(|problem| Error::file(&file, problem))?;
    }
    let chromosomes = ChrMap::from_entries(sizes.iter().map(|(name, size)| (name.to_owned(), i64::from(size))));
    let options = BbiWriterOptions { chr_sizes: Some(chromosomes), parallel: 1, ..BbiWriterOptions::default() };
    write_atomic_at(path, |unfinished| {
        let write = || {
            let name = unfinished.to_str().unwrap_or_default();
            let mut writer = BbiWriter::create(name, options)?;
            for chromosome in &signal.chromosomes {
                for run in &chromosome.runs {
                    writer.write_value(&chromosome.name, i64::from(run.start), i64::from(run.end), run.value)?;
                }
            }
            writer.close()
        };
        write().map_err(|error: gwseq_io::Error| Error::file(&file, format!("cannot be written: {error}")))
    })
}
