//! Systems of equations with a triangular matrix.

use crate::float::Float;
use crate::kernels::dense::Triangle;
use crate::kernels::for_each_chunk;
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::op::{Array, At, Draw, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::cholesky::system;
use crate::shape::Shape;
use crate::var::Var;

/// The solution X of T X = B, or of T' X = B.
pub struct TriangularSolve {
    triangle: Triangle,
    transposed: bool,
}

impl TriangularSolve {
    /// Solves in place; NaN everywhere when a diagonal element is zero.
    fn solve<T: Float>(&self, t: &[T], n: usize, transposed: bool, x: &mut [T], k: usize) {
        if !T::solve_triangular(t, n, self.triangle, transposed, x, k) {
            x.fill(T::of(f64::NAN));
        }
    }

    fn holds(&self, row: usize, col: usize) -> bool {
        match self.triangle {
            Triangle::Lower => col <= row,
            Triangle::Upper => col >= row,
        }
    }
}

impl<T: Float> Op<T> for TriangularSolve {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        system(&inputs[0], &inputs[1], Self::NAME);
        Shapes::from_elem(inputs[1], 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let (n, k) = system(&x[0].shape, &x[1].shape, Self::NAME);
        for_each_chunk(y[0], n * k, |i, y| {
            y.copy_from_slice(&x[1].data[i * n * k..][..n * k]);
            self.solve(&x[0].data[i * n * n..][..n * n], n, self.transposed, y, k);
        });
    }

    /// B: h = T^-T g; T: -h X' within the triangle (its transpose for T').
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (n, k) = system(&at.x[0].shape, &at.x[1].shape, Self::NAME);
        let g = at.grad(0);
        let mut solved = at.scratch(g.len());
        for_each_chunk(&mut solved, n * k, |i, solved| {
            solved.copy_from_slice(&g[i * n * k..][..n * k]);
            self.solve(&at.x[0].data[i * n * n..][..n * n], n, !self.transposed, solved, k);
        });
        let Some(grad) = grads.sum(0) else { return grads.add_slice(1, &solved) };
        if k > 0 {
            for_each_chunk(grad, n * n, |i, grad| {
                let range = i * n * k..(i + 1) * n * k;
                let h = MatrixRef::row_major(&solved[range.clone()], k);
                let x = MatrixRef::row_major(&at.y[0].data[range], k);
                let (left, right) = if self.transposed { (x, h) } else { (h, x) };
                let mut outer = at.scratch(n * n);
                gemm((n, k, n), left, right.transposed(), &mut outer, false);
                for (at, (grad, outer)) in grad.iter_mut().zip(outer.iter()).enumerate() {
                    if self.holds(at / n, at % n) {
                        *grad -= *outer;
                    }
                }
            });
        }
        grads.add_slice(1, &solved);
    }
}

impl Samples for TriangularSolve {
    const NAME: &'static str = "triangular_solve";
    const DOC: &'static str = "Solution of T X = B or T' X = B for triangular T; NaN when a diagonal element is zero. \
        PyTorch: `torch.linalg.solve_triangular` (Giles 2008).";
    fn samples() -> Vec<Sample<Self>> {
        let mut samples = Vec::new();
        for triangle in [Triangle::Lower, Triangle::Upper] {
            for transposed in [false, true] {
                let shapes: [(&[usize], &[usize]); 4] =
                    [(&[5, 5], &[5, 3]), (&[2, 3, 3], &[2, 3, 1]), (&[1, 1], &[1, 2]), (&[0, 2, 2], &[0, 2, 2])];
                samples.extend(shapes.map(|(t, b)| {
                    let op = Self { triangle, transposed };
                    Sample::drawn(op, &[(t, Draw::PositiveDefinite), (b, Draw::Real(-1.0..1.0))])
                }));
            }
        }
        samples
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The solution X of T X = B for triangular T `[.., n, n]` (`self`) and B `[.., n, k]`. PyTorch:
    /// `torch.linalg.solve_triangular`.
    ///
    /// Only the given triangle is read, and only it has a gradient. A zero on the diagonal gives NaN in all of that
    /// batch member's solution.
    ///
    /// # Panics
    /// When the shapes do not fit; leading axes must be equal.
    pub fn triangular_solve(self, rhs: Self, triangle: Triangle) -> Self {
        self.tape.record(TriangularSolve { triangle, transposed: false }, &[self, rhs])[0]
    }

    /// The solution X of T' X = B, without a transposed copy of T; see [`Var::triangular_solve`].
    ///
    /// # Panics
    /// When the shapes do not fit; leading axes must be equal.
    pub fn triangular_solve_transposed(self, rhs: Self, triangle: Triangle) -> Self {
        self.tape.record(TriangularSolve { triangle, transposed: true }, &[self, rhs])[0]
    }
}
