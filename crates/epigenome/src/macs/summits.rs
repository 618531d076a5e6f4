//! Several summits within a region: zero crossings of a Savitzky-Golay derivative, kept where the signal is peaky.
//!
//! The rules, with their faults, are those of MACS3's `SignalProcessing.py` and `CallPeakUnit.py`, so that results
//! agree: a region's heights stand ten positions further right than its padding says, and only the right side of a
//! candidate is clipped where it falls below its threshold.

use super::peaks::{Region, Rule, Scored};

/// Positions around the region that the derivative looks at as well (bp).
const PADDING: u32 = 10;
/// Narrowest summit (bp).
const NARROWEST: usize = 50;
/// Fewest different heights of a summit.
const FEWEST_HEIGHTS: usize = 6;

/// The summits of a region: position (bp) and run of each; none where no candidate is peaky.
pub(super) fn summits_within(scored: &Scored, region: &Region, rule: Rule) -> Vec<(u32, usize)> {
    let (first, end) = scored.bounds(region);
    let start = first.saturating_sub(PADDING);
    // where the region starts among the heights; less near the chromosome's start
    let boundary = (first - start) as usize;
    let size = (end + PADDING - start) as usize;
    let mut heights = vec![0.0_f32; size];
    let mut runs = vec![*region.0.start(); size];
    for run in scored.runs(region, rule) {
        let [from, to] = [scored.track.start(run), scored.track.ends[run]].map(|at| (at - start) as usize + boundary);
        let to = to.min(size);
        heights[from..to].fill(scored.track.treatment[run]);
        runs[from..to].fill(run);
    }
    let length = (end - first) as usize;
    let mut candidates = maxima(&heights, rule.min_length as usize);
    candidates.retain(|&at| (boundary..=length + boundary).contains(&at));
    let peaky = peaky(&heights, &candidates);
    peaky.into_iter().map(|at| (start + (at - boundary) as u32, runs[at])).collect()
}

/// Where the smoothed slope turns from rising to falling.
fn maxima(heights: &[f32], window: usize) -> Vec<usize> {
    let sign = |slope: f64| if slope > 0.0 { 1 } else { -i32::from(slope < 0.0) };
    let signs: Vec<i32> = slopes(heights, window / 2).into_iter().map(sign).collect();
    (0..signs.len().saturating_sub(1)).filter(|&i| signs[i + 1] < signs[i]).collect()
}

/// The slope of a parabola fitted to the `2 half + 1` heights around each place (Savitzky and Golay 1964), times a
/// positive constant.
///
/// Beyond the ends the heights are mirrored in the end point; sums of products of single-precision heights with small
/// whole numbers are exact in double precision, so a slope of zero is zero.
fn slopes(heights: &[f32], half: usize) -> Vec<f64> {
    let (Some(&first), Some(&last)) = (heights.first(), heights.last()) else { return Vec::new() };
    let before = heights.iter().skip(1).take(half).rev().map(|height| first - (height - first).abs());
    let after = heights.iter().rev().skip(1).take(half).map(|height| last + (height - last).abs());
    let padded: Vec<f64> = before.chain(heights.iter().copied()).chain(after).map(f64::from).collect();
    let window = 2 * half + 1;
    if padded.len() < window {
        return Vec::new();
    }
    let half = half as f64;
    let mut total: f64 = padded[..window].iter().sum();
    let mut slope: f64 = padded[..window].iter().enumerate().map(|(i, height)| (i as f64 - half) * height).sum();
    let mut slopes = vec![slope];
    for i in window..padded.len() {
        let (leaves, enters) = (padded[i - window], padded[i]);
        // the other heights move one place to the left
        slope += half * leaves - (total - leaves) + half * enters;
        total += enters - leaves;
        slopes.push(slope);
    }
    slopes
}

