//! Eigenvalues and eigenvectors of symmetric matrices.

use crate::float::Float;
use crate::kernels::dense::{add_symmetric_part, symmetric_part};
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::kernels::{for_each_chunk, for_each_chunk2};
use crate::op::{Array, At, Draw, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::cholesky::square;
use crate::shape::Shape;
use crate::var::Var;

/// A = V diag(w) V'.
pub struct Eigh;

impl<T: Float> Op<T> for Eigh {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        square(&inputs[0], Self::NAME);
        Shapes::from_slice(&[inputs[0].without(inputs[0].rank() - 1), inputs[0]])
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let n = square(&x[0].shape, Self::NAME);
        let [values, vectors] = y else { unreachable!("two outputs") };
        for_each_chunk2(values, n, vectors, n * n, |i, values, vectors| {
            let mut symmetric = saved.scratch(n * n);
            symmetric_part(&x[0].data[i * n * n..][..n * n], n, &mut symmetric);
            if !T::eigh(&symmetric, n, values, vectors, &saved.pool) {
                values.fill(T::of(f64::NAN));
                vectors.fill(T::of(f64::NAN));
            }
        });
    }

    /// V (diag(g_w) + F o (V' g_V)) V', symmetrised, F_ij = gap / (gap^2 + eps) with gap = w_j - w_i (Giles 2008, 3.1).
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let n = square(&at.x[0].shape, Self::NAME);
        let Some(grad) = grads.sum(0) else { return };
        for_each_chunk(grad, n * n, |i, grad| {
            let range = i * n * n..(i + 1) * n * n;
            let values = &at.y[0].data[i * n..(i + 1) * n];
            let vectors = MatrixRef::row_major(&at.y[1].data[range.clone()], n);
            let (mut inner, mut left) = (at.scratch(n * n), at.scratch(n * n));
            match at.grad_if_any(1) {
                Some(g) => {
                    gemm((n, n, n), vectors.transposed(), MatrixRef::row_major(&g[range], n), &mut inner, false);
                    divide_by_gaps(values, &mut inner);
                }
                None => inner.fill(T::ZERO),
            }
            if let Some(g) = at.grad_if_any(0) {
                (0..n).for_each(|j| inner[j * n + j] = g[i * n + j]);
            }
            gemm((n, n, n), vectors, MatrixRef::row_major(&inner, n), &mut left, false);
            gemm((n, n, n), MatrixRef::row_major(&left, n), vectors.transposed(), &mut inner, false);
            add_symmetric_part(&inner, n, T::ONE, grad);
        });
    }
}

/// Multiplies element (i, j) by gap / (gap^2 + eps); the diagonal becomes zero.
///
/// eps is the machine epsilon times the square of the largest |w|: far below a gap that eigenvectors resolve, and large
/// enough that the rounding errors of V' g_V do not blow up where eigenvalues are equal.
fn divide_by_gaps<T: Float>(values: &[T], inner: &mut [T]) {
    let n = values.len();
    let largest = values.iter().fold(0.0, |largest: f64, w| largest.max(w.to_f64().abs()));
    let eps = (T::EPSILON * largest * largest).max(f64::MIN_POSITIVE);
    for i in 0..n {
        for j in 0..n {
            let gap = values[j].to_f64() - values[i].to_f64();
            inner[i * n + j] *= T::of(gap / (gap * gap + eps));
        }
    }
}

impl Samples for Eigh {
    const NAME: &'static str = "eigh";
    const DOC: &'static str = "Ascending eigenvalues and eigenvectors (columns, the largest component positive) of \
        symmetric matrices. PyTorch: `torch.linalg.eigh` (Giles 2008).";
    fn samples() -> Vec<Sample<Self>> {
        let shapes: [&[usize]; 6] = [&[4, 4], &[2, 3, 3], &[1, 1], &[0, 2, 2], &[0, 0], &[6, 6]];
        shapes.iter().map(|shape| Sample::drawn(Self, &[(shape, Draw::Symmetric(-1.0..1.0))])).collect()
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The eigenvalues `[.., n]`, ascending, and the eigenvectors `[.., n, n]`, in columns, of symmetric matrices
    /// `[.., n, n]`. PyTorch: `torch.linalg.eigh`.
    ///
    /// The symmetric part (A + A') / 2 is what is decomposed, and the gradient is symmetric. The sign of an eigenvector
    /// is chosen so that its largest component is positive. A matrix that is not finite gives NaN.
    ///
    /// Eigenvectors of equal eigenvalues are not determined. In the gradient 1 / gap is replaced by
    /// gap / (gap^2 + eps), eps = machine epsilon times the square of the largest |eigenvalue|: pairs that are closer
    /// than about 1.5e-8 (f64) or 3.5e-4 (f32) of the largest eigenvalue do not take part. So the gradient stays finite,
    /// and it is exact at equal eigenvalues when the result depends on eigenvalues alone, or on the eigenvectors of
    /// equal eigenvalues through their span and with one weight (a projector, the trace of a matrix function). For a
    /// Gaussian process use [`Var::gp_log_likelihood_shared`], whose gradient needs no gaps.
    ///
    /// # Panics
    /// When the last two axes differ.
    pub fn eigh(self) -> [Self; 2] {
        let outputs = self.tape.record(Eigh, &[self]);
        [outputs[0], outputs[1]]
    }
}
