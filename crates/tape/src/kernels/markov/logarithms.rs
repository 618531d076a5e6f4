//! The recursions on logarithms, and the derivative of the posteriors in either form.

use super::{Chain, Scratch, emission_row};
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
    pub(super) fn smooth_logs [T, L](
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
    pub(super) fn covariance_pass [T, L](
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
