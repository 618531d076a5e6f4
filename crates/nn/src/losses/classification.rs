//! Losses of classes, all from logits, so that none overflows.

use std::sync::Arc;

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Tensor, Var};

use super::same_shape;
use crate::check::check_step;
use crate::layers::waves;
use crate::store::ParamStore;

/// The binary cross-entropy -t ln p - (1 - t) ln(1 - p) with p = sigmoid(logit), an array of the operands' shape.
///
/// `targets` are probabilities, 0 to 1. Exact for logits of any size: at 10 000 it is 0 or 10 000, slope 0 or 1.
/// PyTorch: `F.binary_cross_entropy_with_logits(reduction='none')`.
///
/// # Panics
/// When the shapes differ.
pub fn bce_with_logits<'t, T: Float>(logits: Var<'t, T>, targets: Var<'t, T>) -> Var<'t, T> {
    same_shape("binary cross-entropy", logits, targets);
    targets * (-logits).softplus() + (-targets + 1.0) * logits.softplus()
}

/// [`bce_with_logits`] in which a target of 1 counts `positive_weight` times: `[classes]` or any shape that broadcasts to
/// that of the logits. PyTorch: its `pos_weight`.
///
/// # Panics
/// When the shapes differ.
pub fn bce_with_logits_weighted<'t, T: Float>(
    logits: Var<'t, T>,
    targets: Var<'t, T>,
    positive_weight: Var<'t, T>,
) -> Var<'t, T> {
    same_shape("binary cross-entropy", logits, targets);
    targets * positive_weight * (-logits).softplus() + (-targets + 1.0) * logits.softplus()
}

/// The focal loss -alpha_t (1 - p_t)^gamma ln p_t, an array of the operands' shape (Lin et al. 2017, eq. 5).
///
/// p_t is the probability that the logit gives to the true side, alpha_t is `alpha` for targets of 1 and 1 - `alpha` for
/// targets of 0; none counts both alike with 1. Targets are 0 or 1, nothing between. The paper's values are
/// `gamma` 2 and `alpha` 0.25; `gamma` 0 is the binary cross-entropy. torchvision: `sigmoid_focal_loss`.
///
/// # Panics
/// When the shapes differ, or `gamma` is below 0.
pub fn focal<'t, T: Float>(logits: Var<'t, T>, targets: Var<'t, T>, gamma: f64, alpha: Option<f64>) -> Var<'t, T> {
    same_shape("focal loss", logits, targets);
    assert!(gamma >= 0.0, "focal loss: gamma {gamma} is below 0");
    // the logit of the true side
    let toward = logits * (targets * 2.0 - 1.0);
    // (1 - p)^gamma = e^(gamma ln(1 - p)), which has a slope at p = 1 as well
    let loss = (-toward).softplus() * (-(toward.softplus() * gamma)).exp();
    match alpha {
        Some(alpha) => loss * (targets * (2.0 * alpha - 1.0) + (1.0 - alpha)),
        None => loss,
    }
}

/// Cross-entropy of softmax(logits) over the last axis. PyTorch: `F.cross_entropy`.
///
/// ```
/// use gradome_nn::losses::CrossEntropy;
/// use gradome_tape::{Tape, Tensor};
///
/// let tape = Tape::<f64>::new();
/// let logits = tape.variable(&Tensor::zeros([2, 4]));
/// let loss = CrossEntropy::default().mean(logits, &[3, 0]);
/// assert!((loss.item() - 4f64.ln()).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// The share of each target that is spread evenly over all classes, 0..=1 (Szegedy et al. 2016). Default 0.
    pub label_smoothing: f64,
    /// `[classes]` how much each class counts. Default 1 each.
    pub class_weights: Option<Vec<f64>>,
    /// Rows of this class count nothing; it need not be one of the classes. Default none.
    pub ignore: Option<u32>,
}

