//! Significant regions and the narrow peaks in them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::pileup::PairedTrack;
use super::score::QScores;
use super::summits::summits_within;

/// What is added to treatment and background before a fold enrichment is taken, in reads.
const PSEUDOCOUNT: f64 = 1.0;

/// A peak; with several summits, one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct NarrowPeak {
    /// Name of the chromosome.
    pub chromosome: Arc<str>,
    /// First position (bp, from 0).
    pub start: u32,
    /// Position behind the last one (bp).
    pub end: u32,
    /// Position of the summit (bp).
    pub summit: u32,
    /// Treatment pileup at the summit, in reads.
    pub pileup: f32,
    /// -log10 of the p-value at the summit.
    pub p_score: f32,
    /// Treatment over background at the summit, with a pseudocount of 1 each.
    pub fold: f32,
    /// -log10 of the q-value at the summit.
    pub q_score: f32,
}

/// A chromosome with its scores.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scored {
    pub chromosome: Arc<str>,
    pub track: PairedTrack,
    /// `[runs]`
    pub p_scores: Vec<f32>,
}

/// Treatment over background in a run, with pseudocounts.
pub(super) fn fold(track: &PairedTrack, run: usize) -> f32 {
    ((f64::from(track.treatment[run]) + PSEUDOCOUNT) / (f64::from(track.lambda[run]) + PSEUDOCOUNT)) as f32
}

/// What makes a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rule {
    /// The lowest p-score that is significant.
    pub lowest_p: f32,
    /// Significant runs this near are one region (bp).
    pub max_gap: u32,
    /// Shortest region (bp).
    pub min_length: u32,
}

/// A significant region: its first and last significant run. Between them may lie runs that are not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Region(pub RangeInclusive<usize>);

impl Scored {
    /// Regions of significant runs, gaps closed, short ones left out.
    pub fn regions(&self, rule: Rule) -> Vec<Region> {
        let mut regions = Vec::new();
        let mut open: Option<(usize, usize)> = None;
        let close = |open: Option<(usize, usize)>, regions: &mut Vec<Region>| {
            if let Some((first, last)) = open
                && self.track.ends[last] - self.track.start(first) >= rule.min_length
            {
                regions.push(Region(first..=last));
            }
        };
        for (run, _) in self.p_scores.iter().enumerate().filter(|(_, p)| **p >= rule.lowest_p) {
            open = match open {
                Some((first, last)) if self.track.start(run) - self.track.ends[last] <= rule.max_gap => {
                    Some((first, run))
                }
                before => {
                    close(before, &mut regions);
                    Some((run, run))
                }
            };
        }
        close(open, &mut regions);
        regions
    }

    /// The significant runs of a region.
    pub fn runs<'a>(&'a self, region: &Region, rule: Rule) -> impl Iterator<Item = usize> + 'a {
        region.0.clone().filter(move |&run| self.p_scores[run] >= rule.lowest_p)
    }

    /// First position and the one behind the last (bp).
    pub fn bounds(&self, region: &Region) -> (u32, u32) {
        (self.track.start(*region.0.start()), self.track.ends[*region.0.end()])
    }

    /// The peaks of a chromosome, by position.
    pub fn narrow_peaks(&self, rule: Rule, many_summits: bool, q_scores: &QScores) -> Vec<NarrowPeak> {
        let mut peaks = Vec::new();
        for region in self.regions(rule) {
            let summits = if many_summits { summits_within(self, &region, rule) } else { Vec::new() };
            let summits = if summits.is_empty() { vec![self.highest_place(&region, rule)] } else { summits };
            peaks.extend(summits.into_iter().map(|summit| self.peak(&region, summit, q_scores)));
        }
        peaks
    }

    /// The middle one of the highest runs: its midpoint (bp), and the run.
    fn highest_place(&self, region: &Region, rule: Rule) -> (u32, usize) {
        let (mut highest, mut height) = (Vec::new(), f32::NEG_INFINITY);
        for run in self.runs(region, rule) {
            let value = self.track.treatment[run];
            if value > height {
                height = value;
                highest.clear();
            }
            if value == height {
                highest.push(run);
            }
        }
        let run = highest[highest.len().div_ceil(2) - 1];
        let start = self.track.start(run);
        (start + (self.track.ends[run] - start) / 2, run)
    }

    fn peak(&self, region: &Region, (summit, run): (u32, usize), q_scores: &QScores) -> NarrowPeak {
        let (start, end) = self.bounds(region);
        let p_score = self.p_scores[run];
        NarrowPeak {
            chromosome: Arc::clone(&self.chromosome),
            start,
            end,
            summit,
            pileup: self.track.treatment[run],
            p_score,
            fold: fold(&self.track, run),
            q_score: q_scores.of(p_score),
        }
    }
}

/// Runs of given end, treatment and p-score over a background of 1.
#[cfg(test)]
pub(super) fn scored(runs: &[(u32, f32, f32)]) -> Scored {
    let track = PairedTrack {
        ends: runs.iter().map(|run| run.0).collect(),
        treatment: runs.iter().map(|run| run.1).collect(),
        lambda: vec![1.0; runs.len()],
    };
    Scored { chromosome: "chr1".into(), track, p_scores: runs.iter().map(|run| run.2).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { lowest_p: 2.0, max_gap: 10, min_length: 30 };

    #[test]
    fn regions_close_gaps_and_leave_out_what_is_short() {
        let scored = scored(&[
            (20, 9.0, 5.0),
            (30, 1.0, 0.0),
            (60, 9.0, 2.0),
            (71, 1.0, 0.0), // 11 bp: too far
            (90, 9.0, 5.0), // 19 bp: too short
        ]);
        assert_eq!(scored.regions(RULE), [Region(0..=2)]);
        assert_eq!(scored.bounds(&Region(0..=2)), (0, 60));
        assert_eq!(scored.runs(&Region(0..=2), RULE).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn the_summit_is_the_midpoint_of_the_middle_highest_run() {
        let scored = scored(&[(20, 9.0, 5.0), (30, 4.0, 3.0), (60, 9.0, 5.0), (70, 9.0, 5.0)]);
        let peaks = scored.narrow_peaks(RULE, false, &QScores::default());
        assert_eq!((peaks[0].start, peaks[0].end, peaks[0].summit), (0, 70, 45));
        assert_eq!((peaks[0].pileup, peaks[0].fold), (9.0, 5.0));
    }
}
