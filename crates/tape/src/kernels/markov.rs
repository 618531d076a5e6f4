//! Forward and backward recursions over a chain of hidden states: scaled probabilities where they cannot underflow,
//! logarithms where they could.
//!
//! Rows of states are padded to a multiple of a register; padding has probability 0. Scaled form: a(t) = (a(t-1) M)
//! e(t) / sum a(t-1) (Rabiner 1989, section V.A, with the division one step late, off the critical path).

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::simd_kernel;
use crate::lane::Lane;

/// Steps whose emissions are prepared together: they stay in the first-level cache.
const BLOCK: usize = 64;

/// States in a padded row.
pub(crate) fn padded(states: usize) -> usize {
    if states <= 8 { 8 } else { states.next_multiple_of(16) }
}

/// How far scaled numbers of a precision may spread, in units of the natural logarithm.
struct Limits {
    /// Just above the logarithm of the smallest normal number.
    floor: f64,
    /// Twice this range of positive transitions leaves nothing that matters below `floor`: every state's future differs
    /// from another's by this factor at most.
    positive: f64,
    /// The same where some transitions are impossible, and every step is watched.
    watched: f64,
    /// Below this a watched probability could vanish in the next step.
    tiny: f64,
}

const SINGLE: Limits = Limits { floor: -87.0, positive: 32.0, watched: 30.0, tiny: -56.0 };
const DOUBLE: Limits = Limits { floor: -708.0, positive: 300.0, watched: 250.0, tiny: -450.0 };

fn limits<T: Float>() -> Limits {
    if T::EPSILON > 1e-10 { SINGLE } else { DOUBLE }
}

/// Whether a sequence is filtered with scaled probabilities.
#[derive(Clone, Copy, PartialEq)]
enum Scaled {
    Always,
    /// Until a probability comes near underflow; then again in logarithms.
    Watched,
    Never,
}

/// What all sequences of a chain share.
pub(crate) struct Chain<'a, T: Float> {
    pub states: usize,
    pub width: usize,
    /// `[states]` log-weights of the first state.
    pub initial: &'a [T],
    /// `[states]` log-weights of the last state; empty when there are none.
    pub last: &'a [T],
    /// `[width, width]` log-weights of transitions, padded with negative infinity.
    logs: Buffer<T>,
    /// `[width, width]` exp(log-weight - shift), and its transpose.
    matrix: Buffer<T>,
    transpose: Buffer<T>,
    shift: f64,
    scaled: Scaled,
}

impl<'a, T: Float> Chain<'a, T> {
    pub fn new(initial: &'a [T], transition: &[T], last: &'a [T], pool: &Pool<T>) -> Self {
        let states = initial.len();
        let width = padded(states);
        let mut logs = pool.take(width * width);
        logs.fill(T::of(f64::NEG_INFINITY));
        for (to, from) in logs.chunks_exact_mut(width).zip(transition.chunks_exact(states.max(1))) {
            to[..states].copy_from_slice(from);
        }
        let (mut low, mut high, mut zeros) = (f64::INFINITY, f64::NEG_INFINITY, false);
        for value in transition.iter().map(|v| v.to_f64()) {
            if value == f64::NEG_INFINITY {
                zeros = true;
            } else {
                (low, high) = (low.min(value), high.max(value));
            }
        }
        let shift = if high == f64::NEG_INFINITY { 0.0 } else { high };
        let (mut matrix, mut transpose) = (pool.take_zeroed(width * width), pool.take_zeroed(width * width));
        for i in 0..states {
            for j in 0..states {
                let value = T::of((logs[i * width + j].to_f64() - shift).exp());
                matrix[i * width + j] = value;
                transpose[j * width + i] = value;
            }
        }
        let range = high - low;
        let limits = limits::<T>();
        let scaled = if !zeros && range <= limits.positive {
            Scaled::Always
        } else if range <= limits.watched || high == f64::NEG_INFINITY {
            Scaled::Watched
        } else {
            Scaled::Never
        };
        Self { states, width, initial, last, logs, matrix, transpose, shift, scaled }
    }

