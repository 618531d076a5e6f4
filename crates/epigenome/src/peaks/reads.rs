//! Binned tracks of stretches of the genome, straight from reads.

use std::collections::BTreeMap;

use gradome_io::genome::Tags;

use crate::{Error, Result};

/// The tracks of a stretch, in their order: pileups of fragments and of the control's, 5' ends by strand, and the mean
/// of the control's pileup over 1 kb and 10 kb around.
pub const TRACKS: [&str; 6] = ["treatment", "control", "forward_ends", "reverse_ends", "control_1kb", "control_10kb"];

/// The tracks that change places on the other strand.
pub(crate) const STRAND_TRACKS: (usize, usize) = (2, 3);

/// Widths of the control's means, in base pairs.
const BACKGROUND: [usize; 2] = [1_000, 10_000];

/// A stretch of a chromosome in bins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its chromosome.
    pub chromosome: String,
    /// The first position, in base pairs from 0.
    pub start: u32,
    /// How many bins it has.
    pub bins: usize,
}

/// A random part of the reads. Whether a read belongs to it depends on the seed and the read alone, so that
/// overlapping stretches see the same part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thinning {
    /// The share of reads that are kept, 0 to 1.
    pub keep: f64,
    /// Which part it is.
    pub seed: u64,
}

/// 5' ends of one chromosome by strand, sorted, each place once.
#[derive(Clone, Debug, Default)]
struct Ends {
    /// First positions of reads on the forward strand.
    forward: Vec<u32>,
    /// Ends (exclusive) of reads on the reverse strand.
    reverse: Vec<u32>,
}

/// Reads of a treatment and perhaps a control, each place and strand counted once.
pub struct ReadLibrary {
    fragment_size: u32,
    treatment: BTreeMap<String, Ends>,
    control: Option<BTreeMap<String, Ends>>,
}

fn ends_of(tags: Tags) -> BTreeMap<String, Ends> {
    let mut all = BTreeMap::<String, Ends>::new();
    for chromosome in tags.chromosomes {
        let ends = all.entry(chromosome.name).or_default();
        ends.forward.extend(chromosome.forward);
        ends.reverse.extend(chromosome.reverse);
    }
    for ends in all.values_mut() {
        for list in [&mut ends.forward, &mut ends.reverse] {
            list.sort_unstable();
            list.dedup();
        }
    }
    all
}

impl ReadLibrary {
    /// Takes reads in; reads that start at the same place of the same strand count once. Fragments are taken to be of
    /// one size, in base pairs.
    ///
    /// # Errors
    /// When the treatment has no reads, the control has none on a chromosome that the treatment has, or the fragment
    /// size is 0.
    pub fn new(treatment: Tags, control: Option<Tags>, fragment_size: u32) -> Result<Self> {
        if fragment_size == 0 {
            return Err(Error::Data("a fragment size of 0 bp; give the library's, MACS estimates it".into()));
        }
        let (treatment, control) = (ends_of(treatment), control.map(ends_of));
        if treatment.is_empty() {
            return Err(Error::Data("the treatment has no reads".into()));
        }
        if let Some(control) = &control
            && let Some(missing) = treatment.keys().find(|name| !control.contains_key(*name))
        {
            let problem =
                format!("the control has no reads on {missing}; leave the chromosome out or the control away");
            return Err(Error::Data(problem));
        }
        Ok(Self { fragment_size, treatment, control })
    }

    /// The size of fragments, in base pairs.
    pub fn fragment_size(&self) -> u32 {
        self.fragment_size
    }

    /// Every chromosome with reads, and where its last fragment ends, in base pairs.
    pub fn chromosomes(&self) -> impl Iterator<Item = (&str, u32)> {
        self.treatment.iter().map(|(name, ends)| {
            let forward = ends.forward.last().map_or(0, |start| start.saturating_add(self.fragment_size));
            (name.as_str(), forward.max(ends.reverse.last().copied().unwrap_or(0)))
        })
    }

    /// The chromosomes as stretches of bins of `bin` base pairs.
    pub fn stretches(&self, bin: u32) -> Vec<Stretch> {
        let whole = |(name, size): (&str, u32)| Stretch {
            chromosome: name.to_owned(),
            start: 0,
            bins: size.div_ceil(bin) as usize,
        };
        self.chromosomes().map(whole).collect()
    }

