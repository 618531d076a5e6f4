//! Spectral convolution, the layer of Fourier neural operators (Li et al. 2021, eq. 4).

use super::convolution::{adding, bias_gradient};
use crate::float::Float;
use crate::kernels::activation::Activation;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::convolution::{self, After, Geometry};
use crate::kernels::for_each_chunk;
use crate::kernels::fourier::Modes;
use crate::kernels::fourier::products::{Spectra, sum_of_products};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// A convolution with periodic ends whose kernel is given by its lowest frequencies, perhaps with a linear map of each
/// position beside it.
///
/// Only the kept modes are transformed: those of the input, and in the backward pass those of the output's gradient.
pub struct SpectralConv;

/// The sizes of one call.
struct Sizes {
    batch: usize,
    inputs: usize,
    outputs: usize,
    n: usize,
    /// Modes that the weights have; those above n / 2 are not used.
    modes: usize,
}

impl Sizes {
    fn of(x: &Shape, w: &Shape) -> Self {
        Self { batch: x[0], inputs: x[1], outputs: w[1], n: x[2], modes: w[2] }
    }

    /// The map of each position: a convolution of width 1.
    fn pointwise(&self) -> Geometry {
        let Self { batch, inputs, outputs, n: length, .. } = *self;
        let (groups, kernel, stride, dilation, padding) = (1, 1, 1, 1, 0);
        Geometry { batch, groups, inputs, outputs, kernel, stride, dilation, padding, length, positions: length }
    }

    fn plan<T: Float>(&self) -> std::sync::Arc<Modes<T>> {
        Modes::of(self.n, self.modes.min(self.n / 2 + 1))
    }

    /// The share of mode k in a signal: 1/n, twice but for the real modes.
    fn share<T: Float>(&self, plan: &Modes<T>, pool: &Pool<T>) -> Buffer<T> {
        let mut share = pool.take(plan.count);
        for (k, share) in share.iter_mut().enumerate() {
            *share = T::of(plan.multiplicity(k) / self.n as f64);
        }
        share
    }
}

/// The weights from input channel `input` and output channel `output` on.
fn weights<'a, T: Float>(w: [&Array<'a, T>; 2], (input, output): (usize, usize), stride: usize) -> Spectra<'a, T> {
    let (outputs, modes) = (w[0].shape[1], w[0].shape[2]);
    let start = (input * outputs + output) * modes;
    Spectra { re: &w[0].data[start..], im: &w[1].data[start..], stride }
}

