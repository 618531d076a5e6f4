//! Layer normalisation (Ba, Kiros & Hinton 2016).

use crate::float::Float;
use crate::kernels::reduce::sum_middle;
use crate::kernels::{for_each_chunk, for_each_chunk2, rows_per_chunk, simd_kernel, sum_of};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Normalises the last axis to mean 0 and variance 1, then scales and shifts.
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f64,
}

simd_kernel! {
    /// Writes the normalised rows and 1 / sd of each row.
    fn normalise_rows [T, L](x: &[T], normal: &mut [T], inverse_sd: &mut [T], width: usize, epsilon: T) {
        let n = L::of(width as f64);
        for ((x, normal), inverse_sd) in x.chunks_exact(width).zip(normal.chunks_exact_mut(width)).zip(inverse_sd) {
            let mean = sum_of(width, |i| L::new(x[i])) / n;
            let variance = sum_of(width, |i| (L::new(x[i]) - mean).square()) / n;
            let scale = (variance + L::new(epsilon)).sqrt().recip();
            *inverse_sd = scale.get();
            for (x, normal) in x.iter().zip(normal) {
                *normal = ((L::new(*x) - mean) * scale).get();
            }
        }
    }
}

simd_kernel! {
    fn affine_rows [T, L](normal: &[T], scale: &[T], shift: &[T], y: &mut [T]) {
        for (normal, y) in normal.chunks_exact(scale.len()).zip(y.chunks_exact_mut(scale.len())) {
            for i in 0..y.len() {
                y[i] = L::new(normal[i]).mul_add(L::new(scale[i]), L::new(shift[i])).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += (h - mean(h) - normal mean(h normal)) / sd with h = g scale, by rows.
    fn input_grad_rows [T, L](normal: &[T], inverse_sd: &[T], scale: &[T], g: &[T], grad: &mut [T]) {
        let width = scale.len();
        let n = L::of(width as f64);
        for (row, (normal, (g, grad))) in
            normal.chunks_exact(width).zip(g.chunks_exact(width).zip(grad.chunks_exact_mut(width))).enumerate()
        {
            let h = |i: usize| L::new(g[i]) * L::new(scale[i]);
            let mean = sum_of(width, h) / n;
            let along = sum_of(width, |i| h(i) * L::new(normal[i])) / n;
            let inverse_sd = L::new(inverse_sd[row]);
            for i in 0..width {
                let centred = h(i) - mean - L::new(normal[i]) * along;
                grad[i] = centred.mul_add(inverse_sd, L::new(grad[i])).get();
            }
        }
    }
}

simd_kernel! {
    pub(crate) fn products [T, L](a: &[T], b: &[T], out: &mut [T]) {
        for ((a, b), out) in a.iter().zip(b).zip(out) {
            *out = (L::new(*a) * L::new(*b)).get();
        }
    }
}

impl<T: Float> Op<T> for LayerNorm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, scale, shift) = (&inputs[0], &inputs[1], &inputs[2]);
        assert!(
            x.rank() > 0 && x.last_size() > 0 && **scale == [x.last_size()] && scale == shift,
            "layer_norm: {x} with scale {scale} and shift {shift}: expected [.., n], [n], [n] with n > 0"
        );
        Shapes::from_elem(*x, 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let width = x[0].shape.last_size();
        let rows = rows_per_chunk(width);
        let count = x[0].data.len() / width;
        let mut inverse_sd = saved.scratch(count);
        let normal = saved.keep(count * width);
        for_each_chunk2(normal, rows * width, &mut inverse_sd, rows, |i, normal, inverse_sd| {
            let start = i * rows * width;
            normalise_rows(&x[0].data[start..start + normal.len()], normal, inverse_sd, width, T::of(self.epsilon));
        });
        for_each_chunk(y[0], rows * width, |i, y| {
            let start = i * rows * width;
            affine_rows(&normal[start..start + y.len()], x[1].data, x[2].data, y);
        });
        saved.keep(count).copy_from_slice(&inverse_sd);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let width = at.x[0].shape.last_size();
        let count = at.x[0].data.len() / width;
        let (normal, inverse_sd, g) = (&at.saved[0], &at.saved[1], at.grad(0));
        let rows = rows_per_chunk(width);
        if let Some(grad) = grads.sum(0) {
            for_each_chunk(grad, rows * width, |i, grad| {
                let start = i * rows * width;
                let range = start..start + grad.len();
                input_grad_rows(&normal[range.clone()], &inverse_sd[i * rows..], at.x[1].data, &g[range], grad);
            });
        }
        let mut summed = at.scratch(width);
        if grads.wanted(1) {
            let mut weighted = at.scratch(g.len());
            products(g, normal, &mut weighted);
            sum_middle(&weighted, (1, count, width), &mut summed, at.pool);
            grads.add_slice(1, &summed);
        }
        if grads.wanted(2) {
            sum_middle(g, (1, count, width), &mut summed, at.pool);
            grads.add_slice(2, &summed);
        }
    }
}

impl Samples for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const DOC: &'static str = "Layer normalisation over the last axis with scale and shift. PyTorch: `F.layer_norm`.";
    fn samples() -> Vec<Sample<Self>> {
        let op = || Self { epsilon: 1e-5 };
        vec![
            Sample::new(op(), -2.0..2.0, &[&[4, 5], &[5], &[5]]),
            Sample::new(op(), -2.0..2.0, &[&[2, 3, 18], &[18], &[18]]),
            Sample::new(op(), -2.0..2.0, &[&[2], &[2], &[2]]),
            Sample::new(op(), -2.0..2.0, &[&[0, 3], &[3], &[3]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Layer normalisation over the last axis, then times `scale` plus `shift` (both of the last axis' size).
    /// PyTorch: `F.layer_norm`.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn layer_norm(self, scale: Self, shift: Self, epsilon: f64) -> Self {
        self.tape.record(LayerNorm { epsilon }, &[self, scale, shift])[0]
    }
}
