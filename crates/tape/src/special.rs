//! ln Gamma and its first two derivatives for positive arguments.
//!
//! Stirling's series (Abramowitz & Stegun 6.1.40, 6.3.18, 6.4.12) at large arguments, reached by the
//! recurrence Gamma(x + 1) = x Gamma(x). In f64 the absolute error is below 1e-13; in f32 it is about 1e-6 for
//! arguments near the zeros at 1 and 2 of ln Gamma. Zero gives infinity, a negative argument NaN.

use crate::lane::Lane;

/// ln(2 pi) / 2.
const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// Horner evaluation, highest power first.
#[inline(always)]
fn polynomial<L: Lane, const N: usize>(x: L, coefficients: [f64; N]) -> L {
    let mut value = L::of(coefficients[0]);
    for &c in &coefficients[1..] {
        value = value.mul_add(x, L::of(c));
    }
    value
}

/// ln Gamma(x) for x > 0.
#[inline(always)]
pub fn lgamma<L: Lane>(x: L) -> L {
    let small = x < L::of(L::STIRLING_FROM as f64);
    let mut product = x;
    for k in 1..L::STIRLING_FROM {
        product = product * (x + L::of(k as f64));
    }
    let y = L::select(small, x + L::of(L::STIRLING_FROM as f64), x);
    let inverse = y.recip();
    let tail = inverse
        * polynomial(
            inverse * inverse,
            [1.0 / 156.0, -691.0 / 360_360.0, 1.0 / 1188.0, -1.0 / 1680.0, 1.0 / 1260.0, -1.0 / 360.0, 1.0 / 12.0],
        );
    let stirling = (y - L::of(0.5)) * y.ln() - y + L::of(HALF_LN_TWO_PI) + tail;
    let shift = L::select(small, product, L::of(1.0)).ln();
    // infinity minus infinity would be NaN
    L::select(x == L::of(f64::INFINITY), x, stirling - shift)
}

/// The digamma function, d/dx ln Gamma(x), for x > 0.
#[inline(always)]
pub fn digamma<L: Lane>(x: L) -> L {
    let small = x < L::of(L::STIRLING_FROM as f64);
    let mut shift = x.recip();
    for k in 1..L::STIRLING_FROM {
        shift = shift + (x + L::of(k as f64)).recip();
    }
    let y = L::select(small, x + L::of(L::STIRLING_FROM as f64), x);
    let inverse = y.recip();
    let z = inverse * inverse;
    let tail = z * polynomial(
        z,
        [-1.0 / 12.0, 691.0 / 32_760.0, -1.0 / 132.0, 1.0 / 240.0, -1.0 / 252.0, 1.0 / 120.0, -1.0 / 12.0],
    );
    y.ln() - L::of(0.5) * inverse + tail - L::select(small, shift, L::of(0.0))
}

/// The trigamma function, the second derivative of ln Gamma(x), for x > 0.
#[inline(always)]
pub fn trigamma<L: Lane>(x: L) -> L {
    let small = x < L::of(L::STIRLING_FROM as f64);
    let mut shift = x.recip().square();
    for k in 1..L::STIRLING_FROM {
        shift = shift + (x + L::of(k as f64)).recip().square();
    }
    let y = L::select(small, x + L::of(L::STIRLING_FROM as f64), x);
    let inverse = y.recip();
    let z = inverse * inverse;
    let tail = inverse
        * z
        * polynomial(z, [7.0 / 6.0, -691.0 / 2730.0, 5.0 / 66.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 1.0 / 6.0]);
    inverse + L::of(0.5) * z + tail + L::select(small, shift, L::of(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, exact: f64, tolerance: f64) {
        assert!((got - exact).abs() <= tolerance * exact.abs().max(1.0), "{got} should be {exact}");
    }

    #[test]
    fn lgamma_of_integers_is_the_log_factorial() {
        let mut factorial = 1.0_f64;
        for n in 1..=150 {
            close(lgamma(n as f64), factorial.ln(), 1e-14);
            factorial *= n as f64;
        }
    }

    #[test]
    fn half_integers_have_their_closed_forms() {
        let pi = std::f64::consts::PI;
        let euler = 0.577_215_664_901_532_9;
        close(lgamma(0.5), pi.sqrt().ln(), 1e-14);
        close(digamma(1.0), -euler, 1e-14);
        close(digamma(0.5), -euler - 2.0 * std::f64::consts::LN_2, 1e-14);
        close(trigamma(1.0), pi * pi / 6.0, 1e-13);
        close(trigamma(0.5), pi * pi / 2.0, 1e-13);
    }

    #[test]
    fn extreme_arguments_stay_defined() {
        assert_eq!(lgamma(f64::INFINITY), f64::INFINITY);
        assert_eq!(lgamma(0.0_f64), f64::INFINITY);
        assert!(lgamma(f64::NAN).is_nan());
        close(lgamma(1e-300_f64), 690.775_527_898_213_7, 1e-14);
        close(lgamma(1e6_f64), 12_815_504.569_147_612, 1e-14);
        close(f64::from(lgamma(1e6_f32)), 12_815_504.569_147_612, 1e-6);
    }
}
