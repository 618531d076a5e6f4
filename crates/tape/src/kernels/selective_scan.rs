//! The selective scan over blocks of channels: one register of channels, a loop over the states of each.
//!
//! Sums over states are then sums of registers. Backward runs a chunk of steps again from its first state, which the
//! forward pass kept, and sweeps it in reverse while all of it is in the first-level cache.

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::simd_kernel;
use crate::kernels::tiles::Tile;
use crate::lane::Lane;

/// Channels in a block: a register of f32.
pub(crate) const LANES: usize = 16;
/// Steps between kept states.
pub(crate) const STEPS: usize = 16;
/// Channels of one unit of work, whose gradients of B and C are summed together.
pub(crate) const GROUP: usize = 4 * LANES;

/// The operands of one sequence, and the channels that one unit of work takes.
pub(crate) struct Scan<'a, T> {
    /// `[length, channels]`
    pub u: &'a [T],
    /// `[length, channels]`
    pub delta: &'a [T],
    /// `[channels, states]`
    pub a: &'a [T],
    /// `[length, states]`
    pub b: &'a [T],
    /// `[length, states]`
    pub c: &'a [T],
    /// `[channels]`
    pub skip: Option<&'a [T]>,
    /// `[length, channels]`
    pub gate: Option<&'a [T]>,
    /// `[channels]`
    pub bias: Option<&'a [T]>,
    pub softplus: bool,
    pub reverse: bool,
    pub channels: usize,
    pub states: usize,
    pub length: usize,
    /// The first channel of the unit, and how many it has.
    pub first: usize,
    pub count: usize,
}

impl<T: Float> Scan<'_, T> {
    pub fn blocks(&self) -> usize {
        self.count.div_ceil(LANES)
    }

    /// The place in time of a step of the scan.
    #[inline(always)]
    fn at(&self, step: usize) -> usize {
        if self.reverse { self.length - 1 - step } else { step }
    }

    /// A block's channels of a row, zero past the last channel.
    #[inline(always)]
    fn load<L: Lane<Scalar = T>>(&self, x: &[T], at: usize, block: usize) -> [L; LANES] {
        let start = at * self.channels + self.first + block * LANES;
        let count = (self.count - block * LANES).min(LANES);
        if count == LANES {
            let x = &x[start..start + LANES];
            std::array::from_fn(|j| L::new(x[j]))
        } else {
            std::array::from_fn(|j| if j < count { L::new(x[start + j]) } else { L::of(0.0) })
        }
    }

    /// A block of a per-channel operand, zero where it is absent.
    #[inline(always)]
    fn load_channels<L: Lane<Scalar = T>>(&self, x: Option<&[T]>, block: usize) -> [L; LANES] {
        x.map_or([L::of(0.0); LANES], |x| self.load(x, 0, block))
    }

    /// The step sizes of a row before and after softplus.
    #[inline(always)]
    fn step_sizes<L: Lane<Scalar = T>>(&self, at: usize, block: usize, bias: &[L; LANES]) -> ([L; LANES], [L; LANES]) {
        let mut raw: [L; LANES] = self.load(self.delta, at, block);
        for j in 0..LANES {
            raw[j] = raw[j] + bias[j];
        }
        let mut delta = raw;
        if self.softplus {
            for delta in &mut delta {
                *delta = delta.softplus();
            }
        }
        (raw, delta)
    }

    /// A block of A as `[states, LANES]`.
    fn transposed_a(&self, block: usize, out: &mut [T]) {
        out.fill(T::ZERO);
        let first = self.first + block * LANES;
        for j in 0..(self.count - block * LANES).min(LANES) {
            for n in 0..self.states {
                out[n * LANES + j] = self.a[(first + j) * self.states + n];
            }
        }
    }
}

#[inline(always)]
fn store<L: Lane>(values: &[L; LANES], row: &mut [L::Scalar], block: usize) {
    let row = &mut row[block * LANES..];
    if let Some(row) = row.get_mut(..LANES) {
        for j in 0..LANES {
            row[j] = values[j].get();
        }
    } else {
        row.iter_mut().zip(values).for_each(|(slot, value)| *slot = value.get());
    }
}

