//! Convolutions in one dimension as products whose right operand is never built: its rows are shifted windows of the
//! signal ("implicit im2col", Chetlur et al. 2014).
//!
//! A tile of the signal is copied once, with its margins, so that every term of the sum is a row of that copy at some
//! offset; a stride is taken out by the copy, which sorts positions by their remainder. A convolution of width 1 reads
//! the signal where it is.

use smallvec::SmallVec;

use crate::float::Float;
use crate::kernels::activation::Activation;
use crate::kernels::buffer::Pool;
use crate::kernels::gemm::{Bias, Dots, MAX_ROWS, Machine, Shared, Tile, with_scratch};
use crate::kernels::sweep::add_assign;
use crate::kernels::{for_each_chunk, for_each_index, prefetch, simd_kernel};

/// The sizes of a convolution y[o, p] = sum over c, t of w[o, c, t] x[c, p stride + t dilation - padding].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub batch: usize,
    pub groups: usize,
    /// Channels of x in a group.
    pub inputs: usize,
    /// Channels of y in a group.
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Zeros before x.
    pub padding: usize,
    /// The length of x.
    pub length: usize,
    /// The length of y.
    pub positions: usize,
}

impl Geometry {
    fn weights(&self) -> usize {
        self.outputs * self.inputs * self.kernel
    }
}

/// Elements of a copied tile: it stays in a cache of the second level.
const TILE_ELEMENTS: usize = 96 * 1024;
/// Positions in a tile at most.
const TILE_POSITIONS: usize = 1024;
/// Partial sums of a weight gradient at most, and their elements together.
const PARTIAL_SUMS: usize = 16;
/// See [`PARTIAL_SUMS`].
const PARTIAL_ELEMENTS: usize = 4 << 20;

/// How a tile of a signal is copied: row (c, remainder r), column u holds x[c, (first + u) step + r + origin].
#[derive(Clone)]
struct Window {
    channels: usize,
    /// The length of the signal.
    length: usize,
    step: usize,
    remainders: SmallVec<[usize; 4]>,
    origin: isize,
    /// Positions in a tile.
    positions: usize,
    /// The distance between rows.
    width: usize,
    /// Whether a tile is the signal itself from its first position on.
    in_place: bool,
}

impl Window {
    /// The window of terms that reach `reach` positions beyond their first, for outputs before `end`.
    fn new<T: Machine>(
        channels: usize,
        length: usize,
        step: usize,
        remainders: &[usize],
        origin: isize,
        (reach, end): (usize, usize),
    ) -> Self {
        let kernels = T::kernels();
        let rows = channels * remainders.len();
        let block = kernels.cols();
        let positions = (TILE_ELEMENTS / rows.max(1)).clamp(1, TILE_POSITIONS) / block * block;
        let positions = positions.max(block);
        // an odd number of cache lines, so that rows fall into different sets of the cache
        let line = 16;
        let lines = (positions + reach).div_ceil(line) + 1;
        let unmoved = step == 1 && remainders == [0] && origin == 0 && reach == 0 && end <= length;
        // rows that fall into fewer than half of the sets are better copied
        let in_place = unmoved && (length / line).trailing_zeros() <= 1;
        let width = if in_place { length } else { (lines | 1) * line };
        Self { channels, length, step, remainders: remainders.into(), origin, positions, width, in_place }
    }

    /// Elements of a copied tile.
    fn len(&self) -> usize {
        if self.in_place { 0 } else { self.channels * self.remainders.len() * self.width }
    }

    /// The tile that starts at position `first` of one group's channels, in `scratch` unless it needs no copy.
    fn tile<'a, T: Float>(&self, x: &'a [T], first: usize, scratch: &'a mut [T]) -> &'a [T] {
        if self.in_place {
            return &x[first..];
        }
        self.copy(x, first, scratch);
        scratch
    }

