//! A lane is what a formula is written over: a plain float, a float with fused multiply-add, or a dual number.

use std::f64::consts::FRAC_2_SQRT_PI;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::kernels::math32;
use crate::special;

/// Arithmetic and elementary functions over which the formulas of elementwise ops are written once.
///
/// Comparisons look at values; choose between two values with [`Lane::select`], which keeps loops free of branches.
#[allow(missing_docs)]
pub trait Lane:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + PartialOrd
{
    /// The float that arrays hold.
    type Scalar: Copy;
    /// From here on Stirling's series with seven terms is exact to this precision.
    const STIRLING_FROM: usize;
    /// 2^h + 1, where h is half of the mantissa's bits: splits a number in two halves whose products are exact.
    const SPLITTER: f64;
    /// Terms of the series of erf near 0 and of erfc away from it that this precision needs.
    const ERF_TERMS: (usize, usize);

    /// The lane that holds a constant.
    fn of(constant: f64) -> Self;
    /// The lane that holds a stored value.
    fn new(value: Self::Scalar) -> Self;
    /// The stored value.
    fn get(self) -> Self::Scalar;
    /// `self * factor + addend`, rounded once where the CPU can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    fn exp_m1(self) -> Self;
    fn ln(self) -> Self;
    fn ln_1p(self) -> Self;
    fn tanh(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    /// The nearest whole number; halves go to the even one.
    fn round(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// 1 - erf(x), exact where erf is close to 1.
    fn erfc(self) -> Self;

    /// `yes` where the condition holds, else `no`.
    #[inline(always)]
    fn select(condition: bool, yes: Self, no: Self) -> Self {
        if condition { yes } else { no }
    }
    /// The larger of two; NaN when `self` is NaN.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self::select(self < other, other, self)
    }
    /// The smaller of two; NaN when `self` is NaN.
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self::select(self > other, other, self)
    }
    #[inline(always)]
    fn recip(self) -> Self {
        Self::of(1.0) / self
    }
    #[inline(always)]
    fn square(self) -> Self {
        self * self
    }
    /// The logistic function 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        (Self::of(1.0) + (-self).exp()).recip()
    }
    /// ln(1 + e^x), safe at both ends.
    #[inline(always)]
    fn softplus(self) -> Self {
        self.max(Self::of(0.0)) + (-self.abs()).exp().ln_1p()
    }
    /// ln(e^a + e^b), safe at both ends.
    #[inline(always)]
    fn log_add_exp(self, other: Self) -> Self {
        self.max(other) + (-(self - other).abs()).exp().ln_1p()
    }
    /// ln Gamma(x), x > 0.
    #[inline(always)]
    fn lgamma(self) -> Self {
        special::lgamma(self)
    }
    /// The derivative of ln Gamma(x), x > 0.
    #[inline(always)]
    fn digamma(self) -> Self {
        special::digamma(self)
    }
    /// The second derivative of ln Gamma(x), x > 0.
    #[inline(always)]
    fn trigamma(self) -> Self {
        special::trigamma(self)
    }
}

/// A float whose multiply-adds are fused: the lane of CPUs that have the instruction.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct Fused<T>(T);

macro_rules! binary_operators {
    ($type:ty, $field:tt: $($trait:ident $method:ident $op:tt),*) => {
        $(impl $trait for $type {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.$field $op other.$field)
            }
        })*
        impl Neg for $type {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                Self(-self.$field)
            }
        }
    };
}
binary_operators!(Fused<f32>, 0: Add add +, Sub sub -, Mul mul *, Div div /);
binary_operators!(Fused<f64>, 0: Add add +, Sub sub -, Mul mul *, Div div /);

macro_rules! lane {
    ($type:ty, $scalar:ty, stirling: $stirling:literal, splitter: $splitter:literal, erf: $erf:expr, |$self:ident| $get:expr, $new:expr, mul_add: $mul_add:expr,
     exp: $exp:expr, exp_m1: $exp_m1:expr, ln: $ln:expr, ln_1p: $ln_1p:expr, tanh: $tanh:expr, sin: $sin:expr, cos: $cos:expr) => {
        impl Lane for $type {
            type Scalar = $scalar;
            const STIRLING_FROM: usize = $stirling;
            const SPLITTER: f64 = $splitter;
            const ERF_TERMS: (usize, usize) = $erf;
            #[inline(always)]
            fn of(constant: f64) -> Self {
                $new(constant as $scalar)
            }
            #[inline(always)]
            fn new(value: $scalar) -> Self {
                $new(value)
            }
            #[inline(always)]
            fn get($self) -> $scalar {
                $get
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                $new($mul_add(self.get(), factor.get(), addend.get()))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $new(<$scalar>::abs(self.get()))
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $new(<$scalar>::sqrt(self.get()))
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $new($exp(self.get()))
            }
            #[inline(always)]
            fn exp_m1(self) -> Self {
                $new($exp_m1(self.get()))
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $new($ln(self.get()))
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                $new($ln_1p(self.get()))
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $new($tanh(self.get()))
            }
            #[inline(always)]
            fn sin(self) -> Self {
                $new($sin(self.get()))
            }
            #[inline(always)]
            fn cos(self) -> Self {
                $new($cos(self.get()))
            }
            #[inline(always)]
            fn round(self) -> Self {
                $new(<$scalar>::round_ties_even(self.get()))
            }
            #[inline(always)]
            fn erf(self) -> Self {
                special::erf(self)
            }
            #[inline(always)]
            fn erfc(self) -> Self {
                special::erfc(self)
            }
        }
    };
}

