//! The softmax family over the last axis.

use crate::float::Float;
use crate::kernels::{for_each_chunk, max_of, rows_per_chunk, simd_kernel, sum_of};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// softmax over the last axis.
pub struct Softmax;
/// ln softmax over the last axis.
pub struct LogSoftmax;

simd_kernel! {
    /// Softmax of rows of `width` elements.
    fn softmax_rows [T, L](x: &[T], y: &mut [T], width: usize) {
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let max = max_of(width, |i| L::new(x[i]));
            for (x, y) in x.iter().zip(y.iter_mut()) {
                *y = (L::new(*x) - max).exp().get();
            }
            let scale = sum_of(width, |i| L::new(y[i])).recip();
            for y in y.iter_mut() {
                *y = (L::new(*y) * scale).get();
            }
        }
    }
}

simd_kernel! {
    /// ln sum exp of each row; minus infinity when every element is.
    pub(super) fn log_sum_exp_rows [T, L](x: &[T], out: &mut [T], width: usize) {
        for (x, out) in x.chunks_exact(width).zip(out.iter_mut()) {
            let max = max_of(width, |i| L::new(x[i]));
            let unbounded = max.abs() == L::of(f64::INFINITY);
            let shift = L::select(unbounded, L::of(0.0), max);
            *out = (sum_of(width, |i| (L::new(x[i]) - shift).exp()).ln() + shift).get();
        }
    }
}

simd_kernel! {
    fn subtract_from_rows [T, L](x: &[T], y: &mut [T], offsets: &[T], width: usize) {
        for ((x, y), offset) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(offsets) {
            for (x, y) in x.iter().zip(y.iter_mut()) {
                *y = (L::new(*x) - L::new(*offset)).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += y (g - sum(g y)) by rows.
    fn softmax_back [T, L](y: &[T], g: &[T], grad: &mut [T], width: usize) {
        for ((y, g), grad) in y.chunks_exact(width).zip(g.chunks_exact(width)).zip(grad.chunks_exact_mut(width)) {
            let dot = sum_of(width, |i| L::new(g[i]) * L::new(y[i]));
            for i in 0..width {
                grad[i] = (L::new(y[i])).mul_add(L::new(g[i]) - dot, L::new(grad[i])).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += g - e^y sum(g) by rows.
    fn log_softmax_back [T, L](y: &[T], g: &[T], grad: &mut [T], width: usize) {
        for ((y, g), grad) in y.chunks_exact(width).zip(g.chunks_exact(width)).zip(grad.chunks_exact_mut(width)) {
            let total = sum_of(width, |i| L::new(g[i]));
            for i in 0..width {
                grad[i] = (L::new(grad[i]) + L::new(g[i]) - L::new(y[i]).exp() * total).get();
            }
        }
    }
}

/// Adds to the gradient of the operand by chunks of rows, given y and g of the same rows.
fn back_by_rows<T: Float>(at: &At<'_, T>, grads: &mut Grads<'_, T>, kernel: fn(&[T], &[T], &mut [T], usize)) {
    let width = at.x[0].shape.last_size();
    let size = rows_per_chunk(width) * width;
    let Some(grad) = grads.sum(0) else { return };
    for_each_chunk(grad, size, |i, grad| {
        let range = i * size..i * size + grad.len();
        kernel(&at.y[0].data[range.clone()], &at.grad(0)[range], grad, width);
    });
}

/// The last axis of an operand, which must not be empty.
fn width_of(shape: &Shape, name: &str) -> usize {
    assert!(shape.rank() > 0 && shape.last_size() > 0, "{name}: shape {shape} has no last axis to normalise over");
    shape.last_size()
}

impl<T: Float> Op<T> for Softmax {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        width_of(&inputs[0], Self::NAME);
        Shapes::from_slice(inputs)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let width = x[0].shape.last_size();
        let size = rows_per_chunk(width) * width;
        for_each_chunk(y[0], size, |i, y| softmax_rows(&x[0].data[i * size..i * size + y.len()], y, width));
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        back_by_rows(at, grads, softmax_back);
    }
}

impl<T: Float> Op<T> for LogSoftmax {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        width_of(&inputs[0], Self::NAME);
        Shapes::from_slice(inputs)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let width = x[0].shape.last_size();
        let rows = rows_per_chunk(width);
        for_each_chunk(y[0], rows * width, |i, y| {
            let x = &x[0].data[i * rows * width..i * rows * width + y.len()];
            let mut offsets = saved.scratch(y.len() / width);
            log_sum_exp_rows(x, &mut offsets, width);
            subtract_from_rows(x, y, &offsets, width);
        });
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        back_by_rows(at, grads, log_softmax_back);
    }
}

impl Samples for Softmax {
    const NAME: &'static str = "softmax";
    const DOC: &'static str = "Softmax over the last axis. PyTorch: `x.softmax(-1)`.";
    fn samples() -> Vec<Sample<Self>> {
        vec![
            Sample::new(Self, -3.0..3.0, &[&[4, 5]]),
            Sample::new(Self, -3.0..3.0, &[&[2, 3, 17]]),
            Sample::new(Self, -3.0..3.0, &[&[1]]),
            Sample::new(Self, -3.0..3.0, &[&[0, 3]]),
        ]
    }
}

impl Samples for LogSoftmax {
    const NAME: &'static str = "log_softmax";
    const DOC: &'static str = "ln softmax over the last axis. PyTorch: `x.log_softmax(-1)`.";
    fn samples() -> Vec<Sample<Self>> {
        vec![
            Sample::new(Self, -3.0..3.0, &[&[4, 5]]),
            Sample::new(Self, -3.0..3.0, &[&[2, 3, 17]]),
            Sample::new(Self, -3.0..3.0, &[&[2, 1]]),
            Sample::new(Self, -3.0..3.0, &[&[0, 3]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Softmax over the last axis. PyTorch: `x.softmax(-1)`.
    pub fn softmax(self) -> Self {
        self.tape.record(Softmax, &[self])[0]
    }

    /// ln softmax over the last axis. PyTorch: `x.log_softmax(-1)`.
    pub fn log_softmax(self) -> Self {
        self.tape.record(LogSoftmax, &[self])[0]
    }
}
