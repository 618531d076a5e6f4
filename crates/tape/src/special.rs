//! ln Gamma and its first two derivatives for positive arguments, and the error function.
//!
//! The Gamma family: Stirling's series (Abramowitz & Stegun 6.1.40, 6.3.18, 6.4.12) at large arguments, reached by the
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

/// Coefficients of erf: 2 / sqrt(pi) (-1)^n / (n! (2n + 1)), for x^(2n + 1) (DLMF 7.6.1).
const ERF: [f64; 19] = {
    let mut coefficients = [0.0; 19];
    let mut term = std::f64::consts::FRAC_2_SQRT_PI;
    let mut n = 0;
    while n < 19 {
        coefficients[n] = term / (2 * n + 1) as f64;
        n += 1;
        term = -term / n as f64;
    }
    coefficients
};

/// Chebyshev coefficients of (1 + 2x) e^(x^2) erfc(x) in (x - 3.75) / (x + 3.75), for x >= 0 (the form of Shepherd &
/// Laframboise, Mathematics of Computation 36, 1981; the numbers were computed for this file with 90 digits).
const ERFC: [f64; 26] = [
    1.177_578_934_567_401_7,
    -0.004_590_054_580_646_478,
    -0.084_249_133_366_517_92,
    0.059_209_939_998_191_89,
    -0.026_658_668_435_305_753,
    0.009_074_997_670_705_265,
    -0.002_413_163_540_417_608,
    0.000_490_775_836_525_808_6,
    -6.916_973_302_501_207e-5,
    4.139_027_986_073_01e-6,
    7.740_383_066_198_49e-7,
    -2.188_640_104_923_439_7e-7,
    1.076_499_946_567_091e-8,
    4.521_959_811_218_287e-9,
    -7.754_400_208_831_351e-10,
    -6.318_088_340_886_684e-11,
    2.868_795_010_930_67e-11,
    1.945_586_854_577_734_7e-13,
    -9.654_696_748_433_44e-13,
    3.252_548_148_148_74e-14,
    3.347_811_948_286_805_6e-14,
    -1.864_562_880_419_313e-15,
    -1.250_795_053_068_864_8e-15,
    7.418_235_256_624_044e-17,
    5.068_148_904_796_111e-17,
    -2.237_056_659_435_999_5e-18,
];

/// erf(x) by its power series, for |x| <= 1.
#[inline(always)]
fn erf_near_zero<L: Lane>(x: L) -> L {
    let z = x * x;
    let mut sum = L::of(0.0);
    for n in (1..L::ERF_TERMS.0).rev() {
        sum = sum.mul_add(z, L::of(ERF[n]));
    }
    // x itself is taken out, so that what is rounded twice is small beside it
    x.mul_add(sum.mul_add(z, L::of(ERF[0] - 1.0)), x)
}

/// erfc(x) for x >= 0.
#[inline(always)]
fn erfc_of_positive<L: Lane>(x: L) -> L {
    // beyond this the result is zero in f64 and the powers below would overflow
    let x = x.min(L::of(28.0));
    let u = (x - L::of(3.75)) / (x + L::of(3.75));
    // Clenshaw's recurrence
    let (mut b, mut before) = (L::of(0.0), L::of(0.0));
    for n in (1..L::ERF_TERMS.1).rev() {
        (b, before) = ((u + u).mul_add(b, L::of(ERFC[n]) - before), b);
    }
    let scaled = u.mul_add(b, L::of(ERFC[0]) - before) / x.mul_add(L::of(2.0), L::of(1.0));
    // e^(-x^2) with x^2 in two parts, the first of which is exact: its rounding would grow to many ulp
    let c = x * L::of(L::SPLITTER);
    let high = c - (c - x);
    let low = (x - high) * (x + high);
    let correction = L::of(1.0)
        - low
            * (L::of(1.0)
                - low * L::of(0.5) * (L::of(1.0) - low * L::of(1.0 / 3.0) * (L::of(1.0) - low * L::of(0.25))));
    (-(high * high)).exp() * correction * scaled
}

/// The error function 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.
///
/// Within 1.5 ulp in f32 and about 3 ulp in f64.
#[inline(always)]
pub fn erf<L: Lane>(x: L) -> L {
    let size = x.abs();
    let far = L::of(1.0) - erfc_of_positive(size);
    let far = L::select(x < L::of(0.0), -far, far);
    L::select(size > L::of(1.0), far, erf_near_zero(x))
}

/// The complementary error function 1 - erf(x), in relative precision for large x.
///
/// Within 5 ulp in f32 and about 10 ulp in f64.
#[inline(always)]
pub fn erfc<L: Lane>(x: L) -> L {
    let far = erfc_of_positive(x.abs());
    let far = L::select(x < L::of(0.0), L::of(2.0) - far, far);
    L::select(x.abs() > L::of(0.5), far, L::of(1.0) - erf_near_zero(x))
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
