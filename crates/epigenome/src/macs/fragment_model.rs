//! The size of the sequenced fragments, from the distance between peaks of the two strands.
//!
//! Zhang et al. 2008, Genome Biology 9:R137, with the cross-correlation of later versions (MACS3 `PeakModel.py`).

use rayon::prelude::*;

use super::config::MacsConfig;
use super::library::{Library, Placed, PlacedReads};
use super::pileup::{Moved, Track, pile_up};

/// Fewest paired peaks that the size can be estimated from.
const FEWEST_PAIRS: usize = 100;
/// Stretches of a strand's peak may lie so far apart (bp).
const MAX_GAP: u32 = 50;
/// Shortest peak of a strand (bp).
const MIN_LENGTH: u32 = 200;
/// Each 5' end counts over so many bp of the profile.
const TAG_WIDTH: i64 = 10;
/// Lags over which the cross-correlation is averaged.
const SMOOTHING: usize = 11;

/// How the fragment size was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FragmentModel {
    /// The fragment size (bp): the lag of the highest maximum of the correlation.
    pub fragment_size: u32,
    /// Lags of all its maxima (bp), increasing.
    pub alternatives: Vec<u32>,
    /// Pairs of peaks on both strands that it was made from.
    pub pairs: usize,
    /// `[lags]` distances (bp).
    pub lags: Vec<f64>,
    /// `[lags]` smoothed cross-correlation of the strands.
    pub correlation: Vec<f64>,
    /// `[positions]` distance from the middle of a pair (bp).
    pub positions: Vec<f64>,
    /// `[positions]` forward reads around the middles.
    pub forward: Vec<f64>,
    /// `[positions]` reverse reads around the middles.
    pub reverse: Vec<f64>,
}

/// Why there is no model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoModel {
    /// There are only so many pairs.
    FewPairs(usize),
    /// The correlation has no maximum beyond the least size.
    NoMaximum,
}

impl std::fmt::Display for NoModel {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FewPairs(pairs) => write!(
                to,
                "the fragment size needs at least {FEWEST_PAIRS} pairs of peaks on both strands and there are {pairs}"
            ),
            Self::NoMaximum => write!(to, "the correlation of the strands has no maximum at a possible fragment size"),
        }
    }
}

/// Estimates the fragment size.
pub(super) fn estimate(library: &Library, config: &MacsConfig) -> Result<FragmentModel, NoModel> {
    let peak_size = 2 * i64::from(config.band_width);
    let reads_of_fold = |fold: u32| {
        let reads = library.counts.after as f64 * f64::from(fold) * peak_size as f64 / config.genome_size / 2.0;
        reads.round_ties_even() as f32
    };
    let heights = (reads_of_fold(config.fold_range.0), reads_of_fold(config.fold_range.1));
    let middles = |placed: &Placed| {
        let PlacedReads::Single { forward, reverse } = &placed.reads else { return Vec::new() };
        let [forward, reverse] = [forward, reverse].map(|strand| strand_peaks(strand, config.band_width, heights));
        pair_middles(&forward, &reverse, peak_size)
    };
    let middles: Vec<Vec<i64>> = library.chromosomes.par_iter().map(middles).collect();
    let pairs = middles.iter().map(Vec::len).sum();
    if pairs < FEWEST_PAIRS {
        return Err(NoModel::FewPairs(pairs));
    }
    let mut profiles = [Profile::new(peak_size), Profile::new(peak_size)];
    for (placed, middles) in library.chromosomes.iter().zip(&middles) {
        if let PlacedReads::Single { forward, reverse } = &placed.reads {
            profiles[0].add(middles, forward);
            profiles[1].add(middles, reverse);
        }
    }
    let [forward, reverse] = profiles.map(Profile::heights);
    let correlation = smooth(&cross_correlation(&forward, &reverse, peak_size as usize));
    let (count, half) = (correlation.len(), correlation.len() as f64 / 2.0);
    let lags: Vec<f64> = (0..count).map(|i| -half + i as f64 * (2.0 * half / (count - 1) as f64)).collect();
    let is_maximum = |i: &usize| {
        let higher_than =
            |other: Option<usize>| other.and_then(|o| correlation.get(o)).is_some_and(|c| correlation[*i] > *c);
        higher_than(i.checked_sub(1)) && higher_than(Some(i + 1)) && lags[*i] > f64::from(config.min_fragment)
    };
    let maxima: Vec<usize> = (0..count).filter(is_maximum).collect();
    let highest = maxima.iter().copied().reduce(|a, b| if correlation[b] > correlation[a] { b } else { a });
    let Some(highest) = highest else { return Err(NoModel::NoMaximum) };
    let reach = (forward.len() / 2) as f64;
    Ok(FragmentModel {
        fragment_size: lags[highest] as u32,
        alternatives: maxima.into_iter().map(|i| lags[i] as u32).collect(),
        pairs,
        lags,
        correlation,
        positions: (0..forward.len()).map(|i| i as f64 - reach).collect(),
        forward,
        reverse,
    })
}

