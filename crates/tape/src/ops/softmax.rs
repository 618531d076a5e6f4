//! The softmax family over the last axis.

use std::ops::Range;

use crate::elementwise::MAX_PARAMETERS;
use crate::float::Float;
use crate::kernels::rows::{ROWS, RowKernel, map_rows};
use crate::kernels::{max_of, simd_kernel, sum_of};
use crate::lane::Lane;
use crate::rows::RowFunction;
use crate::var::Var;

/// softmax over the last axis.
pub struct Softmax;
/// ln softmax over the last axis.
pub struct LogSoftmax;

/// What changes neither a maximum nor a sum of exponentials.
const NOTHING: f64 = f64::NEG_INFINITY;

struct SoftmaxRow;

impl<T: Float> RowKernel<T, 1> for SoftmaxRow {
    const FILL: [f64; 1] = [NOTHING];
    const ADDS: bool = false;
    #[inline(always)]
    fn rows<L: Lane<Scalar = T>, X: AsRef<[T]>, Y: AsMut<[T]>>(&self, _: usize, [x]: [&[X]; 1], y: &mut [Y]) {
        // the largest element of each row, then 1 over its sum
        let mut of_row = [L::of(0.0); ROWS];
        for (x, max) in x.iter().zip(&mut of_row) {
            *max = max_of([x.as_ref()], |[x]: [L; 1]| x);
        }
        for ((x, y), max) in x.iter().zip(y.iter_mut()).zip(&of_row) {
            for (x, y) in x.as_ref().iter().zip(y.as_mut()) {
                *y = (L::new(*x) - *max).exp().get();
            }
        }
        for (y, scale) in y.iter_mut().zip(&mut of_row) {
            *scale = sum_of([y.as_mut()], |[y]: [L; 1]| y).recip();
        }
        for (y, scale) in y.iter_mut().zip(&of_row) {
            y.as_mut().iter_mut().for_each(|y| *y = (L::new(*y) * *scale).get());
        }
    }
}

simd_kernel! {
    /// Softmax of rows of `width` elements.
    fn softmax_rows [T, L](x: &[T], y: &mut [T], width: usize) {
        map_rows::<T, L, 1, _>(SoftmaxRow, [x], y, width);
    }
}

/// ln sum exp of a row in two parts: the largest element (0 where that is infinite), and what comes on top; that is
/// minus infinity when every element is.
#[inline(always)]
fn log_sum_exp_row<T: Float, L: Lane<Scalar = T>>(x: &[T]) -> (L, L) {
    let max = max_of([x], |[x]: [L; 1]| x);
    let unbounded = max.abs() == L::of(f64::INFINITY);
    let shift = L::select(unbounded, L::of(0.0), max);
    (shift, sum_of([x], |[x]: [L; 1]| (x - shift).exp()).ln())
}

simd_kernel! {
    /// ln sum exp of each row; minus infinity when every element is.
    pub(super) fn log_sum_exp_rows [T, L](x: &[T], out: &mut [T], width: usize) {
        for (x, out) in x.chunks_exact(width).zip(out.iter_mut()) {
            let (shift, ln) = log_sum_exp_row::<T, L>(x);
            *out = (ln + shift).get();
        }
    }
}

struct LogSoftmaxRow;

impl<T: Float> RowKernel<T, 1> for LogSoftmaxRow {
    const FILL: [f64; 1] = [NOTHING];
    const ADDS: bool = false;
    #[inline(always)]
    fn rows<L: Lane<Scalar = T>, X: AsRef<[T]>, Y: AsMut<[T]>>(&self, _: usize, [x]: [&[X]; 1], y: &mut [Y]) {
        for (x, y) in x.iter().zip(y) {
            let (shift, ln) = log_sum_exp_row::<T, L>(x.as_ref());
            for (x, y) in x.as_ref().iter().zip(y.as_mut()) {
                // one after the other: the sum of both would round away what sets large elements apart
                *y = (L::new(*x) - shift - ln).get();
            }
        }
    }
}

simd_kernel! {
    fn log_softmax_rows [T, L](x: &[T], y: &mut [T], width: usize) {
        map_rows::<T, L, 1, _>(LogSoftmaxRow, [x], y, width);
    }
}

