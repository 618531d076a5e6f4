//! Branch-free single-precision functions, written so that loops over them vectorise.
//!
//! Polynomials: S. L. Moshier, Cephes Mathematical Library (expf, logf). `FMA` says whether the CPU fuses
//! multiply and add; where it does not, `f32::mul_add` would call a slow library routine.
//!
//! Errors are in units in the last place of the exact result (below the smallest normal number: of that range's
//! spacing), with and without fused multiply-add, over all f32 that the result is finite for; the tests hold the
//! functions to them.

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Adding and taking off 1.5 * 2^23 rounds to the nearest integer and leaves it in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts: the first has few bits, so that its product with a small integer is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Above this exp overflows to infinity, below the other end it is zero.
const EXP_MAX: f32 = 88.8;
const EXP_MIN: f32 = -104.0;

/// 2^n for an integer n in -126..=127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// Splits x = n ln 2 + r and returns (n, e^r - 1).
#[inline(always)]
fn reduced_exp_m1<const FMA: bool>(x: f32) -> (i32, f32) {
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -LN_2_LOW, fma::<FMA>(n, -LN_2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    p = fma::<FMA>(p, r, 1.398_199_9e-3);
    p = fma::<FMA>(p, r, 8.333_452e-3);
    p = fma::<FMA>(p, r, 4.166_579_6e-2);
    p = fma::<FMA>(p, r, 1.666_666_5e-1);
    p = fma::<FMA>(p, r, 0.5);
    let integer = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    (integer, fma::<FMA>(p, r * r, r))
}

/// e^x, within 1.1 ulp; infinite above 88.8, 0 below -104.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // comparisons let NaN through; the ends come out as infinity and zero by themselves
    let bounded = if x > EXP_MAX { EXP_MAX } else { x };
    let bounded = if bounded < EXP_MIN { EXP_MIN } else { bounded };
    let (n, e) = reduced_exp_m1::<FMA>(bounded);
    // two factors, so that neither end of the range leaves the normal exponents
    let half = n >> 1;
    (1.0 + e) * power_of_two(half) * power_of_two(n - half)
}

/// e^x - 1 for x up to 60.
#[inline(always)]
fn exp_m1_to_60<const FMA: bool>(x: f32) -> f32 {
    let bounded = if x < -60.0 { -60.0 } else { x };
    let (n, e) = reduced_exp_m1::<FMA>(bounded);
    let scale = power_of_two(n);
    fma::<FMA>(e, scale, scale - 1.0)
}

/// e^x - 1, within 2 ulp.
#[inline(always)]
pub(crate) fn exp_m1<const FMA: bool>(x: f32) -> f32 {
    let small = exp_m1_to_60::<FMA>(if x > 60.0 { 60.0 } else { x });
    // beyond 60 the 1 is far below one ulp
    if x > 60.0 { exp::<FMA>(x) } else { small }
}

/// The natural logarithm, within 1 ulp; NaN below 0.
#[inline(always)]
pub(crate) fn ln<const FMA: bool>(x: f32) -> f32 {
    // subnormals are scaled into the normal range first
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let extra = if subnormal { -23.0 } else { 0.0 };
    let bits = scaled.to_bits() as i32;
    // m in [sqrt(1/2), sqrt(2)), x = m 2^e
    let offset = bits.wrapping_sub(0x3f35_04f3);
    let e = (offset >> 23) as f32 + extra;
    let m = f32::from_bits(((offset & 0x007f_ffff) + 0x3f35_04f3) as u32) - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2;
    p = fma::<FMA>(p, m, -1.151_461e-1);
    p = fma::<FMA>(p, m, 1.167_699_9e-1);
    p = fma::<FMA>(p, m, -1.242_014_1e-1);
    p = fma::<FMA>(p, m, 1.424_932_3e-1);
    p = fma::<FMA>(p, m, -1.666_805_8e-1);
    p = fma::<FMA>(p, m, 2.000_071_5e-1);
    p = fma::<FMA>(p, m, -2.499_999_4e-1);
    p = fma::<FMA>(p, m, 3.333_333e-1);
    let mut y = p * m * z;
    y = fma::<FMA>(e, LN_2_LOW, y);
    y = fma::<FMA>(z, -0.5, y);
    let value = fma::<FMA>(e, LN_2_HIGH, m + y);
    let value = if x == f32::INFINITY { x } else { value };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    // a negative number or NaN has no logarithm
    if x >= 0.0 { value } else { f32::NAN }
}

