//! Agreement of two groupings, and how well groups are separated.

use super::{encode, same_length};

/// [a labels, b labels] how many samples have each pair of labels, with both margins.
fn contingency<A: Ord, B: Ord>(a: &[A], b: &[B]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let ((a, rows), (b, columns)) = (encode(a), encode(b));
    let mut table = vec![0.0; rows * columns];
    let (mut row_sums, mut column_sums) = (vec![0.0; rows], vec![0.0; columns]);
    for (&row, &column) in a.iter().zip(&b) {
        table[row * columns + column] += 1.0;
        row_sums[row] += 1.0;
        column_sums[column] += 1.0;
    }
    (table, row_sums, column_sums)
}

/// The adjusted Rand index of two groupings of the same samples: 1 for equal ones, about 0 for
/// random ones, at least -0.5.
///
/// Hubert and Arabie, J. Classif. 2 (1985), eq. 5, over pairs of samples; scikit-learn:
/// `adjusted_rand_score`. Names of the groups do not matter. Two groupings that both put everything
/// into one group, or both everything into its own, agree: 1. So do groupings of no samples or one.
///
/// # Panics
/// When the lengths differ.
pub fn adjusted_rand_index<A: Ord, B: Ord>(truth: &[A], found: &[B]) -> f64 {
    same_length("adjusted Rand index", truth.len(), found.len());
    let pairs = |count: &f64| count * (count - 1.0) / 2.0;
    let (table, rows, columns) = contingency(truth, found);
    let together: f64 = table.iter().map(pairs).sum();
    let in_truth: f64 = rows.iter().map(pairs).sum();
    let in_found: f64 = columns.iter().map(pairs).sum();
    let all = pairs(&(truth.len() as f64));
    let most = (in_truth + in_found) / 2.0;
    let expected = if all > 0.0 { in_truth * in_found / all } else { 0.0 };
    if most == expected { 1.0 } else { (together - expected) / (most - expected) }
}

/// The mutual information of two groupings divided by the mean of their entropies, from 0 to 1.
///
/// Vinh, Epps and Bailey, JMLR 11 (2010), NMI_sum; scikit-learn:
/// `normalized_mutual_info_score` with its arithmetic mean. As there, two groupings that both have
/// a single group (or no samples) agree: 1; a single group against several says nothing: 0.
///
/// # Panics
/// When the lengths differ.
pub fn normalized_mutual_information<A: Ord, B: Ord>(truth: &[A], found: &[B]) -> f64 {
    same_length("normalised mutual information", truth.len(), found.len());
    let (table, rows, columns) = contingency(truth, found);
    if rows.len() <= 1 && columns.len() <= 1 {
        return 1.0;
    }
    if rows.len() == 1 || columns.len() == 1 {
        return 0.0;
    }
    let n = truth.len() as f64;
    let entropy = |sums: &[f64]| -> f64 { sums.iter().map(|s| -(s / n) * (s / n).ln()).sum() };
    let cells = table.iter().enumerate().filter(|&(_, &count)| count > 0.0);
    let information: f64 = cells
        .map(|(at, count)| {
            let (row, column) = (rows[at / columns.len()], columns[at % columns.len()]);
            count / n * (count * n / (row * column)).ln()
        })
        .sum();
    (information / ((entropy(&rows) + entropy(&columns)) / 2.0)).clamp(0.0, 1.0)
}

