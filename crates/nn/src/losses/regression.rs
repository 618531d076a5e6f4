//! Losses of predicted numbers.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Var};

use super::same_shape;
use crate::check::check_step;
use crate::layers::waves;
use crate::store::ParamStore;

/// (predicted - observed)^2, an array of the operands' shape. PyTorch: `F.mse_loss(reduction='none')`.
///
/// # Panics
/// When the shapes differ.
pub fn squared_error<'t, T: Float>(predicted: Var<'t, T>, observed: Var<'t, T>) -> Var<'t, T> {
    same_shape("squared error", predicted, observed);
    (predicted - observed).square()
}

/// d^2 / 2 where the distance d of predicted and observed is below `delta`, else delta (d - delta / 2): outliers pull
/// with a constant force (Huber 1964).
///
/// An array of the operands' shape. PyTorch: `F.huber_loss(reduction='none')`.
///
/// # Panics
/// When the shapes differ or `delta` is not above 0.
pub fn huber<'t, T: Float>(predicted: Var<'t, T>, observed: Var<'t, T>, delta: f64) -> Var<'t, T> {
    same_shape("huber", predicted, observed);
    assert!(delta > 0.0, "huber: delta {delta} is not above 0");
    let distance = (predicted - observed).abs();
    let near = distance.clamp(0.0, delta);
    near * (distance - near * 0.5)
}

/// The Huber loss over `beta`: its slope is at most 1 (Girshick 2015, eq. 3). PyTorch:
/// `F.smooth_l1_loss(reduction='none')`.
///
/// An array of the operands' shape.
///
/// # Panics
/// When the shapes differ or `beta` is not above 0.
pub fn smooth_l1<'t, T: Float>(predicted: Var<'t, T>, observed: Var<'t, T>, beta: f64) -> Var<'t, T> {
    huber(predicted, observed, beta) / beta
}

pub(super) fn check() -> Outcome {
    let mut outcome = Outcome::new("huber-loss");
    let store = ParamStore::new(1);
    for shape in [&[4, 3][..], &[1], &[0, 2]] {
        let inputs = [("predicted", waves(shape, 0.3)), ("observed", waves(shape, 2.0))];
        for delta in [0.4, 1.0] {
            check_step(&mut outcome, &format!("{shape:?}, delta {delta}"), &store, &inputs, false, |_, x| {
                huber(x[0], x[1], delta) + smooth_l1(x[0], x[1], delta) + squared_error(x[0], x[1])
            });
        }
    }
    outcome
}
