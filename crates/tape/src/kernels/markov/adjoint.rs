//! The adjoint of filtered and smoothed scaled probabilities.
//!
//! With a(t) the filtered row, s(t) its sum, E(t) = e(t) / s(t-1) and b(t) what the future makes of each state, filtering
//! is a(t) = (a(t-1) M) E(t), and smoothing b(t) = M (E b)(t+1) with posterior a(t) b(t). For cotangents g of posteriors
//! and f of the filter (each less its mean, as probabilities add up to 1), the derivative of the past along g is
//! H(t) = a(t) g(t) + (H(t-1) M) E(t), and what comes back from the future r(t) = f(t) / s(t) + M v(t+1) with
//! v(t) = (r(t) + g(t) b(t)) E(t). The slope of the emissions is H b + a r, that of a transition M (H (E b) + a v).

use super::scaled::{add_lanes, add_outer_products, put, scale_row, take, times_matrix, unpad};
use super::{BLOCK, Chain, Cotangent, Scratch, emission_row, padded_row};
use crate::float::Float;
use crate::kernels::simd_kernel;
use crate::lane::Lane;

/// 1 / sum, or 0 for a row that nothing makes possible.
#[inline(always)]
fn inverse<L: Lane>(sum: L) -> L {
    L::select(sum > L::of(0.0), sum.recip(), L::of(0.0))
}

