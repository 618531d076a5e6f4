//! Losses: what training makes small.
//!
//! | file | losses |
//! | --- | --- |
//! | [`regression`] | squared error, Huber, smooth L1 |
//! | [`classification`] | binary cross-entropy, focal loss, cross-entropy over classes |
//! | [`correlation`] | Pearson's correlation, Lin's concordance |
//! | [`contrastive`] | InfoNCE, NT-Xent |
//! | [`weighting`] | several losses in one: uncertainty weighting, GradNorm |
//!
//! A loss keeps the numbers it is made of: elementwise losses return an array of the operands' shape, losses of rows one
//! number a row, losses along an axis one number for each line along it. `.mean()` or `.sum()` reduces them; PyTorch's
//! default is the mean. Contrastive losses look at a batch as a whole and return its mean.
//!
//! Operands that belong together have one shape; nothing is broadcast, because `[n]` against `[n, 1]` would quietly
//! compare all with all. Anything else is a bug of the caller and panics.
//!
//! ```
//! use gradome_nn::losses::huber;
//! use gradome_tape::{Tape, Tensor};
//!
//! let tape = Tape::<f64>::new();
//! let predicted = tape.variable(&Tensor::new([3], &[0.5, 2.0, -4.0]));
//! let observed = tape.constant(&Tensor::zeros([3]));
//! let loss = huber(predicted, observed, 1.0).mean();
//! assert!((loss.item() - (0.125 + 1.5 + 3.5) / 3.0).abs() < 1e-12);
//! ```

pub mod classification;
pub mod contrastive;
pub mod correlation;
pub mod regression;
pub mod weighting;

pub use classification::{CrossEntropy, bce_with_logits, bce_with_logits_weighted, focal};
pub use contrastive::{info_nce, nt_xent};
pub use correlation::{concordance_loss, pearson_loss};
pub use regression::{huber, smooth_l1, squared_error};
pub use weighting::{GradNorm, LossKind, UncertaintyWeighting};

use gradome_tape::{Float, Tensor, Var};

use crate::operator::OperatorEntry;

/// Stops when two operands that belong together differ in shape.
fn same_shape<T: Float>(loss: &str, a: Var<'_, T>, b: Var<'_, T>) {
    assert!(a.shape() == b.shape(), "{loss}: {} x {}: shapes differ", a.shape(), b.shape());
}

/// x where it is above `bound` of the same element, else 1: a divisor that is never 0, through which the gradient flows
/// wherever it is x.
fn or_one<'t, T: Float>(x: Var<'t, T>, bound: impl Fn(usize) -> f64) -> Var<'t, T> {
    let value = x.value();
    let mask = Tensor::from_fn(x.shape(), |i| if value.data()[i].to_f64() > bound(i) { T::ONE } else { T::ZERO });
    x.tape().constant(&mask).choose(x, x.tape().full(x.shape(), 1.0))
}

pub(crate) fn checks() -> Vec<OperatorEntry> {
    let loss = |name, check| OperatorEntry { name, kind: "loss", check };
    vec![
        loss("huber-loss", regression::check),
        loss("binary-cross-entropy-loss", classification::check_binary),
        loss("focal-loss", classification::check_focal),
        loss("cross-entropy-loss", classification::check_cross_entropy),
        loss("pearson-loss", correlation::check_pearson),
        loss("concordance-loss", correlation::check_concordance),
        loss("info-nce-loss", contrastive::check_info_nce),
        loss("nt-xent-loss", contrastive::check_nt_xent),
        loss("uncertainty-weighting", weighting::check),
    ]
}
