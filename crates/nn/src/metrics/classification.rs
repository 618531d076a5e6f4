//! How well classes are called, and how well scores rank.

use super::{encode, same_length};

/// The part of samples whose class was called right; NaN without samples.
///
/// # Panics
/// When the lengths differ.
pub fn accuracy<L: PartialEq>(truth: &[L], called: &[L]) -> f64 {
    same_length("accuracy", truth.len(), called.len());
    let right = truth.iter().zip(called).filter(|(truth, called)| truth == called).count();
    right as f64 / truth.len() as f64
}

/// The mean over classes of the part of each class that was called right.
///
/// scikit-learn: `balanced_accuracy_score`; classes are those of `truth`. NaN without samples.
///
/// # Panics
/// When the lengths differ.
pub fn balanced_accuracy<L: Ord>(truth: &[L], called: &[L]) -> f64 {
    same_length("balanced accuracy", truth.len(), called.len());
    let (codes, classes) = encode(truth);
    let (mut right, mut all) = (vec![0.0; classes], vec![0.0; classes]);
    for (sample, &class) in codes.iter().enumerate() {
        all[class] += 1.0;
        if truth[sample] == called[sample] {
            right[class] += 1.0;
        }
    }
    right.iter().zip(&all).map(|(right, all)| right / all).sum::<f64>() / classes as f64
}

/// The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN), from 0 to 1.
///
/// scikit-learn: `f1_score`. NaN where nothing is positive and nothing was called so (where scikit-learn warns and says
/// 0).
///
/// # Panics
/// When the lengths differ.
pub fn f1(positive: &[bool], called: &[bool]) -> f64 {
    same_length("F1", positive.len(), called.len());
    let right = positive.iter().zip(called).filter(|(positive, called)| **positive && **called).count();
    let claims = positive.iter().chain(called).filter(|&&claim| claim).count();
    2.0 * right as f64 / claims as f64
}

/// The mean of the F1 of each class against all others, over the classes of both sides.
///
/// scikit-learn: `f1_score(average="macro")`. NaN without samples.
///
/// # Panics
/// When the lengths differ.
pub fn macro_f1<L: Ord>(truth: &[L], called: &[L]) -> f64 {
    same_length("macro F1", truth.len(), called.len());
    let (codes, classes) = encode(&truth.iter().chain(called).collect::<Vec<_>>());
    let (truth, called) = codes.split_at(truth.len());
    let is = |codes: &[usize], class| codes.iter().map(|&code| code == class).collect::<Vec<_>>();
    (0..classes).map(|class| f1(&is(truth, class), &is(called, class))).sum::<f64>() / classes as f64
}

/// The class of most of each sample's neighbours; of classes with equally many, the smallest.
///
/// scikit-learn: `KNeighborsClassifier` with uniform weights. `neighbours` is `[samples, k]`, row
/// numbers of `labels` as an exact search gives them.
///
/// # Panics
/// When `k` is 0, `neighbours` is not a multiple of `k`, or names a row without a label.
pub fn knn_classify<L: Ord + Clone>(neighbours: &[usize], k: usize, labels: &[L]) -> Vec<L> {
    assert!(k > 0, "k-nearest-neighbour vote: k is 0");
    assert_eq!(neighbours.len() % k, 0, "k-nearest-neighbour vote: rows of {k} neighbours");
    let vote = |near: &[usize]| -> L {
        let mut near: Vec<&L> = near.iter().map(|&row| &labels[row]).collect();
        near.sort_unstable();
        let runs = near.chunk_by(|a, b| a == b);
        // runs come in sorted order: the first of the longest is the smallest class
        let longest = runs.reduce(|best, run| if run.len() > best.len() { run } else { best });
        longest.expect("k is at least 1")[0].clone()
    };
    neighbours.chunks_exact(k).map(vote).collect()
}