impl<T: Float> Op<T> for SpectralConv {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, re, im) = (&inputs[0], &inputs[1], &inputs[2]);
        assert!(
            x.rank() == 3 && re.rank() == 3 && re == im && x[1] == re[0] && x[2] > 0 && !re.is_empty(),
            "spectral_conv: {x} with weights {re} and {im}: expected [batch, in, length], twice [in, out, modes]"
        );
        let pointwise_fits = inputs.get(3).is_none_or(|w| **w == [re[1], re[0], 1]);
        let bias_fits = inputs.get(4).is_none_or(|b| **b == [re[1]]);
        assert!(
            pointwise_fits && bias_fits,
            "spectral_conv: {x} with weights {re} beside {:?}: expected [out, in, 1] and [out]",
            &inputs[3..]
        );
        Shapes::from_elem(x.with(1, re[1]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let sizes = Sizes::of(&x[0].shape, &x[1].shape);
        let (inputs, outputs) = (sizes.inputs, sizes.outputs);
        let plan = sizes.plan::<T>();
        let pool = saved.pool.clone();
        let share = sizes.share(&plan, &pool);
        let spectra = saved.keep(sizes.batch * inputs * plan.row());
        plan.analyse(x[0].data, sizes.n, spectra, &pool);
        let mut mixed = pool.take(sizes.batch * outputs * plan.row());
        for_each_chunk(&mut mixed, outputs * plan.row(), |sample, mixed| {
            let signal = Spectra::rows(spectra, plan.row(), sample * inputs, 1);
            for (output, mixed) in mixed.chunks_exact_mut(plan.row()).enumerate() {
                let weights = weights([&x[1], &x[2]], (0, output), outputs * sizes.modes);
                sum_of_products(mixed, &share, inputs, signal, false, weights);
            }
        });
        plan.synthesise(&mixed, y[0], false, &pool);
        if let Some(pointwise) = x.get(3) {
            let bias = x.get(4).map(|bias| bias.data);
            let after = After { accumulate: true, bias, activation: Activation::Identity };
            convolution::forward(&sizes.pointwise(), x[0].data, pointwise.data, y[0], after);
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let sizes = Sizes::of(&at.x[0].shape, &at.x[1].shape);
        let (batch, inputs, outputs) = (sizes.batch, sizes.inputs, sizes.outputs);
        let plan = sizes.plan::<T>();
        let mut g = at.scratch(batch * outputs * plan.row());
        plan.analyse(at.grad(0), sizes.n, &mut g, at.pool);
        let share = sizes.share(&plan, at.pool);
        if let Some((grad, accumulate)) = grads.write(0) {
            let mut mixed = at.scratch(batch * inputs * plan.row());
            for_each_chunk(&mut mixed, inputs * plan.row(), |sample, mixed| {
                let g = Spectra::rows(&g, plan.row(), sample * outputs, 1);
                for (input, mixed) in mixed.chunks_exact_mut(plan.row()).enumerate() {
                    let weights = weights([&at.x[1], &at.x[2]], (input, 0), sizes.modes);
                    sum_of_products(mixed, &share, outputs, weights, true, g);
                }
            });
            plan.synthesise(&mixed, grad, accumulate, at.pool);
            if let Some(pointwise) = at.x.get(3) {
                convolution::adjoint(&sizes.pointwise(), at.grad(0), pointwise.data, grad, adding(true), at.pool);
            }
        }
        if at.x.len() > 3
            && let Some((grad, accumulate)) = grads.write(3)
        {
            convolution::weight_gradient(&sizes.pointwise(), at.x[0].data, at.grad(0), grad, accumulate, at.pool);
        }
        if at.x.len() > 4 {
            bias_gradient(at.grad(0), &at.y[0].shape, 4, grads, at.pool);
        }
        if !(grads.wanted(1) || grads.wanted(2)) {
            return;
        }
        let mut products = at.scratch(inputs * outputs * plan.row());
        if batch == 0 {
            products.fill(T::ZERO);
        } else {
            for_each_chunk(&mut products, outputs * plan.row(), |input, products| {
                let x = Spectra::rows(&at.saved[0], plan.row(), input, inputs);
                for (output, products) in products.chunks_exact_mut(plan.row()).enumerate() {
                    let g = Spectra::rows(&g, plan.row(), output, outputs);
                    sum_of_products(products, &share, batch, x, true, g);
                }
            });
        }
        for part in 0..2 {
            let Some((grad, accumulate)) = grads.write(1 + part) else { continue };
            for (grad, row) in grad.chunks_exact_mut(sizes.modes).zip(products.chunks_exact(plan.row())) {
                let (used, unused) = grad.split_at_mut(plan.count);
                let row = &row[part * plan.count..][..plan.count];
                if accumulate {
                    used.iter_mut().zip(row).for_each(|(grad, value)| *grad += *value);
                } else {
                    used.copy_from_slice(row);
                    unused.fill(T::ZERO);
                }
            }
        }
    }
}

impl Samples for SpectralConv {
    const NAME: &'static str = "spectral_conv";
    const DOC: &'static str = "Convolution by complex weights on the lowest frequencies, perhaps with a linear map of \
         each position beside it. neuraloperator: `SpectralConv`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |x: &[usize], w: &[usize]| Sample::new(Self, -1.0..1.0, &[x, w, w]);
        vec![
            sample(&[2, 3, 32], &[3, 2, 5]),
            sample(&[2, 2, 15], &[2, 3, 8]),
            sample(&[1, 1, 7], &[1, 2, 9]),
            sample(&[2, 1, 1], &[1, 1, 1]),
            sample(&[3, 1, 66], &[1, 1, 2]),
            sample(&[0, 2, 8], &[2, 1, 3]),
            Sample::new(Self, -1.0..1.0, &[&[2, 3, 16], &[3, 2, 5], &[3, 2, 5], &[2, 3, 1]]),
            Sample::new(Self, -1.0..1.0, &[&[2, 2, 9], &[2, 3, 2], &[2, 3, 2], &[3, 2, 1], &[3]]),
            Sample::new(Self, -1.0..1.0, &[&[0, 2, 4], &[2, 1, 2], &[2, 1, 2], &[1, 2, 1], &[1]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Multiplies the lowest frequencies of each signal by complex weights that mix the channels, and drops the others:
    /// `[batch, in, length]` with weights `[in, out, modes]` (real and imaginary parts) to `[batch, out, length]`.
    ///
    /// y = irfft(sum over in of rfft(x) (w_re + i w_im)) (Li et al. 2021, eq. 4). Modes above half the length are not
    /// used, nor are the imaginary parts of the weights' products at frequency 0 and at half the length: their
    /// gradients are zero. neuraloperator: `SpectralConv` without its bias.
    ///
    /// # Panics
    /// When the sizes do not fit, or the length or the weights are empty.
    pub fn spectral_conv(self, w_re: Self, w_im: Self) -> Self {
        self.tape.record(SpectralConv, &[self, w_re, w_im])[0]
    }

    /// The sum of [`Var::spectral_conv`] and a linear map of each position, with weights `[out, in, 1]` and perhaps a
    /// bias `[out]`, in one op: what a block of a Fourier neural operator computes (Li et al. 2021, eq. 2).
    ///
    /// # Panics
    /// As [`Var::spectral_conv`].
    pub fn spectral_conv_beside(self, w_re: Self, w_im: Self, pointwise: Self, bias: Option<Self>) -> Self {
        let mut operands = vec![self, w_re, w_im, pointwise];
        operands.extend(bias);
        self.tape.record(SpectralConv, &operands)[0]
    }
}
