//! How good an embedding, a classification or a prediction is.
//!
//! Plain functions on slices that agree with scikit-learn and SciPy number by number.
//!
//! | file | measures |
//! | --- | --- |
//! | [`clustering`] | adjusted Rand index, normalised mutual information, silhouette |
//! | [`classification`] | accuracy, balanced accuracy, F1, k-nearest-neighbour vote, AUROC, average precision |
//! | [`calibration`] | Brier score, expected calibration error |
//! | [`correlation`] | Pearson, Spearman, concordance, R2 |
//!
//! Slices that belong together have one length; anything else is a bug of the caller and panics.
//! Where a measure is not defined (no values, constant values, one class, NaN among the values)
//! the answer is NaN, never a guess; each function says when.

pub mod calibration;
pub mod classification;
pub mod clustering;
pub mod correlation;

pub use calibration::{brier_score, expected_calibration_error};
pub use classification::{
    accuracy, average_precision, balanced_accuracy, f1, knn_accuracy, knn_classify, macro_f1, roc_auc,
};
pub use clustering::{adjusted_rand_index, normalized_mutual_information, silhouette};
pub use correlation::{concordance, pearson, r2, spearman};

/// Stops when two slices that belong together differ in length.
fn same_length(measure: &str, a: usize, b: usize) {
    assert_eq!(a, b, "{measure}: {a} values against {b}");
}

/// Numbers the labels from 0 in sorted order; the numbers, and how many labels there are.
fn encode<L: Ord>(labels: &[L]) -> (Vec<usize>, usize) {
    let mut sorted: Vec<&L> = labels.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let code = |label: &L| sorted.partition_point(|&other| other < label);
    (labels.iter().map(code).collect(), sorted.len())
}