    /// Filters one sequence: fills `rows` (`[steps, width]`) and `scale` (`[steps]`); returns its log-likelihood and
    /// whether `rows` are scaled probabilities or, else, logarithms. `emission` may go on after the sequence.
    pub fn filter(&self, emission: &[T], rows: &mut [T], scale: &mut [T], scratch: &mut Scratch<T>) -> (f64, bool) {
        let steps = scale.len();
        if steps == 0 {
            return (0.0, true);
        }
        let transitions = (steps - 1) as f64;
        if self.scaled != Scaled::Never {
            let limits = limits::<T>();
            let (log_sum, least) = filter_scaled(emission, self, rows, scale, &mut scratch.block, T::of(limits.floor));
            if self.scaled == Scaled::Always || least >= limits.tiny.exp() {
                return (log_sum + transitions * self.shift, true);
            }
        }
        (filter_logs(emission, self, rows, scale), false)
    }

    /// Runs a filtered sequence backward: writes the posterior of every step to `posteriors` (`[steps, states]`) and
    /// adds the expected number of transitions to `counts` (`[width, width]`).
    pub fn smooth(
        &self,
        emission: &[T],
        (rows, scale, scaled): (&[T], &[T], bool),
        posteriors: &mut [T],
        counts: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        if scale.is_empty() {
            return;
        }
        if scaled {
            let floor = T::of(limits::<T>().floor);
            scratch.counts.fill(T::ZERO);
            smooth_scaled(emission, self, (rows, scale), posteriors, scratch, floor);
            for ((counts, raw), weight) in counts.iter_mut().zip(scratch.counts.iter()).zip(self.matrix.iter()) {
                *counts += *raw * *weight;
            }
        } else {
            smooth_logs(rows, self, posteriors, counts, scratch);
        }
    }

    /// The gradient of the inner product of a filtered sequence's posteriors with `cotangent` (`[steps, states]`):
    /// to the emissions (written to `slopes`) and to the transitions (added to `counts`).
    ///
    /// Posteriors are the gradient of the log-likelihood, so this is a product of its Hessian with `cotangent`: the
    /// derivative of filtering and smoothing along it. With P the probability of a state given its successor and the
    /// past, F(t) = cotangent(t) + F(t-1) P is what the past of a state is expected to have collected.
    pub fn covariance(
        &self,
        (rows, scaled): (&[T], bool),
        cotangent: &[T],
        slopes: &mut [T],
        counts: &mut [T],
        scratch: &mut Scratch<T>,
        collected: &mut [T],
    ) {
        if !rows.is_empty() {
            covariance_pass((rows, scaled), self, cotangent, (slopes, counts), scratch, collected);
        }
    }
}

/// Memory for the recursions over one chain.
pub(crate) struct Scratch<T: Float> {
    /// Prepared emissions of a block of steps.
    block: Buffer<T>,
    /// Posteriors of a block of steps.
    smoothed: Buffer<T>,
    counts: Buffer<T>,
    conditional: Buffer<T>,
    /// Four rows.
    rows: Buffer<T>,
}

impl<T: Float> Scratch<T> {
    pub fn new(width: usize, pool: &Pool<T>) -> Self {
        Self {
            block: pool.take(BLOCK * width),
            smoothed: pool.take(BLOCK * width),
            counts: pool.take(width * width),
            conditional: pool.take(width * width),
            rows: pool.take(4 * width),
        }
    }
}

