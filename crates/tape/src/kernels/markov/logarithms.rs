//! The recursions on logarithms, and their adjoint.

use super::{Chain, Cotangent, Scratch, emission_row};
use crate::float::Float;
use crate::kernels::simd_kernel;
use crate::lane::Lane;

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
    pub(super) fn filter_logs [T, L](emission: &[T], chain: &Chain<T>, rows: &mut [T], scale: &mut [T]) -> f64 {
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
fn conditional<T: Float, L: Lane<Scalar = T>>(row: &[T], chain: &Chain<T>, out: &mut [T]) {
    let (zero, none) = (L::of(0.0), L::of(f64::NEG_INFINITY));
    let width = chain.width;
    for at in (0..width).step_by(COLUMNS) {
        let offset: [L; COLUMNS] = log_times_matrix(row, &chain.logs, width, at);
        let mut sum = [zero; COLUMNS];
        for ((x, logs), out) in row.iter().zip(chain.logs.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
            let (logs, out) = (&logs[at..at + COLUMNS], &mut out[at..at + COLUMNS]);
            for j in 0..COLUMNS {
                let both = (L::new(*x) + L::new(logs[j]) - offset[j]).exp();
                let value = L::select(offset[j] == none, zero, both);
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

/// The filtered distribution of a step; zeros when no state explains it.
#[inline(always)]
fn distribution<T: Float, L: Lane<Scalar = T>>(row: &[T], out: &mut [T]) {
    let mut sum = L::of(0.0);
    for (x, out) in row.iter().zip(out.iter_mut()) {
        let value = L::new(*x).exp();
        sum = sum + value;
        *out = value.get();
    }
    let scale = L::select(sum == L::of(0.0), sum, sum.recip());
    out.iter_mut().for_each(|x| *x = (L::new(*x) * scale).get());
}

simd_kernel! {
    /// Writes the filtered probabilities of a sequence.
    pub(super) fn normalise_logs [T, L](rows: &[T], chain: &Chain<T>, probabilities: &mut [T], row: &mut [T]) {
        let row = &mut row[..chain.width];
        for (logs, out) in rows.chunks_exact(chain.width).zip(probabilities.chunks_exact_mut(chain.states)) {
            distribution::<T, L>(logs, row);
            out.copy_from_slice(&row[..chain.states]);
        }
    }
}

simd_kernel! {
    pub(super) fn smooth_logs [T, L](
        rows: &[T], chain: &Chain<T>, posteriors: &mut [T], counts: &mut [T], scratch: &mut Scratch<T>,
    ) {
        let (width, states) = (chain.width, chain.states);
        let steps = rows.len() / width;
        let smoothed = &mut scratch.rows[..width];
        distribution::<T, L>(&rows[(steps - 1) * width..], smoothed);
        for step in (0..steps).rev() {
            posteriors[step * states..][..states].copy_from_slice(&smoothed[..states]);
            if step == 0 {
                break;
            }
            conditional::<T, L>(&rows[(step - 1) * width..][..width], chain, &mut scratch.conditional);
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

/// Writes to `now` the cotangent of a step plus what is there, less the mean under the distribution `share`.
#[inline(always)]
fn add_centred<T: Float, L: Lane<Scalar = T>>(cotangent: &[T], share: &[T], now: &mut [T]) {
    let mut mean = L::of(0.0);
    for ((now, g), share) in now.iter_mut().zip(cotangent).zip(share) {
        *now = (L::new(*now) + L::new(*g)).get();
        mean = L::new(*share).mul_add(L::new(*now), mean);
    }
    now[..cotangent.len()].iter_mut().for_each(|x| *x = (L::new(*x) - mean).get());
}

simd_kernel! {
    /// With P the probability of a state given its successor and the past, F(t) = cotangent(t) + F(t-1) P is what the past
    /// of a state is expected to have collected: of posteriors' cotangents; none of the filter's.
    pub(super) fn adjoint_logs [T, L](
        rows: &[T], chain: &Chain<T>, cotangent: Cotangent<'_, T>, out: (&mut [T], &mut [T]), scratch: &mut Scratch<T>,
        collected: &mut [T],
    ) {
        let (slopes, counts) = out;
        let (width, states) = (chain.width, chain.states);
        let steps = rows.len() / width;
        let zero = L::of(0.0);
        let p = &mut scratch.conditional;
        let (smoothed, rest) = scratch.rows.split_at_mut(width);
        let (slope, rest) = rest.split_at_mut(width);
        let (prediction, share) = rest.split_at_mut(width);
        let of_step = |step: usize| step * states..(step + 1) * states;
        collected.fill(T::ZERO);
        if let Cotangent::Posteriors(cotangent) = cotangent {
            // only differences between states matter, so each step's mean is taken off
            for step in 0..steps {
                let (before, now) = collected.split_at_mut(step * width);
                let now = &mut now[..width];
                if step > 0 {
                    conditional::<T, L>(&rows[(step - 1) * width..][..width], chain, p);
                    expected::<T, L>(p, &before[(step - 1) * width..], states, now);
                }
                distribution::<T, L>(&rows[step * width..][..width], share);
                add_centred::<T, L>(&cotangent[of_step(step)], share, now);
            }
        }
        // the last step's mean is zero now
        distribution::<T, L>(&rows[(steps - 1) * width..], smoothed);
        for i in 0..width {
            slope[i] = (L::new(smoothed[i]) * L::new(collected[(steps - 1) * width + i])).get();
        }
        for step in (0..steps).rev() {
            if let Cotangent::Filter(cotangent) = cotangent {
                distribution::<T, L>(&rows[step * width..][..width], share);
                prediction.fill(T::ZERO);
                add_centred::<T, L>(&cotangent[of_step(step)], share, prediction);
                for i in 0..states {
                    slope[i] = L::new(share[i]).mul_add(L::new(prediction[i]), L::new(slope[i])).get();
                }
            }
            slopes[of_step(step)].copy_from_slice(&slope[..states]);
            if step == 0 {
                break;
            }
            let past = &collected[(step - 1) * width..][..width];
            conditional::<T, L>(&rows[(step - 1) * width..][..width], chain, p);
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
