//! Matrix products, also of stacks of matrices.

use crate::float::Float;
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::kernels::operand::strided_offset;
use crate::kernels::strided::View;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::layout::add_through;
use crate::shape::{MAX_RANK, Shape};
use crate::var::Var;

/// The product of two matrices or stacks of matrices.
pub struct MatMul {
    operands: [Reading; 2],
}

/// How an operand is read.
#[derive(Clone, Copy)]
struct Reading {
    /// Where its elements lie in an array that it is a view of.
    view: Option<View>,
    transposed: bool,
}

impl Reading {
    fn view(&self, of: &Shape) -> View {
        self.view.unwrap_or_else(|| View::whole(of))
    }

    /// The matrix of this operand that product number `index` of a stack reads.
    fn matrix<'a, T>(&self, x: &Array<'a, T>, stack: &Shape, index: usize) -> MatrixRef<'a, T> {
        let View { sizes, start, steps } = self.view(&x.shape);
        let at = sizes.rank() - 2;
        let steps = steps.map(|step| step as usize);
        let mut strides = [0; MAX_RANK];
        for axis in (0..at).filter(|&axis| sizes[axis] != 1) {
            strides[stack.rank() - at + axis] = steps[axis];
        }
        let data = &x.data[start + strided_offset(index, &strides, stack)..];
        let matrix = MatrixRef { data, row_stride: steps[at], col_stride: steps[at + 1] };
        if self.transposed { matrix.transposed() } else { matrix }
    }
}

/// The sizes of a product, and which matrix of each stack makes which product.
struct Plan {
    m: usize,
    k: usize,
    n: usize,
    stack: Shape,
}

/// The first element of the matrix that belongs to product number `index` in a row-major stack.
fn matrix_offset(shape: &Shape, stack: &Shape, index: usize) -> usize {
    let own = Shape::new(&shape[..shape.rank() - 2]);
    let size = shape[shape.rank() - 2] * shape[shape.rank() - 1];
    strided_offset(index, &own.strides_in(stack), stack) * size
}

impl MatMul {
    fn plan(&self, a: &Shape, b: &Shape) -> Plan {
        let [a, b] = [self.operands[0].view(a).sizes, self.operands[1].view(b).sizes];
        let fail = |why: &str| -> ! { panic!("matmul: {a} x {b}: {why}") };
        if a.rank() < 2 || b.rank() < 2 {
            fail("both operands need at least two axes");
        }
        let dims = |s: &Shape, transposed: bool| {
            let (rows, cols) = (s[s.rank() - 2], s[s.rank() - 1]);
            if transposed { (cols, rows) } else { (rows, cols) }
        };
        let (m, k) = dims(&a, self.operands[0].transposed);
        let (k_b, n) = dims(&b, self.operands[1].transposed);
        if k != k_b {
            fail("inner sizes differ");
        }
        let stack = |s: &Shape| Shape::new(&s[..s.rank() - 2]);
        Plan { m, k, n, stack: stack(&a).broadcast(&stack(&b), "matmul") }
    }

