//! Curves that say how good predicted probabilities are.

/// Groups of equal size whose mean prediction is compared with what happened.
const GROUPS: usize = 10;
/// Points of a drawn curve, at most.
const POINTS: usize = 300;

/// The curves of predicted probabilities, ready to be drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Recall of growing numbers of calls, from the most certain on.
    pub recall: Vec<f64>,
    /// The share of those calls that is right.
    pub precision: Vec<f64>,
    /// The share of negatives among those calls, of all negatives.
    pub false_positive_rate: Vec<f64>,
    /// Mean probability of groups of equal size.
    pub predicted: Vec<f64>,
    /// The share of ones in each group.
    pub observed: Vec<f64>,
}

impl Curves {
    /// The curves of some predictions; nothing where one class is missing.
    pub fn of(positive: &[bool], probabilities: &[f64]) -> Option<Self> {
        let positives = positive.iter().filter(|&&p| p).count() as f64;
        let negatives = positive.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 || probabilities.iter().any(|p| p.is_nan()) {
            return None;
        }
        let mut order: Vec<usize> = (0..positive.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let mut curves = Self::default();
        let (mut right, mut called, mut next) = (0.0, 0.0, 0.0);
        // a curve has points between values that differ alone
        for tied in order.chunk_by(|&a, &b| probabilities[a] == probabilities[b]) {
            right += tied.iter().filter(|&&i| positive[i]).count() as f64;
            called += tied.len() as f64;
            let wrong = called - right;
            let along = right / positives + wrong / negatives;
            if along >= next || called as usize == positive.len() {
                curves.recall.push(right / positives);
                curves.precision.push(right / called);
                curves.false_positive_rate.push(wrong / negatives);
                next = along + 2.0 / POINTS as f64;
            }
        }
        order.reverse();
        for group in 0..GROUPS {
            let part = &order[group * order.len() / GROUPS..(group + 1) * order.len() / GROUPS];
            if !part.is_empty() {
                let mean =
                    |value: &dyn Fn(usize) -> f64| part.iter().map(|&i| value(i)).sum::<f64>() / part.len() as f64;
                curves.predicted.push(mean(&|i| probabilities[i]));
                curves.observed.push(mean(&|i| f64::from(u8::from(positive[i]))));
            }
        }
        Some(curves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_follow_their_definitions() {
        // from the most certain: right, wrong, right, wrong
        let curves = Curves::of(&[true, false, true, false], &[0.9, 0.8, 0.3, 0.1]).unwrap();
        assert_eq!(curves.recall, [0.5, 0.5, 1.0, 1.0]);
        assert_eq!(curves.precision, [1.0, 0.5, 2.0 / 3.0, 0.5]);
        assert_eq!(curves.false_positive_rate, [0.0, 0.5, 0.5, 1.0]);
        assert_eq!(Curves::of(&[true, true], &[0.1, 0.2]), None);
        // ten thousand values in ten groups, calibrated by construction
        let p: Vec<f64> = (0..10_000).map(|i| f64::from(i) / 10_000.0).collect();
        let positive: Vec<bool> = (0..10_000).map(|i| (i * 7919 % 10_000) < i).collect();
        let curves = Curves::of(&positive, &p).unwrap();
        assert!(curves.predicted.iter().zip(&curves.observed).all(|(p, o)| (p - o).abs() < 0.05));
        assert!(curves.recall.len() <= POINTS + 1);
    }
}
