//! Reads counted in bins, placed as ChromHMM places them.

use std::path::Path;

use gradome_io::for_each_line;
use gradome_io::genome::{ChromSizes, for_each_mapped_read};

use super::{BinariseOptions, ReadFiles};
use crate::Result;

/// Counts of reads in the bins of each chromosome.
pub(super) struct Counts {
    /// `[chromosomes][bins]`
    pub bins: Vec<Vec<u32>>,
}

/// What is told of a file of reads.
#[derive(Default)]
pub(super) struct Told {
    pub counted: u64,
    pub beyond: u64,
    pub elsewhere: u64,
}

impl Counts {
    pub fn new(sizes: &ChromSizes, options: &BinariseOptions) -> Self {
        Self { bins: sizes.iter().map(|(_, size)| vec![0; (i64::from(size) / options.bin_size) as usize]).collect() }
    }

    /// Counts a read, or a peak in every bin it touches.
    fn add(&mut self, sizes: &ChromSizes, chromosome: &str, bins: (i64, i64), told: &mut Told) {
        let Some(place) = sizes.place(chromosome) else {
            told.elsewhere += 1;
            return;
        };
        let of = &mut self.bins[place];
        let (first, last) = bins;
        let mut counted = false;
        for bin in first..=last.min(of.len() as i64 - 1) {
            if let Ok(bin) = usize::try_from(bin) {
                of[bin] = of[bin].saturating_add(1);
                counted = true;
            }
        }
        if counted { told.counted += 1 } else { told.beyond += 1 }
    }

    /// Adds the reads of a file.
    pub fn read(&mut self, path: &Path, sizes: &ChromSizes, options: &BinariseOptions, told: &mut Told) -> Result<()> {
        if options.reads == ReadFiles::Bed {
            for_each_line(path, |line| {
                let header = ["#", "track", "browser"].iter().any(|word| line.starts_with(word));
                if header || line.trim().is_empty() {
                    return Ok(());
                }
                let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                let (chromosome, bins) = bed_bins(&fields, options)?;
                self.add(sizes, chromosome, bins, told);
                Ok(())
            })?;
            return Ok(());
        }
        for_each_mapped_read(path, |read| {
            let fragment = match options.reads {
                ReadFiles::PairedBam if !read.paired => {
                    return Err("is not of a pair, but -paired was given; -mixed takes both".into());
                }
                ReadFiles::PairedBam => true,
                ReadFiles::MixedBam => read.paired,
                _ => false,
            };
            let bins = if fragment {
                if !read.first_of_proper_pair {
                    return Ok(());
                }
                // the template's length is negative where the first read is reverse
                let half = i64::from(read.template_length) / 2;
                let end = if read.reverse { read.end - options.offset_end } else { read.start - options.offset_start };
                let bin = (end + half) / options.bin_size;
                (bin, bin)
            } else {
                bins_of(read.start, read.end, Some(!read.reverse), options)?
            };
            self.add(sizes, read.chromosome, bins, told);
            Ok(())
        })?;
        Ok(())
    }
}

/// First and last bin of a read or peak. Divisions cut towards zero, as in the reference.
fn bins_of(start: i64, end: i64, forward: Option<bool>, options: &BinariseOptions) -> Result<(i64, i64), String> {
    let (start, last) = (start - options.offset_start, end - options.offset_end);
    let size = options.bin_size;
    if options.peaks {
        return Ok(((start / size).max(0), last / size));
    }
    let bin = if options.center {
        (start + last) / (2 * size)
    } else {
        match forward.ok_or("has no strand (+ or -); give -center for records without one")? {
            true => (start + options.shift) / size,
            false => (last - options.shift) / size,
        }
    };
    Ok((bin, bin))
}

fn bed_bins<'a>(fields: &[&'a str], options: &BinariseOptions) -> Result<(&'a str, (i64, i64)), String> {
    let [chromosome, start, end, strand] = options.columns.unwrap_or([0, 1, 2, 5]);
    let field = |column: usize| {
        let value = fields.get(column).copied();
        value.ok_or_else(|| format!("has {} columns, column {} is needed", fields.len(), column + 1))
    };
    let position = |column: usize| {
        let text = field(column)?;
        let value = text.parse::<u32>().map(i64::from);
        value.map_err(|_| format!("column {} ('{text}') is not a position", column + 1))
    };
    let (start, end) = (position(start)?, position(end)?);
    if end < start {
        return Err(format!("end {end} is before start {start}"));
    }
    let strand = match options.columns {
        Some(_) => fields.get(strand).copied(),
        None => fields.get(strand.min(fields.len().saturating_sub(1))).copied().filter(|_| fields.len() > 3),
    };
    let forward = match strand {
        Some("+") => Some(true),
        Some("-") => Some(false),
        _ => None,
    };
    Ok((field(chromosome)?, bins_of(start, end, forward, options)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_shifted_from_their_five_prime_end() {
        let options = BinariseOptions::default();
        let bins = |line: &str| {
            bed_bins(&line.split('\t').collect::<Vec<_>>(), &options).map(|(_, bins)| bins.0).map_err(|e| e.to_string())
        };
        assert_eq!(bins("chr1\t299\t335\tr\t0\t+"), Ok(1));
        assert_eq!(bins("chr1\t300\t336\t+"), Ok(2));
        assert_eq!(bins("chr1\t465\t501\tr\t0\t-"), Ok(2));
        assert_eq!(bins("chr1\t464\t500\tr\t-"), Ok(1));
        assert!(bins("chr1\t464\t500").unwrap_err().contains("no strand"));
        assert!(bins("chr1\t500\t464\tr\t0\t+").unwrap_err().contains("end 464 is before start 500"));
        assert!(bins("chr1\t-5\t464\tr\t0\t+").unwrap_err().contains("column 2 ('-5')"));
    }
}