    /// The tracks `[6, bins]` ([`TRACKS`]) of a stretch, with all reads or a random part of them. Without a control the
    /// treatment stands in its place.
    pub fn tracks(&self, stretch: &Stretch, bin: u32, thinning: Option<Thinning>) -> Vec<f32> {
        let nothing = Ends::default();
        let treatment = self.treatment.get(&stretch.chromosome).unwrap_or(&nothing);
        let control = self.control.as_ref().map_or(treatment, |all| all.get(&stretch.chromosome).unwrap_or(&nothing));
        let (step, bins) = (bin as usize, stretch.bins);
        let start = stretch.start as usize;
        let mut out = vec![0.0; TRACKS.len() * bins];
        let (pileup, rest) = out.split_at_mut(bins);
        let (control_pileup, rest) = rest.split_at_mut(bins);
        let (forward, rest) = rest.split_at_mut(bins);
        let (reverse, background) = rest.split_at_mut(bins);

        self.pileup(treatment, start..start + bins * step, step, thinning, pileup);
        // the control, with what lies around the stretch
        let margin = BACKGROUND[1].div_ceil(2 * step);
        let before = margin.min(start / step);
        let around = start - before * step..start + (bins + margin) * step;
        let control_thinning = thinning.map(|t| Thinning { seed: t.seed ^ CONTROL, ..t });
        let mut wide = vec![0.0; before + bins + margin];
        self.pileup(control, around, step, control_thinning, &mut wide);
        control_pileup.copy_from_slice(&wide[before..before + bins]);
        for (width, out) in BACKGROUND.iter().zip(background.chunks_exact_mut(bins.max(1))) {
            running_mean(&wide, width / step, before, out);
        }
        let within = start as u32..(start + bins * step) as u32;
        for place in kept(&treatment.forward, within.clone(), thinning, FORWARD) {
            forward[(place as usize - start) / step] += 1.0;
        }
        // a read's 5' base lies one before its exclusive end
        for place in kept(&treatment.reverse, within.start + 1..within.end + 1, thinning, REVERSE) {
            reverse[(place as usize - 1 - start) / step] += 1.0;
        }
        out
    }

    /// The mean pileup of fragments in each bin of `range`.
    fn pileup(
        &self,
        ends: &Ends,
        range: std::ops::Range<usize>,
        step: usize,
        thinning: Option<Thinning>,
        out: &mut [f32],
    ) {
        let size = self.fragment_size;
        // changes of the pileup at each position
        let mut change = vec![0_i32; range.len() + 1];
        let (from, to) = (range.start as u32, range.end as u32);
        let mut add = |start: u32, end: u32| {
            change[(start.max(from) - from) as usize] += 1;
            change[(end.min(to) - from) as usize] -= 1;
        };
        for place in kept(&ends.forward, from.saturating_sub(size - 1)..to, thinning, FORWARD) {
            add(place, place.saturating_add(size));
        }
        for place in kept(&ends.reverse, from + 1..to.saturating_add(size), thinning, REVERSE) {
            add(place.saturating_sub(size), place);
        }
        let mut depth = 0;
        for (out, change) in out.iter_mut().zip(change.chunks(step)) {
            let mut sum = 0_i64;
            for change in change {
                depth += change;
                sum += i64::from(depth);
            }
            *out = sum as f32 / step as f32;
        }
    }
}

/// Streams of the hash that thins reads.
const FORWARD: u64 = 0x9e37_79b9_7f4a_7c15;
const REVERSE: u64 = 0xc2b2_ae3d_27d4_eb4f;
const CONTROL: u64 = 0x1656_67b1_9e37_79f9;

/// The places within a range that belong to a random part.
fn kept(
    places: &[u32],
    within: std::ops::Range<u32>,
    thinning: Option<Thinning>,
    stream: u64,
) -> impl Iterator<Item = u32> {
    let (first, last) = (places.partition_point(|p| *p < within.start), places.partition_point(|p| *p < within.end));
    let belongs = move |place: &u32| {
        thinning.is_none_or(|Thinning { keep, seed }| {
            // SplitMix64's finaliser (Steele, Lea & Flood 2014): uniform over 64 bits
            let mut hash = seed.wrapping_mul(FORWARD) ^ u64::from(*place).wrapping_add(1).wrapping_mul(stream);
            hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((hash ^ (hash >> 31)) >> 11) as f64 * 2.0_f64.powi(-53) < keep
        })
    };
    places[first..last.max(first)].iter().copied().filter(belongs)
}