/// The mean silhouette of samples in groups, Euclidean, from -1 to 1.
///
/// (b - a) / max(a, b), where a is the mean distance to the others of the own group and b the least
/// mean distance to another group (Rousseeuw, J. Comput. Appl. Math. 20, 1987; scikit-learn:
/// `silhouette_score`). `points` is `[samples, dims]` row-major. A sample alone in its group counts
/// as 0. NaN when there are fewer than two groups, when every sample is a group of its own, or when
/// a coordinate is NaN. The work grows with the square of the samples.
///
/// # Panics
/// When `points` does not hold `dims` values per label.
pub fn silhouette<L: Ord>(points: &[f64], dims: usize, labels: &[L]) -> f64 {
    same_length("silhouette", points.len(), labels.len() * dims);
    let (codes, groups) = encode(labels);
    let samples = labels.len();
    if groups < 2 || groups == samples || points.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let mut sizes = vec![0.0; groups];
    codes.iter().for_each(|&group| sizes[group] += 1.0);
    let row = |sample: usize| &points[sample * dims..][..dims];
    let mut total = 0.0;
    for (sample, &own) in codes.iter().enumerate() {
        if sizes[own] == 1.0 {
            continue;
        }
        let mut sums = vec![0.0; groups];
        for (other, &group) in codes.iter().enumerate() {
            let pairs = row(sample).iter().zip(row(other));
            sums[group] += pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        }
        let inside = sums[own] / (sizes[own] - 1.0);
        let outside = (0..groups)
            .filter(|&group| group != own)
            .map(|group| sums[group] / sizes[group])
            .fold(f64::INFINITY, f64::min);
        let larger = inside.max(outside);
        // all distances 0: the sample fits its group and the other one equally well
        total += if larger > 0.0 { (outside - inside) / larger } else { 0.0 };
    }
    total / samples as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// from sklearn.metrics import *; import numpy as np
    /// a = [0,0,0,1,1,1,2,2,2,2]; b = [0,0,1,1,1,2,2,2,2,0]
    /// print(adjusted_rand_score(a,b), normalized_mutual_info_score(a,b))
    /// i = np.arange(10.); x = np.c_[np.sin(i), np.array(a) + np.cos(2*i)/3]
    /// print(silhouette_score(x, a), silhouette_score(x, [0,1,1,1,1,1,2,2,2,2]))
    /// ```
    const A: [u8; 10] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2];
    const B: [u8; 10] = [0, 0, 1, 1, 1, 2, 2, 2, 2, 0];

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    fn points() -> Vec<f64> {
        (0..10)
            .flat_map(|i| {
                let t = i as f64;
                [t.sin(), f64::from(A[i]) + (2.0 * t).cos() / 3.0]
            })
            .collect()
    }

    #[test]
    fn scores_agree_with_scikit_learn() {
        close(adjusted_rand_index(&A, &B), 0.20454545454545456);
        close(normalized_mutual_information(&A, &B), 0.44270128334605);
        close(silhouette(&points(), 2, &A), 0.4386679739581928);
        close(silhouette(&points(), 2, &[0, 1, 1, 1, 1, 1, 2, 2, 2, 2]), 0.08607300103923236);
    }

    #[test]
    fn names_of_groups_do_not_matter() {
        let named: Vec<&str> = A.iter().map(|&a| ["T", "B", "NK"][usize::from(a)]).collect();
        close(adjusted_rand_index(&A, &named), 1.0);
        close(normalized_mutual_information(&A, &named), 1.0);
    }

    /// The values scikit-learn gives for groupings without information.
    #[test]
    fn single_groups_score_as_in_scikit_learn() {
        let (none, one, own) = ([0; 0], [7; 10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for score in [adjusted_rand_index, normalized_mutual_information] {
            close(score(&none, &none), 1.0);
            close(score(&one, &one), 1.0);
            close(score(&own, &own), 1.0);
            close(score(&one, &own), 0.0);
        }
    }

    #[test]
    fn silhouette_without_two_groups_is_nan() {
        assert!(silhouette(&points(), 2, &[0; 10]).is_nan());
        assert!(silhouette(&[0.0, 1.0], 1, &[0, 1]).is_nan());
        assert!(silhouette::<u8>(&[], 1, &[]).is_nan());
        assert!(silhouette(&[0.0, f64::NAN, 1.0], 1, &[0, 0, 1]).is_nan());
        close(silhouette(&[1.0; 4], 1, &[0, 0, 1, 1]), 0.0);
    }

    #[test]
    #[should_panic(expected = "1 values against 2")]
    fn lengths_that_differ_panic() {
        adjusted_rand_index(&[0], &[0, 1]);
    }
}