simd_kernel! {
    /// Writes `y` and the last states (`[count, states]`), and keeps the states before every chunk of steps in `kept`
    /// (`[chunks, blocks, states, LANES]`). `work` holds two blocks of `[states, LANES]`.
    pub(crate) fn scan_forward [T, L](
        scan: &Scan<T>, y: &mut Tile<T>, last: &mut [T], kept: &mut [T], work: &mut [T],
    ) {
        let size = scan.states * LANES;
        let (a, h) = work.split_at_mut(size);
        let h = &mut h[..size];
        for block in 0..scan.blocks() {
            scan.transposed_a(block, a);
            h.fill(T::ZERO);
            let skip: [L; LANES] = scan.load_channels(scan.skip, block);
            let bias: [L; LANES] = scan.load_channels(scan.bias, block);
            for step in 0..scan.length {
                if step % STEPS == 0 {
                    kept[(step / STEPS * scan.blocks() + block) * size..][..size].copy_from_slice(h);
                }
                let at = scan.at(step);
                let u: [L; LANES] = scan.load(scan.u, at, block);
                let (_, delta) = scan.step_sizes::<L>(at, block, &bias);
                let (b, c) = (&scan.b[at * scan.states..][..scan.states], &scan.c[at * scan.states..][..scan.states]);
                let mut out = [L::of(0.0); LANES];
                for (((a, h), b), c) in a.chunks_exact(LANES).zip(h.chunks_exact_mut(LANES)).zip(b).zip(c) {
                    let (b, c) = (L::new(*b), L::new(*c));
                    for j in 0..LANES {
                        let decay = (delta[j] * L::new(a[j])).exp();
                        let state = decay.mul_add(L::new(h[j]), delta[j] * u[j] * b);
                        h[j] = state.get();
                        out[j] = c.mul_add(state, out[j]);
                    }
                }
                for j in 0..LANES {
                    out[j] = skip[j].mul_add(u[j], out[j]);
                }
                if let Some(gate) = scan.gate {
                    let z: [L; LANES] = scan.load(gate, at, block);
                    for j in 0..LANES {
                        out[j] = out[j] * z[j] * z[j].sigmoid();
                    }
                }
                store(&out, y.row(at), block);
            }
            for (j, last) in last.chunks_exact_mut(scan.states).skip(block * LANES).take(LANES).enumerate() {
                last.iter_mut().enumerate().for_each(|(n, last)| *last = h[n * LANES + j]);
            }
        }
    }
}

/// What one unit of work adds to the gradients.
pub(crate) struct ScanGrads<'a, T> {
    pub u: Tile<'a, T>,
    pub delta: Tile<'a, T>,
    pub gate: Option<Tile<'a, T>>,
    /// `[count, states]`
    pub a: &'a mut [T],
    /// `[length, states]`
    pub b: &'a mut [T],
    /// `[length, states]`
    pub c: &'a mut [T],
    /// `[count]`
    pub skip: &'a mut [T],
    /// `[count]`
    pub bias: &'a mut [T],
}

/// Memory of one unit of work in the backward pass.
pub(crate) struct ScanScratch<T: Float> {
    /// States before the chunk and after each of its steps.
    history: Buffer<T>,
    decay: Buffer<T>,
    /// Sums over blocks for the gradients of B and C, by lane.
    by_b: Buffer<T>,
    by_c: Buffer<T>,
    /// For every block: A, its gradient, and the gradient of the states.
    blocks: Buffer<T>,
    /// For every step u, the step size before and after softplus, and y before the gate; for every block the gradients of
    /// skip and bias.
    rows: Buffer<T>,
}

impl<T: Float> ScanScratch<T> {
    pub fn new(states: usize, blocks: usize, pool: &Pool<T>) -> Self {
        let size = states * LANES;
        Self {
            history: pool.take((STEPS + 1) * size),
            decay: pool.take(STEPS * size),
            by_b: pool.take(STEPS * size),
            by_c: pool.take(STEPS * size),
            blocks: pool.take_zeroed(3 * blocks * size),
            rows: pool.take_zeroed((4 * STEPS + 2 * blocks) * LANES),
        }
    }
}

