//! Running sums, log-sums of exponentials and products along an axis.
//!
//! All three, and their gradients, are linear-time recurrences that are carried in f64 along each line.

use crate::float::Float;
use crate::kernels::{COLUMNS, for_each_block_run};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Where a scan runs: along which axis, and whether from its end.
#[derive(Clone, Copy)]
struct Course {
    axis: usize,
    reverse: bool,
}

impl Course {
    fn new(shape: Shape, axis: isize, reverse: bool, name: &str) -> Self {
        Self { axis: shape.axis(axis, name), reverse }
    }

    fn back(self) -> Self {
        Self { reverse: !self.reverse, ..self }
    }

    /// Walks every line of `out`, of the given shape: `step(state, here, next)` gets the position and the one visited
    /// after it, if any, and returns what is written (or, when accumulating, added) here.
    fn walk<T: Float, S: Copy + Send + Sync>(
        self,
        shape: &Shape,
        out: &mut [T],
        accumulate: bool,
        start: S,
        step: impl Fn(&mut S, usize, Option<usize>) -> f64 + Send + Sync,
    ) {
        let split = shape.split_at_axis(self.axis);
        let (_, n, inner) = split;
        for_each_block_run(out, split, |first, out| {
            for (block, out) in out.chunks_mut(n * inner).enumerate() {
                let base = (first + block) * n * inner;
                for column in (0..inner).step_by(COLUMNS) {
                    let width = COLUMNS.min(inner - column);
                    let mut states = [start; COLUMNS];
                    for visit in 0..n {
                        let row = |visit: usize| if self.reverse { n - 1 - visit } else { visit };
                        let here = row(visit) * inner + column;
                        let next = (visit + 1 < n).then(|| base + row(visit + 1) * inner + column);
                        for (i, (out, state)) in out[here..here + width].iter_mut().zip(&mut states).enumerate() {
                            let value = T::of(step(state, base + here + i, next.map(|next| next + i)));
                            *out = if accumulate { *out + value } else { value };
                        }
                    }
                }
            }
        });
    }
}

/// The running sum along an axis.
pub struct CumSum(Course);
/// The running ln of the sum of exponentials along an axis.
pub struct CumLogSumExp(Course);
/// The running product along an axis.
pub struct CumProd(Course);

