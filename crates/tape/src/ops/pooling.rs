//! Pooling along the last axis: the largest or the mean element of each window.

use crate::float::Float;
use crate::kernels::{for_each_chunk, larger, rows_per_chunk, simd_kernel};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Windows of equal size that slide along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool1d {
    /// Elements in a window.
    pub kernel: usize,
    /// From one window to the next.
    pub stride: usize,
    /// Positions outside of the axis, on either side, that windows may cover; at most half the kernel.
    pub padding: usize,
    /// From one element of a window to the next.
    pub dilation: usize,
}

impl Pool1d {
    /// Windows that touch without overlap: stride = kernel, no padding.
    pub fn new(kernel: usize) -> Self {
        Self { kernel, stride: kernel, padding: 0, dilation: 1 }
    }
}

/// The windows of one axis.
#[derive(Clone, Copy)]
enum Windows {
    Sliding(Pool1d),
    /// So many windows of about equal size that cover the axis: window i is floor(i n / count) to
    /// ceil((i + 1) n / count).
    Adaptive(usize),
}

impl Windows {
    /// The number of windows on the last axis.
    fn count(self, x: &Shape, name: &str) -> usize {
        assert!(x.rank() > 0, "{name}: shape {x} has no axis to pool");
        let n = x.last_size();
        match self {
            Self::Sliding(p) => {
                let reach = p.dilation * p.kernel.saturating_sub(1) + 1;
                assert!(
                    p.kernel > 0 && p.stride > 0 && p.dilation > 0 && p.padding <= p.kernel / 2,
                    "{name}: {x} with {p:?}: sizes must be positive and the padding at most half the kernel"
                );
                assert!(n + 2 * p.padding >= reach, "{name}: {x} is shorter than a window of {reach}");
                (n + 2 * p.padding - reach) / p.stride + 1
            }
            Self::Adaptive(count) => {
                assert!(count > 0 && n > 0, "{name}: {x} to {count} windows: neither may be empty");
                count
            }
        }
    }

    /// The first element, the distance of elements, and the number of elements of window i that lie on the axis.
    #[inline(always)]
    fn window(self, i: usize, n: usize, count: usize) -> (usize, usize, usize) {
        match self {
            Self::Sliding(p) => {
                let first = p.padding.saturating_sub(i * p.stride).div_ceil(p.dilation);
                let start = (i * p.stride + first * p.dilation) - p.padding;
                let len = (p.kernel - first).min(n.saturating_sub(start).div_ceil(p.dilation));
                (start, p.dilation, len)
            }
            Self::Adaptive(_) => {
                let start = i * n / count;
                (start, 1, ((i + 1) * n).div_ceil(count) - start)
            }
        }
    }

    /// The windows for which element `tap` lies on the axis, and the position of that element in the first of them.
    #[inline(always)]
    fn reached(p: Pool1d, tap: usize, n: usize, count: usize) -> (std::ops::Range<usize>, usize) {
        let shift = tap * p.dilation;
        let first = p.padding.saturating_sub(shift).div_ceil(p.stride);
        let end = (n + p.padding).saturating_sub(shift).div_ceil(p.stride).min(count);
        let range = first.min(count)..end.max(first.min(count));
        (range, (first * p.stride + shift).saturating_sub(p.padding))
    }
}

/// The largest element of each window.
pub struct MaxPool1d {
    windows: Windows,
}

/// The mean of each window.
pub struct AvgPool1d {
    windows: Windows,
    /// Whether padding counts as zeros (of which the mean is taken too).
    count_padding: bool,
}

impl AvgPool1d {
    /// One over the elements that count in a window with `len` elements on the axis.
    #[inline(always)]
    fn share<T: Float>(&self, len: usize) -> T {
        match self.windows {
            Windows::Sliding(p) if self.count_padding => T::of(1.0 / p.kernel as f64),
            _ => T::of(1.0 / len as f64),
        }
    }
}

simd_kernel! {
    /// y\[i\] = the larger of y\[i\] and x\[i stride\]; NaN when one is.
    fn take_larger [T, L](x: &[T], stride: usize, y: &mut [T]) {
        match stride {
            1 => y.iter_mut().zip(x).for_each(|(y, x)| *y = larger(L::new(*y), L::new(*x)).get()),
            2 => y.iter_mut().zip(x.chunks(2)).for_each(|(y, x)| *y = larger(L::new(*y), L::new(x[0])).get()),
            _ => y.iter_mut().zip(x.chunks(stride)).for_each(|(y, x)| *y = larger(L::new(*y), L::new(x[0])).get()),
        }
    }
}

