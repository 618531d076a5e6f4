//! A sample's reads, sorted, without duplicates, by chromosome.

use std::collections::BTreeSet;

use gradome_io::genome::{ChromosomeFragments, ChromosomeTags, Fragments, Tags};
use rayon::prelude::*;

use super::config::{Duplicates, MacsConfig};
use super::pileup::{Moved, Track, pile_up};
use crate::{Error, Result};

/// What peaks are called from.
#[derive(Clone, Debug)]
pub enum Reads {
    /// 5' ends of single reads: each is extended to the fragment size.
    Single(Tags),
    /// Paired ends: each fragment is as long as it is.
    Pairs(Fragments),
    /// Fragments of cells with counts: none is a duplicate, each counts as often as it was seen.
    Cells(Fragments),
}

impl Reads {
    pub(super) fn are_paired(&self) -> bool {
        !matches!(self, Self::Single(_))
    }
}

/// Reads before and after duplicates were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Reads (or fragments) in the files.
    pub before: u64,
    /// Those that remain. Of single reads a strand of a chromosome that holds one read counts none, as in MACS3,
    /// whose results depend on this number.
    pub after: u64,
}

/// A chromosome's reads.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub name: String,
    size: Option<u32>,
    pub reads: PlacedReads,
}

#[derive(Clone, Debug)]
pub(super) enum PlacedReads {
    /// Sorted 5' ends by strand.
    Single { forward: Vec<u32>, reverse: Vec<u32> },
    /// Starts and ends, each sorted, with their counts; no counts where each is 1.
    Paired { starts: Vec<u32>, start_counts: Vec<u32>, ends: Vec<u32>, end_counts: Vec<u32>, weighted: bool },
}

/// All reads of a sample.
#[derive(Clone, Debug)]
pub(super) struct Library {
    /// By name.
    pub chromosomes: Vec<Placed>,
    pub counts: ReadCounts,
    /// Sum of the lengths of all fragments that remain (bp); 0 for single reads.
    pub template_length: u64,
    /// Mean length of those (bp).
    pub mean_template: f32,
    /// Mean length of all fragments of the files (bp), or of the first reads.
    pub tag_size: f32,
    /// Reads that were kept at one place; `None` is all.
    pub limit: Option<u32>,
}

impl Library {
    /// Sorts reads and leaves out duplicates; `limit` is that of another sample, where it has to be the same.
    pub fn new(reads: Reads, config: &MacsConfig, limit: Option<Option<u32>>) -> Result<Self> {
        let limit = |total: u64| {
            limit.unwrap_or(match config.duplicates {
                Duplicates::All => None,
                Duplicates::AtMost(most) => Some(most),
                Duplicates::Auto => Some(most_by_chance(total, config.genome_size).max(1)),
            })
        };
        match reads {
            Reads::Single(tags) => {
                let limit = limit(tags.total());
                Self::single(tags, config, limit)
            }
            Reads::Pairs(fragments) => {
                let limit = limit(fragments.total());
                Self::paired(fragments, config, limit, false)
            }
            Reads::Cells(fragments) => Self::paired(fragments, config, None, true),
        }
    }

    fn single(tags: Tags, config: &MacsConfig, limit: Option<u32>) -> Result<Self> {
        let before = tags.total();
        let Some(tag_size) = config.tag_size.or(tags.read_length) else {
            return Err(Error::Data("the reads have no length: give the tag size".into()));
        };
        let place = |chromosome: ChromosomeTags| {
            let ChromosomeTags { name, size, mut forward, mut reverse } = chromosome;
            let mut counted = 0;
            for strand in [&mut forward, &mut reverse] {
                strand.sort_unstable();
                match limit {
                    Some(limit) => {
                        keep_at_most(limit, strand);
                        counted += if strand.len() > 1 { strand.len() as u64 } else { 0 };
                    }
                    None => counted += strand.len() as u64,
                }
            }
            (Placed { name, size, reads: PlacedReads::Single { forward, reverse } }, counted)
        };
        let placed: Vec<(Placed, u64)> = tags.chromosomes.into_par_iter().map(place).collect();
        let after = placed.iter().map(|(_, counted)| counted).sum();
        if after == 0 {
            return Err(Error::Data("no chromosome has two reads on one strand: there is nothing to call from".into()));
        }
        Ok(Self {
            chromosomes: by_name(placed.into_iter().map(|(placed, _)| placed).collect())?,
            counts: ReadCounts { before, after },
            template_length: 0,
            mean_template: 0.0,
            tag_size: tag_size as f32,
            limit,
        })
    }