/// The candidates that stand out of the valleys beside them.
fn peaky(heights: &[f32], candidates: &[usize]) -> Vec<usize> {
    if candidates.len() < 2 {
        return candidates.to_vec();
    }
    let lowest = |pair: &[usize]| {
        let between = &heights[pair[0]..pair[1]];
        let lowest = between.iter().copied().fold(f32::INFINITY, f32::min);
        pair[0] + between.iter().position(|&height| height == lowest).expect("the lowest is among them")
    };
    let valleys: Vec<usize> = candidates.windows(2).map(lowest).collect();
    let threshold = |valley: f32| valley + root(valley);
    let stands_out = |index: &usize| {
        let at = candidates[*index];
        let left = index.checked_sub(1).map(|i| valleys[i]);
        let right = valleys.get(*index).copied();
        let (from, to) = (left.unwrap_or(0), right.unwrap_or(heights.len()));
        let valley = [left, right].into_iter().flatten().map(|at| heights[at]).fold(0.0, f32::max);
        let level = threshold(valley);
        // the reference lowers the first candidate's heights by another root
        let more = if left.is_none() { root(level) } else { 0.0 };
        let above: Vec<f32> = heights[from..to].iter().map(|height| height - level - more).collect();
        wide_and_varied(&above, at - from)
    };
    (0..candidates.len()).filter(stands_out).map(|index| candidates[index]).collect()
}

fn root(value: f32) -> f32 {
    f64::from(value).sqrt() as f32
}

/// Whether what is left of a candidate when its right side is cut where it is negative is wide and not flat.
fn wide_and_varied(above: &[f32], summit: usize) -> bool {
    let cut = (summit..above.len()).find(|&i| above[i] < 0.0).unwrap_or(above.len());
    let kept = &above[..cut];
    if kept.len() < NARROWEST {
        return false;
    }
    let mut different: Vec<f32> = Vec::with_capacity(FEWEST_HEIGHTS);
    for &height in kept {
        if !different.contains(&height) {
            different.push(height);
            if different.len() == FEWEST_HEIGHTS {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::peaks::scored;
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_fitted_parabola() {
        // of y = x^2 the slope at x is 2 x; sum of k^2 for k = -2..2 is 10
        let heights: Vec<f32> = (0..12).map(|x| (x * x) as f32).collect();
        for (x, slope) in slopes(&heights, 2).into_iter().enumerate().skip(2).take(8) {
            assert_eq!(slope / 10.0, 2.0 * x as f64);
        }
    }

    #[test]
    fn a_flat_signal_has_exactly_no_slope() {
        assert!(slopes(&[7.3; 40], 5)[6..34].iter().all(|&slope| slope == 0.0));
    }

    /// Steps of 10 bp up to a height and down again, twice.
    fn two_hills(height: u32) -> Vec<(u32, f32, f32)> {
        let hill = (1..=height).chain((2..height).rev());
        hill.clone().chain(hill).enumerate().map(|(i, h)| (10 * (i as u32 + 1) + 1_000, h as f32, 9.0)).collect()
    }

    #[test]
    fn two_hills_have_two_summits_at_their_tops() {
        let runs: Vec<_> = std::iter::once((1_000, 0.0, 0.0)).chain(two_hills(30)).collect();
        let scored = scored(&runs);
        let rule = Rule { lowest_p: 2.0, max_gap: 0, min_length: 51 };
        let regions = scored.regions(rule);
        let summits = summits_within(&scored, &regions[0], rule);
        assert_eq!(summits.len(), 2);
        for (summit, (position, run)) in summits.into_iter().enumerate() {
            assert_eq!(scored.track.treatment[run], 30.0);
            let top = 1_295 + 580 * summit as u32;
            assert!(position.abs_diff(top) <= 11, "summit {summit} at {position}, the hill's top at {top}");
        }
    }

    #[test]
    fn a_valley_that_noise_explains_separates_nothing() {
        // between hills of 100 the signal falls to 95: less than the root of the count
        let mut heights = vec![0.0_f32; 20];
        heights.extend((0..100).map(|i| i as f32));
        heights.extend((0..100).map(|i| 100.0 - (5.0 - (i as f32 / 10.0 - 5.0).abs())));
        heights.extend((0..100).rev().map(|i| i as f32));
        assert!(peaky(&heights, &[120, 219]).len() < 2);
    }
}
