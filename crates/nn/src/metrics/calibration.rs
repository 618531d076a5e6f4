//! Whether predicted probabilities mean what they say.

use super::same_length;

/// The mean squared difference of predicted probabilities and what happened, 0 to 1; lower is better.
///
/// Brier, Mon. Weather Rev. 78 (1950), for two outcomes; scikit-learn: `brier_score_loss`. NaN without samples, and when
/// a probability is NaN.
///
/// # Panics
/// When the lengths differ.
pub fn brier_score(positive: &[bool], probabilities: &[f64]) -> f64 {
    same_length("Brier score", positive.len(), probabilities.len());
    let squares = positive.iter().zip(probabilities).map(|(&positive, p)| (p - f64::from(positive)).powi(2));
    squares.sum::<f64>() / positive.len() as f64
}

/// The mean distance of predicted probability and observed frequency over bins of equal width, weighted by their samples.
///
/// Naeini, Cooper & Hauskrecht (AAAI 2015) with the samples' mean probability as the bin's; bin k of n holds
/// probabilities from k / n to below (k + 1) / n, the last one 1 as well. NaN without samples, and when a probability is
/// NaN.
///
/// # Panics
/// When the lengths differ, `bins` is 0, or a probability is outside of 0 to 1.
pub fn expected_calibration_error(positive: &[bool], probabilities: &[f64], bins: usize) -> f64 {
    same_length("expected calibration error", positive.len(), probabilities.len());
    assert!(bins > 0, "expected calibration error: 0 bins");
    if probabilities.iter().any(|p| p.is_nan()) {
        return f64::NAN;
    }
    let mut excess = vec![0.0; bins];
    for (&positive, &p) in positive.iter().zip(probabilities) {
        assert!((0.0..=1.0).contains(&p), "expected calibration error: {p} is not a probability");
        let bin = ((p * bins as f64) as usize).min(bins - 1);
        excess[bin] += f64::from(positive) - p;
    }
    excess.iter().map(|excess| excess.abs()).sum::<f64>() / positive.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// from sklearn.metrics import brier_score_loss; import numpy as np
    /// i = np.arange(20); y = (i * 7 % 5 < 2); p = np.round(1 / (1 + np.exp(-(np.sin(i) + y * 0.7 - 0.5))), 2)
    /// bins = np.minimum((p * 5).astype(int), 4)
    /// e = sum((bins == k).mean() * abs(y[bins == k].mean() - p[bins == k].mean()) for k in range(5) if k in bins)
    /// print(brier_score_loss(y, p), e)
    /// ```
    #[test]
    fn scores_agree_with_scikit_learn() {
        let positive: Vec<bool> = (0..20).map(|i| i * 7 % 5 < 2).collect();
        let probability = |(i, &y): (usize, &bool)| {
            let logit = (i as f64).sin() + if y { 0.7 } else { 0.0 } - 0.5;
            (100.0 / (1.0 + (-logit).exp())).round() / 100.0
        };
        let probabilities: Vec<f64> = positive.iter().enumerate().map(probability).collect();
        assert!((brier_score(&positive, &probabilities) - 0.199965).abs() < 1e-12);
        assert!((expected_calibration_error(&positive, &probabilities, 5) - 0.0735).abs() < 1e-12);
    }

    #[test]
    fn certain_and_right_is_perfect_and_the_frequency_is_calibrated() {
        let positive = [true, false, true, true];
        let certain = [1.0, 0.0, 1.0, 1.0];
        assert_eq!((brier_score(&positive, &certain), expected_calibration_error(&positive, &certain, 10)), (0.0, 0.0));
        assert_eq!(expected_calibration_error(&positive, &[0.75; 4], 10), 0.0);
        assert_eq!(brier_score(&positive, &[0.75; 4]), 0.1875);
        assert!(brier_score(&[], &[]).is_nan() && expected_calibration_error(&[], &[], 3).is_nan());
        assert!(expected_calibration_error(&[true], &[f64::NAN], 3).is_nan());
    }
}