/// The cotangent of a step less its mean under the filtered row `a`, whose sum has the inverse `scale`.
#[inline(always)]
fn centred_row<T: Float, L: Lane<Scalar = T>, const N: usize>(
    cotangent: &[T],
    (step, states): (usize, usize),
    (a, scale): (&[T], L),
    row: &mut [T],
) {
    padded_row::<T, N>(cotangent, (step, states), T::ZERO, row);
    let mut sum = [L::of(0.0); N];
    for (row, a) in row.chunks_exact(N).zip(a.chunks_exact(N)) {
        for j in 0..N {
            sum[j] = L::new(row[j]).mul_add(L::new(a[j]), sum[j]);
        }
    }
    let mean = add_lanes(sum) * scale;
    row.iter_mut().for_each(|x| *x = (L::new(*x) - mean).get());
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn collect_scaled_body<T: Float, L: Lane<Scalar = T>, const N: usize>(
    emission: &[T],
    chain: &Chain<T>,
    width: usize,
    (rows, scale): (&[T], &[T]),
    cotangent: &[T],
    (collected, offsets): (&mut [T], &mut [T]),
    scratch: &mut Scratch<T>,
    floor: T,
) {
    let steps = scale.len();
    let mut before = L::of(0.0);
    // a constant on the whole past changes nothing: each step's mean is taken off one step late, off the critical path
    let mut mean = L::of(0.0);
    for start in (0..steps).step_by(BLOCK) {
        let count = BLOCK.min(steps - start);
        for k in 0..count {
            let (step, range) = (start + k, k * width..(k + 1) * width);
            let e = &mut scratch.block[range.clone()];
            emission_row::<T, N>(emission, chain, (step, steps), e);
            scale_row::<T, L, N>(e, floor);
            let filtered = (&rows[step * width..][..width], inverse(L::new(scale[step])));
            centred_row::<T, L, N>(cotangent, (step, chain.states), filtered, &mut scratch.centred[range]);
        }
        for k in 0..count {
            let step = start + k;
            let (past, now) = collected.split_at_mut(step * width);
            let past = &past[step.saturating_sub(1) * width..];
            offsets[step] = mean.get();
            let mut sum = [L::of(0.0); N];
            for at in (0..width).step_by(N) {
                let a: [L; N] = take(rows, step * width + at);
                let e: [L; N] = take(&scratch.block, k * width + at);
                let g: [L; N] = take(&scratch.centred, k * width + at);
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
        emission: &[T], chain: &Chain<T>, filtered: (&[T], &[T]), cotangent: &[T], out: (&mut [T], &mut [T]),
        scratch: &mut Scratch<T>, floor: T,
    ) {
        match chain.width {
            8 => collect_scaled_body::<T, L, 8>(emission, chain, 8, filtered, cotangent, out, scratch, floor),
            16 => collect_scaled_body::<T, L, 16>(emission, chain, 16, filtered, cotangent, out, scratch, floor),
            width => collect_scaled_body::<T, L, 16>(emission, chain, width, filtered, cotangent, out, scratch, floor),
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn adjoint_scaled_body<T: Float, L: Lane<Scalar = T>, const N: usize, const SMOOTHED: bool>(
    emission: &[T],
    chain: &Chain<T>,
    width: usize,
    (rows, scale): (&[T], &[T]),
    cotangent: &[T],
    (collected, offsets): (&[T], &[T]),
    slopes: &mut [T],
    scratch: &mut Scratch<T>,
    floor: T,
) {
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
        for k in 0..count {
            let (step, range) = (start + k, k * width..(k + 1) * width);
            let e = &mut scratch.block[range.clone()];
            emission_row::<T, N>(emission, chain, (step, steps), e);
            scale_row::<T, L, N>(e, floor);
            let filtered = (&rows[step * width..][..width], inverse(L::new(scale[step])));
            centred_row::<T, L, N>(cotangent, (step, states), filtered, &mut scratch.centred[range]);
        }
        for k in (0..count).rev() {
            let step = start + k;
            let now = before;
            before = if step == 0 { zero } else { inverse(L::new(scale[step - 1])) };
            let offset = if SMOOTHED { L::new(offsets[step]) } else { zero };
            let (mut sum, mut sum_slopes) = ([zero; N], [zero; N]);
            for at in (0..width).step_by(N) {
                let here = k * width + at;
                let a: [L; N] = take(rows, step * width + at);
                let past = if SMOOTHED { take(collected, step * width + at) } else { a };
                let (e, g): ([L; N], [L; N]) = (take(&scratch.block, here), take(&scratch.centred, here));
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
                put(slopes, &mut scratch.smoothed, here);
                put(v, v_row, at);
                put(v, &mut scratch.block, here);
                if SMOOTHED {
                    put(u, u_row, at);
                    put(u, &mut scratch.ahead, here);
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

/// The body for the width of a chain.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn by_width<T: Float, L: Lane<Scalar = T>, const SMOOTHED: bool>(
    emission: &[T],
    chain: &Chain<T>,
    rows: (&[T], &[T]),
    cotangent: &[T],
    past: (&[T], &[T]),
    slopes: &mut [T],
    scratch: &mut Scratch<T>,
    floor: T,
) {
    match chain.width {
        8 => {
            adjoint_scaled_body::<T, L, 8, SMOOTHED>(emission, chain, 8, rows, cotangent, past, slopes, scratch, floor)
        }
        16 => adjoint_scaled_body::<T, L, 16, SMOOTHED>(
            emission, chain, 16, rows, cotangent, past, slopes, scratch, floor,
        ),
        width => adjoint_scaled_body::<T, L, 16, SMOOTHED>(
            emission, chain, width, rows, cotangent, past, slopes, scratch, floor,
        ),
    }
}

simd_kernel! {
    /// Fills `slopes`, and adds to the counts in `scratch` what times the transitions is the gradient of their logarithms;
    /// `past` is what [`collect_scaled`] left, for a cotangent of the posteriors.
    pub(super) fn adjoint_scaled [T, L](
        emission: &[T], chain: &Chain<T>, rows: (&[T], &[T]), cotangent: Cotangent<'_, T>, past: (&[T], &[T]),
        slopes: &mut [T], scratch: &mut Scratch<T>, floor: T,
    ) {
        match cotangent {
            Cotangent::Posteriors(g) => by_width::<T, L, true>(emission, chain, rows, g, past, slopes, scratch, floor),
            Cotangent::Filter(f) => by_width::<T, L, false>(emission, chain, rows, f, past, slopes, scratch, floor),
        }
    }
}