/// Adds the lanes pairwise.
#[inline(always)]
fn add_lanes<L: Lane, const N: usize>(mut lanes: [L; N]) -> L {
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
fn times_matrix<T: Float, L: Lane<Scalar = T>, const N: usize>(
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

/// The log-weights of a step's emissions, with those of the first and the last state, padded with negative infinity.
#[inline(always)]
fn emission_row<T: Float, const N: usize>(
    emission: &[T],
    chain: &Chain<T>,
    (step, steps): (usize, usize),
    row: &mut [T],
) {
    let states = chain.states;
    let none = T::of(f64::NEG_INFINITY);
    for (block, row) in row.chunks_exact_mut(N).enumerate() {
        let at = step * states + block * N;
        let inside = states - (block * N).min(states);
        if let Some(emission) = emission.get(at..at + N) {
            for j in 0..N {
                row[j] = if j < inside { emission[j] } else { none };
            }
        } else {
            for (j, slot) in row.iter_mut().enumerate() {
                *slot = if j < inside { emission[at + j] } else { none };
            }
        }
    }
    if step == 0 {
        row.iter_mut().zip(chain.initial).for_each(|(row, weight)| *row += *weight);
    }
    if step + 1 == steps {
        row.iter_mut().zip(chain.last).for_each(|(row, weight)| *row += *weight);
    }
}

/// Replaces a row of logarithms by exp(row - largest), at least exp(floor) where it is possible at all; returns the
/// largest, or 0 when nothing is possible.
#[inline(always)]
fn scale_row<T: Float, L: Lane<Scalar = T>, const N: usize>(row: &mut [T], floor: T) -> T {
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
        // factors stay above 1e-200, so that the product cannot reach 0 unless one of them is 0
        if self.product < 1e-100 {
            self.log += self.product.ln();
            self.product = 1.0;
        }
    }
}

#[inline(always)]
fn filter_scaled_body<T: Float, L: Lane<Scalar = T>, const N: usize>(
    emission: &[T],
    chain: &Chain<T>,
    width: usize,
    rows: &mut [T],
    scale: &mut [T],
    block: &mut [T],
    floor: T,
) -> (f64, f64) {
    let steps = scale.len();
    let one = L::of(1.0);
    let mut total = LogProduct { log: 0.0, product: 1.0 };
    let mut offsets = 0.0;
    let mut least = [one; N];
    let mut inverse = one;
    for start in (0..steps).step_by(BLOCK) {
        let count = BLOCK.min(steps - start);
        for (k, row) in block.chunks_exact_mut(width).take(count).enumerate() {
            emission_row::<T, N>(emission, chain, (start + k, steps), row);
            offsets += scale_row::<T, L, N>(row, floor).to_f64();
        }
        for (k, e) in block.chunks_exact(width).take(count).enumerate() {
            let step = start + k;
            let (before, row) = rows.split_at_mut(step * width);
            let before = &before[step.saturating_sub(1) * width..];
            let row = &mut row[..width];
            let mut sum = [L::of(0.0); N];
            for at in (0..width).step_by(N) {
                let (row, e) = (&mut row[at..at + N], &e[at..at + N]);
                let weight = if step == 0 { [one; N] } else { times_matrix(before, &chain.matrix, width, at) };
                for j in 0..N {
                    let e = L::new(e[j]);
                    let value = weight[j] * (e * inverse);
                    row[j] = value.get();
                    sum[j] = sum[j] + value;
                    let possible = L::select(e > L::of(0.0), value, one);
                    least[j] = L::select(weight[j] > L::of(0.0), possible, one).min(least[j]);
                }
            }
            let sum = add_lanes(sum);
            inverse = L::select(sum > L::of(0.0), sum.recip(), L::of(0.0));
            scale[step] = sum.get();
            total.times(sum.get().to_f64());
        }
    }
    (total.log + total.product.ln() + offsets, reduce_lanes(least, L::min).get().to_f64())
}

simd_kernel! {
    /// Returns the log-likelihood and the least probability that was not zero for a reason.
    fn filter_scaled [T, L](
        emission: &[T], chain: &Chain<T>, rows: &mut [T], scale: &mut [T], block: &mut [T], floor: T,
    ) -> (f64, f64) {
        match chain.width {
            8 => filter_scaled_body::<T, L, 8>(emission, chain, 8, rows, scale, block, floor),
            16 => filter_scaled_body::<T, L, 16>(emission, chain, 16, rows, scale, block, floor),
            width => filter_scaled_body::<T, L, 16>(emission, chain, width, rows, scale, block, floor),
        }
    }
}

/// counts += a^T w for `[count, width]` arrays.
#[inline(always)]
fn add_outer_products<T: Float, L: Lane<Scalar = T>, const N: usize>(a: &[T], w: &[T], width: usize, counts: &mut [T]) {
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
                let row = &mut counts[(i + k) * width + at..][..N];
                for j in 0..N {
                    row[j] = (L::new(row[j]) + sum[j]).get();
                }
            }
        }
    }
}

