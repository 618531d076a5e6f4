//! Convolution with long kernels by Fourier transforms.

use std::sync::Arc;

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::fourier::Modes;
use crate::kernels::fourier::products::{Spectra, sum_of_products};
use crate::kernels::{for_each_chunk, rows_per_chunk};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// The zeros that stand around a signal before it is convolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvEnds {
    /// None: the output is kernel - 1 shorter than the signal.
    #[default]
    Valid,
    /// As many as keep the length; of an odd number one more on the right. PyTorch: `padding='same'`.
    Same,
    /// kernel - 1 on the left: an output sees its own and earlier positions.
    Causal,
    /// Given numbers on the left and on the right.
    Zeros(usize, usize),
}

impl ConvEnds {
    fn zeros(self, kernel: usize) -> [usize; 2] {
        let all = kernel - 1;
        match self {
            Self::Valid => [0, 0],
            Self::Same => [all / 2, all - all / 2],
            Self::Causal => [all, 0],
            Self::Zeros(left, right) => [left, right],
        }
    }
}

/// A convolution along the last axis through the spectra of signals and kernels.
pub struct FftConv1d {
    ends: ConvEnds,
}

/// The sizes of one call.
struct Sizes {
    batch: usize,
    /// Channels of the input and of the output.
    inputs: usize,
    outputs: usize,
    /// Channels of one group.
    group_inputs: usize,
    group_outputs: usize,
    /// Elements of a signal, a kernel and an output.
    n: usize,
    kernel: usize,
    length: usize,
    /// Zeros before the signal.
    left: usize,
    /// The length of the transforms.
    period: usize,
}

impl Sizes {
    fn plan<T: Float>(&self) -> Arc<Modes<T>> {
        Modes::of(self.period, self.period / 2 + 1)
    }

    /// The group that an output channel belongs to.
    fn group_of_output(&self, output: usize) -> usize {
        output / self.group_outputs
    }
}

/// The smallest even length from `n` on whose only prime factors are 2, 3 and 5.
fn good_length(n: usize) -> usize {
    let is_good = |n: usize| {
        let mut rest = n;
        for prime in [2_usize, 3, 5] {
            while rest.is_multiple_of(prime) {
                rest /= prime;
            }
        }
        rest == 1
    };
    (n.max(2).next_multiple_of(2)..).step_by(2).find(|n| is_good(*n)).expect("a power of two is good")
}

impl FftConv1d {
    fn sizes(&self, x: &Shape, w: &Shape) -> Sizes {
        let fits = x.rank() == 3 && w.rank() == 3 && !w.is_empty() && x[1] > 0 && x[1].is_multiple_of(w[1]);
        let groups = if fits { x[1] / w[1] } else { 1 };
        assert!(
            fits && w[0].is_multiple_of(groups),
            "fft_conv1d: {x} with weight {w}: expected [batch, in, length] and [out, in / groups, kernel]"
        );
        let (n, kernel) = (x[2], w[2]);
        let [left, right] = self.ends.zeros(kernel);
        assert!(
            n > 0 && n + left + right >= kernel,
            "fft_conv1d: {x} with {left} and {right} zeros is shorter than {w}"
        );
        // what lies before and after the signal must not wrap onto it
        let period = good_length((n + left.max(right)).max(kernel));
        let length = n + left + right + 1 - kernel;
        let (group_inputs, group_outputs) = (w[1], w[0] / groups);
        Sizes { batch: x[0], inputs: x[1], outputs: w[0], group_inputs, group_outputs, n, kernel, length, left, period }
    }
}

/// The spectra of rows of `len` elements, the first of which stands `left` places before the origin.
fn spectra<T: Float>(plan: &Modes<T>, x: &[T], len: usize, left: usize, out: &mut [T], pool: &Pool<T>) {
    let rows = rows_per_chunk(plan.n);
    for_each_chunk(out, rows * plan.row(), |chunk, out| {
        let (mut signal, mut work) = (pool.take(plan.n), pool.take(plan.work()));
        for (i, out) in out.chunks_exact_mut(plan.row()).enumerate() {
            let row = chunk * rows + i;
            signal.fill(T::ZERO);
            for (t, x) in x[row * len..(row + 1) * len].iter().enumerate() {
                signal[(t + plan.n - left % plan.n) % plan.n] += *x;
            }
            let (re, im) = out.split_at_mut(plan.count);
            plan.analyse_row(&signal, re, im, &mut work);
        }
    });
}

/// Fills rows of `len` elements, the first `left` places before the origin, with the signals of given spectra.
fn signals<T: Float>(
    plan: &Modes<T>,
    (out, accumulate): (&mut [T], bool),
    len: usize,
    left: usize,
    pool: &Pool<T>,
    spectrum: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let rows = rows_per_chunk(plan.n);
    for_each_chunk(out, rows * len, |chunk, out| {
        let (mut signal, mut work) = (pool.take(plan.n), pool.take(plan.work()));
        let mut modes = pool.take(plan.row());
        for (i, out) in out.chunks_exact_mut(len).enumerate() {
            spectrum(chunk * rows + i, &mut modes);
            let (re, im) = modes.split_at(plan.count);
            plan.synthesise_row(re, im, &mut signal, false, &mut work);
            for (t, out) in out.iter_mut().enumerate() {
                let value = signal[(t + plan.n - left % plan.n) % plan.n];
                *out = if accumulate { *out + value } else { value };
            }
        }
    });
}