/// The accuracy of the vote of the `k` nearest neighbours.
///
/// `neighbours` is `[samples, k]`, row numbers of `labels`; `truth` holds the samples' classes. NaN
/// without samples.
///
/// # Panics
/// As [`knn_classify`], and when there are not `k` neighbours per sample of `truth`.
pub fn knn_accuracy<L: Ord + Clone>(neighbours: &[usize], k: usize, labels: &[L], truth: &[L]) -> f64 {
    accuracy(truth, &knn_classify(neighbours, k, labels))
}

/// Samples from the highest score down, cut where the score changes: after each cut, how many
/// positives and how many negatives have at least that score. `None` where a score is NaN.
fn ranked(positive: &[bool], scores: &[f64]) -> Option<Vec<(f64, f64)>> {
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut positives, mut negatives) = (0.0, 0.0);
    let cuts = order.chunk_by(|&a, &b| scores[a] == scores[b]).map(|tied| {
        let here = tied.iter().filter(|&&sample| positive[sample]).count();
        positives += here as f64;
        negatives += (tied.len() - here) as f64;
        (positives, negatives)
    });
    Some(cuts.collect())
}

/// The area under the receiver operating characteristic: the chance that a random positive scores
/// above a random negative, ties counting half.
///
/// Hanley and McNeil, Radiology 143 (1982); scikit-learn: `roc_auc_score`. NaN without positives or
/// without negatives, and when a score is NaN.
///
/// # Panics
/// When the lengths differ.
pub fn roc_auc(positive: &[bool], scores: &[f64]) -> f64 {
    same_length("AUROC", positive.len(), scores.len());
    let Some(cuts) = ranked(positive, scores) else { return f64::NAN };
    let Some(&(positives, negatives)) = cuts.last() else { return f64::NAN };
    let (mut area, mut before) = (0.0, (0.0, 0.0));
    for &cut in &cuts {
        area += (cut.1 - before.1) * (cut.0 + before.0) / 2.0;
        before = cut;
    }
    // 0 / 0 = NaN where one class is missing
    area / (positives * negatives)
}

