//! Batch normalisation (Ioffe & Szegedy 2015) over all axes but the last.

use crate::float::Float;
use crate::kernels::reduce::sum_middle;
use crate::kernels::{for_each_chunk, rows_per_chunk, simd_kernel};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Normalises each feature (last axis) to mean 0 and variance 1 over the batch, then scales and shifts.
///
/// Outputs: the result, the batch mean and the biased batch variance, which the layer folds into its running values.
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
}

simd_kernel! {
    fn centre_rows [T, L](x: &[T], mean: &[T], centred: &mut [T], squares: &mut [T]) {
        let width = mean.len();
        for ((x, centred), squares) in
            x.chunks_exact(width).zip(centred.chunks_exact_mut(width)).zip(squares.chunks_exact_mut(width))
        {
            for i in 0..width {
                let d = L::new(x[i]) - L::new(mean[i]);
                centred[i] = d.get();
                squares[i] = d.square().get();
            }
        }
    }
}

simd_kernel! {
    fn normalise [T, L](normal: &mut [T], y: &mut [T], inverse_sd: &[T], scale: &[T], shift: &[T]) {
        let width = scale.len();
        for (normal, y) in normal.chunks_exact_mut(width).zip(y.chunks_exact_mut(width)) {
            for i in 0..width {
                let value = L::new(normal[i]) * L::new(inverse_sd[i]);
                normal[i] = value.get();
                y[i] = value.mul_add(L::new(scale[i]), L::new(shift[i])).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += scale / sd (g - mean(g) - normal mean(g normal)).
    fn input_grad [T, L](normal: &[T], g: &[T], factor: &[T], mean_g: &[T], along: &[T], grad: &mut [T]) {
        let width = factor.len();
        for ((normal, g), grad) in
            normal.chunks_exact(width).zip(g.chunks_exact(width)).zip(grad.chunks_exact_mut(width))
        {
            for i in 0..width {
                let centred = L::new(g[i]) - L::new(mean_g[i]) - L::new(normal[i]) * L::new(along[i]);
                grad[i] = centred.mul_add(L::new(factor[i]), L::new(grad[i])).get();
            }
        }
    }
}

simd_kernel! {
    fn products [T, L](a: &[T], b: &[T], out: &mut [T]) {
        for ((a, b), out) in a.iter().zip(b).zip(out) {
            *out = (L::new(*a) * L::new(*b)).get();
        }
    }
}

impl<T: Float> Op<T> for BatchNorm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, scale, shift) = (&inputs[0], &inputs[1], &inputs[2]);
        assert!(
            x.rank() > 1 && !x.is_empty() && **scale == [x.last_size()] && scale == shift,
            "batch_norm: {x} with scale {scale} and shift {shift}: expected [batch.., n], [n], [n], none of them empty"
        );
        Shapes::from_slice(&[*x, *scale, *scale])
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let [y, mean, variance] = y else { unreachable!("batch_norm has three outputs") };
        let width = x[1].data.len();
        let count = x[0].data.len() / width;
        let share = T::of(1.0 / count as f64);
        let pool = saved.pool.clone();
        sum_middle(x[0].data, (1, count, width), mean, &pool);
        mean.iter_mut().for_each(|m| *m *= share);
        let mut squares = saved.scratch(count * width);
        let normal = saved.keep(count * width);
        centre_rows(x[0].data, mean, normal, &mut squares);
        sum_middle(&squares, (1, count, width), variance, &pool);
        variance.iter_mut().for_each(|v| *v *= share);
        let mut inverse_sd = saved.scratch(width);
        for (inverse_sd, variance) in inverse_sd.iter_mut().zip(variance.iter()) {
            *inverse_sd = (*variance + T::of(self.epsilon)).sqrt().recip();
        }
        normalise(&mut saved.kept[0], y, &inverse_sd, x[1].data, x[2].data);
        saved.keep(width).copy_from_slice(&inverse_sd);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let width = at.x[1].data.len();
        let count = at.x[0].data.len() / width;
        let share = T::of(1.0 / count as f64);
        let (normal, inverse_sd, scale) = (&at.saved[0], &at.saved[1], at.x[1].data);
        if let Some(g) = at.grad_if_any(0) {
            let mut sum_g = at.scratch(width);
            let mut sum_along = at.scratch(width);
            let mut weighted = at.scratch(g.len());
            products(g, normal, &mut weighted);
            sum_middle(g, (1, count, width), &mut sum_g, at.pool);
            sum_middle(&weighted, (1, count, width), &mut sum_along, at.pool);
            grads.add_slice(1, &sum_along);
            grads.add_slice(2, &sum_g);
            if let Some(grad) = grads.sum(0) {
                let mut factor = at.scratch(width);
                products(scale, inverse_sd, &mut factor);
                sum_g.iter_mut().chain(sum_along.iter_mut()).for_each(|s| *s *= share);
                let size = rows_per_chunk(width) * width;
                for_each_chunk(grad, size, |i, grad| {
                    let range = i * size..i * size + grad.len();
                    input_grad(&normal[range.clone()], &g[range], &factor, &sum_g, &sum_along, grad);
                });
            }
        }
        // d mean / dx = 1 / count; d variance / dx = 2 (x - mean) / count
        if let Some(g) = at.grad_if_any(1)
            && let Some(grad) = grads.sum(0)
        {
            grad.iter_mut().enumerate().for_each(|(i, grad)| *grad += g[i % width] * share);
        }
        if let Some(g) = at.grad_if_any(2)
            && let Some(grad) = grads.sum(0)
        {
            let twice = share + share;
            grad.iter_mut().enumerate().for_each(|(i, grad)| {
                *grad += g[i % width] * twice * normal[i] / inverse_sd[i % width];
            });
        }
        // outputs 1 and 2 alone leave scale and shift without a gradient
        for operand in [1, 2] {
            grads.sum(operand);
        }
    }
}

impl Samples for BatchNorm {
    const NAME: &'static str = "batch_norm";
    const DOC: &'static str = "Batch normalisation of each feature (last axis), with batch mean and variance. PyTorch: `F.batch_norm(training=True)`.";
    fn samples() -> Vec<Sample<Self>> {
        let op = || Self { epsilon: 1e-3 };
        vec![
            Sample::new(op(), -2.0..2.0, &[&[6, 5], &[5], &[5]]),
            Sample::new(op(), -2.0..2.0, &[&[2, 3, 4], &[4], &[4]]),
            Sample::new(op(), -2.0..2.0, &[&[3, 1], &[1], &[1]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Batch normalisation of each feature (last axis) over all other axes, then times `scale` plus `shift`.
    ///
    /// Returns the result, the batch mean and the biased batch variance. PyTorch: `F.batch_norm(training=True)`.
    ///
    /// # Panics
    /// When the sizes do not fit or the batch is empty.
    pub fn batch_norm(self, scale: Self, shift: Self, epsilon: f64) -> [Self; 3] {
        let outputs = self.tape.record(BatchNorm { epsilon }, &[self, scale, shift]);
        [outputs[0], outputs[1], outputs[2]]
    }
}