/// The share of each mode in a signal.
fn shares<T: Float>(plan: &Modes<T>, pool: &Pool<T>) -> Buffer<T> {
    let mut shares = pool.take(plan.count);
    for (k, share) in shares.iter_mut().enumerate() {
        *share = T::of(plan.multiplicity(k) / plan.n as f64);
    }
    shares
}

impl<T: Float> Op<T> for FftConv1d {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let sizes = self.sizes(&inputs[0], &inputs[1]);
        Shapes::from_elem(Shape::new(&[sizes.batch, sizes.outputs, sizes.length]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let sizes = self.sizes(&x[0].shape, &x[1].shape);
        let plan = sizes.plan::<T>();
        let (pool, row) = (saved.pool.clone(), plan.row());
        spectra(&plan, x[0].data, sizes.n, 0, saved.keep(sizes.batch * sizes.inputs * row), &pool);
        spectra(&plan, x[1].data, sizes.kernel, 0, saved.keep(sizes.outputs * sizes.group_inputs * row), &pool);
        let (signal, weight) = (&saved.kept[0], &saved.kept[1]);
        let shares = shares(&plan, &pool);
        signals(&plan, (&mut *y[0], false), sizes.length, sizes.left, &pool, |index, modes| {
            let (sample, output) = (index / sizes.outputs, index % sizes.outputs);
            let first = sample * sizes.inputs + sizes.group_of_output(output) * sizes.group_inputs;
            let weight = Spectra::rows(weight, row, output * sizes.group_inputs, 1);
            let signal = Spectra::rows(signal, row, first, 1);
            sum_of_products(modes, &shares, sizes.group_inputs, weight, true, signal);
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let sizes = self.sizes(&at.x[0].shape, &at.x[1].shape);
        let plan = sizes.plan::<T>();
        let row = plan.row();
        let (signal, weight) = (&at.saved[0], &at.saved[1]);
        let mut g = at.scratch(sizes.batch * sizes.outputs * row);
        spectra(&plan, at.grad(0), sizes.length, sizes.left, &mut g, at.pool);
        let shares = shares(&plan, at.pool);
        if let Some(grad) = grads.write(0) {
            signals(&plan, grad, sizes.n, 0, at.pool, |index, modes| {
                let (sample, input) = (index / sizes.inputs, index % sizes.inputs);
                let first = input / sizes.group_inputs * sizes.group_outputs;
                let from = first * sizes.group_inputs + input % sizes.group_inputs;
                let weight = Spectra::rows(weight, row, from, sizes.group_inputs);
                let g = Spectra::rows(&g, row, sample * sizes.outputs + first, 1);
                sum_of_products(modes, &shares, sizes.group_outputs, weight, false, g);
            });
        }
        let Some(grad) = grads.write(1) else { return };
        if sizes.batch == 0 {
            if !grad.1 {
                grad.0.fill(T::ZERO);
            }
            return;
        }
        signals(&plan, grad, sizes.kernel, 0, at.pool, |index, modes| {
            let (output, input) = (index / sizes.group_inputs, index % sizes.group_inputs);
            let from = sizes.group_of_output(output) * sizes.group_inputs + input;
            let g = Spectra::rows(&g, row, output, sizes.outputs);
            sum_of_products(modes, &shares, sizes.batch, g, true, Spectra::rows(signal, row, from, sizes.inputs));
        });
    }
}

impl Samples for FftConv1d {
    const NAME: &'static str = "fft_conv1d";
    const DOC: &'static str = "Convolution with long kernels by Fourier transforms. PyTorch: `F.conv1d`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |ends, x: &[usize], w: &[usize]| Sample::new(Self { ends }, -1.0..1.0, &[x, w]);
        vec![
            sample(ConvEnds::Valid, &[2, 2, 9], &[3, 2, 4]),
            sample(ConvEnds::Same, &[2, 3, 8], &[3, 1, 4]),
            sample(ConvEnds::Causal, &[1, 4, 7], &[2, 2, 7]),
            sample(ConvEnds::Zeros(3, 5), &[1, 1, 5], &[1, 1, 11]),
            sample(ConvEnds::Zeros(4, 1), &[2, 1, 3], &[2, 1, 2]),
            sample(ConvEnds::Same, &[1, 1, 1], &[1, 1, 1]),
            sample(ConvEnds::Causal, &[0, 2, 4], &[2, 1, 3]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Slides kernels of any length over signals, `[batch, in, length]` with weight `[out, in / groups, kernel]` to
    /// `[batch, out, length + zeros - kernel + 1]`, in time that hardly depends on the kernel's length.
    ///
    /// The number of groups follows from the shapes; a weight of two axes, `[channels, kernel]`, is depthwise. As in
    /// networks the kernel is not flipped: y\[t\] = sum over j of w\[j\] x\[t + j - left\]. A NaN or an infinity
    /// spreads over its whole signal. PyTorch: `F.conv1d(F.pad(x, ends), w, groups)`.
    ///
    /// # Panics
    /// When the sizes do not fit, the weight or the signal is empty, or the signal with its zeros is shorter than the
    /// kernel.
    pub fn fft_conv1d(self, weight: Self, ends: ConvEnds) -> Self {
        let weight = if weight.shape().rank() == 2 { weight.unsqueeze(1) } else { weight };
        self.tape.record(FftConv1d { ends }, &[self, weight])[0]
    }
}
