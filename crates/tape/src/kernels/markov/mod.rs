//! Forward and backward recursions over a chain of hidden states: scaled probabilities where they cannot underflow,
//! logarithms where they could.
//!
//! Rows of states are padded to a multiple of a register; padding has probability 0. Scaled form: a(t) = (a(t-1) M)
//! e(t) / sum a(t-1) (Rabiner 1989, section V.A, with the division one step late, off the critical path).

mod adjoint;
mod logarithms;
mod scaled;

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::{for_each_chunk, for_each_piece};

use adjoint::{adjoint_scaled, centre_scaled, collect_scaled};
use logarithms::{adjoint_logs, filter_logs, normalise_logs, smooth_logs};
use scaled::{filter_scaled, normalise_scaled, prepare_scaled, smooth_scaled};

/// Steps whose results are written together: they stay in the first-level cache.
const BLOCK: usize = 64;

/// Steps of one unit of the work that needs no other step.
const STEPS_PER_PIECE: usize = 1024;

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

    /// Filters one sequence: fills `rows`, `scale` and `weights` as of [`FilteredSteps`]; returns its log-likelihood and
    /// whether `rows` are scaled probabilities or, else, logarithms. `emission` may go on after the sequence.
    pub fn filter(&self, emission: &[T], (rows, scale, weights): (&mut [T], &mut [T], &mut [T])) -> (f64, bool) {
        let steps = scale.len();
        if steps == 0 {
            return (0.0, true);
        }
        if self.scaled != Scaled::Never {
            let limits = limits::<T>();
            let mut offsets = vec![0.0; steps.div_ceil(STEPS_PER_PIECE)];
            let pieces = weights.chunks_mut(STEPS_PER_PIECE * self.width).zip(&mut offsets).collect();
            for_each_piece(pieces, |piece, (weights, offset)| {
                *offset = prepare_scaled(emission, self, piece * STEPS_PER_PIECE, steps, weights, T::of(limits.floor));
            });
            let (log_sum, least) = filter_scaled(weights, self, rows, scale);
            if self.scaled == Scaled::Always || least >= limits.tiny.exp() {
                return (log_sum + offsets.iter().sum::<f64>() + (steps - 1) as f64 * self.shift, true);
            }
        }
        (filter_logs(emission, self, rows, scale), false)
    }

    /// Runs a filtered sequence backward: writes the posterior of every step to `posteriors` (`[steps, states]`) and
    /// adds the expected number of transitions to `counts` (`[width, width]`).
    pub fn smooth(
        &self,
        filtered: FilteredSteps<'_, T>,
        posteriors: &mut [T],
        counts: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        if filtered.scale.is_empty() {
            return;
        }
        if filtered.scaled {
            scratch.counts.fill(T::ZERO);
            smooth_scaled(filtered, self, posteriors, scratch);
            self.add_counts(counts, scratch);
        } else {
            smooth_logs(filtered.rows, self, posteriors, counts, scratch);
        }
    }

    /// Writes the probabilities `[steps, states]` of a filtered sequence, given its steps so far; zeros from the step on
    /// that no state explains.
    pub fn normalise(&self, filtered: FilteredSteps<'_, T>, probabilities: &mut [T], scratch: &mut Scratch<T>) {
        if filtered.scaled {
            normalise_scaled(filtered.rows, filtered.scale, self, probabilities, &mut scratch.block);
        } else {
            normalise_logs(filtered.rows, self, probabilities, &mut scratch.rows);
        }
    }

    /// The gradient of the inner product of a filtered sequence's probabilities with a cotangent: to the emissions
    /// (written to `slopes`) and to the transitions (added to `counts`).
    ///
    /// Posteriors are the gradient of the log-likelihood, so for them this is a product of its Hessian with the
    /// cotangent: the derivative of filtering and smoothing along it.
    pub fn adjoint(
        &self,
        filtered: FilteredSteps<'_, T>,
        cotangent: Cotangent<'_, T>,
        (slopes, counts): (&mut [T], &mut [T]),
        scratch: &mut Scratch<T>,
        pool: &Pool<T>,
    ) {
        let steps = filtered.scale.len();
        if steps == 0 {
            return;
        }
        if !filtered.scaled {
            let mut collected = pool.take(steps * self.width);
            return adjoint_logs(filtered.rows, self, cotangent, (slopes, counts), scratch, &mut collected);
        }
        let (Cotangent::Posteriors(g) | Cotangent::Filter(g)) = cotangent;
        let mut centred = pool.take(steps * self.width);
        for_each_chunk(&mut centred, STEPS_PER_PIECE * self.width, |piece, centred| {
            centre_scaled(g, filtered, self, piece * STEPS_PER_PIECE, centred);
        });
        scratch.counts.fill(T::ZERO);
        if cotangent.is_filter() {
            adjoint_scaled(filtered, self, &centred, None, slopes, scratch);
        } else {
            let (mut collected, mut offsets) = (pool.take(steps * self.width), pool.take(steps));
            collect_scaled(filtered, self, &centred, (&mut collected, &mut offsets));
            adjoint_scaled(filtered, self, &centred, Some((&collected, &offsets)), slopes, scratch);
        }
        self.add_counts(counts, scratch);
    }

    /// Adds the counts in `scratch`, times the transitions.
    fn add_counts(&self, counts: &mut [T], scratch: &Scratch<T>) {
        for ((counts, raw), weight) in counts.iter_mut().zip(scratch.counts.iter()).zip(self.matrix.iter()) {
            *counts += *raw * *weight;
        }
    }
}

