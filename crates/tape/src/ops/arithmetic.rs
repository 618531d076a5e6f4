//! Arithmetic, powers, logarithms and the Gamma family.

use crate::elementwise::elementwise;
use crate::lane::Lane;

elementwise! {
    /// The sum of two arrays, also written `a + b`.
    fn plus(a in -3.0..3.0, b in -3.0..3.0) { value: a + b, slope: [L::of(1.0), L::of(1.0)] }

    /// The difference of two arrays, also written `a - b`.
    fn minus(a in -3.0..3.0, b in -3.0..3.0) { value: a - b, slope: [L::of(1.0), L::of(-1.0)] }

    /// The product of two arrays, element by element, also written `a * b`.
    fn times(a in -3.0..3.0, b in -3.0..3.0) { value: a * b, slope: [b, a] }

    /// The quotient of two arrays, also written `a / b`.
    fn over(a in -3.0..3.0, b in 0.5..3.0) -> y { value: a / b, slope: [b.recip(), -y / b] }

    /// a b + c, rounded once where the CPU can. PyTorch: `torch.addcmul(c, a, b)`.
    fn times_plus(a in -3.0..3.0, b in -3.0..3.0, c in -3.0..3.0) {
        value: a.mul_add(b, c),
        slope: [b, a, L::of(1.0)],
    }

    /// The negative, also written `-x`.
    fn negate(x in -3.0..3.0) { value: -x, slope: [L::of(-1.0)] }

    /// Adds a constant, also written `x + 1.0`.
    fn plus_constant(x in -3.0..3.0; c = 0.7) { value: x + c, slope: [L::of(1.0)] }

    /// Multiplies by a constant, also written `x * 2.0`.
    fn times_constant(x in -3.0..3.0; c = 0.7) { value: x * c, slope: [c] }

    /// A constant divided by x, also written `1.0 / x`.
    fn over_from(x in 0.4..3.0; c = 0.7) -> y { value: c / x, slope: [-y / x] }

    /// The square x^2.
    fn square(x in -3.0..3.0) { value: x * x, slope: [x + x] }

    /// The square root; its slope at 0 is infinite.
    fn sqrt(x in 0.1..9.0) -> y { value: x.sqrt(), slope: [L::of(0.5) / y] }

    /// 1 / sqrt(x).
    fn rsqrt(x in 0.1..9.0) -> y { value: x.sqrt().recip(), slope: [L::of(-0.5) * y / x] }

    /// x^p for a constant p and x > 0. PyTorch: `x ** p`.
    fn powf(x in 0.1..4.0; p = 1.7) -> y { value: (p * x.ln()).exp(), slope: [p * y / x] }

    /// x^n for a whole number n, also negative, with |n| < 256 (NaN beyond); x may be negative, 0^0 is 1 and
    /// its slope 0. PyTorch: `x ** n`.
    fn powi(x in -2.0..2.0; n: i32 = 5) {
        value: integer_power(x, n),
        slope: [L::select(n == L::of(0.0), L::of(0.0), n * integer_power(x, n - L::of(1.0)))],
    }

    /// The exponential e^x.
    fn exp(x in -5.0..5.0) -> y { value: x.exp(), slope: [y] }

    /// e^x - 1, exact for small x.
    fn exp_m1(x in -5.0..5.0) -> y { value: x.exp_m1(), slope: [y + L::of(1.0)] }

    /// The natural logarithm; NaN for negative x.
    fn ln(x in 0.05..9.0) { value: x.ln(), slope: [x.recip()] }

    /// ln(1 + x), exact for small x. Counts enter encoders through it.
    fn ln_1p(x in -0.7..9.0) { value: x.ln_1p(), slope: [(L::of(1.0) + x).recip()] }

    /// ln(e^a + e^b), safe at both ends. PyTorch: `torch.logaddexp`.
    fn log_add_exp(a in -5.0..5.0, b in -5.0..5.0) -> y {
        value: a.log_add_exp(b),
        slope: [(a - y).exp(), (b - y).exp()],
    }

    /// The sine of x in radians; in f32 NaN beyond 2^27, where whole turns are lost.
    fn sin(x in -6.0..6.0) { value: x.sin(), slope: [x.cos()] }

    /// The cosine of x in radians; in f32 NaN beyond 2^27, where whole turns are lost.
    fn cos(x in -6.0..6.0) { value: x.cos(), slope: [-x.sin()] }

    /// The absolute value; slope 1 at 0, as in JAX.
    fn abs(x in 0.1..3.0) {
        value: x.abs(),
        slope: [L::select(x < L::of(0.0), L::of(-1.0), L::of(1.0))],
    }

    /// The larger of two; at a tie each side has half of the slope. PyTorch: `torch.maximum`.
    fn maximum(a in -3.0..0.0, b in 0.1..3.0) {
        value: a.max(b),
        slope: [share(b < a, a == b), share(a < b, a == b)],
    }

    /// The smaller of two; at a tie each side has half of the slope. PyTorch: `torch.minimum`.
    fn minimum(a in -3.0..0.0, b in 0.1..3.0) {
        value: a.min(b),
        slope: [share(a < b, a == b), share(b < a, a == b)],
    }

    /// x kept within low..=high; slope 0 outside, 1/2 on a bound, as in JAX. PyTorch: `torch.clamp`.
    fn clamp(x in -2.0..2.0; low = -1.1, high = 0.9) {
        value: x.max(low).min(high),
        slope: [share::<L>(low < x, x == low) * share::<L>(x < high, x == high)],
    }

    /// `a` where the mask is not 0, else `b`; no gradient reaches the mask. PyTorch: `torch.where`.
    fn choose(mask in 0.5..1.0, a in -3.0..3.0, b in -3.0..3.0) {
        value: L::select(mask == L::of(0.0), b, a),
        slope: [
            L::of(0.0),
            L::select(mask == L::of(0.0), L::of(0.0), L::of(1.0)),
            L::select(mask == L::of(0.0), L::of(1.0), L::of(0.0)),
        ],
    }

    /// The error function (DLMF 7.2.1). PyTorch: `torch.erf`.
    fn erf(x in -4.0..4.0) { value: x.erf(), slope: [gaussian(x)] }

    /// 1 - erf(x), exact for large x (DLMF 7.2.2). PyTorch: `torch.erfc`.
    fn erfc(x in -4.0..4.0) { value: x.erfc(), slope: [-gaussian(x)] }

    /// ln Gamma(x) for x > 0 (Abramowitz & Stegun 6.1.40); its slope is the digamma function.
    fn lgamma(x in 0.2..30.0) { value: x.lgamma(), slope: [x.digamma()] }

    /// The digamma function, the slope of ln Gamma, for x > 0 (Abramowitz & Stegun 6.3.18).
    fn digamma(x in 0.2..30.0) { value: x.digamma(), slope: [x.trigamma()] }
}