/// Summits and heights of the peaks of one strand: where reads within the band width are more than the first of
/// `heights`, and at the summit fewer than the second.
fn strand_peaks(strand: &[u32], band_width: u32, heights: (f32, f32)) -> Vec<(i64, f32)> {
    if strand.len() < 2 {
        return Vec::new();
    }
    let reach = i64::from(band_width);
    let track = pile_up(&[Moved::new(strand, -reach)], &[Moved::new(strand, reach)], None, 1.0, 0.0);
    let mut peaks = Vec::new();
    // runs from the first to the last of the peak that is being built
    let mut open: Option<(usize, usize)> = None;
    let start = |run: usize| run.checked_sub(1).map_or(0, |before| track.ends[before]);
    let mut close = |(first, last): (usize, usize)| {
        if track.ends[last] - start(first) >= MIN_LENGTH {
            let (summit, height) = highest_place(&track, first..=last, heights.0);
            if height < heights.1 {
                peaks.push((i64::from(summit), height));
            }
        }
    };
    for run in (0..track.ends.len()).filter(|&run| track.values[run] > heights.0) {
        open = match open {
            Some((first, last)) if start(run) - track.ends[last] <= MAX_GAP => Some((first, run)),
            Some(peak) => {
                close(peak);
                Some((run, run))
            }
            None => Some((run, run)),
        };
    }
    if let Some(peak) = open {
        close(peak);
    }
    peaks
}

/// The middle one of the highest runs above `floor`: its midpoint, and its height.
fn highest_place(track: &Track, runs: std::ops::RangeInclusive<usize>, floor: f32) -> (u32, f32) {
    let above = runs.filter(|&run| track.values[run] > floor);
    let (mut highest, mut height) = (Vec::new(), 0.0);
    for run in above {
        let start = run.checked_sub(1).map_or(0, |before| track.ends[before]);
        let middle = start + (track.ends[run] - start) / 2;
        if track.values[run] > height {
            height = track.values[run];
            highest.clear();
        }
        if track.values[run] == height {
            highest.push(middle);
        }
    }
    (highest[highest.len().div_ceil(2) - 1], height)
}

/// Middles between a forward peak and a reverse one behind it, at most `peak_size` away and of comparable height.
///
/// As in the reference, the search ends when the last reverse peak was looked at.
fn pair_middles(forward: &[(i64, f32)], reverse: &[(i64, f32)], peak_size: i64) -> Vec<i64> {
    let mut middles = Vec::new();
    let (mut f, mut r, mut back_to, mut overlapping) = (0, 0, 0, false);
    while let (Some(&(at_f, height_f)), Some(&(at_r, height_r))) = (forward.get(f), reverse.get(r)) {
        if at_f - peak_size > at_r {
            r += 1;
        } else if at_f + peak_size < at_r {
            f += 1;
            r = back_to;
            overlapping = false;
        } else {
            if !overlapping {
                overlapping = true;
                back_to = r;
            }
            let ratio = height_f / height_r;
            if ratio > 0.5 && ratio < 2.0 && at_f < at_r {
                middles.push((at_f + at_r) / 2);
            }
            r += 1;
        }
    }
    middles
}

/// Reads around the middles of pairs, as changes of their number.
struct Profile {
    changes: Vec<i64>,
    reach: i64,
}

impl Profile {
    fn new(peak_size: i64) -> Self {
        Self { changes: vec![0; (1 + 2 * peak_size + TAG_WIDTH) as usize], reach: peak_size + TAG_WIDTH / 2 }
    }