impl CrossEntropy {
    /// The loss of each row, `[rows]`, from logits `[.., classes]` and the class of each row, row-major; 0 where it is
    /// ignored.
    ///
    /// Logits may be of any size; minus infinity rules a class out.
    ///
    /// # Panics
    /// When there is not one class for each row, a class does not exist, or the weights do not fit.
    pub fn rows<'t, T: Float>(&self, logits: Var<'t, T>, classes: &[u32]) -> Var<'t, T> {
        let (tape, [rows, count]) = (logits.tape(), self.sizes(logits));
        assert_eq!(classes.len(), rows, "cross-entropy: {} classes for logits {}", classes.len(), logits.shape());
        assert!(u32::try_from(rows * count).is_ok(), "cross-entropy: logits {} are too many", logits.shape());
        let ignored = |class: u32| self.ignore == Some(class);
        let at = |(row, &class): (usize, &u32)| {
            assert!(
                ignored(class) || (class as usize) < count,
                "cross-entropy: row {row} has class {class} of {count}"
            );
            (row * count) as u32 + if ignored(class) { 0 } else { class }
        };
        let places: Arc<[u32]> = classes.iter().enumerate().map(at).collect();
        let ln_p = logits.reshape([rows, count]).log_softmax();
        let picked = ln_p.reshape([rows * count]).index_select(0, &places);
        let weights = Tensor::from_fn([rows], |row| T::of((1.0 - self.label_smoothing) * self.weight_of(classes[row])));
        let (weights, zeros) = (tape.constant(&weights), tape.full([rows], 0.0));
        // minus infinity times 0 is not a number: it is left out
        let loss = weights.choose(-(picked * weights), zeros);
        if self.label_smoothing == 0.0 {
            return loss;
        }
        let spread = Tensor::from_fn([rows], |row| {
            T::of(if ignored(classes[row]) { 0.0 } else { self.label_smoothing / count as f64 })
        });
        let spread = tape.constant(&spread);
        loss + spread.choose(-(self.weighted(ln_p).sum_axis(-1) * spread), zeros)
    }

    /// The mean of [`CrossEntropy::rows`] by the weights of the rows' classes, one number; NaN when all rows are ignored.
    ///
    /// # Panics
    /// As [`CrossEntropy::rows`].
    pub fn mean<'t, T: Float>(&self, logits: Var<'t, T>, classes: &[u32]) -> Var<'t, T> {
        let rows = self.rows(logits, classes);
        rows.sum() / classes.iter().map(|&class| self.weight_of(class)).sum::<f64>()
    }

    /// The loss of each row, `[rows]`, from logits and target probabilities, both `[.., classes]`; PyTorch's mean is the
    /// plain `.mean()`. There is no class to ignore.
    ///
    /// # Panics
    /// When the shapes differ or the weights do not fit.
    pub fn soft_rows<'t, T: Float>(&self, logits: Var<'t, T>, targets: Var<'t, T>) -> Var<'t, T> {
        same_shape("cross-entropy", logits, targets);
        let sizes = self.sizes(logits);
        let ln_p = logits.reshape(sizes).log_softmax();
        let targets = targets.reshape(sizes) * (1.0 - self.label_smoothing) + self.label_smoothing / sizes[1] as f64;
        -(self.weighted(ln_p) * targets).sum_axis(-1)
    }

    /// Rows and classes.
    fn sizes<T: Float>(&self, logits: Var<'_, T>) -> [usize; 2] {
        let shape = logits.shape();
        let count = shape.last_size();
        assert!(shape.rank() > 0 && count > 0, "cross-entropy: logits {shape} have no classes");
        if let Some(weights) = &self.class_weights {
            assert_eq!(weights.len(), count, "cross-entropy: {} class weights for logits {shape}", weights.len());
        }
        let smoothing = self.label_smoothing;
        assert!((0.0..=1.0).contains(&smoothing), "cross-entropy: label smoothing {smoothing} is not between 0 and 1");
        [shape.len() / count, count]
    }

    fn weight_of(&self, class: u32) -> f64 {
        match &self.class_weights {
            _ if self.ignore == Some(class) => 0.0,
            Some(weights) => weights[class as usize],
            None => 1.0,
        }
    }

    fn weighted<'t, T: Float>(&self, ln_p: Var<'t, T>) -> Var<'t, T> {
        match &self.class_weights {
            Some(weights) => ln_p * ln_p.tape().constant(&Tensor::from_f64([weights.len()], weights)),
            None => ln_p,
        }
    }
}

/// 0 or 1, by the sign of a wave.
fn labels(shape: [usize; 2]) -> Tensor<f64> {
    let wave = waves(shape, 1.0);
    Tensor::from_fn(shape, |i| f64::from(wave.data()[i] > 0.0))
}

pub(super) fn check_binary() -> Outcome {
    let mut outcome = Outcome::new("binary-cross-entropy-loss");
    let inputs = [("logits", waves([3, 4], 0.3)), ("targets", waves([3, 4], 2.0)), ("weights", waves([4], 1.0))];
    check_step(&mut outcome, "[3, 4]", &ParamStore::new(1), &inputs, false, |_, x| {
        bce_with_logits_weighted(x[0] * 4.0, x[1].sigmoid(), x[2] + 2.0) + bce_with_logits(x[0], x[1].sigmoid())
    });
    outcome
}

pub(super) fn check_focal() -> Outcome {
    let mut outcome = Outcome::new("focal-loss");
    for (gamma, alpha) in [(2.0, Some(0.25)), (0.0, None), (1.5, None)] {
        let inputs = [("logits", waves([3, 4], 0.3))];
        check_step(&mut outcome, &format!("gamma {gamma}"), &ParamStore::new(1), &inputs, false, |step, x| {
            focal(x[0] * 3.0, step.tape.constant(&labels([3, 4])), gamma, alpha)
        });
    }
    outcome
}

pub(super) fn check_cross_entropy() -> Outcome {
    let mut outcome = Outcome::new("cross-entropy-loss");
    let plain = CrossEntropy::default();
    let all = CrossEntropy { label_smoothing: 0.1, class_weights: Some(vec![0.5, 2.0, 1.0]), ignore: Some(7) };
    for (case, loss) in [("plain", plain), ("smoothed, weighted, with ignored rows", all)] {
        let classes = if loss.ignore.is_some() { [2, 7, 0, 1] } else { [2, 0, 0, 1] };
        let inputs = [("logits", waves([2, 2, 3], 0.3)), ("targets", waves([2, 2, 3], 2.0))];
        check_step(&mut outcome, case, &ParamStore::new(1), &inputs, false, |_, x| {
            loss.rows(x[0] * 2.0, &classes) + loss.soft_rows(x[0], x[1].softmax()) + loss.mean(x[0], &classes)
        });
    }
    outcome
}