/// Bits of the largest exponent of [`integer_power`].
const POWER_BITS: u32 = 8;

/// x^n by repeated squaring; n is the same for all elements, so that its bits are found once.
#[inline(always)]
fn integer_power<L: Lane>(x: L, n: L) -> L {
    let half = L::of(0.5);
    let (mut left, mut base, mut product) = (n.abs(), x, L::of(1.0));
    for _ in 0..POWER_BITS {
        // a quarter below the half never ties, so that this is the whole part of left / 2
        let rest = (left * half - L::of(0.25)).round();
        product = L::select(left - (rest + rest) == L::of(1.0), product * base, product);
        base = base * base;
        left = rest;
    }
    let value = L::select(n < L::of(0.0), product.recip(), product);
    L::select(left == L::of(0.0), value, L::of(f64::NAN))
}

/// The derivative of erf: 2 / sqrt(pi) e^(-x^2).
#[inline(always)]
fn gaussian<L: Lane>(x: L) -> L {
    L::of(std::f64::consts::FRAC_2_SQRT_PI) * (-(x * x)).exp()
}

/// 1, or half of it at a tie, or 0.
#[inline(always)]
fn share<L: Lane>(all: bool, tie: bool) -> L {
    L::select(all, L::of(1.0), L::select(tie, L::of(0.5), L::of(0.0)))
}
