//! Paired ends as fragments.

use std::{io::Read, path::Path};

use super::{
    ReadFormat, ReadsOptions,
    bam::{Alignments, open_bam},
    reads::{holds_none, merge_sizes},
    rows::{Places, Problem, Row, for_each_row},
};
use crate::{Error, Result, text::open_raw};

/// The stretch of DNA between the outer ends of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fragment {
    /// First position (bp, from 0).
    pub start: u32,
    /// Position behind the last one (bp).
    pub end: u32,
    /// Place in [`Fragments::barcodes`]; 0 where the file has no barcodes.
    pub barcode: u32,
    /// How often it was sequenced; 1 where the file does not say.
    pub count: u32,
}

/// The fragments on one chromosome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChromosomeFragments {
    /// Name of the chromosome.
    pub name: String,
    /// Length of the chromosome (bp) where the file says it (BAM) or sizes were given.
    pub size: Option<u32>,
    /// The fragments in the order of the file.
    pub fragments: Vec<Fragment>,
}

/// Paired ends, by chromosome in the order of first appearance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fragments {
    /// Chromosomes with at least one fragment.
    pub chromosomes: Vec<ChromosomeFragments>,
    /// Barcodes of the cells in the order of first appearance; empty where the file has none.
    pub barcodes: Vec<String>,
    /// Records left out: pairs that are not proper or lie on two chromosomes, barcodes that were not asked for.
    pub skipped: u64,
}

impl Fragments {
    /// Reads paired ends from a file of the given format (BEDPE, BAM, 10x fragments), gzipped or not.
    ///
    /// # Errors
    /// The line or record that cannot be understood, a format of single reads, a file without a fragment.
    pub fn read(path: &Path, format: ReadFormat, options: &ReadsOptions<'_>) -> Result<Self> {
        let file = path.display().to_string();
        match format {
            ReadFormat::Bedpe => Self::from_bedpe(&file, open_raw(path)?, options),
            ReadFormat::Frag => Self::from_frag(&file, open_raw(path)?, options),
            ReadFormat::Bampe => Self::from_bampe(&file, open_bam(path)?, options),
            ReadFormat::Bed | ReadFormat::Bam => {
                Err(Error::file(&file, "single reads are no fragments: choose BEDPE, BAMPE or FRAG"))
            }
        }
    }

    /// Reads BEDPE: three columns (chromosome, start, end of the fragment) as MACS, or the ten of bedtools.
    ///
    /// Of bedtools' columns the outer ends of the two intervals are taken; pairs on two chromosomes or with an unmapped
    /// end are left out and counted in `skipped`. `file` names the source in errors.
    ///
    /// # Errors
    /// The line that cannot be understood, a file without a fragment.
    pub fn from_bedpe(file: &str, source: impl Read, options: &ReadsOptions<'_>) -> Result<Self> {
        let mut fragments = Self::default();
        let mut places = Places::default();
        for_each_row(file, source, |row| {
            let is_pair = |column| row.get(column).is_some_and(|word| word.parse::<i64>().is_ok());
            let found = if is_pair(4) && is_pair(5) { pair(row, options)? } else { Some(row.stretch(options.sizes)?) };
            match found {
                Some((chromosome, start, end)) => {
                    let fragment = Fragment { start, end, barcode: 0, count: 1 };
                    fragments.add(&mut places, chromosome, fragment, options);
                }
                None => fragments.skipped += 1,
            }
            Ok(())
        })?;
        fragments.not_empty(file, options)
    }

    /// Reads a 10x fragment file: chromosome, start, end, barcode, count; `file` names the source in errors.
    ///
    /// # Errors
    /// The line that cannot be understood, a file without a fragment of the barcodes asked for.
    pub fn from_frag(file: &str, source: impl Read, options: &ReadsOptions<'_>) -> Result<Self> {
        let mut fragments = Self::default();
        let mut places = Places::default();
        let mut cells = Places::default();
        for_each_row(file, source, |row| {
            let (chromosome, start, end) = row.stretch(options.sizes)?;
            let barcode = row.text(3, "barcode")?;
            let count = row.position(4, "count")?;
            if barcode.is_empty() || count == 0 {
                return Err(format!("barcode `{barcode}` with count {count}: both must be given"));
            }
            if options.barcodes.is_some_and(|kept| !kept.contains(barcode)) {
                fragments.skipped += 1;
                return Ok(());
            }
            let cell = cells.of(barcode, &mut fragments.barcodes, |name| name) as u32;
            fragments.add(&mut places, chromosome, Fragment { start, end, barcode: cell, count }, options);
            Ok(())
        })?;
        fragments.not_empty(file, options)
    }

