//! Nonlinearities that a product applies to its result while it is in the cache.

use crate::float::Float;
use crate::kernels::simd_kernel;

/// A pointwise function at the end of [`Var::linear_with`](crate::Var::linear_with) or a convolution.
///
/// Its slope is a function of its value, so that the backward pass needs nothing but the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// max(x, 0); slope 0 at 0.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function 1 / (1 + e^-x).
    Sigmoid,
}

simd_kernel! {
    fn tanh_all [T, L](x: &mut [T]) {
        for x in x {
            *x = L::new(*x).tanh().get();
        }
    }
}

simd_kernel! {
    fn relu_all [T, L](x: &mut [T]) {
        for x in x {
            *x = L::select(L::new(*x) <= L::of(0.0), L::of(0.0), L::new(*x)).get();
        }
    }
}

simd_kernel! {
    fn sigmoid_all [T, L](x: &mut [T]) {
        for x in x {
            *x = L::new(*x).sigmoid().get();
        }
    }
}

simd_kernel! {
    fn relu_grad [T, L](y: &[T], g: &[T], out: &mut [T]) {
        for (out, (y, g)) in out.iter_mut().zip(y.iter().zip(g)) {
            *out = L::select(L::new(*y) <= L::of(0.0), L::of(0.0), L::new(*g)).get();
        }
    }
}

simd_kernel! {
    fn tanh_grad [T, L](y: &[T], g: &[T], out: &mut [T]) {
        for (out, (y, g)) in out.iter_mut().zip(y.iter().zip(g)) {
            *out = (L::new(*g) * (L::of(1.0) - L::new(*y).square())).get();
        }
    }
}

simd_kernel! {
    fn sigmoid_grad [T, L](y: &[T], g: &[T], out: &mut [T]) {
        for (out, (y, g)) in out.iter_mut().zip(y.iter().zip(g)) {
            *out = (L::new(*g) * L::new(*y) * (L::of(1.0) - L::new(*y))).get();
        }
    }
}

impl Activation {
    /// Applies it in place; the rectifier is left to the register tiles, which apply it themselves.
    pub(crate) fn finish<T: Float>(self, x: &mut [T]) {
        match self {
            Self::Identity | Self::Relu => {}
            Self::Tanh => tanh_all(x),
            Self::Sigmoid => sigmoid_all(x),
        }
    }

    /// Applies it in place, the rectifier too.
    pub(crate) fn whole<T: Float>(self, x: &mut [T]) {
        if self == Self::Relu { relu_all(x) } else { self.finish(x) }
    }

    /// Writes g times the slope where the value is y, for slices of one length.
    pub(crate) fn grad<T: Float>(self, y: &[T], g: &[T], out: &mut [T]) {
        match self {
            Self::Identity => out.copy_from_slice(g),
            Self::Relu => relu_grad(y, g, out),
            Self::Tanh => tanh_grad(y, g, out),
            Self::Sigmoid => sigmoid_grad(y, g, out),
        }
    }
}