simd_kernel! {
    /// y\[i\] += x\[i stride\].
    fn add_strided [T, L](x: &[T], stride: usize, y: &mut [T]) {
        match stride {
            1 => y.iter_mut().zip(x).for_each(|(y, x)| *y = (L::new(*y) + L::new(*x)).get()),
            2 => y.iter_mut().zip(x.chunks(2)).for_each(|(y, x)| *y = (L::new(*y) + L::new(x[0])).get()),
            _ => y.iter_mut().zip(x.chunks(stride)).for_each(|(y, x)| *y = (L::new(*y) + L::new(x[0])).get()),
        }
    }
}

/// Runs `pool(row of x, row of y)` on every row.
fn by_rows<T: Float>(x: &Array<'_, T>, y: &mut [T], count: usize, pool: impl Fn(&[T], &mut [T]) + Sync + Send) {
    let n = x.shape.last_size();
    let rows = rows_per_chunk(n + count);
    for_each_chunk(y, rows * count, |chunk, y| {
        for (i, y) in y.chunks_exact_mut(count).enumerate() {
            let start = (chunk * rows + i) * n;
            pool(&x.data[start..start + n], y);
        }
    });
}

/// Adds to the gradient of every row of the operand: `add(row of x, row of g, row of the gradient)`.
fn back_by_rows<T: Float>(at: &At<'_, T>, grads: &mut Grads<'_, T>, add: impl Fn(&[T], &[T], &mut [T]) + Sync + Send) {
    let (n, count) = (at.x[0].shape.last_size(), at.y[0].shape.last_size());
    let rows = rows_per_chunk(n + count);
    let Some(grad) = grads.sum(0) else { return };
    for_each_chunk(grad, rows * n, |chunk, grad| {
        for (i, grad) in grad.chunks_exact_mut(n).enumerate() {
            let row = chunk * rows + i;
            let g = &at.grad(0)[row * count..(row + 1) * count];
            add(&at.x[0].data[row * n..(row + 1) * n], g, grad);
        }
    });
}

