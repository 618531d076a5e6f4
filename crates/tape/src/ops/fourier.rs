//! The Fourier transform of real signals along the last axis, and its inverse.

use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::fourier::Modes;
use crate::kernels::{for_each_chunk2, rows_per_chunk};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Which transform carries the factor 1/n. PyTorch and NumPy: `norm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FftNorm {
    /// The inverse carries 1/n.
    #[default]
    Backward,
    /// Both carry 1/sqrt(n).
    Ortho,
    /// The forward transform carries 1/n.
    Forward,
}

impl FftNorm {
    fn forward(self, n: usize) -> f64 {
        match self {
            Self::Backward => 1.0,
            Self::Ortho => 1.0 / (n as f64).sqrt(),
            Self::Forward => 1.0 / n as f64,
        }
    }

    fn inverse(self, n: usize) -> f64 {
        1.0 / (n as f64 * self.forward(n))
    }
}

/// The spectrum of real signals, as real and imaginary parts.
pub struct Rfft {
    norm: FftNorm,
}

/// Real signals from their spectrum.
pub struct Irfft {
    n: usize,
    norm: FftNorm,
}

/// How many of `bins` modes a signal of length n can have.
fn kept(n: usize, bins: usize) -> usize {
    bins.min(n / 2 + 1)
}

/// Writes the signals of spectra whose mode k is first scaled by `factor(k)`; an absent part is zero.
fn signals<T: Float>(
    plan: &Modes<T>,
    [re, im]: [Option<&[T]>; 2],
    bins: usize,
    factor: impl Fn(usize) -> f64 + Sync,
    (y, accumulate): (&mut [T], bool),
    pool: &Pool<T>,
) {
    let rows = y.len() / plan.n;
    let mut modes = pool.take(rows * plan.row());
    for (part, values) in [re, im].into_iter().enumerate() {
        for row in 0..rows {
            let out = &mut modes[row * plan.row() + part * plan.count..][..plan.count];
            match values {
                Some(values) => {
                    for (k, out) in out.iter_mut().enumerate() {
                        *out = values[row * bins + k] * T::of(factor(k));
                    }
                }
                None => out.fill(T::ZERO),
            }
        }
    }
    plan.synthesise(&modes, y, accumulate, pool);
}

impl<T: Float> Op<T> for Rfft {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let x = &inputs[0];
        assert!(x.rank() > 0 && x.last_size() > 0, "rfft: shape {x} has no last axis to transform");
        Shapes::from_elem(x.with(x.rank() - 1, x.last_size() / 2 + 1), 2)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let n = x[0].shape.last_size();
        let plan = Modes::of(n, n / 2 + 1);
        let scale = T::of(self.norm.forward(n));
        let [re, im] = y else { unreachable!("rfft has two outputs") };
        let rows = rows_per_chunk(n);
        let size = rows * plan.count;
        for_each_chunk2(re, size, im, size, |chunk, re, im| {
            let mut work = saved.scratch(plan.work());
            for (i, (re, im)) in re.chunks_exact_mut(plan.count).zip(im.chunks_exact_mut(plan.count)).enumerate() {
                let start = (chunk * rows + i) * n;
                plan.analyse_row(&x[0].data[start..start + n], re, im, &mut work);
                re.iter_mut().chain(im).for_each(|v| *v *= scale);
            }
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let n = at.x[0].shape.last_size();
        let plan = Modes::of(n, n / 2 + 1);
        let Some(grad) = grads.write(0) else { return };
        let parts = [at.grad_if_any(0), at.grad_if_any(1)];
        signals(&plan, parts, plan.count, |_| self.norm.forward(n), grad, at.pool);
    }
}

impl<T: Float> Op<T> for Irfft {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (re, im) = (&inputs[0], &inputs[1]);
        assert!(
            re == im && re.rank() > 0 && re.last_size() > 0 && self.n > 0,
            "irfft: {re} and {im} to length {}: expected two equal shapes [.., bins] and a length, not empty",
            self.n
        );
        Shapes::from_elem(re.with(re.rank() - 1, self.n), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let bins = x[0].shape.last_size();
        let plan = Modes::of(self.n, kept(self.n, bins));
        let scale = self.norm.inverse(self.n);
        let parts = [Some(x[0].data), Some(x[1].data)];
        signals(&plan, parts, bins, |k| scale * plan.multiplicity(k), (&mut *y[0], false), &saved.pool);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let bins = at.x[0].shape.last_size();
        let plan = Modes::of(self.n, kept(self.n, bins));
        let scale = self.norm.inverse(self.n);
        let mut modes = at.scratch(at.x[0].data.len() / bins * plan.row());
        plan.analyse(at.grad(0), self.n, &mut modes, at.pool);
        for operand in 0..2 {
            let Some((grad, accumulate)) = grads.write(operand) else { continue };
            for (grad, modes) in grad.chunks_exact_mut(bins).zip(modes.chunks_exact(plan.row())) {
                let (used, unused) = grad.split_at_mut(plan.count);
                for (k, grad) in used.iter_mut().enumerate() {
                    let value = modes[operand * plan.count + k] * T::of(scale * plan.multiplicity(k));
                    *grad = if accumulate { *grad + value } else { value };
                }
                if !accumulate {
                    unused.fill(T::ZERO);
                }
            }
        }
    }
}

impl Samples for Rfft {
    const NAME: &'static str = "rfft";
    const DOC: &'static str =
        "The Fourier transform of real signals along the last axis. PyTorch: `torch.fft.rfft`, in two real arrays.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |norm, shape: &[usize]| Sample::new(Self { norm }, -1.0..1.0, &[shape]);
        vec![
            sample(FftNorm::Backward, &[2, 3, 16]),
            sample(FftNorm::Ortho, &[3, 15]),
            sample(FftNorm::Forward, &[1]),
            sample(FftNorm::Forward, &[2, 37]),
            sample(FftNorm::Ortho, &[0, 4]),
        ]
    }
}

impl Samples for Irfft {
    const NAME: &'static str = "irfft";
    const DOC: &'static str =
        "Real signals from their spectrum along the last axis. PyTorch: `torch.fft.irfft`, from two real arrays.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |n, norm, shape: &[usize]| Sample::new(Self { n, norm }, -1.0..1.0, &[shape, shape]);
        vec![
            sample(16, FftNorm::Backward, &[2, 3, 9]),
            sample(15, FftNorm::Ortho, &[3, 8]),
            sample(40, FftNorm::Forward, &[2, 5]),
            sample(6, FftNorm::Backward, &[2, 7]),
            sample(1, FftNorm::Ortho, &[1, 1]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The Fourier transform of real signals along the last axis: the real and the imaginary parts,
    /// `[.., n]` to `[.., n / 2 + 1]` each. PyTorch: `torch.fft.rfft`.
    ///
    /// # Panics
    /// When there is no last axis or it is empty.
    pub fn rfft(self, norm: FftNorm) -> [Self; 2] {
        let outputs = self.tape.record(Rfft { norm }, &[self]);
        [outputs[0], outputs[1]]
    }

    /// Real signals of length n from the real parts (`self`) and imaginary parts of their spectra,
    /// `[.., bins]` to `[.., n]`.
    ///
    /// Absent modes are zero and modes above n / 2 are ignored, as are the imaginary parts at frequency 0 and at n / 2.
    /// PyTorch: `torch.fft.irfft(z, n)`.
    ///
    /// # Panics
    /// When the shapes differ, or an axis or n is zero.
    pub fn irfft(self, im: Self, n: usize, norm: FftNorm) -> Self {
        self.tape.record(Irfft { n, norm }, &[self, im])[0]
    }
}
