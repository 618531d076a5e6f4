//! Group normalisation (Wu & He 2018), with instance normalisation as the case of one channel a group.

use crate::float::Float;
use crate::kernels::reduce::sum_middle;
use crate::kernels::{for_each_chunk, for_each_chunk2, rows_per_chunk, simd_kernel, sum_of};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Normalises groups of channels of each sample to mean 0 and variance 1, then scales and shifts each channel.
pub struct GroupNorm {
    groups: usize,
    /// Added to the variance.
    epsilon: f64,
}

/// The sizes of one call: x is `[batch, groups, channels, inner]`.
struct Sizes {
    batch: usize,
    groups: usize,
    /// Channels in a group.
    channels: usize,
    /// Elements of a channel.
    inner: usize,
}

impl Sizes {
    /// Elements of a group.
    fn width(&self) -> usize {
        self.channels * self.inner
    }
}

impl GroupNorm {
    fn sizes(&self, x: &Shape) -> Sizes {
        let inner = x[2..].iter().product();
        Sizes { batch: x[0], groups: self.groups, channels: x[1] / self.groups, inner }
    }
}

simd_kernel! {
    /// The mean and 1 / sd of a group, and its channels normalised, scaled and shifted.
    fn normalise_group [T, L](
        x: &[T], scale: &[T], shift: &[T], epsilon: T, y: &mut [T], statistics: &mut [T],
    ) {
        let (width, inner) = (x.len(), x.len() / scale.len());
        let n = L::of(width as f64);
        let mean = sum_of([x], |[x]: [L; 1]| x) / n;
        let variance = sum_of([x], |[x]: [L; 1]| (x - mean).square()) / n;
        let inverse_sd = (variance + L::new(epsilon)).sqrt().recip();
        (statistics[0], statistics[1]) = (mean.get(), inverse_sd.get());
        for (channel, (x, y)) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)).enumerate() {
            let factor = inverse_sd * L::new(scale[channel]);
            let shift = L::new(shift[channel]);
            for (x, y) in x.iter().zip(y) {
                *y = (L::new(*x) - mean).mul_add(factor, shift).get();
            }
        }
    }
}

simd_kernel! {
    /// The sums of g and of g times the normalised x over one channel.
    fn channel_sums [T, L](x: &[T], g: &[T], mean: T, inverse_sd: T, sums: &mut [T]) {
        let mean = L::new(mean);
        sums[0] = sum_of([g], |[g]: [L; 1]| g).get();
        sums[1] = (sum_of([g, x], |[g, x]: [L; 2]| g * (x - mean)) * L::new(inverse_sd)).get();
    }
}

simd_kernel! {
    /// grad = (scale g - mean(scale g) - normal mean(scale g normal)) / sd over one channel, added or written.
    fn channel_grad [T, L](
        x: &[T], g: &[T], statistics: [T; 2], scale: T, means: [T; 2], accumulate: bool, grad: &mut [T],
    ) {
        let [mean, inverse_sd] = statistics.map(L::new);
        let [mean_h, along] = means.map(L::new);
        let factor = L::new(scale) * inverse_sd;
        let offset = mean_h * inverse_sd;
        let slope = along * inverse_sd * inverse_sd;
        let (x, g) = (&x[..grad.len()], &g[..grad.len()]);
        let value = |i: usize| L::new(g[i]) * factor - offset - (L::new(x[i]) - mean) * slope;
        if accumulate {
            grad.iter_mut().enumerate().for_each(|(i, grad)| *grad = (L::new(*grad) + value(i)).get());
        } else {
            grad.iter_mut().enumerate().for_each(|(i, grad)| *grad = value(i).get());
        }
    }
}