/// ln(1 + x), within 2 ulp; NaN below -1.
#[inline(always)]
pub(crate) fn ln_1p<const FMA: bool>(x: f32) -> f32 {
    let u = 1.0 + x;
    // what the rounding of 1 + x lost, to first order
    let lost = (x - (u - 1.0)) / u;
    let value = ln::<FMA>(u) + lost;
    if u == f32::INFINITY || u == 0.0 { ln::<FMA>(u) } else { value }
}

/// The hyperbolic tangent, within 2.5 ulp; the logistic function made from `exp` is within 2.5 ulp too.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let e = exp_m1_to_60::<FMA>(-2.0 * x.abs());
    (-e / (e + 2.0)).copysign(x)
}

/// pi / 2 in three parts: products of the first two with whole numbers below 2^27 are exact in f64.
const HALF_PI: [f64; 3] = [1.570_796_310_901_641_8, 1.589_325_471_229_585_7e-8, 6.123_233_995_736_766e-17];
/// Beyond this the reduction of an angle would lose digits: sin and cos are NaN.
const ANGLE_MAX: f32 = 134_217_728.0;

/// sin and cos of x, with the argument reduced in double precision; NaN beyond 2^27.
#[inline(always)]
fn sin_cos(x: f32) -> (f32, f32) {
    const ROUND_64: f64 = 6_755_399_441_055_744.0;
    let x = f64::from(if x.abs() <= ANGLE_MAX { x } else { f32::NAN });
    let shifted = x * std::f64::consts::FRAC_2_PI + ROUND_64;
    let n = shifted - ROUND_64;
    let quadrant = shifted.to_bits() & 3;
    let r = ((x - n * HALF_PI[0]) - n * HALF_PI[1]) - n * HALF_PI[2];
    let z = r * r;
    let sin = r + r * z * (-1.0 / 6.0 + z * (1.0 / 120.0 + z * (-1.0 / 5040.0 + z / 362_880.0)));
    let cos = 1.0 + z * (-0.5 + z * (1.0 / 24.0 + z * (-1.0 / 720.0 + z * (1.0 / 40_320.0 - z / 3_628_800.0))));
    let (s, c) = if quadrant & 1 == 0 { (sin, cos) } else { (cos, sin) };
    let s = if quadrant & 2 == 0 { s } else { -s };
    let c = if quadrant == 1 || quadrant == 2 { -c } else { c };
    (s as f32, c as f32)
}

/// The sine, within 1 ulp up to 2^27 and NaN beyond.
#[inline(always)]
pub(crate) fn sin(x: f32) -> f32 {
    sin_cos(x).0
}

/// The cosine, within 1 ulp up to 2^27 and NaN beyond.
#[inline(always)]
pub(crate) fn cos(x: f32) -> f32 {
    sin_cos(x).1
}

#[cfg(test)]
mod tests {
    fn ulp_error(got: f32, exact: f64) -> f64 {
        let reference = exact as f32;
        if got == reference || (got.is_nan() && reference.is_nan()) {
            return 0.0;
        }
        let spacing = f64::from(reference.abs().next_up()) - f64::from(reference.abs());
        (f64::from(got) - exact).abs() / spacing
    }

