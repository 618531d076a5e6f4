//! Reductions along one axis.

use crate::float::Float;
use crate::kernels::reduce::sum_middle;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// The sum along one axis, which is removed.
pub struct SumAxis {
    axis: usize,
}

/// The largest element along one axis, which is removed.
pub struct MaxAxis {
    axis: usize,
}

impl<T: Float> Op<T> for SumAxis {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(inputs[0].without(self.axis), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        sum_middle(x[0].data, x[0].shape.split_at_axis(self.axis), y[0], &saved.pool);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (_, n, inner) = at.x[0].shape.split_at_axis(self.axis);
        let g = at.grad(0);
        let Some((grad, accumulate)) = grads.write(0) else { return };
        if inner == 0 {
            return;
        }
        if inner == 1 {
            for (row, g) in grad.chunks_exact_mut(n.max(1)).zip(g) {
                if accumulate {
                    row.iter_mut().for_each(|grad| *grad += *g);
                } else {
                    row.fill(*g);
                }
            }
            return;
        }
        // every row of `inner` elements along the axis receives the same gradient
        for (row, grad) in grad.chunks_exact_mut(inner).enumerate() {
            let start = row / n * inner;
            let g = &g[start..start + inner];
            if accumulate {
                grad.iter_mut().zip(g).for_each(|(grad, g)| *grad += *g);
            } else {
                grad.copy_from_slice(g);
            }
        }
    }
}

impl Samples for SumAxis {
    const NAME: &'static str = "sum_axis";
    const DOC: &'static str = "Sum along one axis, which is removed. PyTorch: `x.sum(axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, shape: &[usize]| Sample::new(Self { axis }, -1.0..1.0, &[shape]);
        vec![
            sample(0, &[4, 5]),
            sample(1, &[4, 5]),
            sample(1, &[2, 3, 4]),
            sample(0, &[1]),
            sample(0, &[0, 3]),
            sample(1, &[2, 0]),
        ]
    }
}

/// For each output element the offset of the first largest element.
fn positions<T: Float>(x: &Array<'_, T>, axis: usize) -> impl Iterator<Item = usize> {
    let (outer, n, inner) = x.shape.split_at_axis(axis);
    let data = x.data;
    (0..outer * inner).map(move |i| {
        let start = i / inner * n * inner + i % inner;
        let mut best = start;
        for at in (1..n).map(|k| start + k * inner) {
            // NaN stays once it is found
            if data[at] > data[best] || data[at].to_f64().is_nan() && !data[best].to_f64().is_nan() {
                best = at;
            }
        }
        best
    })
}

impl<T: Float> Op<T> for MaxAxis {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        assert!(inputs[0][self.axis] > 0, "max_axis: axis {} of shape {} is empty", self.axis, inputs[0]);
        Shapes::from_elem(inputs[0].without(self.axis), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        for (y, at) in y[0].iter_mut().zip(positions(&x[0], self.axis)) {
            *y = x[0].data[at];
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let Some(grad) = grads.sum(0) else { return };
        for (g, position) in at.grad(0).iter().zip(positions(&at.x[0], self.axis)) {
            grad[position] += *g;
        }
    }
}

impl Samples for MaxAxis {
    const NAME: &'static str = "max_axis";
    const DOC: &'static str = "Largest element along one axis, which is removed; the first one has the gradient at a tie. PyTorch: `x.max(axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, shape: &[usize]| Sample::new(Self { axis }, -1.0..1.0, &[shape]);
        vec![sample(0, &[4, 5]), sample(1, &[4, 5]), sample(1, &[2, 3, 4]), sample(0, &[1])]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The sum along one axis (negative: from the back), which is removed. PyTorch: `x.sum(axis)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn sum_axis(self, axis: isize) -> Self {
        let axis = self.shape().axis(axis, SumAxis::NAME);
        self.tape.record(SumAxis { axis }, &[self])[0]
    }

    /// The mean along one axis (negative: from the back), which is removed; NaN when it is empty.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn mean_axis(self, axis: isize) -> Self {
        let shape = self.shape();
        let n = shape[shape.axis(axis, "mean_axis")];
        self.sum_axis(axis) / n as f64
    }

    /// The biased variance along one axis (negative: from the back), which is removed. PyTorch:
    /// `x.var(axis, correction=0)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn variance_axis(self, axis: isize) -> Self {
        let at = self.shape().axis(axis, "variance_axis") as isize;
        (self - self.mean_axis(at).unsqueeze(at)).square().mean_axis(at)
    }

    /// The largest element along one axis (negative: from the back), which is removed.
    ///
    /// # Panics
    /// When there is no such axis or it is empty.
    pub fn max_axis(self, axis: isize) -> Self {
        let axis = self.shape().axis(axis, MaxAxis::NAME);
        self.tape.record(MaxAxis { axis }, &[self])[0]
    }

    /// The smallest element along one axis (negative: from the back), which is removed.
    ///
    /// # Panics
    /// When there is no such axis or it is empty.
    pub fn min_axis(self, axis: isize) -> Self {
        -(-self).max_axis(axis)
    }

    /// The position of the largest element of each row (last axis), the first one at a tie. It has no gradient.
    ///
    /// # Panics
    /// When the rows are empty.
    pub fn argmax(self) -> Vec<usize> {
        let value = self.value();
        let width = value.shape().last_size();
        assert!(width > 0, "argmax: shape {} has empty rows", value.shape());
        let array = Array { shape: Shape::new(&[value.data().len() / width, width]), data: value.data() };
        positions(&array, 1).map(|at| at % width).collect()
    }
}