impl<T: Float> Op<T> for GroupNorm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, scale, shift) = (&inputs[0], &inputs[1], &inputs[2]);
        let fits = x.rank() >= 2 && x[1..].iter().product::<usize>() > 0 && **scale == [x[1]] && scale == shift;
        assert!(
            fits && self.groups > 0 && x[1] % self.groups == 0,
            "group_norm: {x} in {} groups with scale {scale} and shift {shift}: expected [batch, channels, ..], \
             [channels], [channels], and groups that divide the channels",
            self.groups
        );
        Shapes::from_elem(*x, 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let sizes = self.sizes(&x[0].shape);
        let width = sizes.width();
        let rows = rows_per_chunk(width);
        let statistics = saved.keep(sizes.batch * sizes.groups * 2);
        for_each_chunk2(y[0], rows * width, statistics, rows * 2, |chunk, y, statistics| {
            for (i, (y, statistics)) in y.chunks_exact_mut(width).zip(statistics.chunks_exact_mut(2)).enumerate() {
                let row = chunk * rows + i;
                let channels = row % sizes.groups * sizes.channels..(row % sizes.groups + 1) * sizes.channels;
                let (scale, shift) = (&x[1].data[channels.clone()], &x[2].data[channels]);
                normalise_group(
                    &x[0].data[row * width..(row + 1) * width],
                    scale,
                    shift,
                    T::of(self.epsilon),
                    y,
                    statistics,
                );
            }
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let sizes = self.sizes(&at.x[0].shape);
        let (inner, all) = (sizes.inner, sizes.groups * sizes.channels);
        let (x, scale, g, statistics) = (at.x[0].data, at.x[1].data, at.grad(0), &at.saved[0]);
        let of_channel = |row: usize| {
            let group = row / sizes.channels;
            [statistics[2 * group], statistics[2 * group + 1]]
        };
        // for each sample and channel the sums of g and of g times the normalised x
        let mut sums = at.scratch(sizes.batch * all * 2);
        let rows = rows_per_chunk(inner);
        for_each_chunk(&mut sums, rows * 2, |chunk, sums| {
            for (i, sums) in sums.chunks_exact_mut(2).enumerate() {
                let row = chunk * rows + i;
                let [mean, inverse_sd] = of_channel(row);
                let range = row * inner..(row + 1) * inner;
                channel_sums(&x[range.clone()], &g[range], mean, inverse_sd, sums);
            }
        });
        if let Some((grad, accumulate)) = grads.write(0) {
            let share = T::of(1.0 / sizes.width() as f64);
            for_each_chunk(grad, rows * inner, |chunk, grad| {
                for (i, grad) in grad.chunks_exact_mut(inner).enumerate() {
                    let row = chunk * rows + i;
                    let first = row / sizes.channels * sizes.channels;
                    let mut means = [T::ZERO; 2];
                    for channel in first..first + sizes.channels {
                        means[0] += scale[channel % all] * sums[2 * channel] * share;
                        means[1] += scale[channel % all] * sums[2 * channel + 1] * share;
                    }
                    let range = row * inner..(row + 1) * inner;
                    let scale = scale[row % all];
                    channel_grad(&x[range.clone()], &g[range], of_channel(row), scale, means, accumulate, grad);
                }
            });
        }
        let mut summed = at.scratch(all * 2);
        sum_middle(&sums, (1, sizes.batch, all * 2), &mut summed, at.pool);
        grads.add(1, |channel| summed[2 * channel + 1]);
        grads.add(2, |channel| summed[2 * channel]);
    }
}

impl Samples for GroupNorm {
    const NAME: &'static str = "group_norm";
    const DOC: &'static str = "Normalisation of groups of channels with scale and shift. PyTorch: `F.group_norm`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample =
            |groups, x: &[usize]| Sample::new(Self { groups, epsilon: 1e-5 }, -2.0..2.0, &[x, &[x[1]], &[x[1]]]);
        vec![
            sample(2, &[2, 4, 5]),
            sample(1, &[3, 2, 17]),
            sample(3, &[2, 3, 6]),
            sample(2, &[3, 6]),
            sample(1, &[1, 2, 1]),
            sample(2, &[0, 2, 3]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Normalises groups of channels of each sample, `[batch, channels, ..]`, to mean 0 and variance 1, then
    /// multiplies each channel by `scale` and adds `shift` (both `[channels]`).
    ///
    /// Where a group is constant its result is `shift`: epsilon stands under the root, so the gradient is finite.
    /// PyTorch: `F.group_norm`; with `groups` = channels `F.instance_norm`, with 1 layer norm over all channels.
    ///
    /// # Panics
    /// When the sizes do not fit, a sample is empty, or the groups do not divide the channels.
    pub fn group_norm(self, groups: usize, scale: Self, shift: Self, epsilon: f64) -> Self {
        self.tape.record(GroupNorm { groups, epsilon }, &[self, scale, shift])[0]
    }

    /// Normalises each channel of each sample, `[batch, channels, length]`, then scales and shifts it: the case of
    /// [`Var::group_norm`] with one channel a group. PyTorch: `F.instance_norm`.
    ///
    /// # Panics
    /// When the sizes do not fit or a sample is empty.
    pub fn instance_norm(self, scale: Self, shift: Self, epsilon: f64) -> Self {
        let shape = self.shape();
        assert!(shape.rank() >= 2, "instance_norm: shape {shape} has no axis of channels");
        self.group_norm(shape[1], scale, shift, epsilon)
    }
}
