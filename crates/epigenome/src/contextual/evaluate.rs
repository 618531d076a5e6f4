//! How good predictions are.

use gradome_nn::metrics::{average_precision, brier_score, expected_calibration_error, pearson, roc_auc};
use serde::Serialize;

use super::config::{HeadConfig, HeadKind};
use crate::Curves;

/// Bins of equal width in the calibration error.
const BINS: usize = 10;
/// A prediction is compared with zeros and ones where the truth is above or below this.
const HALF: f32 = 0.5;

/// How good the predictions of one output of a head are; what is not defined is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadScores {
    /// The head, and the number of its output where it has several.
    pub name: String,
    /// Values that were known and predicted.
    pub values: usize,
    /// The mean of what was known: for zeros and ones their share.
    pub mean: f64,
    /// Area under the receiver operating characteristic.
    pub auroc: Option<f64>,
    /// Average precision.
    pub auprc: Option<f64>,
    /// Mean squared difference of probability and truth.
    pub brier: Option<f64>,
    /// Expected calibration error over ten bins of equal width.
    pub calibration_error: Option<f64>,
    /// Share of classes called right.
    pub accuracy: Option<f64>,
    /// Pearson's correlation of prediction and truth.
    pub pearson: Option<f64>,
    /// Curves of zeros and ones.
    #[serde(skip)]
    pub curves: Option<Curves>,
}

fn defined(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Scores the predictions of a head, `[.., outputs]`, against what is known, `[.., targets]` with NaN where nothing is;
/// one entry an output, or one for all classes.
pub fn evaluate(head: &HeadConfig, predicted: &[f32], known: &[f32]) -> Vec<HeadScores> {
    let empty = |name: String| HeadScores {
        name,
        values: 0,
        mean: f64::NAN,
        auroc: None,
        auprc: None,
        brier: None,
        calibration_error: None,
        accuracy: None,
        pearson: None,
        curves: None,
    };
    if head.kind == HeadKind::MultiClass {
        let rows = predicted.chunks_exact(head.outputs).zip(known).filter(|(_, class)| !class.is_nan());
        let (mut right, mut count, mut sum) = (0.0, 0, 0.0);
        for (row, &class) in rows {
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
            right += f64::from(u8::from(best as f32 == class));
            sum += f64::from(class);
            count += 1;
        }
        let accuracy = defined(right / f64::from(count));
        let values = count as usize;
        return vec![HeadScores { values, mean: sum / f64::from(count), accuracy, ..empty(head.name.clone()) }];
    }
    let score = |output: usize| {
        let column = |all: &[f32]| all.iter().skip(output).step_by(head.outputs).copied().collect::<Vec<f32>>();
        let pairs: Vec<(f32, f32)> =
            column(predicted).into_iter().zip(column(known)).filter(|(_, known)| !known.is_nan()).collect();
        let (predicted, truth): (Vec<f64>, Vec<f64>) = pairs.iter().map(|&(p, t)| (f64::from(p), f64::from(t))).unzip();
        let name = if head.outputs > 1 { format!("{}_{}", head.name, output + 1) } else { head.name.clone() };
        let mean = truth.iter().sum::<f64>() / truth.len() as f64;
        let scores = HeadScores { values: truth.len(), mean, ..empty(name) };
        if head.kind != HeadKind::Binary {
            return HeadScores { pearson: defined(pearson(&truth, &predicted)), ..scores };
        }
        let positive: Vec<bool> = pairs.iter().map(|&(_, truth)| truth > HALF).collect();
        HeadScores {
            auroc: defined(roc_auc(&positive, &predicted)),
            auprc: defined(average_precision(&positive, &predicted)),
            brier: defined(brier_score(&positive, &predicted)),
            calibration_error: defined(expected_calibration_error(&positive, &predicted, BINS)),
            curves: Curves::of(&positive, &predicted),
            ..scores
        }
    };
    (0..head.outputs).map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contextual::Level;

    #[test]
    fn unknown_targets_are_left_out() {
        let head = HeadConfig::new("x", HeadKind::Binary, Level::Position);
        let scores = evaluate(&head, &[0.9, 0.2, 0.7, 0.4], &[1.0, 0.0, f32::NAN, 0.0]);
        assert_eq!((scores[0].values, scores[0].auroc, scores[0].mean), (3, Some(1.0), 1.0 / 3.0));
        let head = HeadConfig { outputs: 2, ..HeadConfig::new("x", HeadKind::MultiClass, Level::Position) };
        let scores = evaluate(&head, &[0.9, 0.1, 0.3, 0.7, 0.2, 0.8], &[0.0, 0.0, f32::NAN]);
        assert_eq!((scores[0].values, scores[0].accuracy), (2, Some(0.5)));
    }
}
