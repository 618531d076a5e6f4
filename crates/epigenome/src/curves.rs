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
