//! The Euclidean norm.

use crate::float::Float;
use crate::kernels::{
    COLUMNS, fold_columns, for_each_block_run, for_each_column_run, larger, max_of, simd_kernel, sum_of,
};
use crate::lane::Lane;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// The Euclidean norm along one axis, which is removed.
pub struct L2NormAxis {
    axis: usize,
}

/// size sqrt(sum) where size, the largest magnitude, was taken out of the sum of squares so that it neither overflows
/// nor vanishes; `size` itself where it is 0 or infinite.
#[inline(always)]
fn scaled_root<L: Lane>(size: L, sum: L) -> L {
    L::select(size == L::of(0.0) || size == L::of(f64::INFINITY), size, size * sum.sqrt())
}

simd_kernel! {
    /// y = the norm of neighbouring columns of n rows.
    fn norms [T, L](x: &[T], y: &mut [T], n: usize, inner: usize) {
        if inner == 1 {
            let size = max_of([&x[..n]], |[x]: [L; 1]| x.abs());
            y[0] = scaled_root(size, sum_of([&x[..n]], |[x]: [L; 1]| (x / size).square())).get();
            return;
        }
        for (run, y) in y.chunks_mut(COLUMNS).enumerate() {
            let (x, extent) = (&x[run * COLUMNS..], (n, inner, y.len()));
            let size = fold_columns(x, extent, L::of(0.0), |size, x, _| larger(size, x.abs()));
            let sum = fold_columns(x, extent, L::of(0.0), |sum, x, i| sum + (x / size[i]).square());
            for (i, y) in y.iter_mut().enumerate() {
                *y = scaled_root(size[i], sum[i]).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += g x / y by rows of `inner` elements, nothing where y is 0.
    fn norms_back [T, L](x: &[T], y: &[T], g: &[T], grad: &mut [T], inner: usize) {
        for (x, grad) in x.chunks_exact(inner).zip(grad.chunks_exact_mut(inner)) {
            for i in 0..inner {
                let y = L::new(y[i]);
                let slope = L::select(y == L::of(0.0), L::of(0.0), L::new(x[i]) / y);
                grad[i] = slope.mul_add(L::new(g[i]), L::new(grad[i])).get();
            }
        }
    }
}

impl<T: Float> Op<T> for L2NormAxis {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(inputs[0].without(self.axis), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let split = x[0].shape.split_at_axis(self.axis);
        if split.1 == 0 {
            return y[0].fill(T::ZERO);
        }
        for_each_column_run(y[0], split, |start, y| norms(&x[0].data[start..], y, split.1, split.2));
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let split = at.x[0].shape.split_at_axis(self.axis);
        let (_, n, inner) = split;
        let Some(grad) = grads.sum(0) else { return };
        for_each_block_run(grad, split, |first, grad| {
            for (block, grad) in grad.chunks_mut(n * inner).enumerate() {
                let outer = first + block;
                let (y, g) = (&at.y[0].data[outer * inner..], &at.grad(0)[outer * inner..]);
                norms_back(&at.x[0].data[outer * n * inner..][..n * inner], y, g, grad, inner);
            }
        });
    }
}

impl Samples for L2NormAxis {
    const NAME: &'static str = "l2_norm_axis";
    const DOC: &'static str = "Euclidean norm along one axis, which is removed; slope 0 at 0. PyTorch: `torch.linalg.vector_norm(x, 2, axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, shape: &[usize]| Sample::new(Self { axis }, -1.0..1.0, &[shape]);
        vec![
            sample(1, &[4, 5]),
            sample(0, &[4, 37]),
            sample(1, &[2, 3, 4]),
            sample(0, &[1]),
            sample(0, &[0, 3]),
            sample(0, &[3, 0]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The Euclidean norm along one axis (negative: from the back), which is removed; its slope at 0 is 0. Squares
    /// neither overflow nor vanish. PyTorch: `torch.linalg.vector_norm(x, 2, axis)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn l2_norm_axis(self, axis: isize) -> Self {
        let axis = self.shape().axis(axis, L2NormAxis::NAME);
        self.tape.record(L2NormAxis { axis }, &[self])[0]
    }

    /// The Euclidean norm of all elements, a scalar; its slope at 0 is 0. PyTorch: `torch.linalg.vector_norm(x)`.
    pub fn l2_norm(self) -> Self {
        self.reshape(self.shape().len()).l2_norm_axis(0)
    }
}
