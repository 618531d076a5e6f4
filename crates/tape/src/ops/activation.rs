//! Activations of neural networks.

use crate::elementwise::elementwise;
use crate::lane::Lane;

/// sqrt(2 / pi) and the cubic coefficient of the tanh form of GELU (Hendrycks & Gimpel 2016).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

elementwise! {
    /// The hyperbolic tangent.
    fn tanh(x in -4.0..4.0) -> y { value: x.tanh(), slope: [L::of(1.0) - y * y] }

    /// The logistic function 1 / (1 + e^-x).
    fn sigmoid(x in -6.0..6.0) -> y { value: x.sigmoid(), slope: [y * (L::of(1.0) - y)] }

    /// ln sigmoid(x), safe at both ends. PyTorch: `F.logsigmoid`.
    fn log_sigmoid(x in -9.0..9.0) { value: -((-x).softplus()), slope: [(-x).sigmoid()] }

    /// Numerically safe ln(1 + e^x); its slope is sigmoid(x). PyTorch: `F.softplus`.
    fn softplus(x in -9.0..9.0) { value: x.softplus(), slope: [x.sigmoid()] }

    /// max(x, 0); slope 0 at 0. PyTorch: `F.relu`.
    fn relu(x in 0.1..3.0) {
        value: L::select(x <= L::of(0.0), L::of(0.0), x),
        slope: [L::select(x <= L::of(0.0), L::of(0.0), L::of(1.0))],
    }

    /// x where positive, else `slope` x. PyTorch: `F.leaky_relu`.
    fn leaky_relu(x in -3.0..-0.1; negative_slope = 0.2) {
        value: L::select(x < L::of(0.0), negative_slope * x, x),
        slope: [L::select(x < L::of(0.0), negative_slope, L::of(1.0))],
    }

    /// x where positive, else e^x - 1. PyTorch: `F.elu`.
    fn elu(x in -3.0..-0.1) -> y {
        value: L::select(x < L::of(0.0), x.exp_m1(), x),
        slope: [L::select(x < L::of(0.0), y + L::of(1.0), L::of(1.0))],
    }

    /// x sigmoid(x), also called swish. PyTorch: `F.silu`.
    fn silu(x in -5.0..5.0) {
        value: x * x.sigmoid(),
        slope: [silu_slope(x)],
    }

    /// The Gaussian error linear unit in its tanh form. PyTorch: `F.gelu(x, approximate='tanh')`.
    fn gelu(x in -4.0..4.0) {
        value: x * gelu_share(x),
        slope: [gelu_slope(x)],
    }

    /// The Gaussian error linear unit in its exact form, x times the normal distribution function (Hendrycks & Gimpel
    /// 2016). PyTorch: `F.gelu(x)`.
    fn gelu_erf(x in -4.0..4.0) {
        value: x * normal_cdf(x),
        slope: [normal_cdf(x) + x * L::of(INV_SQRT_TWO_PI) * (L::of(-0.5) * x * x).exp()],
    }

    /// The soft form of the step x > `threshold`: sigmoid((x - threshold) / temperature).
    fn soft_step(x in -3.0..3.0; threshold = 0.3, temperature = 0.5) -> y {
        value: ((x - threshold) / temperature).sigmoid(),
        slope: [y * (L::of(1.0) - y) / temperature],
    }

    /// Soft thresholding, sign(x) max(|x| - t, 0): the proximal operator of t |x| (Donoho & Johnstone 1994); slope 0
    /// where |x| <= t. PyTorch: `F.softshrink`.
    fn soft_shrink(x in 0.6..3.0; t = 0.5) {
        value: L::select(x.abs() <= t, L::of(0.0), L::select(x < L::of(0.0), x + t, x - t)),
        slope: [L::select(x.abs() <= t, L::of(0.0), L::of(1.0))],
    }
}

/// 1 / sqrt(2 pi).
const INV_SQRT_TWO_PI: f64 = 0.398_942_280_401_432_7;

/// The standard normal distribution function, in relative precision for negative x.
#[inline(always)]
fn normal_cdf<L: Lane>(x: L) -> L {
    L::of(0.5) * (L::of(-std::f64::consts::FRAC_1_SQRT_2) * x).erfc()
}

#[inline(always)]
fn silu_slope<L: Lane>(x: L) -> L {
    let s = x.sigmoid();
    s * (L::of(1.0) + x * (L::of(1.0) - s))
}

/// (1 + tanh(u)) / 2 = sigmoid(2 u), where u is the argument of GELU's tanh form.
#[inline(always)]
fn gelu_share<L: Lane>(x: L) -> L {
    (L::of(2.0 * GELU_SCALE) * (x + L::of(GELU_CUBIC) * x * x * x)).sigmoid()
}

#[inline(always)]
fn gelu_slope<L: Lane>(x: L) -> L {
    let share = gelu_share(x);
    let inner = L::of(2.0 * GELU_SCALE) * (L::of(1.0) + L::of(3.0 * GELU_CUBIC) * x * x);
    share + x * share * (L::of(1.0) - share) * inner
}
