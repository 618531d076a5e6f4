//! Broad regions with the strong parts in them.

use std::sync::Arc;

use super::peaks::{Region, Rule, Scored, fold};
use super::score::QScores;

/// A region of weak enrichment; scores are means over its base pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct BroadPeak {
    /// Name of the chromosome.
    pub chromosome: Arc<str>,
    /// First position (bp, from 0).
    pub start: u32,
    /// Position behind the last one (bp).
    pub end: u32,
    /// Mean treatment pileup, in reads.
    pub pileup: f32,
    /// Mean of -log10 of the p-values.
    pub p_score: f32,
    /// Mean of treatment over background, with a pseudocount of 1 each.
    pub fold: f32,
    /// Mean of -log10 of the q-values.
    pub q_score: f32,
    /// Strongly enriched parts: first position and the one behind the last (bp).
    pub strong: Vec<(u32, u32)>,
}

impl Scored {
    /// The broad regions of a chromosome; none where nothing is strongly enriched, as in the reference.
    pub fn broad_peaks(&self, strong: Rule, weak: Rule, q_scores: &QScores) -> Vec<BroadPeak> {
        let bounds: Vec<(u32, u32)> = self.regions(strong).iter().map(|region| self.bounds(region)).collect();
        if bounds.is_empty() {
            return Vec::new();
        }
        let mut inside = bounds.into_iter().peekable();
        let peak = |region: &Region| {
            let (start, end) = self.bounds(region);
            let strong = std::iter::from_fn(|| inside.next_if(|part| start <= part.0 && part.1 <= end)).collect();
            self.broad_peak(region, weak, strong, q_scores)
        };
        self.regions(weak).iter().map(peak).collect()
    }

    fn broad_peak(&self, region: &Region, rule: Rule, strong: Vec<(u32, u32)>, q_scores: &QScores) -> BroadPeak {
        let (start, end) = self.bounds(region);
        let mean = |value: &dyn Fn(usize) -> f32| {
            let (mut sum, mut length) = (0.0, 0);
            for run in self.runs(region, rule) {
                let width = self.track.ends[run] - self.track.start(run);
                sum += f64::from(value(run)) * f64::from(width);
                length += width;
            }
            (sum / f64::from(length)) as f32
        };
        BroadPeak {
            chromosome: Arc::clone(&self.chromosome),
            start,
            end,
            pileup: mean(&|run| self.track.treatment[run]),
            p_score: mean(&|run| self.p_scores[run]),
            fold: mean(&|run| fold(&self.track, run)),
            q_score: mean(&|run| q_scores.of(self.p_scores[run])),
            strong,
        }
    }
}

impl BroadPeak {
    /// The blocks of the region as in gappedPeak: start from the region's start, and size (bp).
    ///
    /// The format wants the first block to start and the last to end with the region: where no strong part does, a
    /// block of 1 bp is added.
    pub fn blocks(&self) -> Vec<(u32, u32)> {
        let mut blocks: Vec<(u32, u32)> =
            self.strong.iter().map(|part| (part.0 - self.start, part.1 - part.0)).collect();
        if self.strong.first().is_none_or(|first| first.0 != self.start) {
            blocks.insert(0, (0, 1));
        }
        if self.strong.last().is_none_or(|last| last.1 != self.end) {
            blocks.push((self.end - self.start - 1, 1));
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::super::peaks::scored;
    use super::*;

    const STRONG: Rule = Rule { lowest_p: 5.0, max_gap: 0, min_length: 10 };
    const WEAK: Rule = Rule { lowest_p: 2.0, max_gap: 20, min_length: 10 };

    #[test]
    fn strong_parts_are_nested_in_weak_regions_and_scores_are_means_over_base_pairs() {
        let scored = scored(&[
            (100, 0.0, 0.0),
            (110, 3.0, 2.0),
            (140, 9.0, 6.0),
            (150, 1.0, 0.0),
            (160, 3.0, 2.0),
            (400, 0.0, 0.0),
            (420, 3.0, 3.0),
        ]);
        let peaks = scored.broad_peaks(STRONG, WEAK, &QScores::default());
        assert_eq!(peaks.len(), 2);
        assert_eq!((peaks[0].start, peaks[0].end), (100, 160));
        assert_eq!(peaks[0].strong, [(110, 140)]);
        // 10 bp of 3, 30 of 9, 10 of 3: the gap is not counted
        assert_eq!((peaks[0].pileup, peaks[0].p_score), (6.6, 4.4));
        assert_eq!(peaks[0].blocks(), [(0, 1), (10, 30), (59, 1)]);
        assert_eq!(peaks[1].blocks(), [(0, 1), (19, 1)]);
    }

    #[test]
    fn a_strong_part_that_fills_its_region_is_the_only_block() {
        let scored = scored(&[(100, 0.0, 0.0), (140, 9.0, 6.0)]);
        assert_eq!(scored.broad_peaks(STRONG, WEAK, &QScores::default())[0].blocks(), [(0, 40)]);
    }

    #[test]
    fn without_a_strong_part_a_chromosome_has_no_broad_region() {
        assert!(scored(&[(100, 0.0, 0.0), (140, 3.0, 3.0)]).broad_peaks(STRONG, WEAK, &QScores::default()).is_empty());
    }
}