    /// Copies the tile that starts at position `first` from the channels of one group.
    fn copy<T: Float>(&self, x: &[T], first: usize, tile: &mut [T]) {
        let mut rows = tile.chunks_exact_mut(self.width);
        for channel in x.chunks_exact(self.length.max(1)).take(self.channels) {
            for &remainder in &self.remainders {
                let Some(row) = rows.next() else { return };
                let start = (first * self.step + remainder) as isize + self.origin;
                let step = self.step as isize;
                // columns before the signal, and the first column beyond it
                let before = ((-start).max(0) as usize).div_ceil(self.step).min(row.len());
                let inside = self.length as isize - start;
                let end = (inside.max(0) as usize).div_ceil(self.step).clamp(before, row.len());
                row[..before].fill(T::ZERO);
                row[end..].fill(T::ZERO);
                if end > before {
                    let from = (start + before as isize * step) as usize;
                    if self.step == 1 {
                        row[before..end].copy_from_slice(&channel[from..from + end - before]);
                    } else {
                        let values = channel[from..].iter().step_by(self.step);
                        row[before..end].iter_mut().zip(values).for_each(|(row, x)| *row = *x);
                    }
                }
            }
        }
        // a signal without elements is all zeros
        rows.for_each(|row| row.fill(T::ZERO));
    }
}

/// Outputs at positions u step + shift: their terms, and where their weights start in each group's weights.
struct Phase {
    shift: isize,
    offsets: Vec<u32>,
    weights: usize,
}

/// Products of weights with windows of a signal.
struct Correlation {
    batch: usize,
    groups: usize,
    /// Rows of the output in a group.
    rows: usize,
    window: Window,
    /// The length of the output.
    length: usize,
    /// The distance between outputs of one phase.
    step: usize,
    phases: SmallVec<[Phase; 2]>,
    /// Positions from the first to the one after the last.
    from: usize,
    to: usize,
    /// Weights of a group.
    weights: usize,
}

simd_kernel! {
    /// out += the sum of `terms` weighted rows of x, which start at the given offsets.
    fn add_weighted [T, L](weights: &[T], x: &[T], offsets: &[u32], out: &mut [T]) {
        let n = out.len();
        let mut terms = weights.chunks_exact(4).zip(offsets.chunks_exact(4));
        for (w, at) in &mut terms {
            let row = |i: usize| &x[at[i] as usize..][..n];
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            for p in 0..n {
                let sum = L::new(w[0]).mul_add(L::new(a[p]), L::new(out[p]));
                let sum = L::new(w[1]).mul_add(L::new(b[p]), sum);
                let sum = L::new(w[2]).mul_add(L::new(c[p]), sum);
                out[p] = L::new(w[3]).mul_add(L::new(d[p]), sum).get();
            }
        }
        let rest = weights.len() / 4 * 4;
        for (w, at) in weights[rest..].iter().zip(&offsets[rest..]) {
            let row = &x[*at as usize..][..n];
            for p in 0..n {
                out[p] = L::new(*w).mul_add(L::new(row[p]), L::new(out[p])).get();
            }
        }
    }
}

/// What a convolution adds to and does with its sums.
#[derive(Clone, Copy)]
pub(crate) struct After<'a, T> {
    pub accumulate: bool,
    /// One number for each channel of the output.
    pub bias: Option<&'a [T]>,
    pub activation: Activation,
}

