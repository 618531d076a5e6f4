//! The adjoint of filtered and smoothed scaled probabilities.
//!
//! With a(t) the filtered row, s(t) its sum, E(t) = e(t) / s(t-1) and b(t) what the future makes of each state, filtering
//! is a(t) = (a(t-1) M) E(t), and smoothing b(t) = M (E b)(t+1) with posterior a(t) b(t). For cotangents g of posteriors
//! and f of the filter (each less its mean, as probabilities add up to 1), the derivative of the past along g is
//! H(t) = a(t) g(t) + (H(t-1) M) E(t), and what comes back from the future r(t) = f(t) / s(t) + M v(t+1) with
//! v(t) = (r(t) + g(t) b(t)) E(t). The slope of the emissions is H b + a r, that of a transition M (H (E b) + a v).

use super::scaled::{add_lanes, add_outer_products, inverse, put, take, times_matrix, unpad};
use super::{BLOCK, Chain, FilteredSteps, Scratch, padded_row};
use crate::float::Float;
use crate::kernels::simd_kernel;
use crate::lane::Lane;

/// The cotangent of a step, padded, less its mean under the filtered row `a` of that sum.
#[inline(always)]
fn centred_row<T: Float, L: Lane<Scalar = T>, const N: usize>(
    cotangent: &[T],
    (step, states): (usize, usize),
    (a, scale): (&[T], T),
    row: &mut [T],
) {
    padded_row::<T, N>(cotangent, (step, states), T::ZERO, row);
    let mut sum = [L::of(0.0); N];
    for (row, a) in row.chunks_exact(N).zip(a.chunks_exact(N)) {
        for j in 0..N {
            sum[j] = L::new(row[j]).mul_add(L::new(a[j]), sum[j]);
        }
    }
    let mean = add_lanes(sum) * inverse(L::new(scale));
    row.iter_mut().for_each(|x| *x = (L::new(*x) - mean).get());
}

simd_kernel! {
    /// Fills the centred cotangents of some steps, from `first` on.
    pub(super) fn centre_scaled [T, L](
        cotangent: &[T], filtered: FilteredSteps<'_, T>, chain: &Chain<T>, first: usize, centred: &mut [T],
    ) {
        let width = chain.width;
        for (k, row) in centred.chunks_exact_mut(width).enumerate() {
            let step = (first + k, chain.states);
            let filtered = (&filtered.rows[(first + k) * width..][..width], filtered.scale[first + k]);
            if width == 8 {
                centred_row::<T, L, 8>(cotangent, step, filtered, row);
            } else {
                centred_row::<T, L, 16>(cotangent, step, filtered, row);
            }
        }
    }
}

#[inline(always)]
fn collect_scaled_body<T: Float, L: Lane<Scalar = T>, const N: usize>(
    filtered: FilteredSteps<'_, T>,
    chain: &Chain<T>,
    width: usize,
    centred: &[T],
    (collected, offsets): (&mut [T], &mut [T]),
) {
    let FilteredSteps { rows, scale, weights, .. } = filtered;
    let steps = scale.len();
    let mut before = L::of(0.0);
    // a constant on the whole past changes nothing: each step's mean is taken off one step late, off the critical path
    let mut mean = L::of(0.0);
    for step in 0..steps {
        let (past, now) = collected.split_at_mut(step * width);
        let past = &past[step.saturating_sub(1) * width..];
        offsets[step] = mean.get();
        let mut sum = [L::of(0.0); N];
        for at in (0..width).step_by(N) {
            let here = step * width + at;
            let (a, e, g): ([L; N], [L; N], [L; N]) = (take(rows, here), take(weights, here), take(centred, here));
            let mut flow = if step == 0 { [L::of(0.0); N] } else { times_matrix(past, &chain.matrix, width, at) };
            for j in 0..N {
                flow[j] = flow[j].mul_add(e[j] * before, a[j] * (g[j] - mean));
                sum[j] = sum[j] + flow[j];
            }
            put(flow, now, at);
        }
        before = inverse(L::new(scale[step]));
        mean = add_lanes(sum) * before;
    }
    // the mean of the whole sequence is known now, and goes with the last step
    let last = (steps - 1) * width;
    for (now, a) in collected[last..].iter_mut().zip(&rows[last..]) {
        *now = (L::new(*now) - L::new(*a) * mean).get();
    }
    offsets[steps - 1] = (L::new(offsets[steps - 1]) + mean).get();
}

simd_kernel! {
    /// Fills `collected` (`[steps, width]`, the derivative H of the filtered rows) and what was taken off every step.
    pub(super) fn collect_scaled [T, L](
        filtered: FilteredSteps<'_, T>, chain: &Chain<T>, centred: &[T], out: (&mut [T], &mut [T]),
    ) {
        match chain.width {
            8 => collect_scaled_body::<T, L, 8>(filtered, chain, 8, centred, out),
            16 => collect_scaled_body::<T, L, 16>(filtered, chain, 16, centred, out),
            width => collect_scaled_body::<T, L, 16>(filtered, chain, width, centred, out),
        }
    }
}