/// The means of a control's pileup over 1 kb and 10 kb around each bin, `[2, bins]`: the last two of [`TRACKS`].
pub fn background_tracks(control: &[f32], bin: u32) -> Vec<f32> {
    let mut out = vec![0.0; BACKGROUND.len() * control.len()];
    for (width, out) in BACKGROUND.iter().zip(out.chunks_exact_mut(control.len().max(1))) {
        running_mean(control, width / bin as usize, 0, out);
    }
    out
}

/// The mean of `values` over up to `width` positions around `first + i`, for every i; fewer at the ends.
fn running_mean(values: &[f32], width: usize, first: usize, out: &mut [f32]) {
    let half = width / 2;
    let mut sums = Vec::with_capacity(values.len() + 1);
    sums.push(0.0_f64);
    for value in values {
        sums.push(sums[sums.len() - 1] + f64::from(*value));
    }
    for (i, out) in out.iter_mut().enumerate() {
        let (from, to) = ((first + i).saturating_sub(half), (first + i + half + 1).min(values.len()));
        *out = ((sums[to] - sums[from]) / (to - from) as f64) as f32;
    }
}

#[cfg(test)]
mod tests {
    use gradome_io::genome::ReadsOptions;

    use super::*;

    fn library(bed: &str) -> ReadLibrary {
        let tags = || Tags::from_bed("reads.bed", bed.as_bytes(), &ReadsOptions::default()).unwrap();
        ReadLibrary::new(tags(), Some(tags()), 100).unwrap()
    }

    fn stretch(start: u32, bins: usize) -> Stretch {
        Stretch { chromosome: "chr1".into(), start, bins }
    }

    #[test]
    fn a_fragment_covers_its_bins_in_proportion_and_duplicates_count_once() {
        let library = library("chr1\t110\t146\t.\t.\t+\nchr1\t110\t140\t.\t.\t+\nchr1\t264\t300\t.\t.\t-\n");
        let tracks = library.tracks(&stretch(0, 16), 20, None);
        // 110..210 and 200..300
        let pileup = [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.5, 1.0, 1.0, 1.0, 1.0, 0.0];
        assert_eq!(tracks[..16], pileup);
        assert_eq!(tracks[16..32], pileup);
        let places = |track: usize| -> Vec<usize> { (0..16).filter(|i| tracks[track * 16 + i] > 0.0).collect() };
        assert_eq!((places(2), places(3)), (vec![5], vec![14]));
        assert_eq!(library.chromosomes().collect::<Vec<_>>(), [("chr1", 300)]);
    }

    #[test]
    fn overlapping_stretches_see_the_same_part_of_the_reads() {
        let bed: String = (0..400)
            .map(|i| format!("chr1\t{}\t{}\t.\t.\t{}\n", 7 * i, 7 * i + 30, if i % 2 == 0 { '+' } else { '-' }))
            .collect();
        let library = library(&bed);
        let thinning = Some(Thinning { keep: 0.25, seed: 3 });
        let (whole, part) =
            (library.tracks(&stretch(0, 100), 25, thinning), library.tracks(&stretch(500, 30), 25, thinning));
        for track in 0..4 {
            assert_eq!(
                whole[track * 100 + 20..track * 100 + 50],
                part[track * 30..track * 30 + 30],
                "{}",
                TRACKS[track]
            );
        }
        let count: f32 = whole[200..400].iter().sum();
        assert!((60.0..140.0).contains(&count), "{count} of 400 reads");
    }

    #[test]
    fn backgrounds_are_means_of_what_is_there() {
        let mut out = [0.0; 3];
        running_mean(&[1.0, 2.0, 6.0, 3.0], 2, 1, &mut out);
        assert_eq!(out, [3.0, 11.0 / 3.0, 4.5]);
    }
}
