//! Matrix products, also of stacks of matrices.

use crate::float::Float;
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// The product of two matrices or stacks of matrices; either may be read transposed.
pub struct MatMul {
    transpose_a: bool,
    transpose_b: bool,
}

/// The sizes of a product, and which matrix of each stack makes which product.
struct Plan {
    m: usize,
    k: usize,
    n: usize,
    stack: Shape,
}

impl MatMul {
    fn plan(&self, a: &Shape, b: &Shape) -> Plan {
        let fail = |why: &str| -> ! { panic!("matmul: {a} x {b}: {why}") };
        if a.rank() < 2 || b.rank() < 2 {
            fail("both operands need at least two axes");
        }
        let dims = |s: &Shape, transposed: bool| {
            let (rows, cols) = (s[s.rank() - 2], s[s.rank() - 1]);
            if transposed { (cols, rows) } else { (rows, cols) }
        };
        let (m, k) = dims(a, self.transpose_a);
        let (k_b, n) = dims(b, self.transpose_b);
        if k != k_b {
            fail("inner sizes differ");
        }
        let stack = |s: &Shape| Shape::new(&s[..s.rank() - 2]);
        Plan { m, k, n, stack: stack(a).broadcast(&stack(b), "matmul") }
    }
}

/// The first element of the matrix that product number `index` reads from a stack.
fn matrix_offset(shape: &Shape, stack: &Shape, index: usize) -> usize {
    let own = Shape::new(&shape[..shape.rank() - 2]);
    let size = shape[shape.rank() - 2] * shape[shape.rank() - 1];
    crate::kernels::operand::strided_offset(index, &own.strides_in(stack), stack) * size
}

fn view<'a, T>(data: &'a [T], shape: &Shape, offset: usize, transposed: bool) -> MatrixRef<'a, T> {
    let matrix = MatrixRef::row_major(&data[offset..], shape[shape.rank() - 1]);
    if transposed { matrix.transposed() } else { matrix }
}

impl<T: Float> Op<T> for MatMul {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let plan = self.plan(&inputs[0], &inputs[1]);
        let at = plan.stack.rank();
        Shapes::from_elem(plan.stack.inserted(at, plan.m).inserted(at + 1, plan.n), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let (a, b) = (x[0], x[1]);
        let Plan { m, k, n, stack } = self.plan(&a.shape, &b.shape);
        if m * n == 0 {
            return;
        }
        for (i, out) in y[0].chunks_mut(m * n).enumerate() {
            let left = view(a.data, &a.shape, matrix_offset(&a.shape, &stack, i), self.transpose_a);
            let right = view(b.data, &b.shape, matrix_offset(&b.shape, &stack, i), self.transpose_b);
            gemm((m, k, n), left, right, out, false);
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (a, b) = (at.x[0], at.x[1]);
        let Plan { m, k, n, stack } = self.plan(&a.shape, &b.shape);
        let g = at.grad(0);
        let whole = |shape: &Shape| shape.rank() - 2 == stack.rank() && shape[..stack.rank()] == *stack;
        // (out, rows, cols, left operand, right operand): the gradient of a operand in its stored layout
        for operand in 0..2 {
            let own = at.x[operand].shape;
            // a matrix that is used more than once starts from zero and adds up
            let target = if whole(&own) { grads.write(operand) } else { grads.sum(operand).map(|g| (g, true)) };
            let Some((target, accumulate)) = target else { continue };
            if m * n == 0 || k == 0 {
                if !accumulate {
                    target.fill(T::ZERO);
                }
                continue;
            }
            for (i, g) in g.chunks(m * n).enumerate() {
                let g = MatrixRef::row_major(g, n);
                let (start_a, start_b) = (matrix_offset(&a.shape, &stack, i), matrix_offset(&b.shape, &stack, i));
                let left = view(a.data, &a.shape, start_a, self.transpose_a);
                let right = view(b.data, &b.shape, start_b, self.transpose_b);
                if operand == 0 {
                    let out = &mut target[start_a..start_a + m * k];
                    if self.transpose_a {
                        gemm((k, n, m), right, g.transposed(), out, accumulate);
                    } else {
                        gemm((m, n, k), g, right.transposed(), out, accumulate);
                    }
                } else {
                    let out = &mut target[start_b..start_b + k * n];
                    if self.transpose_b {
                        gemm((n, m, k), g.transposed(), left, out, accumulate);
                    } else {
                        gemm((k, m, n), left.transposed(), g, out, accumulate);
                    }
                }
            }
        }
    }
}

impl Samples for MatMul {
    const NAME: &'static str = "matmul";
    const DOC: &'static str =
        "Product of matrices or stacks of matrices, broadcast over leading axes. PyTorch: `a @ b`.";

    fn samples() -> Vec<Sample<Self>> {
        let op = |transpose_a, transpose_b| Self { transpose_a, transpose_b };
        vec![
            Sample::new(op(false, false), -1.0..1.0, &[&[3, 4], &[4, 2]]),
            Sample::new(op(true, false), -1.0..1.0, &[&[4, 3], &[4, 2]]),
            Sample::new(op(false, true), -1.0..1.0, &[&[3, 4], &[2, 4]]),
            Sample::new(op(true, true), -1.0..1.0, &[&[4, 3], &[2, 4]]),
            Sample::new(op(false, false), -1.0..1.0, &[&[2, 3, 4], &[4, 2]]),
            Sample::new(op(false, true), -1.0..1.0, &[&[2, 1, 3, 4], &[3, 2, 4]]),
            Sample::new(op(false, false), -1.0..1.0, &[&[1, 1], &[1, 1]]),
            Sample::new(op(false, false), -1.0..1.0, &[&[0, 3], &[3, 2]]),
            Sample::new(op(false, false), -1.0..1.0, &[&[2, 0], &[0, 3]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The product of matrices [.., m, k] and [.., k, n], broadcast over leading axes. PyTorch: `a @ b`.
    ///
    /// # Panics
    /// When the inner sizes differ or the leading axes do not broadcast.
    pub fn matmul(self, other: Self) -> Self {
        self.tape.record(MatMul { transpose_a: false, transpose_b: false }, &[self, other])[0]
    }

    /// The product of [.., m, k] and the transpose of [.., n, k], without a copy.
    pub fn matmul_transposed(self, other: Self) -> Self {
        self.tape.record(MatMul { transpose_a: false, transpose_b: true }, &[self, other])[0]
    }

    /// The product of the transpose of [.., k, m] and [.., k, n], without a copy.
    pub fn transposed_matmul(self, other: Self) -> Self {
        self.tape.record(MatMul { transpose_a: true, transpose_b: false }, &[self, other])[0]
    }
}