    /// Adds a strand's reads around the middles on one chromosome.
    ///
    /// As in the reference, the search ends when the last read was looked at.
    fn add(&mut self, middles: &[i64], reads: &[u32]) {
        let last = self.changes.len() as i64 - 1;
        let (mut m, mut r, mut back_to, mut overlapping) = (0, 0, 0, false);
        while let (Some(&middle), Some(&read)) = (middles.get(m), reads.get(r)) {
            let distance = i64::from(read) - middle;
            if distance < -self.reach {
                r += 1;
            } else if distance > self.reach {
                m += 1;
                r = back_to;
                overlapping = false;
            } else {
                if !overlapping {
                    overlapping = true;
                    back_to = r;
                }
                let start = (distance - TAG_WIDTH / 2 + self.reach).max(0);
                let end = (distance + TAG_WIDTH / 2 + self.reach).min(last);
                self.changes[start as usize] += 1;
                self.changes[end as usize] -= 1;
                r += 1;
            }
        }
    }

    fn heights(self) -> Vec<f64> {
        let mut height = 0;
        self.changes
            .into_iter()
            .map(|change| {
                height += change;
                height as f64
            })
            .collect()
    }
}

/// Correlation of the standardised profiles at lags from `1 - reach` to `reach`.
fn cross_correlation(forward: &[f64], reverse: &[f64], reach: usize) -> Vec<f64> {
    let standard = |profile: &[f64]| -> Vec<f64> {
        let n = profile.len() as f64;
        let mean = profile.iter().sum::<f64>() / n;
        let deviation = (profile.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        profile.iter().map(|x| (x - mean) / (deviation * n)).collect()
    };
    let (forward, reverse) = (standard(forward), standard(reverse));
    let at = |lag: isize| -> f64 {
        let (f, r) = if lag >= 0 { (0, lag as usize) } else { (lag.unsigned_abs(), 0) };
        forward.iter().skip(f).zip(reverse.iter().skip(r)).map(|(a, b)| a * b).sum()
    };
    let reach = reach as isize;
    (1 - reach..=reach).into_par_iter().map(at).collect()
}

/// The running mean; beyond the ends the curve is reflected.
fn smooth(curve: &[f64]) -> Vec<f64> {
    let (n, half) = (curve.len() as isize, SMOOTHING as isize / 2);
    // the reference repeats the last value when it reflects, but not the first
    let reflected = |i: isize| match i {
        i if i < 0 => curve[(-i) as usize],
        i if i >= n => curve[(2 * n - 1 - i) as usize],
        i => curve[i as usize],
    };
    (0..n).map(|i| (i - half..=i + half).map(|j| reflected(j) / SMOOTHING as f64).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strand_peak_lies_at_the_middle_of_its_highest_runs() {
        // 20 reads at 1000 and 10 at 1100, each over 300 bp to both sides: highest from 800 to 1300
        let strand: Vec<u32> = [vec![1_000; 20], vec![1_100; 10]].concat();
        assert_eq!(strand_peaks(&strand, 300, (5.0, 100.0)), [(1_050, 30.0)]);
        // too high for the upper bound
        assert!(strand_peaks(&strand, 300, (5.0, 30.0)).is_empty());
    }

    #[test]
    fn peaks_of_both_strands_pair_when_near_in_order_and_alike() {
        let forward = [(1_000, 10.0), (5_000, 10.0), (9_000, 10.0)];
        let reverse = [(1_200, 12.0), (4_900, 10.0), (9_100, 30.0), (99_000, 1.0)];
        // the second pair is in the wrong order, the third of unlike height
        assert_eq!(pair_middles(&forward, &reverse, 600), [1_100]);
    }

    #[test]
    fn the_correlation_of_shifted_profiles_is_highest_at_their_distance() {
        let bump =
            |middle: f64| -> Vec<f64> { (0..401).map(|i| (-((f64::from(i) - middle) / 20.0).powi(2)).exp()).collect() };
        let correlation = cross_correlation(&bump(170.0), &bump(230.0), 100);
        let highest = (0..200).max_by(|&a, &b| correlation[a].total_cmp(&correlation[b])).unwrap();
        assert_eq!(highest as i64 - 99, 60);
    }

    #[test]
    fn smoothing_averages_eleven_lags() {
        let line: Vec<f64> = (0..50).map(f64::from).collect();
        let smooth = smooth(&line);
        assert!((smooth[20] - 20.0).abs() < 1e-12);
        // 5 4 3 2 1 | 0 1 2 3 4 5
        assert!((smooth[0] - 30.0 / 11.0).abs() < 1e-12);
        // 44 .. 49 | 49 48 47 46 45
        assert!(
            (smooth[49] - (44.0 + 45.0 + 46.0 + 47.0 + 48.0 + 49.0 + 49.0 + 48.0 + 47.0 + 46.0 + 45.0) / 11.0).abs()
                < 1e-12
        );
    }
}
