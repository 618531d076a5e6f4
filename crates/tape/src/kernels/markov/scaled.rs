//! The recursions on scaled probabilities, several columns of the transitions at a time.

use super::{BLOCK, Chain, FilteredSteps, Scratch, emission_row};
use crate::float::Float;
use crate::kernels::simd_kernel;
use crate::lane::Lane;

/// N numbers from `at` on. Loops over such arrays vectorise where loops over slices do not, as nothing else can lie in
/// the same memory.
#[inline(always)]
pub(super) fn take<T: Float, L: Lane<Scalar = T>, const N: usize>(x: &[T], at: usize) -> [L; N] {
    let x: &[T; N] = x[at..].first_chunk().expect("rows are padded to whole registers");
    std::array::from_fn(|j| L::new(x[j]))
}

/// Writes N numbers from `at` on.
#[inline(always)]
pub(super) fn put<T: Float, L: Lane<Scalar = T>, const N: usize>(x: [L; N], out: &mut [T], at: usize) {
    let out: &mut [T; N] = out[at..].first_chunk_mut().expect("rows are padded to whole registers");
    *out = std::array::from_fn(|j| x[j].get());
}

/// Adds the lanes pairwise.
#[inline(always)]
pub(super) fn add_lanes<L: Lane, const N: usize>(mut lanes: [L; N]) -> L {
    let mut width = N / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] = lanes[j] + lanes[j + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn reduce_lanes<L: Lane, const N: usize>(mut lanes: [L; N], pick: impl Fn(L, L) -> L) -> L {
    let mut width = N / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] = pick(lanes[j], lanes[j + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// N columns of x M, from column `start` on.
#[inline(always)]
pub(super) fn times_matrix<T: Float, L: Lane<Scalar = T>, const N: usize>(
    x: &[T],
    matrix: &[T],
    width: usize,
    start: usize,
) -> [L; N] {
    // four sums side by side: a single one would wait for every multiply-add
    let mut sums = [[L::of(0.0); N]; 4];
    let mut i = 0;
    while i < width {
        for (k, sum) in sums.iter_mut().enumerate() {
            let x = L::new(x[i + k]);
            let row = &matrix[(i + k) * width + start..][..N];
            for j in 0..N {
                sum[j] = x.mul_add(L::new(row[j]), sum[j]);
            }
        }
        i += 4;
    }
    std::array::from_fn(|j| (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]))
}

/// Replaces a row of logarithms by exp(row - largest), at least exp(floor) where it is possible at all; returns the
/// largest, or 0 when nothing is possible.
#[inline(always)]
pub(super) fn scale_row<T: Float, L: Lane<Scalar = T>, const N: usize>(row: &mut [T], floor: T) -> T {
    let none = L::of(f64::NEG_INFINITY);
    let mut largest = [none; N];
    for row in row.chunks_exact(N) {
        for j in 0..N {
            largest[j] = L::new(row[j]).max(largest[j]);
        }
    }
    let largest = reduce_lanes(largest, L::max);
    let offset = L::select(largest == none, L::of(0.0), largest);
    for row in row.chunks_exact_mut(N) {
        for slot in row.iter_mut() {
            let x = L::new(*slot) - offset;
            *slot = L::select(x == none, L::of(0.0), x.max(L::new(floor)).exp()).get();
        }
    }
    offset.get()
}

/// A product of many factors as a logarithm: one logarithm for many.
struct LogProduct {
    log: f64,
    product: f64,
}

impl LogProduct {
    #[inline(always)]
    fn times(&mut self, factor: f64) {
        self.product *= factor;
        // factors lie between 1e-200 and the number of states, so that the product can neither reach 0, unless one of
        // them is 0, nor infinity
        if !(1e-100..1e100).contains(&self.product) {
            self.log += self.product.ln();
            self.product = 1.0;
        }
    }
}

/// 1 / sum, or 0 for a row that nothing makes possible.
#[inline(always)]
pub(super) fn inverse<L: Lane>(sum: L) -> L {
    L::select(sum > L::of(0.0), sum.recip(), L::of(0.0))
}

simd_kernel! {
    /// Fills the scaled emissions of some of `steps`, from `first` on; returns the sum of what they were scaled by.
    pub(super) fn prepare_scaled [T, L](
        emission: &[T], chain: &Chain<T>, first: usize, steps: usize, weights: &mut [T], floor: T,
    ) -> f64 {
        let mut offsets = 0.0;
        for (k, row) in weights.chunks_exact_mut(chain.width).enumerate() {
            let step = (first + k, steps);
            offsets += if chain.width == 8 {
                emission_row::<T, 8>(emission, chain, step, row);
                scale_row::<T, L, 8>(row, floor)
            } else {
                emission_row::<T, 16>(emission, chain, step, row);
                scale_row::<T, L, 16>(row, floor)
            }
            .to_f64();
        }
        offsets
    }
}

#[inline(always)]
fn filter_scaled_body<T: Float, L: Lane<Scalar = T>, const N: usize>(
    weights: &[T],
    chain: &Chain<T>,
    width: usize,
    rows: &mut [T],
    scale: &mut [T],
) -> (f64, f64) {
    let one = L::of(1.0);
    let mut total = LogProduct { log: 0.0, product: 1.0 };
    let mut least = [one; N];
    let mut before = one;
    for (step, scale) in scale.iter_mut().enumerate() {
        let (past, row) = rows.split_at_mut(step * width);
        let past = &past[step.saturating_sub(1) * width..];
        let row = &mut row[..width];
        let mut sum = [L::of(0.0); N];
        for at in (0..width).step_by(N) {
            let e: [L; N] = take(weights, step * width + at);
            let flow = if step == 0 { [one; N] } else { times_matrix(past, &chain.matrix, width, at) };
            let mut value = [one; N];
            for j in 0..N {
                value[j] = flow[j] * (e[j] * before);
                sum[j] = sum[j] + value[j];
                let possible = L::select(e[j] > L::of(0.0), value[j], one);
                least[j] = L::select(flow[j] > L::of(0.0), possible, one).min(least[j]);
            }
            put(value, row, at);
        }
        let sum = add_lanes(sum);
        before = inverse(sum);
        *scale = sum.get();
        total.times(sum.get().to_f64());
    }
    (total.log + total.product.ln(), reduce_lanes(least, L::min).get().to_f64())
}

simd_kernel! {
    /// Filters scaled emissions. Returns the ln of the product of all sums and the least probability that was not zero for
    /// a reason.
    pub(super) fn filter_scaled [T, L](
        weights: &[T], chain: &Chain<T>, rows: &mut [T], scale: &mut [T],
    ) -> (f64, f64) {
        match chain.width {
            8 => filter_scaled_body::<T, L, 8>(weights, chain, 8, rows, scale),
            16 => filter_scaled_body::<T, L, 16>(weights, chain, 16, rows, scale),
            width => filter_scaled_body::<T, L, 16>(weights, chain, width, rows, scale),
        }
    }
}

simd_kernel! {
    /// Writes the filtered probabilities of a sequence; zeros from the step on that no state explains.
    pub(super) fn normalise_scaled [T, L](rows: &[T], scale: &[T], chain: &Chain<T>, out: &mut [T], block: &mut [T]) {
        let (width, states) = (chain.width, chain.states);
        let rows = rows.chunks(BLOCK * width).zip(scale.chunks(BLOCK)).zip(out.chunks_mut(BLOCK * states));
        for ((rows, scale), out) in rows {
            let block = &mut block[..rows.len()];
            for ((row, sum), block) in rows.chunks_exact(width).zip(scale).zip(block.chunks_exact_mut(width)) {
                let sum = L::new(*sum);
                let factor = L::select(sum == L::of(0.0), sum, sum.recip());
                block.iter_mut().zip(row).for_each(|(out, x)| *out = (L::new(*x) * factor).get());
            }
            match width {
                8 => unpad::<T, 8>(block, width, states, out),
                16 => unpad::<T, 16>(block, width, states, out),
                _ => unpad::<T, 1>(block, width, states, out),
            }
        }
    }
}

/// counts += a^T w for `[count, width]` arrays.
#[inline(always)]
pub(super) fn add_outer_products<T: Float, L: Lane<Scalar = T>, const N: usize>(
    a: &[T],
    w: &[T],
    width: usize,
    counts: &mut [T],
) {
    for at in (0..width).step_by(N) {
        for i in (0..width).step_by(4) {
            let mut sums = [[L::of(0.0); N]; 4];
            for (a, w) in a.chunks_exact(width).zip(w.chunks_exact(width)) {
                let w = &w[at..at + N];
                for (k, sum) in sums.iter_mut().enumerate() {
                    let a = L::new(a[i + k]);
                    for j in 0..N {
                        sum[j] = a.mul_add(L::new(w[j]), sum[j]);
                    }
                }
            }
            for (k, sum) in sums.iter().enumerate() {
                let mut row: [L; N] = take(counts, (i + k) * width + at);
                for j in 0..N {
                    row[j] = row[j] + sum[j];
                }
                put(row, counts, (i + k) * width + at);
            }
        }
    }
}

/// Writes padded rows one after the other without their padding.
#[inline(always)]
pub(super) fn unpad<T: Float, const N: usize>(rows: &[T], width: usize, states: usize, out: &mut [T]) {
    for (k, row) in rows.chunks_exact(width).enumerate() {
        let at = k * states;
        // a whole register goes over into the next row, which is written afterwards
        if width == N && at + N <= out.len() {
            out[at..at + N].copy_from_slice(row);
        } else {
            out[at..at + states].copy_from_slice(&row[..states]);
        }
    }
}

#[inline(always)]
fn smooth_scaled_body<T: Float, L: Lane<Scalar = T>, const N: usize>(
    filtered: FilteredSteps<'_, T>,
    chain: &Chain<T>,
    width: usize,
    posteriors: &mut [T],
    scratch: &mut Scratch<T>,
) {
    let zero = L::of(0.0);
    let FilteredSteps { rows, scale, weights, .. } = filtered;
    let (steps, states) = (scale.len(), chain.states);
    let (ahead, w_row) = scratch.rows.split_at_mut(width);
    let w_row = &mut w_row[..width];
    ahead.fill(L::new(scale[steps - 1]).recip().get());
    // posteriors of a step add up to 1; half of what they are off by is taken back one step late, off the critical path
    let mut correction = L::of(1.0);
    for start in (0..steps.div_ceil(BLOCK)).rev().map(|b| b * BLOCK) {
        let count = BLOCK.min(steps - start);
        for k in (0..count).rev() {
            let step = start + k;
            let before = if step == 0 { zero } else { L::new(scale[step - 1]).recip() * correction };
            let mut sum = [zero; N];
            for at in (0..width).step_by(N) {
                let (a, future): ([L; N], [L; N]) = (take(rows, step * width + at), take(ahead, at));
                let mut weight: [L; N] = take(weights, step * width + at);
                let mut posterior = [zero; N];
                for j in 0..N {
                    posterior[j] = L::select(a[j] > zero, a[j] * future[j], zero);
                    sum[j] = sum[j] + posterior[j];
                    weight[j] = L::select(a[j] > zero, future[j] * (weight[j] * before), zero);
                }
                put(posterior, &mut scratch.smoothed, k * width + at);
                put(weight, w_row, at);
                put(weight, &mut scratch.block, k * width + at);
            }
            correction = L::of(-0.5).mul_add(add_lanes(sum), L::of(1.5));
            if step > 0 {
                for at in (0..width).step_by(N) {
                    put(times_matrix::<T, L, N>(w_row, &chain.transpose, width, at), ahead, at);
                }
            }
        }
        let out = &mut posteriors[start * states..(start + count) * states];
        unpad::<T, N>(&scratch.smoothed[..count * width], width, states, out);
        let skip = usize::from(start == 0);
        add_outer_products::<T, L, N>(
            &rows[(start + skip - 1) * width..(start + count - 1) * width],
            &scratch.block[skip * width..count * width],
            width,
            &mut scratch.counts,
        );
    }
}

simd_kernel! {
    /// Fills `posteriors`, and adds to the counts in `scratch` what times the transitions is their expected number.
    pub(super) fn smooth_scaled [T, L](
        filtered: FilteredSteps<'_, T>, chain: &Chain<T>, posteriors: &mut [T], scratch: &mut Scratch<T>,
    ) {
        match chain.width {
            8 => smooth_scaled_body::<T, L, 8>(filtered, chain, 8, posteriors, scratch),
            16 => smooth_scaled_body::<T, L, 16>(filtered, chain, 16, posteriors, scratch),
            width => smooth_scaled_body::<T, L, 16>(filtered, chain, width, posteriors, scratch),
        }
    }
}