struct SoftmaxBack;

impl<T: Float> RowKernel<T, 2> for SoftmaxBack {
    const FILL: [f64; 2] = [0.0; 2];
    const ADDS: bool = true;
    #[inline(always)]
    fn rows<L: Lane<Scalar = T>, X: AsRef<[T]>, Y: AsMut<[T]>>(&self, _: usize, [y, g]: [&[X]; 2], grad: &mut [Y]) {
        for (grad, (y, g)) in grad.iter_mut().zip(y.iter().zip(g)) {
            let (y, g) = (y.as_ref(), g.as_ref());
            let dot = sum_of([g, y], |[g, y]: [L; 2]| g * y);
            for (grad, (y, g)) in grad.as_mut().iter_mut().zip(y.iter().zip(g)) {
                *grad = L::new(*y).mul_add(L::new(*g) - dot, L::new(*grad)).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += y (g - sum(g y)) by rows.
    fn softmax_back [T, L](y: &[T], g: &[T], grad: &mut [T], width: usize) {
        map_rows::<T, L, 2, _>(SoftmaxBack, [y, g], grad, width);
    }
}

struct LogSoftmaxBack;

impl<T: Float> RowKernel<T, 2> for LogSoftmaxBack {
    const FILL: [f64; 2] = [0.0; 2];
    const ADDS: bool = true;
    #[inline(always)]
    fn rows<L: Lane<Scalar = T>, X: AsRef<[T]>, Y: AsMut<[T]>>(&self, _: usize, [y, g]: [&[X]; 2], grad: &mut [Y]) {
        for (grad, (y, g)) in grad.iter_mut().zip(y.iter().zip(g)) {
            let (y, g) = (y.as_ref(), g.as_ref());
            let total = sum_of([g], |[g]: [L; 1]| g);
            for (grad, (y, g)) in grad.as_mut().iter_mut().zip(y.iter().zip(g)) {
                *grad = (L::new(*grad) + L::new(*g) - L::new(*y).exp() * total).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += g - e^y sum(g) by rows.
    fn log_softmax_back [T, L](y: &[T], g: &[T], grad: &mut [T], width: usize) {
        map_rows::<T, L, 2, _>(LogSoftmaxBack, [y, g], grad, width);
    }
}

impl RowFunction for Softmax {
    const NAME: &'static str = "softmax";
    const DOC: &'static str = "Softmax over the last axis. PyTorch: `x.softmax(-1)`.";
    const RANGE: Range<f64> = -3.0..3.0;
    const PARAMETERS: [f64; MAX_PARAMETERS] = [0.0; MAX_PARAMETERS];

    fn forward<T: Float>(x: &[T], _: &[T; MAX_PARAMETERS], width: usize, y: &mut [T]) {
        softmax_rows(x, y, width);
    }

    fn backward<T: Float>(_: &[T], y: &[T], g: &[T], _: &[T; MAX_PARAMETERS], width: usize, out: &mut [T]) {
        softmax_back(y, g, out, width);
    }
}

impl RowFunction for LogSoftmax {
    const NAME: &'static str = "log_softmax";
    const DOC: &'static str = "ln softmax over the last axis. PyTorch: `x.log_softmax(-1)`.";
    const RANGE: Range<f64> = -3.0..3.0;
    const PARAMETERS: [f64; MAX_PARAMETERS] = [0.0; MAX_PARAMETERS];

    fn forward<T: Float>(x: &[T], _: &[T; MAX_PARAMETERS], width: usize, y: &mut [T]) {
        log_softmax_rows(x, y, width);
    }

    fn backward<T: Float>(_: &[T], y: &[T], g: &[T], _: &[T; MAX_PARAMETERS], width: usize, out: &mut [T]) {
        log_softmax_back(y, g, out, width);
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Softmax over the last axis. PyTorch: `x.softmax(-1)`.
    pub fn softmax(self) -> Self {
        self.rows::<Softmax>([0.0; MAX_PARAMETERS])
    }

    /// ln softmax over the last axis. PyTorch: `x.log_softmax(-1)`.
    pub fn log_softmax(self) -> Self {
        self.rows::<LogSoftmax>([0.0; MAX_PARAMETERS])
    }
}
