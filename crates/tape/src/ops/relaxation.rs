//! Hard decisions that let gradients through: straight-through estimators (Bengio, Leonard & Courville 2013), whose
//! value is the decision and whose slope is that of a smooth stand-in.

use crate::elementwise::elementwise;
use crate::lane::Lane;

elementwise! {
    /// 1 where x is above `threshold`, else 0, with the slope of the soft threshold at the same temperature:
    /// s (1 - s) / temperature for s = sigmoid((x - threshold) / temperature).
    fn hard_step(x in -3.0..3.0; threshold = 0.3, temperature = 0.5) {
        value: L::select(x > threshold, L::of(1.0), L::select(x <= threshold, L::of(0.0), x)),
        slope: [logistic_slope(x, threshold, temperature)],
        surrogate: "sigmoid((x - threshold) / temperature)" => ((x - threshold) / temperature).sigmoid(),
    }

    /// The nearest whole number (halves go to the even one), with slope 1. PyTorch: `x + (x.round() - x).detach()`.
    fn round_through(x in -3.0..3.0) { value: x.round(), slope: [L::of(1.0)], surrogate: "x" => x }
}

/// The derivative of sigmoid((x - threshold) / temperature).
#[inline(always)]
fn logistic_slope<L: Lane>(x: L, threshold: L, temperature: L) -> L {
    let s = ((x - threshold) / temperature).sigmoid();
    s * (L::of(1.0) - s) / temperature
}