lane!(f32, f32, stirling: 3, splitter: 4097.0, erf: (11, 13), |self| self, |x| x, mul_add: |a: f32, b, c| a * b + c,
    exp: math32::exp::<false>, exp_m1: math32::exp_m1::<false>, ln: math32::ln::<false>,
    ln_1p: math32::ln_1p::<false>, tanh: math32::tanh::<false>, sin: math32::sin, cos: math32::cos);
lane!(Fused<f32>, f32, stirling: 3, splitter: 4097.0, erf: (11, 13), |self| self.0, Fused, mul_add: f32::mul_add,
    exp: math32::exp::<true>, exp_m1: math32::exp_m1::<true>, ln: math32::ln::<true>,
    ln_1p: math32::ln_1p::<true>, tanh: math32::tanh::<true>, sin: math32::sin, cos: math32::cos);
lane!(f64, f64, stirling: 8, splitter: 134_217_729.0, erf: (19, 26), |self| self, |x| x, mul_add: |a: f64, b, c| a * b + c,
    exp: f64::exp, exp_m1: f64::exp_m1, ln: f64::ln, ln_1p: f64::ln_1p, tanh: f64::tanh, sin: f64::sin, cos: f64::cos);
lane!(Fused<f64>, f64, stirling: 8, splitter: 134_217_729.0, erf: (19, 26), |self| self.0, Fused, mul_add: f64::mul_add,
    exp: f64::exp, exp_m1: f64::exp_m1, ln: f64::ln, ln_1p: f64::ln_1p, tanh: f64::tanh, sin: f64::sin, cos: f64::cos);

/// A value with its derivative along one direction (forward mode), to check slopes exactly.
#[derive(Clone, Copy, Debug)]
pub struct Dual {
    /// The value.
    pub value: f64,
    /// The derivative of the value.
    pub slope: f64,
}

impl Dual {
    #[inline]
    fn chain(self, value: f64, slope: f64) -> Self {
        Self { value, slope: self.slope * slope }
    }
}

impl PartialEq for Dual {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialOrd for Dual {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { value: self.value + o.value, slope: self.slope + o.slope }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self { value: self.value - o.value, slope: self.slope - o.slope }
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        Self { value: self.value * o.value, slope: self.slope * o.value + self.value * o.slope }
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        let value = self.value / o.value;
        Self { value, slope: (self.slope - value * o.slope) / o.value }
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
}

impl Lane for Dual {
    type Scalar = f64;
    const STIRLING_FROM: usize = <f64 as Lane>::STIRLING_FROM;
    const SPLITTER: f64 = <f64 as Lane>::SPLITTER;
    const ERF_TERMS: (usize, usize) = <f64 as Lane>::ERF_TERMS;
    fn of(constant: f64) -> Self {
        Self { value: constant, slope: 0.0 }
    }
    fn new(value: f64) -> Self {
        Self::of(value)
    }
    fn get(self) -> f64 {
        self.value
    }
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self * factor + addend
    }
    fn abs(self) -> Self {
        self.chain(self.value.abs(), self.value.signum())
    }
    fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        self.chain(root, 0.5 / root)
    }
    fn exp(self) -> Self {
        let e = self.value.exp();
        self.chain(e, e)
    }
    fn exp_m1(self) -> Self {
        self.chain(self.value.exp_m1(), self.value.exp())
    }
    fn ln(self) -> Self {
        self.chain(self.value.ln(), 1.0 / self.value)
    }
    fn ln_1p(self) -> Self {
        self.chain(self.value.ln_1p(), 1.0 / (1.0 + self.value))
    }
    fn tanh(self) -> Self {
        let t = self.value.tanh();
        self.chain(t, 1.0 - t * t)
    }
    fn sin(self) -> Self {
        self.chain(self.value.sin(), self.value.cos())
    }
    fn cos(self) -> Self {
        self.chain(self.value.cos(), -self.value.sin())
    }
    fn round(self) -> Self {
        self.chain(self.value.round_ties_even(), 0.0)
    }
    fn erf(self) -> Self {
        self.chain(special::erf(self.value), FRAC_2_SQRT_PI * (-self.value.square()).exp())
    }
    fn erfc(self) -> Self {
        self.chain(special::erfc(self.value), -FRAC_2_SQRT_PI * (-self.value.square()).exp())
    }
}