    /// Writes the gradient of one operand, row-major as the operand was recorded, or adds to it.
    fn gradient<T: Float>(&self, operand: usize, at: &At<'_, T>, plan: &Plan, target: &mut [T], accumulate: bool) {
        let Plan { m, k, n, ref stack } = *plan;
        if m * n == 0 || k == 0 {
            if !accumulate {
                target.fill(T::ZERO);
            }
            return;
        }
        let own = self.operands[operand].view(&at.x[operand].shape).sizes;
        let (other, transposed) = (1 - operand, self.operands[operand].transposed);
        for (i, g) in at.grad(0).chunks(m * n).enumerate() {
            let g = MatrixRef::row_major(g, n);
            let other = self.operands[other].matrix(&at.x[other], stack, i);
            let start = matrix_offset(&own, stack, i);
            let (out, inner) = match operand {
                0 => ((m, k), (g, other.transposed(), n)),
                _ => ((k, n), (other.transposed(), g, m)),
            };
            let ((rows, cols), (left, right, terms)) = (out, inner);
            let target = &mut target[start..start + rows * cols];
            if transposed {
                gemm((cols, terms, rows), right.transposed(), left.transposed(), target, accumulate);
            } else {
                gemm((rows, terms, cols), left, right, target, accumulate);
            }
        }
    }
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
        let Plan { m, k, n, stack } = self.plan(&x[0].shape, &x[1].shape);
        if m * n == 0 {
            return;
        }
        for (i, out) in y[0].chunks_mut(m * n).enumerate() {
            let [left, right] = [0, 1].map(|which| self.operands[which].matrix(&x[which], &stack, i));
            gemm((m, k, n), left, right, out, false);
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let plan = self.plan(&at.x[0].shape, &at.x[1].shape);
        for (operand, reading) in self.operands.iter().enumerate() {
            if !grads.wanted(operand) {
                continue;
            }
            let own = reading.view(&at.x[operand].shape).sizes;
            // a matrix that is used more than once starts from zero and adds up
            let once = own[..own.rank() - 2] == *plan.stack;
            if let Some(view) = reading.view {
                let mut gradient = at.scratch(own.len());
                if !once {
                    gradient.fill(T::ZERO);
                }
                self.gradient(operand, at, &plan, &mut gradient, !once);
                add_through(&view, &gradient, (operand, at.x[operand].data.len()), grads);
                continue;
            }
            let target = if once { grads.write(operand) } else { grads.sum(operand).map(|g| (g, true)) };
            if let Some((target, accumulate)) = target {
                self.gradient(operand, at, &plan, target, accumulate);
            }
        }
    }
}

impl Samples for MatMul {
    const NAME: &'static str = "matmul";
    const DOC: &'static str =
        "Product of matrices or stacks of matrices, broadcast over leading axes. PyTorch: `a @ b`.";

    fn samples() -> Vec<Sample<Self>> {
        let op = |a, b| Self { operands: [a, b].map(|transposed| Reading { view: None, transposed }) };
        // heads beside each other in the last axis of both operands: [batch, steps, heads, width]
        let heads = |transposed| {
            let mut view = View::whole(&Shape::new(&[2, 3, 2, 2]));
            view.steps.swap(1, 2);
            view.sizes = Shape::new(&[2, 2, 3, 2]);
            Reading { view: Some(view), transposed }
        };
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
            Sample::new(Self { operands: [heads(false), heads(true)] }, -1.0..1.0, &[&[2, 3, 2, 2], &[2, 3, 2, 2]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    fn product(self, other: Self, transposed: [bool; 2]) -> Self {
        let mut operands = [self, other];
        let mut readings = transposed.map(|transposed| Reading { view: None, transposed });
        for (operand, reading) in operands.iter_mut().zip(&mut readings) {
            if let Some((of, view)) = self.tape.viewed(*operand)
                && view.steps.iter().all(|&step| step >= 0)
            {
                (*operand, reading.view) = (of, Some(view));
            }
        }
        self.tape.record(MatMul { operands: readings }, &operands)[0]
    }

    /// The product of matrices [.., m, k] and [.., k, n], broadcast over leading axes. Operands that are permuted, sliced
    /// or windows of an array are read where they lie, without a copy. PyTorch: `a @ b`.
    ///
    /// # Panics
    /// When the inner sizes differ or the leading axes do not broadcast.
    pub fn matmul(self, other: Self) -> Self {
        self.product(other, [false, false])
    }

    /// The product of [.., m, k] and the transpose of [.., n, k], without a copy.
    pub fn matmul_transposed(self, other: Self) -> Self {
        self.product(other, [false, true])
    }

    /// The product of the transpose of [.., k, m] and [.., k, n], without a copy.
    pub fn transposed_matmul(self, other: Self) -> Self {
        self.product(other, [true, false])
    }
}