/// One sequence after the filter.
#[derive(Clone, Copy)]
pub(crate) struct FilteredSteps<'a, T> {
    /// `[steps, padded states]`
    pub rows: &'a [T],
    /// `[steps]` their sums.
    pub scale: &'a [T],
    /// `[steps, padded states]` emissions relative to the likeliest state's; arbitrary unless `scaled`.
    pub weights: &'a [T],
    /// Whether rows are scaled probabilities; logarithms else.
    pub scaled: bool,
}

/// The gradient of probabilities `[steps, states]`, from the sequence's first step on.
#[derive(Clone, Copy)]
pub(crate) enum Cotangent<'a, T> {
    /// Of those given the whole sequence.
    Posteriors(&'a [T]),
    /// Of those given the steps so far.
    Filter(&'a [T]),
}

impl<T> Cotangent<'_, T> {
    pub fn is_filter(&self) -> bool {
        matches!(self, Self::Filter(_))
    }

    /// What remains from element `start` on.
    pub fn from(self, start: usize) -> Self {
        match self {
            Self::Posteriors(g) => Self::Posteriors(&g[start..]),
            Self::Filter(g) => Self::Filter(&g[start..]),
        }
    }
}

/// Memory for the recursions over one chain.
pub(crate) struct Scratch<T: Float> {
    /// What a block of steps sends to the steps before.
    block: Buffer<T>,
    /// Posteriors, or slopes, of a block of steps.
    smoothed: Buffer<T>,
    /// For adjoints: what lies ahead of a block of steps.
    ahead: Buffer<T>,
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
            ahead: pool.take(BLOCK * width),
            counts: pool.take(width * width),
            conditional: pool.take(width * width),
            rows: pool.take(4 * width),
        }
    }
}

/// A step's row of an array `[steps, states]` (which may go on after the sequence), padded with `fill`.
#[inline(always)]
fn padded_row<T: Float, const N: usize>(x: &[T], (step, states): (usize, usize), fill: T, row: &mut [T]) {
    for (block, row) in row.chunks_exact_mut(N).enumerate() {
        let at = step * states + block * N;
        let inside = states - (block * N).min(states);
        if let Some(x) = x.get(at..at + N) {
            for j in 0..N {
                row[j] = if j < inside { x[j] } else { fill };
            }
        } else {
            for (j, slot) in row.iter_mut().enumerate() {
                *slot = if j < inside { x[at + j] } else { fill };
            }
        }
    }
}

/// The log-weights of a step's emissions, with those of the first and the last state, padded with negative infinity.
#[inline(always)]
fn emission_row<T: Float, const N: usize>(
    emission: &[T],
    chain: &Chain<T>,
    (step, steps): (usize, usize),
    row: &mut [T],
) {
    padded_row::<T, N>(emission, (step, chain.states), T::of(f64::NEG_INFINITY), row);
    if step == 0 {
        row.iter_mut().zip(chain.initial).for_each(|(row, weight)| *row += *weight);
    }
    if step + 1 == steps {
        row.iter_mut().zip(chain.last).for_each(|(row, weight)| *row += *weight);
    }
}