    fn paired(mut fragments: Fragments, config: &MacsConfig, limit: Option<u32>, weighted: bool) -> Result<Self> {
        // single or double precision as the reference's parsers have it: scales, and so printed digits, depend on it
        let from_bam = fragments.chromosomes.iter().any(|chromosome| chromosome.size.is_some());
        let (sum, number) = lengths(&fragments);
        let tag_size = if from_bam { (sum as f64 / number as f64) as f32 } else { sum as f32 / number as f32 };
        if weighted {
            if let Some(barcodes) = &config.barcodes {
                select(&mut fragments, barcodes)?;
            }
            if let Some(most) = config.max_count {
                let all = fragments.chromosomes.iter_mut().flat_map(|chromosome| &mut chromosome.fragments);
                all.for_each(|fragment| fragment.count = fragment.count.min(most));
            }
        }
        let count = |all: &[gradome_io::genome::Fragment]| -> u64 {
            if weighted { all.iter().map(|fragment| u64::from(fragment.count)).sum() } else { all.len() as u64 }
        };
        let before = fragments.chromosomes.iter().map(|chromosome| count(&chromosome.fragments)).sum();
        let place = |chromosome: ChromosomeFragments| {
            let ChromosomeFragments { name, size, mut fragments } = chromosome;
            fragments.sort_unstable_by_key(|fragment| (fragment.start, fragment.end));
            if let Some(limit) = limit {
                let mut same = 0;
                let mut last = None;
                fragments.retain(|fragment| {
                    let place = Some((fragment.start, fragment.end));
                    same = if last == place { same + 1 } else { 1 };
                    last = place;
                    same <= limit
                });
            }
            let weight = |count: u32| if weighted { count } else { 1 };
            let length: u64 = fragments
                .iter()
                .map(|fragment| u64::from(fragment.end - fragment.start) * u64::from(weight(fragment.count)))
                .sum();
            let counted = count(&fragments);
            let starts = fragments.iter().map(|fragment| fragment.start).collect();
            let counts = |all: &[gradome_io::genome::Fragment]| {
                if weighted { all.iter().map(|fragment| fragment.count).collect() } else { Vec::new() }
            };
            let start_counts = counts(&fragments);
            fragments.sort_unstable_by_key(|fragment| fragment.end);
            let ends = fragments.iter().map(|fragment| fragment.end).collect();
            let end_counts = counts(&fragments);
            let reads = PlacedReads::Paired { starts, start_counts, ends, end_counts, weighted };
            (Placed { name, size, reads }, counted, length)
        };
        let placed: Vec<(Placed, u64, u64)> = fragments.chromosomes.into_par_iter().map(place).collect();
        let after = placed.iter().map(|(_, counted, _)| counted).sum();
        let template_length: u64 = placed.iter().map(|(_, _, length)| length).sum();
        let mean_template = match limit {
            Some(_) => (template_length as f64 / after as f64) as f32,
            None => template_length as f32 / after as f32,
        };
        let chromosomes = by_name(placed.into_iter().map(|(placed, ..)| placed).collect())?;
        let counts = ReadCounts { before, after };
        Ok(Self { chromosomes, counts, template_length, mean_template, tag_size, limit })
    }
}

/// Sum of the lengths of all fragments, and their number.
fn lengths(fragments: &Fragments) -> (u64, u64) {
    let all = fragments.chromosomes.iter().flat_map(|chromosome| &chromosome.fragments);
    all.fold((0, 0), |(sum, number), fragment| (sum + u64::from(fragment.end - fragment.start), number + 1))
}

/// Keeps the fragments of some barcodes.
fn select(fragments: &mut Fragments, barcodes: &BTreeSet<String>) -> Result<()> {
    let kept: Vec<bool> = fragments.barcodes.iter().map(|barcode| barcodes.contains(barcode)).collect();
    for chromosome in &mut fragments.chromosomes {
        chromosome.fragments.retain(|fragment| kept.get(fragment.barcode as usize).copied().unwrap_or(false));
    }
    fragments.chromosomes.retain(|chromosome| !chromosome.fragments.is_empty());
    if fragments.chromosomes.is_empty() {
        let (asked, known) = (barcodes.len(), fragments.barcodes.len());
        let example = fragments.barcodes.first().map_or("", String::as_str);
        return Err(Error::Data(format!(
            "none of the {asked} barcodes is among the {known} of the fragments, such as {example}: do both end in -1?"
        )));
    }
    Ok(())
}