    /// The largest error over all magnitudes of either sign whose result stays in the normal range.
    fn worst(name: &str, f: fn(f32) -> f32, exact: fn(f64) -> f64, range: std::ops::Range<f32>) -> f64 {
        const STRIDE: usize = 4003;
        let mut worst = (0.0, 0.0);
        for magnitude in (0..=f32::MAX.to_bits()).step_by(STRIDE).map(f32::from_bits) {
            for x in [magnitude, -magnitude].into_iter().filter(|x| range.contains(x)) {
                let error = ulp_error(f(x), exact(f64::from(x)));
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        }
        println!("{name}: {:.2} ulp at {:e}", worst.0, worst.1);
        worst.0
    }

    #[test]
    fn single_precision_functions_keep_their_stated_bounds_over_the_whole_range() {
        use crate::lane::{Fused, Lane};
        const ALL: std::ops::Range<f32> = f32::NEG_INFINITY..f32::INFINITY;
        type Row = (&'static str, fn(f32) -> f32, fn(f32) -> f32, fn(f64) -> f64, std::ops::Range<f32>, f64);
        let rows: [Row; 10] = [
            ("exp", super::exp::<true>, super::exp::<false>, f64::exp, ALL, 1.1),
            ("exp_m1", super::exp_m1::<true>, super::exp_m1::<false>, f64::exp_m1, ALL, 2.0),
            ("ln", super::ln::<true>, super::ln::<false>, f64::ln, 0.0..f32::INFINITY, 1.0),
            ("ln_1p", super::ln_1p::<true>, super::ln_1p::<false>, f64::ln_1p, -1.0..f32::INFINITY, 2.0),
            ("tanh", super::tanh::<true>, super::tanh::<false>, f64::tanh, ALL, 2.5),
            ("sin", super::sin, super::sin, f64::sin, -super::ANGLE_MAX..super::ANGLE_MAX, 1.0),
            ("cos", super::cos, super::cos, f64::cos, -super::ANGLE_MAX..super::ANGLE_MAX, 1.0),
            (
                "sigmoid",
                |x| <Fused<f32> as Lane>::new(x).sigmoid().get(),
                |x| Lane::sigmoid(x),
                |x| Lane::sigmoid(x),
                -87.0..f32::INFINITY,
                2.5,
            ),
            (
                "erf",
                |x| crate::special::erf(<Fused<f32> as Lane>::new(x)).get(),
                crate::special::erf,
                crate::special::erf,
                ALL,
                1.5,
            ),
            (
                "erfc",
                |x| crate::special::erfc(<Fused<f32> as Lane>::new(x)).get(),
                crate::special::erfc,
                crate::special::erfc,
                ALL,
                5.0,
            ),
        ];
        let mut failures = Vec::new();
        for (name, fused, plain, exact, range, bound) in rows {
            for (way, f) in [("fused", fused), ("plain", plain)] {
                let worst = worst(&format!("{name} {way}"), f, exact, range.clone());
                if worst > bound {
                    failures.push(format!("{name} {way} is off by {worst:.2} ulp, not {bound}"));
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    #[test]
    fn the_ends_of_the_range_are_exact() {
        assert_eq!(super::exp::<true>(1000.0), f32::INFINITY);
        assert_eq!(super::exp::<true>(-1000.0), 0.0);
        assert!(super::exp::<true>(f32::NAN).is_nan());
        assert_eq!(super::exp_m1::<true>(-1000.0), -1.0);
        assert_eq!(super::exp_m1::<true>(1000.0), f32::INFINITY);
        assert_eq!(super::ln::<true>(0.0), f32::NEG_INFINITY);
        assert!(super::ln::<true>(-1.0).is_nan());
        assert!(super::ln::<true>(f32::NAN).is_nan());
        assert_eq!(super::ln::<true>(f32::INFINITY), f32::INFINITY);
        assert!(ulp_error(super::ln::<true>(1e-41), f64::from(1e-41_f32).ln()) < 3.0);
        assert_eq!(super::ln_1p::<true>(-1.0), f32::NEG_INFINITY);
        assert_eq!(super::ln_1p::<true>(f32::INFINITY), f32::INFINITY);
        assert_eq!(super::ln_1p::<true>(1e-20), 1e-20);
        assert_eq!(super::tanh::<true>(-0.0).to_bits(), (-0.0_f32).to_bits());
        assert_eq!(super::tanh::<true>(100.0), 1.0);
        assert!(super::sin(1e9).is_nan() && super::cos(f32::INFINITY).is_nan());
    }
}
