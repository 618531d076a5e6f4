//! Poisson p-scores and, from them, q-scores over base pairs.

use std::collections::HashMap;

use super::pileup::PairedTrack;

/// The series of the upper tail ends when a term changes its logarithm by less, as in MACS.
const SMALLEST_CHANGE: f64 = 1e-5;
/// Terms of the series are scaled down beyond this, so that they stay finite whatever the counts.
const LARGE_TERM: f64 = 1e250;
/// Logarithms of factorials are looked up to this number and computed by Stirling's series beyond.
const LARGEST_TABLE: usize = 1 << 20;

/// ln(n!) for n from 0 on.
struct LogFactorials(Vec<f64>);

impl LogFactorials {
    fn up_to(most: usize) -> Self {
        let mut sum = 0.0;
        let rest = (1..=most.min(LARGEST_TABLE)).map(|n| {
            sum += (n as f64).ln();
            sum
        });
        Self(std::iter::once(0.0).chain(rest).collect())
    }

    fn of(&self, n: u32) -> f64 {
        self.0.get(n as usize).copied().unwrap_or_else(|| {
            // Stirling; beyond a million the next term of the series is below 1e-21
            let n = f64::from(n);
            n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + 1.0 / (12.0 * n)
        })
    }
}

/// -log10 P(X > count) for X ~ Poisson(lambda), rounded to five decimals as MACS does.
///
/// The tail is summed from `count + 1` up. MACS: `log10_poisson_cdf_Q_large_lambda` of `Prob.py`.
fn tail_score(count: u32, lambda: f64, factorials: &LogFactorials) -> f32 {
    let first = count + 1;
    let mut log_scale = f64::from(first) * lambda.ln() - factorials.of(first);
    let (mut term, mut sum, mut n) = (1.0, 1.0, f64::from(first));
    loop {
        n += 1.0;
        term *= lambda / n;
        let before = sum;
        sum += term;
        if (term / before).ln_1p() < SMALLEST_CHANGE {
            break;
        }
        if sum > LARGE_TERM {
            term /= LARGE_TERM;
            sum /= LARGE_TERM;
            log_scale += LARGE_TERM.ln();
        }
    }
    let log10 = (log_scale + sum.ln() - lambda) / std::f64::consts::LN_10;
    // adding 0 makes a negative zero positive: both are one score
    (-round5(log10) + 0.0) as f32
}

/// Rounds to five decimals, ties of the decimal expansion to even, as Python's `round`.
fn round5(value: f64) -> f64 {
    let scaled = value * 1e5;
    if (scaled.fract().abs() - 0.5).abs() > 1e-6 && scaled.abs() < 1e15 {
        return scaled.round() / 1e5;
    }
    // close to a tie: only the exact decimal expansion knows
    format!("{value:.5}").parse().expect("a printed number is a number")
}

/// -log10 P(X > count) for X ~ Poisson(lambda), rounded to five decimals.
///
/// `lambda` must be above 0. The value is finite for any count, also far beyond the smallest number.
pub fn p_score(count: u32, lambda: f32) -> f32 {
    tail_score(count, f64::from(lambda), &LogFactorials::up_to(count as usize + 1))
}

/// Entries of the table of scores that were just computed.
const MOST_REMEMBERED: usize = 1 << 14;

/// `[runs]` the p-score of each run of a chromosome; the count is the treatment without its fraction, as in MACS.
pub(super) fn p_scores(track: &PairedTrack) -> Vec<f32> {
    let most = track.treatment.iter().copied().fold(0.0, f32::max);
    let factorials = LogFactorials::up_to(most as usize + 1);
    // the same few pairs come again and again; each has one place in the table
    let places = track.len().next_power_of_two().clamp(16, MOST_REMEMBERED);
    let mut remembered = vec![(u32::MAX, 0_u32, 0.0_f32); places];
    let score = |(&treatment, &lambda): (&f32, &f32)| {
        let (count, bits) = (treatment as u32, lambda.to_bits());
        let hash = (u64::from(count) << 32 | u64::from(bits)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = &mut remembered[(hash >> 40) as usize & (places - 1)];
        if (place.0, place.1) != (count, bits) {
            *place = (count, bits, tail_score(count, f64::from(lambda), &factorials));
        }
        place.2
    };
    track.treatment.iter().zip(&track.lambda).map(score).collect()
}

/// How many base pairs have each p-score (by its bits).
#[derive(Clone, Debug, Default)]
pub(super) struct ScoreLengths(HashMap<u32, u64>);

impl ScoreLengths {
    /// Adds the runs of a chromosome.
    pub fn add(&mut self, track: &PairedTrack, scores: &[f32]) {
        let mut start = 0;
        let mut add = |score: f32, length: u64| *self.0.entry(score.to_bits()).or_default() += length;
        // runs of one score often follow each other: the table is asked once for them
        let mut run = (f32::NAN, 0_u64);
        for (&end, &score) in track.ends.iter().zip(scores) {
            let length = u64::from(end - start);
            start = end;
            if score == run.0 {
                run.1 += length;
                continue;
            }
            if run.1 > 0 {
                add(run.0, run.1);
            }
            run = (score, length);
        }
        if run.1 > 0 {
            add(run.0, run.1);
        }
    }

    /// Adds what another part of the genome holds.
    pub fn merge(mut self, other: Self) -> Self {
        let (mut large, small) = if self.0.len() >= other.0.len() {
            (std::mem::take(&mut self.0), other.0)
        } else {
            (other.0, std::mem::take(&mut self.0))
        };
        for (score, length) in small {
            *large.entry(score).or_default() += length;
        }
        Self(large)
    }
}

/// The q-score of each p-score: -log10 of the Benjamini-Hochberg adjusted p-value over all base pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QScores {
    /// p-scores and their q-scores, both increasing.
    table: Vec<(f32, f32)>,
}