/// Sorts by name; chromosomes given twice are an error.
fn by_name(mut placed: Vec<Placed>) -> Result<Vec<Placed>> {
    placed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match placed.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(Error::Data(format!("chromosome {} is given twice", pair[0].name))),
        None => Ok(placed),
    }
}

/// Keeps at most `limit` of equal positions.
fn keep_at_most(limit: u32, sorted: &mut Vec<u32>) {
    let (mut same, mut last) = (0, None);
    sorted.retain(|&position| {
        same = if last == Some(position) { same + 1 } else { 1 };
        last = Some(position);
        same <= limit
    });
}

/// The number of reads at one place that chance exceeds with probability 1e-5 at most.
fn most_by_chance(reads: u64, genome_size: f64) -> u32 {
    const PROBABILITY: f64 = 1e-5;
    let chance = 1.0 / genome_size;
    let odds = chance / (1.0 - chance);
    let mut probability = (reads as f64 * (-chance).ln_1p()).exp();
    let mut sum = probability;
    let mut most = 0;
    while sum <= 1.0 - PROBABILITY && most < reads {
        probability *= (reads - most) as f64 / (most + 1) as f64 * odds;
        sum += probability;
        most += 1;
    }
    u32::try_from(most).unwrap_or(u32::MAX)
}

impl Placed {
    /// How many positions are stored: the runs of a pileup are at most twice as many.
    pub fn positions(&self) -> usize {
        match &self.reads {
            PlacedReads::Single { forward, reverse } => forward.len() + reverse.len(),
            PlacedReads::Paired { starts, ends, .. } => starts.len() + ends.len(),
        }
    }

    /// The pileup of fragments: single reads are moved by `shift` and extended to `fragment_size`.
    pub fn fragments(&self, fragment_size: u32, shift: i32, scale: f32) -> Track {
        match &self.reads {
            PlacedReads::Single { forward, reverse } => {
                let (shift, far) = (i64::from(shift), i64::from(shift) + i64::from(fragment_size));
                let starts = [Moved::new(forward, shift), Moved::new(reverse, -far)];
                let ends = [Moved::new(forward, far), Moved::new(reverse, -shift)];
                pile_up(&starts, &ends, self.size, scale, 0.0)
            }
            PlacedReads::Paired { starts, start_counts, ends, end_counts, .. } => {
                let starts = [Moved::weighted(starts, start_counts, 0)];
                pile_up(&starts, &[Moved::weighted(ends, end_counts, 0)], self.size, scale, 0.0)
            }
        }
    }

    /// The pileup of windows of `width` around each 5' end; around both ends of pairs.
    pub fn windows(&self, width: u32, scale: f32, floor: f32) -> Track {
        let half = i64::from(width / 2);
        let rest = i64::from(width) - half;
        match &self.reads {
            PlacedReads::Single { forward, reverse } => {
                let starts = [Moved::new(forward, -half), Moved::new(reverse, -rest)];
                let ends = [Moved::new(forward, rest), Moved::new(reverse, half)];
                pile_up(&starts, &ends, self.size, scale, floor)
            }
            PlacedReads::Paired { starts, start_counts, ends, end_counts, weighted } => {
                // the reference rounds an odd width down for pairs, but not for the fragments of cells
                let right = if *weighted { rest } else { half };
                let around =
                    |offset| [Moved::weighted(starts, start_counts, offset), Moved::weighted(ends, end_counts, offset)];
                pile_up(&around(-half), &around(right), self.size, scale, floor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_so_many_reads_of_one_position_stay() {
        let mut reads = vec![3, 3, 3, 5, 7, 7];
        keep_at_most(2, &mut reads);
        assert_eq!(reads, [3, 3, 5, 7, 7]);
        keep_at_most(1, &mut reads);
        assert_eq!(reads, [3, 5, 7]);
    }

    #[test]
    fn the_automatic_limit_is_a_quantile_of_the_binomial_distribution() {
        // scipy.stats.binom.ppf(1 - 1e-5, n, 1 / g)
        assert_eq!(most_by_chance(49_622, 5.2e7), 1);
        assert_eq!(most_by_chance(10_000_000, 1e8), 3);
        assert_eq!(most_by_chance(1_000_000, 1e5), 26);
    }
}