impl<T: Float> Op<T> for MaxPool1d {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let count = self.windows.count(&inputs[0], Self::NAME);
        Shapes::from_elem(inputs[0].with(inputs[0].rank() - 1, count), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let (n, count) = (x[0].shape.last_size(), self.windows.count(&x[0].shape, Self::NAME));
        by_rows(&x[0], y[0], count, |x, y| {
            y.fill(T::of(f64::NEG_INFINITY));
            match self.windows {
                Windows::Sliding(p) => {
                    for tap in 0..p.kernel {
                        let (range, start) = Windows::reached(p, tap, n, count);
                        take_larger(&x[start.min(n)..], p.stride, &mut y[range]);
                    }
                }
                Windows::Adaptive(_) => {
                    for (i, y) in y.iter_mut().enumerate() {
                        let (start, _, len) = self.windows.window(i, n, count);
                        *y = x[start + largest(&x[start..], 1, len)];
                    }
                }
            }
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let n = at.x[0].shape.last_size();
        back_by_rows(at, grads, |x, g, grad| {
            for (i, g) in g.iter().enumerate() {
                let (start, step, len) = self.windows.window(i, n, at.y[0].shape.last_size());
                // a dilated window may lie on padding alone
                if len > 0 {
                    grad[start + largest(&x[start..], step, len) * step] += *g;
                }
            }
        });
    }
}

fn is_nan<T: Float>(x: T) -> bool {
    x.to_f64().is_nan()
}

/// Which of `len` elements at distance `step` is the first largest; a NaN is larger than any number.
#[inline(always)]
fn largest<T: Float>(x: &[T], step: usize, len: usize) -> usize {
    let mut best = 0;
    for i in 1..len {
        let (candidate, leader) = (x[i * step], x[best * step]);
        if candidate > leader || (is_nan(candidate) && !is_nan(leader)) {
            best = i;
        }
    }
    best
}

impl<T: Float> Op<T> for AvgPool1d {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let count = self.windows.count(&inputs[0], Self::NAME);
        Shapes::from_elem(inputs[0].with(inputs[0].rank() - 1, count), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let (n, count) = (x[0].shape.last_size(), self.windows.count(&x[0].shape, Self::NAME));
        by_rows(&x[0], y[0], count, |x, y| {
            y.fill(T::ZERO);
            if let Windows::Sliding(p) = self.windows {
                for tap in 0..p.kernel {
                    let (range, start) = Windows::reached(p, tap, n, count);
                    add_strided(&x[start.min(n)..], p.stride, &mut y[range]);
                }
            }
            for (i, y) in y.iter_mut().enumerate() {
                let (start, _, len) = self.windows.window(i, n, count);
                if let Windows::Adaptive(_) = self.windows {
                    *y = x[start..start + len].iter().copied().sum();
                }
                *y *= self.share(len);
            }
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let n = at.x[0].shape.last_size();
        back_by_rows(at, grads, |_, g, grad| {
            for (i, g) in g.iter().enumerate() {
                let (start, step, len) = self.windows.window(i, n, at.y[0].shape.last_size());
                let share = *g * self.share(len);
                grad[start..].iter_mut().step_by(step).take(len).for_each(|grad| *grad += share);
            }
        });
    }
}

/// Window shapes at which both kinds of pooling are checked, with the axis' size.
fn sample_windows() -> [(Windows, &'static [usize]); 7] {
    let sliding = |kernel, stride, padding, dilation| Windows::Sliding(Pool1d { kernel, stride, padding, dilation });
    [
        (sliding(2, 2, 0, 1), &[2, 3, 8]),
        (sliding(3, 1, 1, 1), &[2, 7]),
        (sliding(5, 3, 2, 1), &[1, 2, 11]),
        (sliding(1, 1, 0, 1), &[1]),
        (Windows::Adaptive(3), &[2, 2, 7]),
        (Windows::Adaptive(1), &[3, 5]),
        (Windows::Adaptive(4), &[0, 2]),
    ]
}

impl Samples for MaxPool1d {
    const NAME: &'static str = "max_pool1d";
    const DOC: &'static str = "The largest element of each window of the last axis. PyTorch: `F.max_pool1d`.";
    fn samples() -> Vec<Sample<Self>> {
        let mut samples: Vec<_> = sample_windows()
            .into_iter()
            .map(|(windows, shape)| Sample::new(Self { windows }, -1.0..1.0, &[shape]))
            .collect();
        let windows = Windows::Sliding(Pool1d { kernel: 3, stride: 2, padding: 1, dilation: 2 });
        samples.push(Sample::new(Self { windows }, -1.0..1.0, &[&[2, 9]]));
        samples
    }
}

impl Samples for AvgPool1d {
    const NAME: &'static str = "avg_pool1d";
    const DOC: &'static str = "The mean of each window of the last axis. PyTorch: `F.avg_pool1d`.";
    fn samples() -> Vec<Sample<Self>> {
        let both = [true, false];
        let sample = |(windows, shape): (Windows, &[usize]), count_padding| {
            Sample::new(Self { windows, count_padding }, -1.0..1.0, &[shape])
        };
        sample_windows().into_iter().flat_map(|w| both.map(|count_padding| sample(w, count_padding))).collect()
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The largest element of each window of the last axis: `[.., n]` to `[.., windows]`, with
    /// floor((n + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 windows. Padding is never the largest; NaN is.
    /// The gradient goes to the first largest element. PyTorch: `F.max_pool1d`.
    ///
    /// # Panics
    /// When a size is zero, the padding exceeds half the kernel, or the axis is shorter than a window.
    pub fn max_pool1d(self, windows: Pool1d) -> Self {
        self.tape.record(MaxPool1d { windows: Windows::Sliding(windows) }, &[self])[0]
    }

    /// The mean of each window of the last axis: `[.., n]` to `[.., windows]`. With `count_padding` padding counts as
    /// zeros, else means are over what lies on the axis. PyTorch: `F.avg_pool1d(count_include_pad)`.
    ///
    /// # Panics
    /// When a size is zero, the dilation is not 1, the padding exceeds half the kernel, or the axis is shorter than a
    /// window.
    pub fn avg_pool1d(self, windows: Pool1d, count_padding: bool) -> Self {
        assert!(windows.dilation == 1, "avg_pool1d: a dilation of {} is not supported", windows.dilation);
        self.tape.record(AvgPool1d { windows: Windows::Sliding(windows), count_padding }, &[self])[0]
    }

    /// The largest element of each of `count` windows that cover the last axis, `[.., n]` to `[.., count]`: window i
    /// is floor(i n / count) to ceil((i + 1) n / count). One window pools the whole axis. PyTorch:
    /// `F.adaptive_max_pool1d`.
    ///
    /// # Panics
    /// When `count` or the axis is zero.
    pub fn adaptive_max_pool1d(self, count: usize) -> Self {
        self.tape.record(MaxPool1d { windows: Windows::Adaptive(count) }, &[self])[0]
    }

    /// The mean of each of `count` windows that cover the last axis, `[.., n]` to `[.., count]`: windows as in
    /// [`Var::adaptive_max_pool1d`]. One window pools the whole axis. PyTorch: `F.adaptive_avg_pool1d`.
    ///
    /// # Panics
    /// When `count` or the axis is zero.
    pub fn adaptive_avg_pool1d(self, count: usize) -> Self {
        self.tape.record(AvgPool1d { windows: Windows::Adaptive(count), count_padding: false }, &[self])[0]
    }
}