impl Correlation {
    /// Fills (or adds to) `out` of shape `[batch, groups rows, length]`; weights are `[groups, weights]`.
    fn run<T: Float>(&self, weights: &[T], x: &[T], out: &mut [T], after: After<'_, T>) {
        let tiles = (self.to - self.from).div_ceil(self.window.positions);
        let channels = self.window.channels * self.window.length;
        let target = Shared::new(out);
        for_each_index(self.batch * self.groups * tiles, |task| {
            let (item, tile) = (task / tiles, task % tiles);
            let group = item % self.groups;
            let first = self.from + tile * self.window.positions;
            let count = self.window.positions.min(self.to - first);
            let x = &x[item * channels..(item + 1) * channels];
            let weights = &weights[group * self.weights..(group + 1) * self.weights];
            let bias = after.bias.map(|bias| &bias[group * self.rows..(group + 1) * self.rows]);
            let out_at = item * self.rows * self.length;
            with_scratch(self.window.len(), |scratch: &mut [T]| {
                let source = self.window.tile(x, first, scratch);
                for phase in &self.phases {
                    // positions of this tile whose output exists: 0 <= u step + shift < length
                    let step = self.step as isize;
                    let low = (-phase.shift).max(0) as usize;
                    let u0 = first.max(low.div_ceil(self.step));
                    let end = ((self.length as isize - phase.shift + step - 1).max(0) / step) as usize;
                    let u1 = (first + count).min(end);
                    if u0 >= u1 {
                        continue;
                    }
                    let at = (u0 as isize * step + phase.shift) as usize;
                    let n = u1 - u0;
                    let part = Part { correlation: self, phase, weights, source: &source[u0 - first..], n };
                    if self.step == 1 {
                        part.run(target, out_at + at, self.length, bias, after);
                        continue;
                    }
                    with_scratch(self.rows * n, |dense: &mut [T]| {
                        let plain = After { accumulate: false, ..after };
                        part.run(Shared::new(dense), 0, n, bias, plain);
                        for (row, dense) in dense.chunks_exact(n).enumerate() {
                            for (i, value) in dense.iter().enumerate() {
                                // SAFETY: this task alone writes this group's outputs of these positions.
                                let out = unsafe { &mut *target.at(out_at + row * self.length + at + i * self.step) };
                                *out = if after.accumulate { *out + *value } else { *value };
                            }
                        }
                    });
                }
            });
        });
    }
}

/// One phase of one tile.
struct Part<'a, T> {
    correlation: &'a Correlation,
    phase: &'a Phase,
    /// Of the group.
    weights: &'a [T],
    /// The tile from the first position on.
    source: &'a [T],
    n: usize,
}

impl<T: Float> Part<'_, T> {
    /// Writes rows of n outputs that are `out_step` apart, the first at `start`.
    fn run(&self, out: Shared<T>, start: usize, out_step: usize, bias: Option<&[T]>, after: After<'_, T>) {
        let kernels = T::kernels();
        let (rows, terms) = (self.correlation.rows, self.phase.offsets.len());
        let weights = &self.weights[self.phase.weights..][..rows * terms];
        // SAFETY: the callers' tasks write disjoint rows within `out`.
        let row = |i: usize| unsafe { std::slice::from_raw_parts_mut(out.at(start + i * out_step), self.n) };
        if rows == 1 {
            let out = row(0);
            let bias = bias.map_or(T::ZERO, |bias| bias[0]);
            if after.accumulate {
                out.iter_mut().for_each(|out| *out += bias)
            } else {
                out.fill(bias)
            }
            add_weighted(weights, self.source, &self.phase.offsets, out);
            return after.activation.whole(out);
        }
        let in_place = self.correlation.window.in_place;
        let mut j = 0;
        while j < self.n {
            let mut cols = kernels.cols().min(self.n - j);
            if in_place && cols > kernels.lanes {
                // whole vectors, then the rest, which must not be read beyond
                cols = cols / kernels.lanes * kernels.lanes;
            }
            if in_place {
                // the terms' rows lie far apart, where the machine sees no pattern
                for offset in &self.phase.offsets {
                    let ahead = self.source.len().min(*offset as usize + j + cols);
                    prefetch(&self.source[ahead..self.source.len().min(ahead + kernels.cols())]);
                }
            }
            for i in (0..rows).step_by(kernels.rows) {
                let height = kernels.rows.min(rows - i);
                let mut left = [weights.as_ptr(); MAX_ROWS];
                for (r, left) in left.iter_mut().enumerate() {
                    *left = left.wrapping_add((i + r.min(height - 1)) * terms);
                }
                // SAFETY: each row has a weight for each term; rows of the copied signal reach a whole vector beyond
                // the last position plus the largest offset, and where there is no copy `cols` is either whole vectors
                // or less than one; the output holds `rows` rows of n elements.
                unsafe {
                    (kernels.tile)(&Tile {
                        left,
                        step: 1,
                        right: self.source.as_ptr().wrapping_add(j),
                        offsets: &self.phase.offsets,
                        out: out.at(start + i * out_step + j),
                        out_step,
                        rows: height,
                        cols,
                        padded: !in_place,
                        accumulate: after.accumulate,
                        bias: bias.map_or(Bias::None, |bias| Bias::Rows(bias[i..].as_ptr())),
                        relu: after.activation == Activation::Relu,
                    });
                }
            }
            j += cols;
        }
        for i in 0..rows {
            after.activation.finish(row(i));
        }
    }
}

