//! Inverses and determinants of square matrices through LU with partial pivoting (Giles 2008).

use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::dense::transpose;
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::kernels::{for_each_chunk, for_each_chunk2};
use crate::op::{Array, At, Draw, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::cholesky::square;
use crate::shape::Shape;
use crate::var::Var;

/// A^-1.
pub struct Inverse;
/// ln |det A| and the sign of det A.
pub struct LogDet;

/// The inverse; NaN everywhere when a pivot is zero or an element is not finite.
fn invert_or_nan<T: Float>(a: &[T], n: usize, out: &mut [T], pool: &Pool<T>) {
    let mut factors = pool.take(n * n);
    factors.copy_from_slice(a);
    if !T::invert(&mut factors, n, out, pool) {
        out.fill(T::of(f64::NAN));
    }
}

impl<T: Float> Op<T> for Inverse {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        square(&inputs[0], Self::NAME);
        Shapes::from_slice(inputs)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let n = square(&x[0].shape, Self::NAME);
        for_each_chunk(y[0], n * n, |i, y| invert_or_nan(&x[0].data[i * n * n..][..n * n], n, y, &saved.pool));
    }

    /// -A^-T g A^-T.
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let n = square(&at.x[0].shape, Self::NAME);
        let Some(grad) = grads.sum(0) else { return };
        for_each_chunk(grad, n * n, |i, grad| {
            let range = i * n * n..(i + 1) * n * n;
            let inverse = MatrixRef::row_major(&at.y[0].data[range.clone()], n).transposed();
            let (mut left, mut both) = (at.scratch(n * n), at.scratch(n * n));
            gemm((n, n, n), inverse, MatrixRef::row_major(&at.grad(0)[range], n), &mut left, false);
            gemm((n, n, n), MatrixRef::row_major(&left, n), inverse, &mut both, false);
            grad.iter_mut().zip(both.iter()).for_each(|(grad, both)| *grad -= *both);
        });
    }
}

impl<T: Float> Op<T> for LogDet {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        square(&inputs[0], Self::NAME);
        Shapes::from_elem(Shape::new(&inputs[0][..inputs[0].rank() - 2]), 2)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let n = square(&x[0].shape, Self::NAME);
        let [log, sign] = y else { unreachable!("two outputs") };
        for_each_chunk2(log, 1, sign, 1, |i, log, sign| {
            let mut factors = saved.scratch(n * n);
            factors.copy_from_slice(&x[0].data[i * n * n..][..n * n]);
            let found = T::lu(&mut factors, n, &saved.pool);
            sign[0] = T::of(found);
            // NaN stays NaN, and a zero pivot makes minus infinity
            log[0] = T::of((0..n).map(|i| factors[i * n + i].to_f64().abs().ln()).sum::<f64>() + 0.0 * found);
        });
    }

    /// g A^-T.
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let n = square(&at.x[0].shape, Self::NAME);
        let (Some(grad), Some(g)) = (grads.sum(0), at.grad_if_any(0)) else { return };
        for_each_chunk(grad, n * n, |i, grad| {
            let (mut inverse, mut turned) = (at.scratch(n * n), at.scratch(n * n));
            invert_or_nan(&at.x[0].data[i * n * n..][..n * n], n, &mut inverse, at.pool);
            transpose(&inverse, n, n, &mut turned);
            grad.iter_mut().zip(turned.iter()).for_each(|(grad, turned)| *grad += *turned * g[i]);
        });
    }
}

/// Shapes at which ops of one square matrix are tried.
fn general<O>(op: impl Fn() -> O) -> Vec<Sample<O>> {
    let shapes: [&[usize]; 6] = [&[4, 4], &[2, 3, 3], &[1, 1], &[0, 2, 2], &[0, 0], &[7, 7]];
    shapes.iter().map(|shape| Sample::drawn(op(), &[(shape, Draw::Invertible)])).collect()
}

impl Samples for Inverse {
    const NAME: &'static str = "inverse";
    const DOC: &'static str =
        "Inverse of square matrices; NaN when a pivot is zero. PyTorch: `torch.linalg.inv` (Giles 2008).";
    fn samples() -> Vec<Sample<Self>> {
        general(|| Self)
    }
}

impl Samples for LogDet {
    const NAME: &'static str = "log_det";
    const DOC: &'static str = "ln |det A| and the sign of det A, of square matrices; minus infinity and 0 when singular. \
        PyTorch: `torch.linalg.slogdet` (Giles 2008).";
    fn samples() -> Vec<Sample<Self>> {
        general(|| Self)
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The inverses of matrices `[.., n, n]`. PyTorch: `torch.linalg.inv`.
    ///
    /// A matrix with a pivot of exactly zero, or with an element that is not finite, gives NaN everywhere in its
    /// inverse. Prefer [`Var::spd_solve`] to a product with an inverse.
    ///
    /// # Panics
    /// When the last two axes differ.
    pub fn inverse(self) -> Self {
        self.tape.record(Inverse, &[self])[0]
    }

    /// ln |det A| and the sign of det A (1, -1, or 0) of matrices `[.., n, n]`, both of shape `[..]`. PyTorch:
    /// `torch.linalg.slogdet`, in the other order.
    ///
    /// The gradient of the logarithm is A^-T; the sign has none. A singular matrix gives minus infinity, sign 0 and a
    /// gradient of NaN; one that is not finite gives NaN. An empty matrix has determinant 1.
    ///
    /// # Panics
    /// When the last two axes differ.
    pub fn log_det(self) -> [Self; 2] {
        let outputs = self.tape.record(LogDet, &[self]);
        [outputs[0], outputs[1]]
    }
}
