//! Single reads as their 5' ends.

use std::{io::Read, path::Path};

use super::{
    ReadFormat, ReadsOptions, Strand,
    bam::{Alignments, open_bam},
    reads::{ReadLength, holds_none, merge_sizes},
    rows::{Places, for_each_row},
};
use crate::{Error, Result, text::open_raw};

/// The 5' ends of the reads on one chromosome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChromosomeTags {
    /// Name of the chromosome.
    pub name: String,
    /// Length of the chromosome (bp) where the file says it (BAM) or sizes were given.
    pub size: Option<u32>,
    /// First position of each forward read (bp, from 0).
    pub forward: Vec<u32>,
    /// Position behind the last one of each reverse read (bp): its 5' end as MACS counts it.
    pub reverse: Vec<u32>,
}

impl ChromosomeTags {
    /// How many reads there are on both strands.
    pub fn len(&self) -> usize {
        self.forward.len() + self.reverse.len()
    }

    /// Whether there is no read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The 5' ends of single reads, by chromosome in the order of first appearance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tags {
    /// Chromosomes with at least one read.
    pub chromosomes: Vec<ChromosomeTags>,
    /// Mean length of the first ten reads (BAM: records of any kind), in bp, rounded down, as MACS takes it.
    pub read_length: Option<u32>,
    /// Records of a BAM file that are no read to count: unmapped, secondary, failed, or not the first of a proper pair.
    pub skipped: u64,
}

impl Tags {
    /// Reads single reads from a file of the given format (BED or BAM), gzipped or not.
    ///
    /// # Errors
    /// The line or record that cannot be understood, a format of pairs, a file without a read.
    pub fn read(path: &Path, format: ReadFormat, options: &ReadsOptions<'_>) -> Result<Self> {
        let file = path.display().to_string();
        match format {
            ReadFormat::Bed => Self::from_bed(&file, open_raw(path)?, options),
            ReadFormat::Bam => Self::from_bam(&file, open_bam(path)?, options),
            ReadFormat::Bedpe | ReadFormat::Frag | ReadFormat::Bampe => {
                Err(Error::file(&file, "a file of pairs is read as fragments, not as single reads"))
            }
        }
    }

    /// Reads BED: the start of a `+` read, the end of a `-` read; `file` names the source in errors.
    ///
    /// # Errors
    /// The line that cannot be understood or has no strand, a file without a read.
    pub fn from_bed(file: &str, source: impl Read, options: &ReadsOptions<'_>) -> Result<Self> {
        let mut tags = Self::default();
        let mut places = Places::default();
        let mut length = ReadLength::default();
        for_each_row(file, source, |row| {
            let (chromosome, start, end) = row.stretch(options.sizes)?;
            let strand = match row.get(5) {
                Some(word) => Strand::parse(word)?,
                None => options.strandless_is_forward.then_some(Strand::Forward),
            };
            let Some(strand) = strand else {
                return Err(
                    "has no strand (column 6): reads need `+` or `-`; for paired ends choose BEDPE or FRAG".into()
                );
            };
            length.add(end - start);
            let place = places.of(chromosome, &mut tags.chromosomes, |name| ChromosomeTags {
                size: options.sizes.and_then(|sizes| sizes.get(&name)),
                name,
                ..ChromosomeTags::default()
            });
            match strand {
                Strand::Forward => tags.chromosomes[place].forward.push(start),
                Strand::Reverse => tags.chromosomes[place].reverse.push(end),
            }
            Ok(())
        })?;
        tags.read_length = length.mean();
        tags.not_empty(file)
    }

    /// Reads BAM: the leftmost position of a forward read, the rightmost of a reverse one, as MACS; no index is needed.
    ///
    /// Unmapped, failed, secondary and supplementary records are left out and counted in `skipped`; of a pair the first
    /// read counts, if the pair is proper. `file` names the source in errors.
    ///
    /// # Errors
    /// The record that cannot be understood, a file that ends early, lengths that differ from the sizes given, a file
    /// without a read.
    pub fn from_bam(file: &str, source: impl Read, options: &ReadsOptions<'_>) -> Result<Self> {
        let mut bam = Alignments::new(file, source, options.sizes)?;
        let mut tags = Self::default();
        let mut places = vec![None; bam.references.len()];
        let mut length = ReadLength::default();
        while let Some(record) = bam.next()? {
            length.add(record.read_length);
            let Some((reference, end, is_reverse)) = bam.five_prime_end(&record)? else {
                tags.skipped += 1;
                continue;
            };
            let on = &bam.references[reference];
            if let Some(sizes) = options.sizes {
                sizes.check(&on.name, end).map_err(|problem| bam.error(&problem))?;
            }
            let place = *places[reference].get_or_insert_with(|| {
                tags.chromosomes.push(ChromosomeTags {
                    name: on.name.clone(),
                    size: Some(on.size),
                    ..ChromosomeTags::default()
                });
                tags.chromosomes.len() - 1
            });
            let chromosome = &mut tags.chromosomes[place];
            if is_reverse { chromosome.reverse.push(end) } else { chromosome.forward.push(end) }
        }
        tags.read_length = length.mean();
        tags.not_empty(file)
    }

    fn not_empty(self, file: &str) -> Result<Self> {
        if self.chromosomes.is_empty() {
            return Err(holds_none(file, "reads", self.skipped));
        }
        Ok(self)
    }

    /// How many reads there are.
    pub fn total(&self) -> u64 {
        self.chromosomes.iter().map(|chromosome| chromosome.len() as u64).sum()
    }

    /// The reads on a chromosome.
    pub fn chromosome(&self, name: &str) -> Option<&ChromosomeTags> {
        self.chromosomes.iter().find(|chromosome| chromosome.name == name)
    }

    /// Sorts each strand of each chromosome by position; chromosomes stay in their order.
    pub fn sort(&mut self) {
        for chromosome in &mut self.chromosomes {
            chromosome.forward.sort_unstable();
            chromosome.reverse.sort_unstable();
        }
    }

    /// Adds the reads of a second file; the read length stays that of the first, as in MACS.
    ///
    /// # Errors
    /// A chromosome whose lengths differ: the files are of two assemblies.
    pub fn append(&mut self, other: Self) -> Result<()> {
        let mut places = Places::known(self.chromosomes.iter().map(|own| own.name.as_str()));
        for chromosome in other.chromosomes {
            let place = places.of(&chromosome.name, &mut self.chromosomes, |name| ChromosomeTags {
                name,
                ..ChromosomeTags::default()
            });
            let own = &mut self.chromosomes[place];
            merge_sizes(&mut own.size, chromosome.size, &chromosome.name)?;
            own.forward.extend(chromosome.forward);
            own.reverse.extend(chromosome.reverse);
        }
        self.read_length = self.read_length.or(other.read_length);
        self.skipped += other.skipped;
        Ok(())
    }
}