#[inline(always)]
fn row_of<T: Float, L: Lane<Scalar = T>>(rows: &[T], index: usize) -> [L; LANES] {
    let row = &rows[index * LANES..][..LANES];
    std::array::from_fn(|j| L::new(row[j]))
}

simd_kernel! {
    /// Writes the gradients of one unit; `g_last` (`[count, states]`, or empty) is the gradient of the last states.
    pub(crate) fn scan_backward [T, L](
        scan: &Scan<T>, g: &[T], g_last: &[T], kept: &[T], grads: &mut ScanGrads<T>, scratch: &mut ScanScratch<T>,
    ) {
        let zero = L::of(0.0);
        let one = L::of(1.0);
        let (states, size, blocks) = (scan.states, scan.states * LANES, scan.blocks());
        let ScanScratch { history, decay, by_b, by_c, blocks: memory, rows } = scratch;
        let (all_a, rest) = memory.split_at_mut(blocks * size);
        let (all_a_grads, all_carry) = rest.split_at_mut(blocks * size);
        let (rows, by_channel) = rows.split_at_mut(4 * STEPS * LANES);
        for block in 0..blocks {
            scan.transposed_a(block, &mut all_a[block * size..][..size]);
            let rows = g_last.chunks_exact(states.max(1)).skip(block * LANES).take(LANES);
            for (j, row) in rows.enumerate() {
                row.iter().enumerate().for_each(|(n, g)| all_carry[block * size + n * LANES + j] = *g);
            }
        }
        for chunk in (0..scan.length.div_ceil(STEPS)).rev() {
            let start = chunk * STEPS;
            let count = STEPS.min(scan.length - start);
            by_b.fill(T::ZERO);
            by_c.fill(T::ZERO);
            for block in 0..blocks {
                let a = &all_a[block * size..][..size];
                let skip: [L; LANES] = scan.load_channels(scan.skip, block);
                let bias: [L; LANES] = scan.load_channels(scan.bias, block);
                history[..size].copy_from_slice(&kept[(chunk * blocks + block) * size..][..size]);
                for k in 0..count {
                    let at = scan.at(start + k);
                    let u: [L; LANES] = scan.load(scan.u, at, block);
                    let (raw, delta) = scan.step_sizes::<L>(at, block, &bias);
                    let (before, now) = history[k * size..][..2 * size].split_at_mut(size);
                    let decay = &mut decay[k * size..][..size];
                    let (b, c) = (&scan.b[at * states..][..states], &scan.c[at * states..][..states]);
                    let mut out = [zero; LANES];
                    for n in 0..states {
                        let (a, before) = (&a[n * LANES..][..LANES], &before[n * LANES..][..LANES]);
                        let (now, decay) = (&mut now[n * LANES..][..LANES], &mut decay[n * LANES..][..LANES]);
                        let (b, c) = (L::new(b[n]), L::new(c[n]));
                        for j in 0..LANES {
                            let factor = (delta[j] * L::new(a[j])).exp();
                            let state = factor.mul_add(L::new(before[j]), delta[j] * u[j] * b);
                            decay[j] = factor.get();
                            now[j] = state.get();
                            out[j] = c.mul_add(state, out[j]);
                        }
                    }
                    for j in 0..LANES {
                        out[j] = skip[j].mul_add(u[j], out[j]);
                    }
                    store(&u, &mut rows[k * LANES..][..LANES], 0);
                    store(&raw, &mut rows[(STEPS + k) * LANES..][..LANES], 0);
                    store(&delta, &mut rows[(2 * STEPS + k) * LANES..][..LANES], 0);
                    store(&out, &mut rows[(3 * STEPS + k) * LANES..][..LANES], 0);
                }
                let a_grads = &mut all_a_grads[block * size..][..size];
                let carry = &mut all_carry[block * size..][..size];
                let (skip_grads, bias_grads) = by_channel[2 * block * LANES..][..2 * LANES].split_at_mut(LANES);
                for k in (0..count).rev() {
                    let at = scan.at(start + k);
                    let u: [L; LANES] = row_of(rows, k);
                    let delta: [L; LANES] = row_of(rows, 2 * STEPS + k);
                    let mut g: [L; LANES] = scan.load(g, at, block);
                    if let (Some(gate), Some(grad)) = (scan.gate, &mut grads.gate) {
                        let z: [L; LANES] = scan.load(gate, at, block);
                        let y: [L; LANES] = row_of(rows, 3 * STEPS + k);
                        let mut by_gate = [zero; LANES];
                        for j in 0..LANES {
                            let sigmoid = z[j].sigmoid();
                            by_gate[j] = g[j] * y[j] * sigmoid * (z[j] * (one - sigmoid) + one);
                            g[j] = g[j] * z[j] * sigmoid;
                        }
                        store(&by_gate, grad.row(at), block);
                    }
                    let (b, c) = (&scan.b[at * states..][..states], &scan.c[at * states..][..states]);
                    let (mut by_input, mut by_delta) = ([zero; LANES], [zero; LANES]);
                    for n in 0..states {
                        let range = n * LANES..(n + 1) * LANES;
                        let (a, a_grads, carry) = (&a[range.clone()], &mut a_grads[range.clone()], &mut carry[range]);
                        let range = k * size + n * LANES..k * size + (n + 1) * LANES;
                        let (before, decay) = (&history[range.clone()], &decay[range.clone()]);
                        let now = &history[range.start + size..range.end + size];
                        let (by_b, by_c) = (&mut by_b[range.clone()], &mut by_c[range]);
                        let (b, c) = (L::new(b[n]), L::new(c[n]));
                        for j in 0..LANES {
                            let state_grad = c.mul_add(g[j], L::new(carry[j]));
                            by_c[j] = g[j].mul_add(L::new(now[j]), L::new(by_c[j])).get();
                            by_b[j] = state_grad.mul_add(delta[j] * u[j], L::new(by_b[j])).get();
                            by_input[j] = state_grad.mul_add(b, by_input[j]);
                            let through = state_grad * L::new(decay[j]);
                            carry[j] = through.get();
                            let exponent = through * L::new(before[j]);
                            by_delta[j] = exponent.mul_add(L::new(a[j]), by_delta[j]);
                            a_grads[j] = exponent.mul_add(delta[j], L::new(a_grads[j])).get();
                        }
                    }
                    let raw: [L; LANES] = row_of(rows, STEPS + k);
                    let mut by_u = [zero; LANES];
                    for j in 0..LANES {
                        by_u[j] = by_input[j].mul_add(delta[j], skip[j] * g[j]);
                        by_delta[j] = by_input[j].mul_add(u[j], by_delta[j]);
                        if scan.softplus {
                            by_delta[j] = by_delta[j] * raw[j].sigmoid();
                        }
                        skip_grads[j] = g[j].mul_add(u[j], L::new(skip_grads[j])).get();
                        bias_grads[j] = (L::new(bias_grads[j]) + by_delta[j]).get();
                    }
                    store(&by_u, grads.u.row(at), block);
                    store(&by_delta, grads.delta.row(at), block);
                }
            }
            for k in 0..count {
                let at = scan.at(start + k) * states;
                for n in 0..states {
                    for (lanes, out) in [(&*by_b, &mut *grads.b), (&*by_c, &mut *grads.c)] {
                        let mut sum: [L; LANES] = row_of(&lanes[k * size..], n);
                        let mut width = LANES / 2;
                        while width > 0 {
                            for j in 0..width {
                                sum[j] = sum[j] + sum[j + width];
                            }
                            width /= 2;
                        }
                        out[at + n] = sum[0].get();
                    }
                }
            }
        }
        for block in 0..blocks {
            for j in 0..(scan.count - block * LANES).min(LANES) {
                let channel = block * LANES + j;
                for n in 0..states {
                    grads.a[channel * states + n] = all_a_grads[block * size + n * LANES + j];
                }
                grads.skip[channel] = by_channel[2 * block * LANES + j];
                grads.bias[channel] = by_channel[(2 * block + 1) * LANES + j];
            }
        }
    }
}