impl<T: Float> Op<T> for CumSum {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_slice(inputs)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        self.0.walk(&x[0].shape, y[0], false, 0.0, |sum, here, _| {
            *sum += x[0].data[here].to_f64();
            *sum
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let g = at.grad(0);
        let Some((grad, accumulate)) = grads.write(0) else { return };
        self.0.back().walk(&at.x[0].shape, grad, accumulate, 0.0, |sum, here, _| {
            *sum += g[here].to_f64();
            *sum
        });
    }
}

impl<T: Float> Op<T> for CumLogSumExp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_slice(inputs)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        // the largest so far, and the sum of e^(x - largest)
        self.0.walk(&x[0].shape, y[0], false, (f64::NEG_INFINITY, 0.0_f64), |(top, sum), here, _| {
            let x = x[0].data[here].to_f64();
            // equal infinities have no difference
            let ratio = if x == *top { 1.0 } else { (-(x - *top).abs()).exp() };
            if x > *top {
                (*top, *sum) = (x, *sum * ratio + 1.0);
            } else {
                *sum += ratio;
            }
            *top + sum.ln()
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (x, y, g) = (at.x[0].data, at.y[0].data, at.grad(0));
        let Some((grad, accumulate)) = grads.write(0) else { return };
        // r_j = sum over k from j of g_k e^(y_j - y_k); y never falls, so no exponential exceeds 1
        self.0.back().walk(&at.x[0].shape, grad, accumulate, 0.0, |r, here, next| {
            *r += g[here].to_f64();
            let y_here = y[here].to_f64();
            // nothing but minus infinities up to here: no slope, as in log_sum_exp
            let slope = if y_here == f64::NEG_INFINITY { 0.0 } else { (x[here].to_f64() - y_here).exp() };
            let value = if slope == 0.0 { 0.0 } else { *r * slope };
            if let Some(next) = next {
                let y_next = y[next].to_f64();
                *r = if y_next == f64::NEG_INFINITY { 0.0 } else { *r * (y_next - y_here).exp() };
            }
            value
        });
    }
}

impl<T: Float> Op<T> for CumProd {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_slice(inputs)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        self.0.walk(&x[0].shape, y[0], false, 1.0, |product, here, _| {
            *product *= x[0].data[here].to_f64();
            *product
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (x, y, g) = (at.x[0].data, at.y[0].data, at.grad(0));
        let Some((grad, accumulate)) = grads.write(0) else { return };
        // the product before j times s_j = g_j + x_(j + 1) s_(j + 1): no division, so that zeros are no exception
        self.0.back().walk(&at.x[0].shape, grad, accumulate, 0.0, |s, here, next| {
            *s += g[here].to_f64();
            let value = next.map_or(1.0, |next| y[next].to_f64()) * *s;
            *s *= x[here].to_f64();
            value
        });
    }
}

fn samples<O>(op: impl Fn(Course) -> O, range: std::ops::Range<f64>) -> Vec<Sample<O>> {
    let sample = |axis, reverse, shape: &[usize]| Sample::new(op(Course { axis, reverse }), range.clone(), &[shape]);
    vec![
        sample(0, false, &[7]),
        sample(1, true, &[4, 5]),
        sample(1, false, &[2, 3, 4]),
        sample(0, true, &[3, 35]),
        sample(0, false, &[1]),
        sample(0, false, &[0, 3]),
    ]
}

impl Samples for CumSum {
    const NAME: &'static str = "cumsum";
    const DOC: &'static str = "Running sum along one axis. PyTorch: `x.cumsum(axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        samples(Self, -1.0..1.0)
    }
}

impl Samples for CumLogSumExp {
    const NAME: &'static str = "cumulative_log_sum_exp";
    const DOC: &'static str = "Running ln of the sum of exponentials along one axis. PyTorch: `x.logcumsumexp(axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        samples(Self, -3.0..3.0)
    }
}

impl Samples for CumProd {
    const NAME: &'static str = "cumprod";
    const DOC: &'static str =
        "Running product along one axis, with its gradient also at zeros. PyTorch: `x.cumprod(axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        samples(Self, -1.5..1.5)
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The running sum along one axis (negative: from the back), each element included. PyTorch: `x.cumsum(axis)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn cumsum(self, axis: isize) -> Self {
        self.tape.record(CumSum(Course::new(self.shape(), axis, false, CumSum::NAME)), &[self])[0]
    }

    /// The running sum along one axis from its end, each element included. JAX: `lax.cumsum(x, axis, reverse=True)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn reverse_cumsum(self, axis: isize) -> Self {
        self.tape.record(CumSum(Course::new(self.shape(), axis, true, CumSum::NAME)), &[self])[0]
    }

    /// The running ln of the sum of exponentials along one axis (negative: from the back), safe for large and small
    /// numbers in value and gradient. PyTorch: `x.logcumsumexp(axis)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn cumulative_log_sum_exp(self, axis: isize) -> Self {
        self.tape.record(CumLogSumExp(Course::new(self.shape(), axis, false, CumLogSumExp::NAME)), &[self])[0]
    }

    /// The running ln of the sum of exponentials along one axis from its end: the risk sets of a Cox model whose
    /// subjects are ordered by time. JAX: `lax.cumlogsumexp(x, axis, reverse=True)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn reverse_cumulative_log_sum_exp(self, axis: isize) -> Self {
        self.tape.record(CumLogSumExp(Course::new(self.shape(), axis, true, CumLogSumExp::NAME)), &[self])[0]
    }

    /// The running product along one axis (negative: from the back); its gradient is exact also at zeros. PyTorch:
    /// `x.cumprod(axis)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn cumprod(self, axis: isize) -> Self {
        self.tape.record(CumProd(Course::new(self.shape(), axis, false, CumProd::NAME)), &[self])[0]
    }

    /// The running product along one axis from its end. JAX: `lax.cumprod(x, axis, reverse=True)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn reverse_cumprod(self, axis: isize) -> Self {
        self.tape.record(CumProd(Course::new(self.shape(), axis, true, CumProd::NAME)), &[self])[0]
    }
}