/// The window over x, and for each tap its row among the remainders and its shift in positions.
fn input_window<T: Machine>(g: &Geometry) -> (Window, Vec<(usize, usize)>) {
    let mut remainders = SmallVec::<[usize; 4]>::new();
    let taps = (0..g.kernel)
        .map(|tap| {
            let (shift, remainder) = (tap * g.dilation / g.stride, tap * g.dilation % g.stride);
            let row = remainders.iter().position(|r| *r == remainder).unwrap_or_else(|| {
                remainders.push(remainder);
                remainders.len() - 1
            });
            (row, shift)
        })
        .collect();
    let reach = g.kernel.saturating_sub(1) * g.dilation / g.stride;
    (Window::new::<T>(g.inputs, g.length, g.stride, &remainders, -(g.padding as isize), (reach, g.positions)), taps)
}

/// The offsets of all terms (channel, tap) in a copied tile.
fn offsets(window: &Window, taps: &[(usize, usize)]) -> Vec<u32> {
    let rows = window.remainders.len();
    let offset = |c: usize, (row, shift): (usize, usize)| ((c * rows + row) * window.width + shift) as u32;
    (0..window.channels).flat_map(|c| taps.iter().map(move |tap| offset(c, *tap))).collect()
}

/// y = f(w * x + bias), or y += ...: x `[batch, groups inputs, length]`, w `[groups outputs, inputs, kernel]`, y
/// `[batch, groups outputs, positions]`.
pub(crate) fn forward<T: Float>(g: &Geometry, x: &[T], w: &[T], y: &mut [T], after: After<'_, T>) {
    let (window, taps) = input_window::<T>(g);
    let phase = Phase { shift: 0, offsets: offsets(&window, &taps), weights: 0 };
    let correlation = Correlation {
        batch: g.batch,
        groups: g.groups,
        rows: g.outputs,
        window,
        length: g.positions,
        step: 1,
        phases: SmallVec::from_iter([phase]),
        from: 0,
        to: g.positions,
        weights: g.weights(),
    };
    correlation.run(w, x, y, after);
}

/// The adjoint of [`forward`] in x: x[c, q] = sum of w[o, c, t] y[o, p] over p stride + t dilation - padding = q.
pub(crate) fn adjoint<T: Float>(g: &Geometry, y: &[T], w: &[T], x: &mut [T], after: After<'_, T>, pool: &Pool<T>) {
    // the weights in the order of this sum: for each group and remainder of q + padding [inputs, outputs taps]
    let mut turned = pool.take(w.len());
    let reach = g.kernel.saturating_sub(1) * g.dilation / g.stride;
    let (from, to) = (g.padding / g.stride, (g.padding + g.length).div_ceil(g.stride));
    let window = Window::new::<T>(g.outputs, g.positions, 1, &[0], -(reach as isize), (reach, to));
    let mut phases = SmallVec::new();
    let mut start = 0;
    for remainder in 0..g.stride.min(g.length.max(1)) {
        let remainder = (g.padding + remainder) % g.stride;
        let taps: SmallVec<[usize; 16]> =
            (0..g.kernel).filter(|tap| tap * g.dilation % g.stride == remainder).collect();
        let shift = |tap: usize| reach - (tap * g.dilation - remainder) / g.stride;
        let offsets = (0..g.outputs).flat_map(|o| taps.iter().map(move |t| (o, *t)));
        let offsets = offsets.map(|(o, tap)| (o * window.width + shift(tap)) as u32).collect();
        for group in 0..g.groups {
            let w = &w[group * g.weights()..(group + 1) * g.weights()];
            let mut turned = turned[group * g.weights() + start..].iter_mut();
            for c in 0..g.inputs {
                for o in 0..g.outputs {
                    for (tap, turned) in taps.iter().zip(&mut turned) {
                        *turned = w[(o * g.inputs + c) * g.kernel + tap];
                    }
                }
            }
        }
        phases.push(Phase { shift: remainder as isize - g.padding as isize, offsets, weights: start });
        start += g.inputs * g.outputs * taps.len();
    }
    let correlation = Correlation {
        batch: g.batch,
        groups: g.groups,
        rows: g.inputs,
        window,
        length: g.length,
        step: g.stride,
        phases,
        from,
        to,
        weights: g.weights(),
    };
    correlation.run(&turned, y, x, after);
}