/// The average precision: the area under the precision-recall curve as a sum of steps.
///
/// sum over cuts of (recall_n - recall_{n-1}) precision_n, without interpolation; scikit-learn:
/// `average_precision_score`. NaN without positives (where scikit-learn warns and says 0), and when
/// a score is NaN.
///
/// # Panics
/// When the lengths differ.
pub fn average_precision(positive: &[bool], scores: &[f64]) -> f64 {
    same_length("average precision", positive.len(), scores.len());
    let Some(cuts) = ranked(positive, scores) else { return f64::NAN };
    let Some(&(positives, _)) = cuts.last() else { return f64::NAN };
    let (mut sum, mut before) = (0.0, 0.0);
    for (true_calls, false_calls) in cuts {
        sum += (true_calls - before) * true_calls / (true_calls + false_calls);
        before = true_calls;
    }
    sum / positives
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    /// ```python
    /// from sklearn.metrics import f1_score
    /// a = [0,0,0,1,1,1,2,2,2,2]; b = [0,0,1,1,1,2,2,2,2,0]
    /// print(f1_score(a, b, average="macro"), f1_score([0,0,1,1], [0,0,0,3], average="macro"))
    /// ```
    #[test]
    fn f1_agrees_with_scikit_learn() {
        close(macro_f1(&[0, 0, 0, 1, 1, 1, 2, 2, 2, 2], &[0, 0, 1, 1, 1, 2, 2, 2, 2, 0]), 0.6944444444444443);
        // class 1 was never called, class 3 never true
        close(macro_f1(&[0, 0, 1, 1], &[0, 0, 0, 3]), 0.26666666666666666);
        close(f1(&[true, true, false, false, true], &[true, false, true, false, true]), 2.0 / 3.0);
        assert!(f1(&[false], &[false]).is_nan() && macro_f1::<u8>(&[], &[]).is_nan());
    }

    /// ```python
    /// from sklearn.metrics import *; import numpy as np
    /// i = np.arange(20); y = (i * 7 % 5 < 2); s = np.round(np.sin(i) + y * 0.7, 1)
    /// print(roc_auc_score(y, s), average_precision_score(y, s))
    /// a = [0,0,0,1,1,1,2,2,2,2]; b = [0,0,1,1,1,2,2,2,2,0]
    /// print(accuracy_score(a, b), balanced_accuracy_score(a, b))
    /// ```
    #[test]
    fn scores_agree_with_scikit_learn() {
        let positive: Vec<bool> = (0..20).map(|i| i * 7 % 5 < 2).collect();
        let scores: Vec<f64> = (0..20)
            .zip(&positive)
            .map(|(i, &y)| {
                let score = f64::from(i).sin() + if y { 0.7 } else { 0.0 };
                (score * 10.0).round() / 10.0
            })
            .collect();
        close(roc_auc(&positive, &scores), 0.75);
        close(average_precision(&positive, &scores), 0.7138625263625263);
        let (a, b) = ([0, 0, 0, 1, 1, 1, 2, 2, 2, 2], [0, 0, 1, 1, 1, 2, 2, 2, 2, 0]);
        close(accuracy(&a, &b), 0.7);
        close(balanced_accuracy(&a, &b), 0.6944444444444443);
    }

    /// ```python
    /// from sklearn.neighbors import KNeighborsClassifier; import numpy as np
    /// x = np.sin(np.arange(12.) ** 2)[:, None]; y = ["T","B","NK"] * 4
    /// m = KNeighborsClassifier(4).fit(x, y); q = np.cos(np.arange(6.))[:, None]
    /// print(m.kneighbors(q, return_distance=False).ravel().tolist(), m.predict(q))
    /// ```
    #[test]
    fn the_vote_agrees_with_scikit_learn_ties_included() {
        let labels: Vec<&str> = ["T", "B", "NK"].repeat(4);
        let near: [usize; 24] = [11, 8, 1, 3, 3, 1, 8, 11, 10, 4, 9, 5, 6, 7, 2, 9, 9, 2, 10, 7, 3, 0, 5, 1];
        let called: [&str; 6] = ["NK", "NK", "B", "T", "B", "T"];
        assert_eq!(knn_classify(&near, 4, &labels), called);
        close(knn_accuracy(&near, 4, &labels, &called), 1.0);
    }

    #[test]
    fn equal_votes_go_to_the_smallest_class() {
        assert_eq!(knn_classify(&[3, 2, 1, 0], 4, &[5, 5, 2, 2]), [2]);
        assert_eq!(knn_classify(&[0, 1, 2], 3, &["b", "a", "b"]), ["b"]);
    }

    #[test]
    fn equal_scores_count_half() {
        close(roc_auc(&[true, false, true, false], &[1.0; 4]), 0.5);
        close(average_precision(&[true, false, true, false], &[1.0; 4]), 0.5);
        // zero has one value, whatever its sign
        close(roc_auc(&[true, false], &[-0.0, 0.0]), 0.5);
    }

    #[test]
    fn undefined_scores_are_nan() {
        for score in [roc_auc, average_precision] {
            assert!(score(&[], &[]).is_nan());
            assert!(score(&[false, false], &[0.1, 0.2]).is_nan());
            assert!(score(&[true, false], &[f64::NAN, 0.2]).is_nan());
        }
        assert!(roc_auc(&[true, true], &[0.1, 0.2]).is_nan());
        assert!(accuracy::<u8>(&[], &[]).is_nan());
        assert!(balanced_accuracy::<u8>(&[], &[]).is_nan());
    }

    #[test]
    #[should_panic(expected = "AUROC: 1 values against 2")]
    fn lengths_that_differ_panic() {
        roc_auc(&[true], &[0.0, 1.0]);
    }
}