impl QScores {
    /// From the length of each p-score: a position's rank is 1 and the base pairs with higher scores.
    pub(super) fn new(lengths: &ScoreLengths) -> Self {
        let mut scores: Vec<(f32, u64)> = lengths.0.iter().map(|(&bits, &n)| (f32::from_bits(bits), n)).collect();
        scores.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let total: u64 = scores.iter().map(|(_, length)| length).sum();
        // single precision here and below, as the reference has it: ties and printed digits depend on it
        let log_total = (total as f64).log10() as f32;
        let (mut rank, mut before) = (1_u64, f32::INFINITY);
        let mut table: Vec<(f32, f32)> = scores
            .iter()
            .map(|&(p, length)| {
                let q = (f64::from(p) + ((rank as f64).log10() - f64::from(log_total))) as f32;
                // once 0, all weaker scores have 0
                before = if before <= 0.0 { 0.0 } else { q.min(before).max(0.0) };
                rank += length;
                (p, before)
            })
            .collect();
        table.reverse();
        Self { table }
    }

    /// The q-score of a p-score that occurs in the data; of another one, that of the next lower.
    pub fn of(&self, p_score: f32) -> f32 {
        let above = self.table.partition_point(|&(p, _)| p <= p_score);
        above.checked_sub(1).map_or(0.0, |at| self.table[at].1)
    }

    /// The lowest p-score whose q-score is above a cutoff; infinity when none is.
    pub fn lowest_p_above(&self, q_score: f32) -> f32 {
        let at = self.table.partition_point(|&(_, q)| q <= q_score);
        self.table.get(at).map_or(f32::INFINITY, |&(p, _)| p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_scores_are_those_of_macs3() {
        // MACS3 3.0.4: Prob.poisson_cdf(count, lambda, lower=False, log10=True), negated
        for (count, lambda, expected) in [
            (0, 1.0, 0.1992),
            (2, 1.0, 1.095_28),
            (50, 3.5, 39.932_99),
            (300, 280.5, 0.9319),
            (0, 900.0, 0.000_03),
            (5_000, 4_000.0, 51.904_27),
        ] {
            assert_eq!(p_score(count, lambda), expected, "P(X > {count}; {lambda})");
        }
    }

    #[test]
    fn scores_of_very_large_counts_are_finite() {
        for (count, lambda) in [(1_000_000, 1.0), (1_000_000, 1e6), (3_000_000, 2.5e6), (0, 5e4), (100, 0.001)] {
            let score = p_score(count, lambda);
            assert!(score.is_finite() && score >= 0.0, "P(X > {count}; {lambda}): {score}");
        }
        // the leading term alone: (lambda + ln m!) / ln 10 with m = 1,000,001; scipy.special.gammaln(1000002)
        let expected = (1.0 + 12_815_532.200_169_727) / std::f64::consts::LN_10;
        assert!((f64::from(p_score(1_000_000, 1.0)) / expected - 1.0).abs() < 1e-6);
        // half of the mass of a symmetric distribution lies above its mean
        assert!((p_score(1_000_000, 1e6) - 0.301).abs() < 2e-3);
    }

    #[test]
    fn rounding_is_that_of_python() {
        // round(x, 5); the last three lie next to ties
        for (value, expected) in
            [(0.123_456_7, 0.123_46), (-2.5, -2.5), (1.000_005, 1.000_01), (0.000_015, 0.000_02), (1.500_005, 1.500_01)]
        {
            assert_eq!(round5(value), expected);
        }
    }

    fn lengths(of: &[(f32, u64)]) -> ScoreLengths {
        ScoreLengths(of.iter().map(|&(p, n)| (p.to_bits(), n)).collect())
    }

    #[test]
    fn q_scores_are_benjamini_hochberg_with_the_best_rank_of_each_score() {
        // 1,000 bp: 10 with p = 1e-5, 90 with 1e-2, 900 with 1e-0.1
        let q = QScores::new(&lengths(&[(5.0, 10), (2.0, 90), (0.1, 900)]));
        assert!((q.of(5.0) - 2.0).abs() < 1e-6); // 5 + log10(1 / 1000)
        assert!((q.of(2.0) - (2.0 + 11_f32.log10() - 3.0)).abs() < 1e-6);
        assert_eq!(q.of(0.1), 0.0);
        assert_eq!(q.lowest_p_above(0.0), 2.0);
        assert_eq!(q.lowest_p_above(1.5), 5.0);
        assert_eq!(q.lowest_p_above(9.0), f32::INFINITY);
    }

    #[test]
    fn q_scores_never_rise_when_p_scores_fall() {
        // after 5.0 the rank jumps by 900: 4.9 would get a higher q without the running minimum
        let q = QScores::new(&lengths(&[(5.0, 900), (4.9, 50), (0.0, 50)]));
        assert!(q.of(4.9) <= q.of(5.0));
        assert_eq!(q.of(4.9), q.of(5.0));
    }

    #[test]
    fn tables_of_chromosomes_add_up() {
        let both = lengths(&[(1.0, 4), (2.0, 5)]).merge(lengths(&[(2.0, 6)]));
        assert_eq!(QScores::new(&both), QScores::new(&lengths(&[(2.0, 11), (1.0, 4)])));
    }
}