/// The gradient of the weights: w[o, c, t] (+)= sum over batch and p of y[o, p] x[c, p stride + t dilation - padding].
///
/// Tiles of positions are summed in a fixed number of runs, which are then added in order.
pub(crate) fn weight_gradient<T: Float>(g: &Geometry, x: &[T], y: &[T], w: &mut [T], accumulate: bool, pool: &Pool<T>) {
    if !accumulate {
        w.fill(T::ZERO);
    }
    let (window, taps) = input_window::<T>(g);
    let terms = offsets(&window, &taps);
    let tiles = g.positions.div_ceil(window.positions);
    let units = g.batch * tiles;
    if units == 0 || w.is_empty() {
        return;
    }
    let runs = PARTIAL_SUMS.min(PARTIAL_ELEMENTS / w.len()).clamp(1, units);
    let size = units.div_ceil(runs);
    let mut partial = pool.take(units.div_ceil(size) * w.len());
    for_each_chunk(&mut partial, w.len(), |run, partial| {
        partial.fill(T::ZERO);
        with_scratch(window.len(), |scratch: &mut [T]| {
            for unit in run * size..units.min((run + 1) * size) {
                let (item, first) = (unit / tiles, unit % tiles * window.positions);
                let count = window.positions.min(g.positions - first);
                for group in 0..g.groups {
                    let x = &x[(item * g.groups + group) * g.inputs * g.length..][..g.inputs * g.length];
                    let y = &y[(item * g.groups + group) * g.outputs * g.positions..][..g.outputs * g.positions];
                    let source = window.tile(x, first, scratch);
                    let partial = &mut partial[group * g.weights()..(group + 1) * g.weights()];
                    inner_products(source, &terms, y, (first, count, g.positions), partial);
                }
            }
        });
    });
    partial.chunks_exact(w.len()).for_each(|partial| add_assign(w, partial));
}

/// Adds the inner products of the rows of y with the terms' rows of a copied signal to `[outputs, terms]`.
fn inner_products<T: Float>(
    source: &[T],
    terms: &[u32],
    y: &[T],
    (first, count, positions): (usize, usize, usize),
    out: &mut [T],
) {
    let kernels = T::kernels();
    let (rows, cols) = kernels.dots_size;
    let outputs = y.len() / positions;
    for i in (0..outputs).step_by(rows) {
        let height = rows.min(outputs - i);
        for j in (0..terms.len()).step_by(cols) {
            let width = cols.min(terms.len() - j);
            // SAFETY: `count` elements of each row of y from `first` on exist, and of each term's row of the copy.
            unsafe {
                (kernels.dots)(&Dots {
                    left: std::array::from_fn(|r| y[(i + r.min(height - 1)) * positions + first..].as_ptr()),
                    right: std::array::from_fn(|c| source[terms[j + c.min(width - 1)] as usize..].as_ptr()),
                    len: count,
                    rows: height,
                    cols: width,
                    out: out[i * terms.len() + j..].as_mut_ptr(),
                    out_step: terms.len(),
                    accumulate: true,
                });
            }
        }
    }
}
