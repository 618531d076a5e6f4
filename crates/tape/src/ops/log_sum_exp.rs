//! ln of a sum of exponentials along an axis.

use crate::float::Float;
use crate::kernels::rows::{RowKernel, map_rows};
use crate::kernels::{COLUMNS, fold_columns, for_each_block_run, for_each_chunk, for_each_column_run, larger};
use crate::kernels::{rows_per_chunk, simd_kernel};
use crate::lane::Lane;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::softmax::log_sum_exp_rows;
use crate::shape::Shape;
use crate::var::Var;

/// ln of the sum of exponentials along one axis, which is removed.
pub struct LogSumExp {
    axis: usize,
}

simd_kernel! {
    /// ln sum exp of neighbouring columns of n rows; minus infinity when every element is.
    fn log_sum_exp_columns [T, L](x: &[T], y: &mut [T], n: usize, inner: usize) {
        for (run, y) in y.chunks_mut(COLUMNS).enumerate() {
            let (x, extent) = (&x[run * COLUMNS..], (n, inner, y.len()));
            let shift = fold_columns(x, extent, L::of(f64::NEG_INFINITY), |top, x, _| larger(top, x))
                .map(|top| L::select(top.abs() == L::of(f64::INFINITY), L::of(0.0), top));
            let sum = fold_columns(x, extent, L::of(0.0), |sum, x, i| sum + (x - shift[i]).exp());
            for (i, y) in y.iter_mut().enumerate() {
                *y = (sum[i].ln() + shift[i]).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += e^(x - y) g by rows of `inner` columns, y and g one number a column.
    fn log_sum_exp_back [T, L](x: &[T], y: &[T], g: &[T], grad: &mut [T], n: usize, inner: usize) {
        for row in 0..n {
            let range = row * inner..(row + 1) * inner;
            for (((x, grad), y), g) in x[range.clone()].iter().zip(&mut grad[range]).zip(y).zip(g) {
                *grad = back_one(L::new(*x), L::new(*y), L::new(*g), L::new(*grad)).get();
            }
        }
    }
}

/// y and g of each row.
struct BackRow<'a, T>(&'a [T], &'a [T]);

impl<T: Float> RowKernel<T, 1> for BackRow<'_, T> {
    const FILL: [f64; 1] = [0.0];
    const ADDS: bool = true;
    #[inline(always)]
    fn rows<L: Lane<Scalar = T>, X: AsRef<[T]>, Y: AsMut<[T]>>(&self, first: usize, [x]: [&[X]; 1], grad: &mut [Y]) {
        for (((x, grad), y), g) in x.iter().zip(grad).zip(&self.0[first..]).zip(&self.1[first..]) {
            for (x, grad) in x.as_ref().iter().zip(grad.as_mut()) {
                *grad = back_one(L::new(*x), L::new(*y), L::new(*g), L::new(*grad)).get();
            }
        }
    }
}

simd_kernel! {
    /// The same for whole rows: y and g one number a row of n elements.
    fn log_sum_exp_back_rows [T, L](x: &[T], y: &[T], g: &[T], grad: &mut [T], n: usize) {
        map_rows::<T, L, 1, _>(BackRow(y, g), [x], grad, n);
    }
}

/// grad + e^(x - y) g; a column of minus infinities has no slope.
#[inline(always)]
fn back_one<L: Lane>(x: L, y: L, g: L, grad: L) -> L {
    let empty = y == L::of(f64::NEG_INFINITY);
    let y = L::select(empty, L::of(0.0), y);
    (x - y).exp().mul_add(L::select(empty, L::of(0.0), g), grad)
}

impl<T: Float> Op<T> for LogSumExp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        assert!(inputs[0][self.axis] > 0, "log_sum_exp: axis {} of shape {} is empty", self.axis, inputs[0]);
        Shapes::from_elem(inputs[0].without(self.axis), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let split = x[0].shape.split_at_axis(self.axis);
        let (_, n, inner) = split;
        if inner == 1 {
            let rows = rows_per_chunk(n);
            for_each_chunk(y[0], rows, |i, y| {
                log_sum_exp_rows(&x[0].data[i * rows * n..(i * rows + y.len()) * n], y, n);
            });
        } else {
            for_each_column_run(y[0], split, |start, y| log_sum_exp_columns(&x[0].data[start..], y, n, inner));
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let split = at.x[0].shape.split_at_axis(self.axis);
        let (_, n, inner) = split;
        let Some(grad) = grads.sum(0) else { return };
        for_each_block_run(grad, split, |first, grad| {
            let x = &at.x[0].data[first * n * inner..][..grad.len()];
            let (y, g) = (&at.y[0].data[first * inner..], &at.grad(0)[first * inner..]);
            if inner == 1 {
                return log_sum_exp_back_rows(x, y, g, grad, n);
            }
            let blocks = x.chunks(n * inner).zip(grad.chunks_mut(n * inner)).zip(y.chunks(inner).zip(g.chunks(inner)));
            blocks.for_each(|((x, grad), (y, g))| log_sum_exp_back(x, y, g, grad, n, inner));
        });
    }
}

impl Samples for LogSumExp {
    const NAME: &'static str = "log_sum_exp";
    const DOC: &'static str =
        "ln of the sum of exponentials along one axis, which is removed. PyTorch: `x.logsumexp(axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, shape: &[usize]| Sample::new(Self { axis }, -3.0..3.0, &[shape]);
        vec![
            sample(1, &[4, 5]),
            sample(2, &[2, 3, 17]),
            sample(0, &[3, 37]),
            sample(1, &[2, 3, 4]),
            sample(0, &[1]),
            sample(1, &[0, 3]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// ln of the sum of exponentials over the last axis, which is removed. PyTorch: `x.logsumexp(-1)`.
    ///
    /// # Panics
    /// When the last axis is empty or there is none.
    pub fn log_sum_exp(self) -> Self {
        self.log_sum_exp_axis(-1)
    }

    /// ln of the sum of exponentials along one axis (negative: from the back), which is removed; safe for large and
    /// small numbers, minus infinity with slope 0 where all are minus infinity. PyTorch: `x.logsumexp(axis)`.
    ///
    /// # Panics
    /// When there is no such axis or it is empty.
    pub fn log_sum_exp_axis(self, axis: isize) -> Self {
        let axis = self.shape().axis(axis, LogSumExp::NAME);
        self.tape.record(LogSumExp { axis }, &[self])[0]
    }
}
