//! An affine layer as one op: product, bias and nonlinearity in one pass.

use crate::float::Float;
use crate::kernels::activation::Activation;
use crate::kernels::gemm::{Finish, MatrixRef, gemm, gemm_with};
use crate::kernels::reduce::sum_middle;
use crate::kernels::{for_each_chunk, rows_per_chunk};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// y = f(x W + b).
pub struct Linear {
    activation: Activation,
}

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
        let finish = Finish { accumulate: false, bias: Some(x[2].data), activation: self.activation };
        gemm_with((m, k, n), MatrixRef::row_major(x[0].data, k), MatrixRef::row_major(x[1].data, n), y[0], finish);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (m, k, n) = sizes(&at.x[0].shape, &at.x[1].shape, &at.x[2].shape);
        let mut before = at.scratch(if self.activation == Activation::Identity { 0 } else { m * n });
        let g = if self.activation == Activation::Identity {
            at.grad(0)
        } else {
            let size = rows_per_chunk(n) * n.max(1);
            for_each_chunk(&mut before, size, |i, before| {
                let range = i * size..i * size + before.len();
                self.activation.grad(&at.y[0].data[range.clone()], &at.grad(0)[range], before);
            });
            &before
        };
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
    const DOC: &'static str =
        "Affine map x W + b over the last axis, then perhaps a nonlinearity. PyTorch: `F.linear(x, W.T, b)`.";

    fn samples() -> Vec<Sample<Self>> {
        let op = |activation| Self { activation };
        vec![
            Sample::new(op(Activation::Identity), -1.0..1.0, &[&[3, 4], &[4, 2], &[2]]),
            Sample::new(op(Activation::Identity), -1.0..1.0, &[&[2, 3, 4], &[4, 5], &[5]]),
            Sample::new(op(Activation::Identity), -1.0..1.0, &[&[4], &[4, 1], &[1]]),
            Sample::new(op(Activation::Identity), -1.0..1.0, &[&[0, 4], &[4, 3], &[3]]),
            Sample::new(op(Activation::Identity), -1.0..1.0, &[&[2, 0], &[0, 3], &[3]]),
            Sample::new(op(Activation::Relu), -1.0..1.0, &[&[3, 4], &[4, 5], &[5]]),
            Sample::new(op(Activation::Tanh), -1.0..1.0, &[&[2, 3, 4], &[4, 5], &[5]]),
            Sample::new(op(Activation::Sigmoid), -1.0..1.0, &[&[3, 4], &[4, 2], &[2]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The affine map x W + b over the last axis: [.., inputs] with `[inputs, outputs]` and `[outputs]`.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn linear(self, weight: Self, bias: Self) -> Self {
        self.linear_with(weight, bias, Activation::Identity)
    }

    /// The affine map of [`Var::linear`] followed by a nonlinearity, in one pass over the result.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn linear_with(self, weight: Self, bias: Self, activation: Activation) -> Self {
        self.tape.record(Linear { activation }, &[self, weight, bias])[0]
    }
}
