//! Sums along one axis and what is made of them: means, variances, norms.

use crate::float::Float;
use crate::kernels::reduce::sum_middle;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// The sum along one axis, which is removed.
pub struct SumAxis {
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
        self.variance_axis_with(axis, 0)
    }

    /// The variance along one axis (negative: from the back), which is removed: squared deviations from the mean over
    /// n - `correction`; 1 makes it unbiased. NaN or infinite when that is not positive. PyTorch:
    /// `x.var(axis, correction)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn variance_axis_with(self, axis: isize, correction: u32) -> Self {
        let shape = self.shape();
        let at = shape.axis(axis, "variance_axis");
        let centred = self - self.mean_axis(at as isize).unsqueeze(at as isize);
        centred.square().sum_axis(at as isize) / (shape[at] as f64 - f64::from(correction)).max(0.0)
    }

    /// The variance of all elements: squared deviations from the mean over n - `correction`; 1 makes it unbiased.
    /// PyTorch: `x.var(correction=correction)`.
    pub fn variance_with(self, correction: u32) -> Self {
        let centred = self - self.mean();
        centred.square().sum() / (self.shape().len() as f64 - f64::from(correction)).max(0.0)
    }

    /// The sum of absolute values along one axis (negative: from the back), which is removed. PyTorch:
    /// `torch.linalg.vector_norm(x, 1, axis)`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn l1_norm_axis(self, axis: isize) -> Self {
        self.abs().sum_axis(axis)
    }
}