    /// Reads the proper pairs of a BAM file: from the leftmost start over the template's length, as MACS.
    ///
    /// All other records are left out and counted in `skipped` (so is the second read of each pair). `file` names the
    /// source in errors.
    ///
    /// # Errors
    /// The record that cannot be understood, a file that ends early, lengths that differ from the sizes given, a file
    /// without a proper pair.
    pub fn from_bampe(file: &str, source: impl Read, options: &ReadsOptions<'_>) -> Result<Self> {
        let mut bam = Alignments::new(file, source, options.sizes)?;
        let mut fragments = Self::default();
        let mut places = vec![None; bam.references.len()];
        while let Some(record) = bam.next()? {
            let Some((reference, start, end)) = bam.fragment(&record)? else {
                fragments.skipped += 1;
                continue;
            };
            let on = &bam.references[reference];
            if let Some(sizes) = options.sizes {
                sizes.check(&on.name, end).map_err(|problem| bam.error(&problem))?;
            }
            let list = &mut fragments.chromosomes;
            let place = *places[reference].get_or_insert_with(|| {
                list.push(ChromosomeFragments { name: on.name.clone(), size: Some(on.size), fragments: Vec::new() });
                list.len() - 1
            });
            list[place].fragments.push(Fragment { start, end, barcode: 0, count: 1 });
        }
        fragments.not_empty(file, options)
    }

    fn add(&mut self, places: &mut Places, chromosome: &str, fragment: Fragment, options: &ReadsOptions<'_>) {
        let place = places.of(chromosome, &mut self.chromosomes, |name| ChromosomeFragments {
            size: options.sizes.and_then(|sizes| sizes.get(&name)),
            name,
            fragments: Vec::new(),
        });
        self.chromosomes[place].fragments.push(fragment);
    }

    fn not_empty(self, file: &str, options: &ReadsOptions<'_>) -> Result<Self> {
        match (self.chromosomes.is_empty(), options.barcodes) {
            (false, _) => Ok(self),
            (true, Some(kept)) if self.skipped > 0 => {
                let problem =
                    format!("has none of the {} barcodes asked for: do both end in `-1` or neither?", kept.len());
                Err(Error::file(file, problem))
            }
            (true, _) => Err(holds_none(file, "fragments", self.skipped)),
        }
    }

    /// How many fragments there are; each counts once, however often it was sequenced.
    pub fn total(&self) -> u64 {
        self.chromosomes.iter().map(|chromosome| chromosome.fragments.len() as u64).sum()
    }

    /// The mean length of a fragment (bp); zero where there is none.
    pub fn mean_length(&self) -> f64 {
        let all = self.chromosomes.iter().flat_map(|chromosome| &chromosome.fragments);
        let sum: u64 = all.map(|fragment| u64::from(fragment.end - fragment.start)).sum();
        sum as f64 / self.total().max(1) as f64
    }

    /// The fragments on a chromosome.
    pub fn chromosome(&self, name: &str) -> Option<&ChromosomeFragments> {
        self.chromosomes.iter().find(|chromosome| chromosome.name == name)
    }

    /// Sorts the fragments of each chromosome by start, then end; chromosomes stay in their order.
    pub fn sort(&mut self) {
        for chromosome in &mut self.chromosomes {
            chromosome.fragments.sort_unstable();
        }
    }

    /// Adds the fragments of a second file; equal barcodes are the same cell.
    ///
    /// # Errors
    /// A chromosome whose lengths differ (two assemblies), a file with barcodes and one without.
    pub fn append(&mut self, other: Self) -> Result<()> {
        if self.barcodes.is_empty() != other.barcodes.is_empty() && self.total() > 0 && other.total() > 0 {
            return Err(Error::Data("fragments with barcodes and without cannot be joined".into()));
        }
        let mut cells = Places::known(self.barcodes.iter().map(String::as_str));
        let cells: Vec<u32> =
            other.barcodes.iter().map(|barcode| cells.of(barcode, &mut self.barcodes, |name| name) as u32).collect();
        let mut places = Places::known(self.chromosomes.iter().map(|own| own.name.as_str()));
        for chromosome in other.chromosomes {
            let place = places.of(&chromosome.name, &mut self.chromosomes, |name| ChromosomeFragments {
                name,
                ..ChromosomeFragments::default()
            });
            let own = &mut self.chromosomes[place];
            merge_sizes(&mut own.size, chromosome.size, &chromosome.name)?;
            own.fragments.extend(chromosome.fragments.iter().map(|fragment| Fragment {
                barcode: cells.get(fragment.barcode as usize).copied().unwrap_or(0),
                ..*fragment
            }));
        }
        self.skipped += other.skipped;
        Ok(())
    }
}

/// The outer ends of bedtools' two intervals; nothing for ends on two chromosomes or an unmapped one (`.`, -1).
fn pair<'a>(row: &Row<'a>, options: &ReadsOptions<'_>) -> Result<Option<(&'a str, u32, u32)>, Problem> {
    let (first, second) = (row.text(0, "chromosome")?, row.text(3, "second chromosome")?);
    if first != second || first == "." {
        return Ok(None);
    }
    let (chromosome, start, end) = row.stretch(options.sizes)?;
    let (second_start, second_end) = (row.position(4, "second start")?, row.position(5, "second end")?);
    if second_end <= second_start {
        return Err(format!("second end {second_end} is not behind second start {second_start}"));
    }
    let (start, end) = (start.min(second_start), end.max(second_end));
    if let Some(sizes) = options.sizes {
        sizes.check(chromosome, end)?;
    }
    Ok(Some((chromosome, start, end)))
}