#[inline(always)]
fn adjoint_scaled_body<T: Float, L: Lane<Scalar = T>, const N: usize, const SMOOTHED: bool>(
    filtered: FilteredSteps<'_, T>,
    chain: &Chain<T>,
    width: usize,
    centred: &[T],
    (collected, offsets): (&[T], &[T]),
    slopes: &mut [T],
    scratch: &mut Scratch<T>,
) {
    let FilteredSteps { rows, scale, weights, .. } = filtered;
    let zero = L::of(0.0);
    let (steps, states) = (scale.len(), chain.states);
    let (ahead, rest) = scratch.rows.split_at_mut(width);
    let (back, rest) = rest.split_at_mut(width);
    let (u_row, v_row) = rest.split_at_mut(width);
    let mut before = inverse(L::new(scale[steps - 1]));
    ahead.fill(before.get());
    back.fill(T::ZERO);
    // posteriors of a step add up to 1 and slopes to 0; what they are off by is taken back one step late
    let (mut correction, mut drift) = (L::of(1.0), zero);
    for start in (0..steps.div_ceil(BLOCK)).rev().map(|b| b * BLOCK) {
        let count = BLOCK.min(steps - start);
        for k in (0..count).rev() {
            let step = start + k;
            let now = before;
            before = if step == 0 { zero } else { inverse(L::new(scale[step - 1])) };
            let offset = if SMOOTHED { L::new(offsets[step]) } else { zero };
            let (mut sum, mut sum_slopes) = ([zero; N], [zero; N]);
            for at in (0..width).step_by(N) {
                let (here, in_block) = (step * width + at, k * width + at);
                let (a, e, g): ([L; N], [L; N], [L; N]) = (take(rows, here), take(weights, here), take(centred, here));
                let past = if SMOOTHED { take(collected, here) } else { a };
                let future = if SMOOTHED { take(ahead, at) } else { [now; N] };
                let from_back: [L; N] = take(back, at);
                let (mut slopes, mut u, mut v) = ([zero; N], [zero; N], [zero; N]);
                for j in 0..N {
                    let weight = e[j] * before;
                    let own = (g[j] - offset) * future[j];
                    let mut r = from_back[j] - drift * future[j];
                    if !SMOOTHED {
                        r = r + own;
                    }
                    slopes[j] = a[j] * r;
                    v[j] = r;
                    if SMOOTHED {
                        slopes[j] = past[j].mul_add(future[j], slopes[j]);
                        v[j] = r + own;
                        sum[j] = sum[j] + L::select(a[j] > zero, a[j] * future[j], zero);
                        u[j] = L::select(a[j] > zero, future[j] * (weight * correction), zero);
                    }
                    slopes[j] = L::select(a[j] > zero, slopes[j], zero);
                    sum_slopes[j] = sum_slopes[j] + slopes[j];
                    v[j] = L::select(a[j] > zero, v[j] * weight, zero);
                }
                put(slopes, &mut scratch.smoothed, in_block);
                put(v, v_row, at);
                put(v, &mut scratch.block, in_block);
                if SMOOTHED {
                    put(u, u_row, at);
                    put(u, &mut scratch.ahead, in_block);
                }
            }
            drift = add_lanes(sum_slopes);
            if SMOOTHED {
                correction = L::of(-0.5).mul_add(add_lanes(sum), L::of(1.5));
            }
            if step > 0 {
                for at in (0..width).step_by(N) {
                    put(times_matrix::<T, L, N>(v_row, &chain.transpose, width, at), back, at);
                    if SMOOTHED {
                        put(times_matrix::<T, L, N>(u_row, &chain.transpose, width, at), ahead, at);
                    }
                }
            }
        }
        let out = &mut slopes[start * states..(start + count) * states];
        unpad::<T, N>(&scratch.smoothed[..count * width], width, states, out);
        let skip = usize::from(start == 0);
        let (from, to) = ((start + skip - 1) * width..(start + count - 1) * width, skip * width..count * width);
        add_outer_products::<T, L, N>(&rows[from.clone()], &scratch.block[to.clone()], width, &mut scratch.counts);
        if SMOOTHED {
            add_outer_products::<T, L, N>(&collected[from], &scratch.ahead[to], width, &mut scratch.counts);
        }
    }
}

simd_kernel! {
    /// Fills `slopes`, and adds to the counts in `scratch` what times the transitions is the gradient of their logarithms;
    /// `past` is what [`collect_scaled`] left for a cotangent of the posteriors, and nothing for one of the filter.
    pub(super) fn adjoint_scaled [T, L](
        filtered: FilteredSteps<'_, T>, chain: &Chain<T>, centred: &[T], past: Option<(&[T], &[T])>, slopes: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        let none: (&[T], &[T]) = (&[], &[]);
        match (chain.width, past) {
            (8, Some(past)) => adjoint_scaled_body::<T, L, 8, true>(filtered, chain, 8, centred, past, slopes, scratch),
            (16, Some(past)) => {
                adjoint_scaled_body::<T, L, 16, true>(filtered, chain, 16, centred, past, slopes, scratch)
            }
            (width, Some(past)) => {
                adjoint_scaled_body::<T, L, 16, true>(filtered, chain, width, centred, past, slopes, scratch)
            }
            (8, None) => adjoint_scaled_body::<T, L, 8, false>(filtered, chain, 8, centred, none, slopes, scratch),
            (16, None) => adjoint_scaled_body::<T, L, 16, false>(filtered, chain, 16, centred, none, slopes, scratch),
            (width, None) => {
                adjoint_scaled_body::<T, L, 16, false>(filtered, chain, width, centred, none, slopes, scratch)
            }
        }
    }
}
