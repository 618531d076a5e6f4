//! How well predicted numbers follow observed ones.

use super::same_length;

/// Pearson's correlation, from -1 to 1.
///
/// The cosine of the two centred vectors; SciPy: `pearsonr`. NaN with fewer than two pairs, when
/// one side is constant, and when a value is NaN or infinite.
///
/// # Panics
/// When the lengths differ.
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    same_length("Pearson correlation", x.len(), y.len());
    let constant = |values: &[f64]| values.iter().all(|&value| value == values[0]);
    if x.is_empty() || constant(x) || constant(y) {
        return f64::NAN;
    }
    let centred = |values: &[f64]| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect()
    };
    let (x, y) = (centred(x), centred(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let r = dot(&x, &y) / (dot(&x, &x).sqrt() * dot(&y, &y).sqrt());
    // NaN passes through
    r.clamp(-1.0, 1.0)
}

/// Lin's concordance correlation, from -1 to 1: how near pairs are to the line y = x.
///
/// 2 cov / (var + var + (difference of means)^2) with biased moments (Lin, Biometrics 45, 1989, eq. 2). 1 only where all
/// pairs are equal, 0 where one side is constant; NaN without pairs, when both sides are constant and equal, and when a
/// value is NaN or infinite.
///
/// # Panics
/// When the lengths differ.
pub fn concordance(x: &[f64], y: &[f64]) -> f64 {
    same_length("concordance correlation", x.len(), y.len());
    let n = x.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(x), mean(y));
    let (mut covariance, mut spread) = (0.0, n * (x_mean - y_mean).powi(2));
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - x_mean, y - y_mean);
        covariance += x * y;
        spread += x * x + y * y;
    }
    2.0 * covariance / spread
}

/// Spearman's correlation: Pearson's of the ranks, equal values sharing their mean rank.
///
/// SciPy: `spearmanr`. NaN with fewer than two pairs, when one side is constant, and when a value
/// is NaN.
///
/// # Panics
/// When the lengths differ.
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    same_length("Spearman correlation", x.len(), y.len());
    if x.iter().chain(y).any(|value| value.is_nan()) {
        return f64::NAN;
    }
    pearson(&ranks(x), &ranks(y))
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = before as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|&at| ranks[at] = mean);
        before += tied.len();
    }
    ranks
}

/// The coefficient of determination: 1 - residual / total sum of squares.
///
/// 1 is perfect, 0 as good as the mean of `observed`, below 0 worse; scikit-learn: `r2_score`. NaN
/// with fewer than two pairs, when `observed` is constant (where scikit-learn says 0 or 1), and when
/// a value is NaN.
///
/// # Panics
/// When the lengths differ.
pub fn r2(observed: &[f64], predicted: &[f64]) -> f64 {
    same_length("R2", observed.len(), predicted.len());
    if observed.iter().all(|&value| value == observed[0]) {
        return f64::NAN;
    }
    let mean = observed.iter().sum::<f64>() / observed.len() as f64;
    let square = |difference: f64| difference * difference;
    let residual: f64 = observed.iter().zip(predicted).map(|(o, p)| square(o - p)).sum();
    let total: f64 = observed.iter().map(|o| square(o - mean)).sum();
    1.0 - residual / total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    /// ```python
    /// import numpy as np; from scipy.stats import pearsonr, spearmanr; from sklearn.metrics import r2_score
    /// i = np.arange(15.); x = np.round(5 * np.sin(i)); y = np.round(4 * np.sin(i + 0.5) + i / 10)
    /// print(pearsonr(x, y)[0], spearmanr(x, y)[0], r2_score(x, y))
    /// ```
    #[test]
    fn correlations_agree_with_scipy_and_scikit_learn() {
        let i = (0..15).map(f64::from);
        let x: Vec<f64> = i.clone().map(|i| (5.0 * i.sin()).round()).collect();
        let y: Vec<f64> = i.map(|i| (4.0 * (i + 0.5).sin() + i / 10.0).round()).collect();
        close(pearson(&x, &y), 0.8533492000145712);
        close(spearman(&x, &y), 0.8349985554113512);
        close(r2(&x, &y), 0.6764091858037579);
        // 2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + (x.mean() - y.mean())**2)
        close(concordance(&x, &y), 0.8107448107448106);
    }

    #[test]
    fn equal_values_share_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, -2.0]), [3.5, 2.0, 3.5, 1.0]);
        assert_eq!(ranks(&[0.0, -0.0]), [1.5, 1.5]);
    }

    #[test]
    fn a_line_correlates_fully_and_a_monotone_curve_in_rank() {
        let x = [1.0, 2.0, 3.0, 4.0];
        close(pearson(&x, &[2.0, 4.0, 6.0, 8.0]), 1.0);
        close(pearson(&x, &[8.0, 6.0, 4.0, 2.0]), -1.0);
        close(spearman(&x, &[1.0, 10.0, 100.0, 1e6]), 1.0);
        close(r2(&x, &x), 1.0);
        close(r2(&x, &[2.5; 4]), 0.0);
    }

    #[test]
    fn concordance_wants_equal_values_not_a_line() {
        let x = [1.0, 2.0, 3.0, 4.0];
        close(concordance(&x, &x), 1.0);
        close(concordance(&x, &[5.0; 4]), 0.0);
        // covariance 2.5, variances 1.25 and 5, means 2.5 apart
        close(concordance(&x, &[2.0, 4.0, 6.0, 8.0]), 5.0 / 12.5);
        assert!(concordance(&[], &[]).is_nan() && concordance(&[2.0; 2], &[2.0; 2]).is_nan());
        assert!(concordance(&[1.0, f64::NAN], &[1.0, 2.0]).is_nan());
    }

    #[test]
    fn undefined_values_are_nan() {
        for measure in [pearson, spearman, r2] {
            assert!(measure(&[], &[]).is_nan());
            assert!(measure(&[1.0], &[1.0]).is_nan());
            assert!(measure(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]).is_nan());
            assert!(measure(&[1.0, f64::NAN, 3.0], &[1.0, 2.0, 3.0]).is_nan());
            assert!(measure(&[1.0, 2.0, 3.0], &[1.0, f64::NAN, 3.0]).is_nan());
        }
        assert!(pearson(&[1.0, 2.0], &[5.0, 5.0]).is_nan());
        assert!(pearson(&[1.0, f64::INFINITY], &[5.0, 6.0]).is_nan());
    }
}
