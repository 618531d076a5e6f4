//! An affine layer as one op: product and bias in one pass.

use crate::float::Float;
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::kernels::reduce::sum_middle;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// y = x W + b.
pub struct Linear;

fn sizes(x: &Shape, w: &Shape, b: &Shape) -> (usize, usize, usize) {
    let inputs = x.last_size();
    assert!(
        x.rank() >= 1 && w.rank() == 2 && w[0] == inputs && b.len() == w[1] && b.rank() == 1,
        "linear: {x} x {w} + {b}: expected [.., inputs] x [inputs, outputs] + [outputs]"
    );
    (x[..x.rank() - 1].iter().product(), inputs, w[1])
}

impl<T: Float> Op<T> for Linear {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (_, _, n) = sizes(&inputs[0], &inputs[1], &inputs[2]);
        Shapes::from_elem(inputs[0].with(inputs[0].rank() - 1, n), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let (m, k, n) = sizes(&x[0].shape, &x[1].shape, &x[2].shape);
        for row in y[0].chunks_exact_mut(n.max(1)) {
            row.copy_from_slice(x[2].data);
        }
        gemm((m, k, n), MatrixRef::row_major(x[0].data, k), MatrixRef::row_major(x[1].data, n), y[0], true);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (m, k, n) = sizes(&at.x[0].shape, &at.x[1].shape, &at.x[2].shape);
        let g = at.grad(0);
        let g_matrix = MatrixRef::row_major(g, n);
        if let Some((grad, accumulate)) = grads.write(0) {
            gemm((m, n, k), g_matrix, MatrixRef::row_major(at.x[1].data, n).transposed(), grad, accumulate);
        }
        if let Some((grad, accumulate)) = grads.write(1) {
            gemm((k, m, n), MatrixRef::row_major(at.x[0].data, k).transposed(), g_matrix, grad, accumulate);
        }
        if grads.wanted(2) {
            let mut summed = at.scratch(n);
            sum_middle(g, (1, m, n), &mut summed, at.pool);
            grads.add_slice(2, &summed);
        }
    }
}

impl Samples for Linear {
    const NAME: &'static str = "linear";
    const DOC: &'static str = "Affine map x W + b over the last axis. PyTorch: `F.linear(x, W.T, b)`.";

    fn samples() -> Vec<Sample<Self>> {
        vec![
            Sample::new(Self, -1.0..1.0, &[&[3, 4], &[4, 2], &[2]]),
            Sample::new(Self, -1.0..1.0, &[&[2, 3, 4], &[4, 5], &[5]]),
            Sample::new(Self, -1.0..1.0, &[&[4], &[4, 1], &[1]]),
            Sample::new(Self, -1.0..1.0, &[&[0, 4], &[4, 3], &[3]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The affine map x W + b over the last axis: [.., inputs] with `[inputs, outputs]` and `[outputs]`.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn linear(self, weight: Self, bias: Self) -> Self {
        self.tape.record(Linear, &[self, weight, bias])[0]
    }
}
