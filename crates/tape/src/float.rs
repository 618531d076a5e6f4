//! The two precisions: f32 to train in, f64 to check in.

use std::fmt::{Debug, Display, LowerExp};
use std::iter::Sum;
use std::ops::{AddAssign, DivAssign, MulAssign, SubAssign};

use crate::kernels::fourier::Transforms;
use crate::kernels::gemm::Machine;
use crate::lane::{Fused, Lane};

mod sealed {
    pub trait Sealed: crate::kernels::dense::Decompose {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`.
pub trait Float:
    Lane<Scalar = Self>
    + sealed::Sealed
    + Machine
    + Transforms
    + Default
    + Debug
    + Display
    + LowerExp
    + Send
    + Sync
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
    + 'static
{
    /// The lane with fused multiply-add.
    type Fused: Lane<Scalar = Self>;
    /// Its name, `f32` or `f64`.
    const NAME: &'static str;
    /// The number 0.
    const ZERO: Self;
    /// The number 1.
    const ONE: Self;
    /// The gap between 1 and the next larger number.
    const EPSILON: f64;
    /// Widens to f64, exactly.
    fn to_f64(self) -> f64;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

macro_rules! float {
    ($type:ident) => {
        impl Float for $type {
            type Fused = Fused<$type>;
            const NAME: &'static str = stringify!($type);
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPSILON: f64 = $type::EPSILON as f64;
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}
float!(f32);
float!(f64);
