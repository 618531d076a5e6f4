//! Symmetric positive definite matrices through their Cholesky factor A = L L'.
//!
//! Every op reads the symmetric part (A + A') / 2, so that its gradient is symmetric, as PyTorch's is. A member of a
//! batch that is not positive definite, or not finite, gives NaN in all of its outputs; nothing panics, and the anomaly
//! mode of the tape names the op. Gradients: Giles (2008), Collected matrix derivative results, and Murray (2016),
//! Differentiation of the Cholesky decomposition, eq. 10.

use crate::float::Float;
use crate::kernels::dense::{
    Triangle, add_symmetric_part, cholesky_inverse, cholesky_log_det, cholesky_or_nan, cholesky_solve, transpose,
};
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::kernels::{for_each_chunk, for_each_chunk2};
use crate::op::{Array, At, Draw, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// The lower factor.
pub struct Cholesky;
/// The solution X of A X = B.
pub struct SpdSolve;
/// ln det A.
pub struct SpdLogDet;

/// The size n of square matrices `[.., n, n]`.
///
/// # Panics
/// When the last two axes are not of one size.
pub(crate) fn square(shape: &Shape, name: &str) -> usize {
    let n = shape.last_size();
    assert!(shape.rank() >= 2 && shape[shape.rank() - 2] == n, "{name}: {shape} is not a stack of square matrices");
    n
}

/// The sizes (n, k) of square matrices `[.., n, n]` and right-hand sides `[.., n, k]` with the same leading axes.
///
/// # Panics
/// When the shapes do not fit.
pub(crate) fn system(a: &Shape, b: &Shape, name: &str) -> (usize, usize) {
    let n = square(a, name);
    let lead = a.rank() - 2;
    assert!(
        b.rank() == a.rank() && b[..lead] == a[..lead] && b[lead] == n,
        "{name}: {a} x {b}: expected [.., n, n] and [.., n, k] with the same leading axes"
    );
    (n, b.last_size())
}

impl<T: Float> Op<T> for Cholesky {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        square(&inputs[0], Self::NAME);
        Shapes::from_slice(inputs)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let n = square(&x[0].shape, Self::NAME);
        for_each_chunk(y[0], n * n, |i, factor| {
            cholesky_or_nan(&x[0].data[i * n * n..][..n * n], n, factor, &saved.pool);
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let n = square(&at.x[0].shape, Self::NAME);
        let Some(grad) = grads.sum(0) else { return };
        for_each_chunk(grad, n * n, |i, grad| {
            let range = i * n * n..(i + 1) * n * n;
            let (factor, g) = (&at.y[0].data[range.clone()], &at.grad(0)[range]);
            let (mut masked, mut inner) = (at.scratch(n * n), at.scratch(n * n));
            for (at, masked) in masked.iter_mut().enumerate() {
                *masked = if at % n <= at / n { g[at] } else { T::ZERO };
            }
            let left = MatrixRef::row_major(factor, n).transposed();
            gemm((n, n, n), left, MatrixRef::row_major(&masked, n), &mut inner, false);
            // the lower triangle with half of the diagonal
            for (at, inner) in inner.iter_mut().enumerate() {
                let (row, col) = (at / n, at % n);
                *inner = if col < row { *inner } else { T::of(if col == row { 0.5 } else { 0.0 }) * *inner };
            }
            T::solve_triangular(factor, n, Triangle::Lower, true, &mut inner, n);
            transpose(&inner, n, n, &mut masked);
            T::solve_triangular(factor, n, Triangle::Lower, true, &mut masked, n);
            add_symmetric_part(&masked, n, T::ONE, grad);
        });
    }
}

impl<T: Float> Op<T> for SpdSolve {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        system(&inputs[0], &inputs[1], Self::NAME);
        Shapes::from_elem(inputs[1], 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let (n, k) = system(&x[0].shape, &x[1].shape, Self::NAME);
        let pool = saved.pool.clone();
        let factors = saved.keep(x[0].data.len());
        if y[0].is_empty() {
            return;
        }
        for_each_chunk2(factors, n * n, y[0], n * k, |i, factor, y| {
            cholesky_or_nan(&x[0].data[i * n * n..][..n * n], n, factor, &pool);
            y.copy_from_slice(&x[1].data[i * n * k..][..n * k]);
            cholesky_solve(factor, n, y, k);
        });
    }

    /// B: A^-1 g; A: -(A^-1 g) X', symmetrised.
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (n, k) = system(&at.x[0].shape, &at.x[1].shape, Self::NAME);
        let g = at.grad(0);
        let mut solved = at.scratch(g.len());
        for_each_chunk(&mut solved, n * k, |i, solved| {
            solved.copy_from_slice(&g[i * n * k..][..n * k]);
            cholesky_solve(&at.saved[0][i * n * n..][..n * n], n, solved, k);
        });
        let Some(grad) = grads.sum(0) else { return grads.add_slice(1, &solved) };
        if k > 0 {
            for_each_chunk(grad, n * n, |i, grad| {
                let range = i * n * k..(i + 1) * n * k;
                let mut outer = at.scratch(n * n);
                let right = MatrixRef::row_major(&at.y[0].data[range.clone()], k).transposed();
                gemm((n, k, n), MatrixRef::row_major(&solved[range], k), right, &mut outer, false);
                add_symmetric_part(&outer, n, -T::ONE, grad);
            });
        }
        grads.add_slice(1, &solved);
    }
}

impl<T: Float> Op<T> for SpdLogDet {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        square(&inputs[0], Self::NAME);
        Shapes::from_elem(Shape::new(&inputs[0][..inputs[0].rank() - 2]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let n = square(&x[0].shape, Self::NAME);
        let pool = saved.pool.clone();
        let factors = saved.keep(x[0].data.len());
        if n == 0 {
            return y[0].fill(T::ZERO);
        }
        for_each_chunk2(factors, n * n, y[0], 1, |i, factor, y| {
            cholesky_or_nan(&x[0].data[i * n * n..][..n * n], n, factor, &pool);
            y[0] = cholesky_log_det(factor, n);
        });
    }

    /// g A^-1.
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let n = square(&at.x[0].shape, Self::NAME);
        let Some(grad) = grads.sum(0) else { return };
        for_each_chunk(grad, n * n, |i, grad| {
            let mut inverse = at.scratch(n * n);
            cholesky_inverse(&at.saved[0][i * n * n..][..n * n], n, &mut inverse);
            add_symmetric_part(&inverse, n, at.grad(0)[i], grad);
        });
    }
}

/// Shapes at which ops of one positive definite matrix are tried.
fn positive_definite<O>(op: impl Fn() -> O) -> Vec<Sample<O>> {
    let shapes: [&[usize]; 6] = [&[4, 4], &[2, 3, 3], &[1, 1], &[0, 2, 2], &[0, 0], &[9, 9]];
    shapes.iter().map(|shape| Sample::drawn(op(), &[(shape, Draw::PositiveDefinite)])).collect()
}

impl Samples for Cholesky {
    const NAME: &'static str = "cholesky";
    const DOC: &'static str = "Lower Cholesky factor of symmetric positive definite matrices; NaN for others. \
        PyTorch: `torch.linalg.cholesky` (Murray 2016).";
    fn samples() -> Vec<Sample<Self>> {
        positive_definite(|| Self)
    }
}

impl Samples for SpdSolve {
    const NAME: &'static str = "spd_solve";
    const DOC: &'static str = "Solution of A X = B for symmetric positive definite A through its Cholesky factor; NaN \
        for others. PyTorch: `torch.cholesky_solve(B, torch.linalg.cholesky(A))` (Giles 2008).";
    fn samples() -> Vec<Sample<Self>> {
        let shapes: [(&[usize], &[usize]); 5] = [
            (&[4, 4], &[4, 3]),
            (&[2, 3, 3], &[2, 3, 1]),
            (&[1, 1], &[1, 2]),
            (&[2, 2], &[2, 0]),
            (&[0, 2, 2], &[0, 2, 3]),
        ];
        let inputs = |(a, b)| Sample::drawn(Self, &[(a, Draw::PositiveDefinite), (b, Draw::Real(-1.0..1.0))]);
        shapes.into_iter().map(inputs).collect()
    }
}

impl Samples for SpdLogDet {
    const NAME: &'static str = "spd_log_det";
    const DOC: &'static str = "ln det of symmetric positive definite matrices through the Cholesky factor; NaN for \
        others. PyTorch: `torch.logdet` (Giles 2008).";
    fn samples() -> Vec<Sample<Self>> {
        positive_definite(|| Self)
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The lower Cholesky factor L of matrices A = L L', `[.., n, n]`. PyTorch: `torch.linalg.cholesky`.
    ///
    /// The symmetric part (A + A') / 2 is what is factored, and the gradient is symmetric. A matrix that is not positive
    /// definite gives NaN everywhere in its factor, which [`Tape::detect_anomaly`](crate::Tape::detect_anomaly) reports.
    ///
    /// # Panics
    /// When the last two axes differ.
    pub fn cholesky(self) -> Self {
        self.tape.record(Cholesky, &[self])[0]
    }

    /// The solution X of A X = B for symmetric positive definite A `[.., n, n]` (`self`) and B `[.., n, k]`.
    /// PyTorch: `torch.cholesky_solve(b, torch.linalg.cholesky(a))`.
    ///
    /// The backward pass solves with the same Cholesky factor. A is treated as in [`Var::cholesky`], NaN included.
    ///
    /// # Panics
    /// When the shapes do not fit; leading axes must be equal.
    pub fn spd_solve(self, rhs: Self) -> Self {
        self.tape.record(SpdSolve, &[self, rhs])[0]
    }

    /// ln det A of symmetric positive definite matrices `[.., n, n]`, of shape `[..]`. PyTorch: `torch.logdet`.
    ///
    /// A is treated as in [`Var::cholesky`], NaN included.
    ///
    /// # Panics
    /// When the last two axes differ.
    pub fn spd_log_det(self) -> Self {
        self.tape.record(SpdLogDet, &[self])[0]
    }
}
