//! Normalisation by the root mean square (Zhang & Sennrich 2019, eq. 4).

use crate::float::Float;
use crate::kernels::reduce::sum_middle;
use crate::kernels::{for_each_chunk, for_each_chunk2, rows_per_chunk, simd_kernel, sum_of};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Divides the last axis by its root mean square, then scales.
pub struct RmsNorm {
    /// Added to the mean square.
    epsilon: f64,
}

simd_kernel! {
    fn normalise_rows [T, L](x: &[T], scale: &[T], epsilon: T, y: &mut [T], inverse_rms: &mut [T]) {
        let width = scale.len();
        for ((x, y), inverse_rms) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse_rms) {
            let mean_square = sum_of([x], |[x]: [L; 1]| x.square()) / L::of(width as f64);
            let factor = (mean_square + L::new(epsilon)).sqrt().recip();
            *inverse_rms = factor.get();
            for i in 0..width {
                y[i] = (L::new(x[i]) * factor * L::new(scale[i])).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += (h - normal mean(h normal)) / rms with h = g scale, by rows.
    fn input_grad_rows [T, L](x: &[T], inverse_rms: &[T], scale: &[T], g: &[T], grad: &mut [T]) {
        let width = scale.len();
        for (row, (x, (g, grad))) in
            x.chunks_exact(width).zip(g.chunks_exact(width).zip(grad.chunks_exact_mut(width))).enumerate()
        {
            let factor = L::new(inverse_rms[row]);
            let along = sum_of([g, scale, x], |[g, scale, x]: [L; 3]| g * scale * x) / L::of(width as f64);
            let slope = along * factor * factor * factor;
            for i in 0..width {
                let value = L::new(g[i]) * L::new(scale[i]) * factor - L::new(x[i]) * slope;
                grad[i] = (L::new(grad[i]) + value).get();
            }
        }
    }
}

simd_kernel! {
    /// sum = the sum over rows of g times the normalised x.
    fn scale_grad_rows [T, L](x: &[T], inverse_rms: &[T], g: &[T], sum: &mut [T]) {
        sum.fill(T::ZERO);
        let width = sum.len();
        for (row, (x, g)) in x.chunks_exact(width).zip(g.chunks_exact(width)).enumerate() {
            let factor = L::new(inverse_rms[row]);
            for i in 0..width {
                sum[i] = (L::new(g[i]) * factor).mul_add(L::new(x[i]), L::new(sum[i])).get();
            }
        }
    }
}

impl<T: Float> Op<T> for RmsNorm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, scale) = (&inputs[0], &inputs[1]);
        assert!(
            x.rank() > 0 && x.last_size() > 0 && **scale == [x.last_size()],
            "rms_norm: {x} with scale {scale}: expected [.., n], [n] with n > 0"
        );
        Shapes::from_elem(*x, 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let width = x[0].shape.last_size();
        let rows = rows_per_chunk(width);
        let inverse_rms = saved.keep(x[0].data.len() / width);
        for_each_chunk2(y[0], rows * width, inverse_rms, rows, |i, y, inverse_rms| {
            let start = i * rows * width;
            normalise_rows(&x[0].data[start..start + y.len()], x[1].data, T::of(self.epsilon), y, inverse_rms);
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let width = at.x[0].shape.last_size();
        let rows = rows_per_chunk(width);
        let (x, g, inverse_rms) = (at.x[0].data, at.grad(0), &at.saved[0]);
        if let Some(grad) = grads.sum(0) {
            for_each_chunk(grad, rows * width, |i, grad| {
                let start = i * rows * width;
                let range = start..start + grad.len();
                input_grad_rows(&x[range.clone()], &inverse_rms[i * rows..], at.x[1].data, &g[range], grad);
            });
        }
        if grads.wanted(1) {
            // sums of chunks of rows, then of chunks
            let chunks = (x.len() / width).div_ceil(rows);
            let mut partial = at.scratch(chunks * width);
            for_each_chunk(&mut partial, width, |i, sum| {
                let range = i * rows * width..x.len().min((i + 1) * rows * width);
                scale_grad_rows(&x[range.clone()], &inverse_rms[i * rows..], &g[range], sum);
            });
            let mut summed = at.scratch(width);
            sum_middle(&partial, (1, chunks, width), &mut summed, at.pool);
            grads.add_slice(1, &summed);
        }
    }
}

impl Samples for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const DOC: &'static str = "Division by the root mean square of the last axis, with scale. PyTorch: `F.rms_norm`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |x: &[usize]| Sample::new(Self { epsilon: 1e-5 }, -2.0..2.0, &[x, &[x[x.len() - 1]]]);
        vec![sample(&[4, 5]), sample(&[2, 3, 18]), sample(&[3, 1]), sample(&[2]), sample(&[0, 3])]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Divides the last axis by the root of its mean square plus epsilon, then multiplies it by `scale`:
    /// `[.., n]` with `[n]` to `[.., n]` (Zhang & Sennrich 2019, eq. 4). A row of zeros stays zero and has a finite
    /// gradient. PyTorch: `F.rms_norm`.
    ///
    /// # Panics
    /// When the sizes do not fit or the last axis is empty.
    pub fn rms_norm(self, scale: Self, epsilon: f64) -> Self {
        self.tape.record(RmsNorm { epsilon }, &[self, scale])[0]
    }
}