/// Writes padded rows one after the other without their padding.
#[inline(always)]
fn unpad<T: Float, const N: usize>(rows: &[T], width: usize, states: usize, out: &mut [T]) {
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
    emission: &[T],
    chain: &Chain<T>,
    width: usize,
    (rows, scale): (&[T], &[T]),
    posteriors: &mut [T],
    scratch: &mut Scratch<T>,
    floor: T,
) {
    let zero = L::of(0.0);
    let steps = scale.len();
    let (ahead, w_row) = scratch.rows.split_at_mut(width);
    let w_row = &mut w_row[..width];
    ahead.fill(L::new(scale[steps - 1]).recip().get());
    // posteriors of a step add up to 1; half of what they are off by is taken back one step late, off the critical path
    let mut correction = L::of(1.0);
    let blocks = steps.div_ceil(BLOCK);
    for start in (0..blocks).rev().map(|b| b * BLOCK) {
        let count = BLOCK.min(steps - start);
        for (k, row) in scratch.block.chunks_exact_mut(width).take(count).enumerate() {
            emission_row::<T, N>(emission, chain, (start + k, steps), row);
            scale_row::<T, L, N>(row, floor);
        }
        for k in (0..count).rev() {
            let step = start + k;
            let a = &rows[step * width..][..width];
            let e = &mut scratch.block[k * width..][..width];
            let smoothed = &mut scratch.smoothed[k * width..][..width];
            let before = if step == 0 { zero } else { L::new(scale[step - 1]).recip() * correction };
            let mut sum = [zero; N];
            for at in (0..width).step_by(N) {
                let (a, e, smoothed) = (&a[at..at + N], &mut e[at..at + N], &mut smoothed[at..at + N]);
                let (ahead, w_row) = (&ahead[at..at + N], &mut w_row[at..at + N]);
                for j in 0..N {
                    let (a, ahead) = (L::new(a[j]), L::new(ahead[j]));
                    let posterior = L::select(a > zero, a * ahead, zero);
                    smoothed[j] = posterior.get();
                    sum[j] = sum[j] + posterior;
                    w_row[j] = L::select(a > zero, ahead * (L::new(e[j]) * before), zero).get();
                    e[j] = w_row[j];
                }
            }
            correction = L::of(-0.5).mul_add(add_lanes(sum), L::of(1.5));
            if step > 0 {
                for at in (0..width).step_by(N) {
                    let value: [L; N] = times_matrix(w_row, &chain.transpose, width, at);
                    for j in 0..N {
                        ahead[at + j] = value[j].get();
                    }
                }
            }
        }
        let states = chain.states;
        unpad::<T, N>(
            &scratch.smoothed[..count * width],
            width,
            states,
            &mut posteriors[start * states..(start + count) * states],
        );
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
    fn smooth_scaled [T, L](
        emission: &[T], chain: &Chain<T>, filtered: (&[T], &[T]), posteriors: &mut [T], scratch: &mut Scratch<T>,
        floor: T,
    ) {
        match chain.width {
            8 => smooth_scaled_body::<T, L, 8>(emission, chain, 8, filtered, posteriors, scratch, floor),
            16 => smooth_scaled_body::<T, L, 16>(emission, chain, 16, filtered, posteriors, scratch, floor),
            width => smooth_scaled_body::<T, L, 16>(emission, chain, width, filtered, posteriors, scratch, floor),
        }
    }
}

/// Columns in a block of the kernels that work in logarithms: every padded width is a multiple of it.
const COLUMNS: usize = 8;

/// ln sum exp(row + log-weights) for [`COLUMNS`] columns.
#[inline(always)]
fn log_times_matrix<T: Float, L: Lane<Scalar = T>>(row: &[T], logs: &[T], width: usize, at: usize) -> [L; COLUMNS] {
    let none = L::of(f64::NEG_INFINITY);
    let mut largest = [none; COLUMNS];
    for (x, logs) in row.iter().zip(logs.chunks_exact(width)) {
        let logs = &logs[at..at + COLUMNS];
        for j in 0..COLUMNS {
            largest[j] = (L::new(*x) + L::new(logs[j])).max(largest[j]);
        }
    }
    let offset: [L; COLUMNS] = std::array::from_fn(|j| L::select(largest[j] == none, L::of(0.0), largest[j]));
    let mut sum = [L::of(0.0); COLUMNS];
    for (x, logs) in row.iter().zip(logs.chunks_exact(width)) {
        let logs = &logs[at..at + COLUMNS];
        for j in 0..COLUMNS {
            sum[j] = sum[j] + (L::new(*x) + L::new(logs[j]) - offset[j]).exp();
        }
    }
    std::array::from_fn(|j| sum[j].ln() + offset[j])
}

simd_kernel! {
    /// Fills `rows` with log-probabilities relative to the likeliest state; returns the log-likelihood.
    fn filter_logs [T, L](emission: &[T], chain: &Chain<T>, rows: &mut [T], scale: &mut [T]) -> f64 {
        let (width, steps) = (chain.width, scale.len());
        let none = L::of(f64::NEG_INFINITY);
        let mut total = 0.0;
        for step in 0..steps {
            let (before, row) = rows.split_at_mut(step * width);
            let before = &before[step.saturating_sub(1) * width..];
            let row = &mut row[..width];
            emission_row::<T, COLUMNS>(emission, chain, (step, steps), row);
            if step > 0 {
                for at in (0..width).step_by(COLUMNS) {
                    let prediction: [L; COLUMNS] = log_times_matrix(before, &chain.logs, width, at);
                    for j in 0..COLUMNS {
                        row[at + j] = (L::new(row[at + j]) + prediction[j]).get();
                    }
                }
            }
            let largest = row.iter().fold(none, |best, x| L::new(*x).max(best));
            let offset = L::select(largest == none, L::of(0.0), largest);
            row.iter_mut().for_each(|x| *x = (L::new(*x) - offset).get());
            scale[step] = offset.get();
            total += offset.get().to_f64();
        }
        let sum: f64 = rows[(steps - 1) * width..].iter().map(|x| x.to_f64().exp()).sum();
        total + sum.ln()
    }
}

/// Writes to `out` (`[width, width]`) the probability of each state given its successor and the past.
#[inline(always)]
fn conditional<T: Float, L: Lane<Scalar = T>>(row: &[T], scaled: bool, chain: &Chain<T>, out: &mut [T]) {
    let (zero, none) = (L::of(0.0), L::of(f64::NEG_INFINITY));
    let width = chain.width;
    for at in (0..width).step_by(COLUMNS) {
        let matrix = if scaled { &chain.matrix } else { &chain.logs };
        let offset: [L; COLUMNS] = if scaled { [zero; COLUMNS] } else { log_times_matrix(row, &chain.logs, width, at) };
        let mut sum = [zero; COLUMNS];
        for ((x, matrix), out) in row.iter().zip(matrix.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
            let (x, matrix, out) = (L::new(*x), &matrix[at..at + COLUMNS], &mut out[at..at + COLUMNS]);
            for j in 0..COLUMNS {
                let weight = L::new(matrix[j]);
                let value = if scaled {
                    x * weight
                } else {
                    L::select(offset[j] == none, zero, (x + weight - offset[j]).exp())
                };
                sum[j] = sum[j] + value;
                out[j] = value.get();
            }
        }
        let scale: [L; COLUMNS] = std::array::from_fn(|j| L::select(sum[j] > zero, sum[j].recip(), zero));
        for out in out.chunks_exact_mut(width) {
            let out = &mut out[at..at + COLUMNS];
            for j in 0..COLUMNS {
                out[j] = (L::new(out[j]) * scale[j]).get();
            }
        }
    }
}

/// The filtered distribution of a step.
#[inline(always)]
fn distribution<T: Float, L: Lane<Scalar = T>>(row: &[T], scaled: bool, out: &mut [T]) {
    let mut sum = L::of(0.0);
    for (x, out) in row.iter().zip(out.iter_mut()) {
        let value = if scaled { L::new(*x) } else { L::new(*x).exp() };
        sum = sum + value;
        *out = value.get();
    }
    let scale = L::select(sum > L::of(0.0), sum.recip(), L::of(0.0));
    out.iter_mut().for_each(|x| *x = (L::new(*x) * scale).get());
}

simd_kernel! {
    fn smooth_logs [T, L](
        rows: &[T], chain: &Chain<T>, posteriors: &mut [T], counts: &mut [T], scratch: &mut Scratch<T>,
    ) {
        let (width, states) = (chain.width, chain.states);
        let steps = rows.len() / width;
        let smoothed = &mut scratch.rows[..width];
        distribution::<T, L>(&rows[(steps - 1) * width..], false, smoothed);
        for step in (0..steps).rev() {
            posteriors[step * states..][..states].copy_from_slice(&smoothed[..states]);
            if step == 0 {
                break;
            }
            conditional::<T, L>(&rows[(step - 1) * width..][..width], false, chain, &mut scratch.conditional);
            let successor: &mut [T] = &mut scratch.smoothed[..width];
            successor.copy_from_slice(smoothed);
            for i in 0..states {
                let mut sum = L::of(0.0);
                let (p, counts) = (&scratch.conditional[i * width..][..width], &mut counts[i * width..][..width]);
                for j in 0..states {
                    let both = L::new(p[j]) * L::new(successor[j]);
                    counts[j] = (L::new(counts[j]) + both).get();
                    sum = sum + both;
                }
                smoothed[i] = sum.get();
            }
        }
    }
}

simd_kernel! {
    fn covariance_pass [T, L](
        filtered: (&[T], bool), chain: &Chain<T>, cotangent: &[T], out: (&mut [T], &mut [T]), scratch: &mut Scratch<T>,
        collected: &mut [T],
    ) {
        let ((rows, scaled), (slopes, counts)) = (filtered, out);
        let (width, states) = (chain.width, chain.states);
        let steps = rows.len() / width;
        let zero = L::of(0.0);
        let p = &mut scratch.conditional;
        let (smoothed, rest) = scratch.rows.split_at_mut(width);
        let (slope, rest) = rest.split_at_mut(width);
        let (prediction, share) = rest.split_at_mut(width);
        // what the past is expected to have collected, given the state; only differences between states matter, so
        // each step's mean is taken off
        for step in 0..steps {
            let (before, now) = collected.split_at_mut(step * width);
            let now = &mut now[..width];
            now.fill(T::ZERO);
            if step > 0 {
                conditional::<T, L>(&rows[(step - 1) * width..][..width], scaled, chain, p);
                expected::<T, L>(p, &before[(step - 1) * width..], states, now);
            }
            distribution::<T, L>(&rows[step * width..][..width], scaled, share);
            let mut mean = zero;
            for i in 0..states {
                now[i] = (L::new(now[i]) + L::new(cotangent[step * states + i])).get();
                mean = L::new(share[i]).mul_add(L::new(now[i]), mean);
            }
            now[..states].iter_mut().for_each(|f| *f = (L::new(*f) - mean).get());
        }
        // the last step's mean is zero now
        smoothed.copy_from_slice(share);
        for i in 0..width {
            slope[i] = (L::new(share[i]) * L::new(collected[(steps - 1) * width + i])).get();
        }
        for step in (0..steps).rev() {
            slopes[step * states..][..states].copy_from_slice(&slope[..states]);
            if step == 0 {
                break;
            }
            let past = &collected[(step - 1) * width..][..width];
            conditional::<T, L>(&rows[(step - 1) * width..][..width], scaled, chain, p);
            prediction.fill(T::ZERO);
            expected::<T, L>(p, past, states, prediction);
            let (later, later_slope) = scratch.smoothed[..2 * width].split_at_mut(width);
            later.copy_from_slice(smoothed);
            later_slope.copy_from_slice(slope);
            for i in 0..states {
                let (p, counts) = (&p[i * width..][..width], &mut counts[i * width..][..width]);
                let (mut sum, mut sum_slope) = (zero, zero);
                for j in 0..states {
                    let off = L::new(past[i]) - L::new(prediction[j]);
                    let both = L::new(p[j]) * off.mul_add(L::new(later[j]), L::new(later_slope[j]));
                    counts[j] = (L::new(counts[j]) + both).get();
                    sum_slope = sum_slope + both;
                    sum = L::new(p[j]).mul_add(L::new(later[j]), sum);
                }
                smoothed[i] = sum.get();
                slope[i] = sum_slope.get();
            }
        }
    }
}

/// out += the expectation of `past` under each column of `p`.
#[inline(always)]
fn expected<T: Float, L: Lane<Scalar = T>>(p: &[T], past: &[T], states: usize, out: &mut [T]) {
    for (p, past) in p.chunks_exact(out.len()).zip(past).take(states) {
        for (p, out) in p.iter().zip(out.iter_mut()) {
            *out = L::new(*p).mul_add(L::new(*past), L::new(*out)).get();
        }
    }
}
