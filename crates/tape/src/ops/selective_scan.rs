//! The selective scan of state-space models (S6: Gu & Dao 2023, algorithm 2) as one op.

use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::selective_scan::{GROUP, LANES, STEPS, Scan, ScanGrads, ScanScratch, scan_backward, scan_forward};
use crate::kernels::tiles::tiles;
use crate::kernels::{for_each_piece, split_pieces};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// h(t) = exp(delta(t) A) h(t-1) + delta(t) B(t) u(t), y(t) = C(t) h(t), from h = 0.
///
/// Operands: u and delta `[batch, length, channels]`, A `[channels, states]`, B and C `[batch, length, states]`; then,
/// where the fields say so, skip `[channels]` (y += skip u), gate `[batch, length, channels]` (y silu(gate)) and a bias
/// `[channels]` of delta. Outputs: y as u, and the last states `[batch, channels, states]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SelectiveScan {
    /// Whether there is a skip operand.
    pub skip: bool,
    /// Whether there is a gate operand.
    pub gate: bool,
    /// Whether delta has a bias operand.
    pub bias: bool,
    /// Whether delta (with its bias) goes through softplus.
    pub softplus: bool,
    /// Whether time runs from the end to the start.
    pub reverse: bool,
}

/// The required operands, and where the optional ones stand.
const REQUIRED: usize = 5;

impl SelectiveScan {
    /// The places of skip, gate and bias among the operands.
    fn places(&self) -> [Option<usize>; 3] {
        let mut next = REQUIRED;
        [self.skip, self.gate, self.bias].map(|present| {
            present.then(|| {
                next += 1;
                next - 1
            })
        })
    }

    /// The units of work: each sequence's groups of channels.
    fn units<'a, T: Float>(&self, x: &[Array<'a, T>]) -> Vec<Scan<'a, T>> {
        let [batch, length, channels] = [0, 1, 2].map(|axis| x[0].shape[axis]);
        let states = x[2].shape[1];
        let [skip, gate, bias] = self.places();
        let part = |i: usize, sequence: usize, size: usize| &x[i].data[sequence * size..][..size];
        (0..batch)
            .flat_map(|sequence| (0..channels).step_by(GROUP).map(move |first| (sequence, first)))
            .map(|(sequence, first)| Scan {
                u: part(0, sequence, length * channels),
                delta: part(1, sequence, length * channels),
                a: x[2].data,
                b: part(3, sequence, length * states),
                c: part(4, sequence, length * states),
                skip: skip.map(|i| x[i].data),
                gate: gate.map(|i| part(i, sequence, length * channels)),
                bias: bias.map(|i| x[i].data),
                softplus: self.softplus,
                reverse: self.reverse,
                channels,
                states,
                length,
                first,
                count: GROUP.min(channels - first),
            })
            .collect()
    }
}

/// The elements that a unit keeps for the backward pass.
fn kept_size<T: Float>(unit: &Scan<'_, T>) -> usize {
    unit.length.div_ceil(STEPS) * unit.blocks() * unit.states * LANES
}

/// Adds up the parts of a gradient that is shared: `parts` is `[outer, repeats, size]`, and so on in order.
fn sum_repeats<T: Float>(parts: &[T], repeats: usize, size: usize, out: &mut [T]) {
    out.fill(T::ZERO);
    if size > 0 && repeats > 0 {
        for (out, parts) in out.chunks_exact_mut(size).zip(parts.chunks_exact(repeats * size)) {
            for part in parts.chunks_exact(size) {
                out.iter_mut().zip(part).for_each(|(sum, x)| *sum += *x);
            }
        }
    }
}

impl<T: Float> Op<T> for SelectiveScan {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let [u, delta, a, b, c] = [0, 1, 2, 3, 4].map(|i| inputs[i]);
        assert!(
            u.rank() == 3
                && a.rank() == 2
                && a[0] == u[2]
                && a[1] > 0
                && delta == u
                && *b == [u[0], u[1], a[1]]
                && c == b,
            "selective_scan: u {u}, delta {delta}, A {a}, B {b}, C {c}: expected [batch, length, channels] twice, \
             [channels, states] with states > 0, [batch, length, states] twice"
        );
        let [skip, gate, bias] = self.places();
        for (name, place, shape) in
            [("skip", skip, Shape::from(u[2])), ("gate", gate, u), ("delta's bias", bias, Shape::from(u[2]))]
        {
            if let Some(place) = place {
                assert_eq!(inputs[place], shape, "selective_scan: {name} {}: expected {shape}", inputs[place]);
            }
        }
        Shapes::from_slice(&[u, Shape::new(&[u[0], u[2], a[1]])])
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let units = self.units(x);
        let pool = saved.pool.clone();
        let kept = saved.keep(units.iter().map(kept_size).sum());
        let [y, last] = y else { unreachable!("two outputs") };
        let (length, channels) = (x[0].shape[1], x[0].shape[2]);
        if length == 0 {
            last.fill(T::ZERO);
            return;
        }
        let kept = split_pieces(kept, units.iter().map(kept_size));
        let last = split_pieces(last, units.iter().map(|unit| unit.count * unit.states));
        let parts = units.iter().zip(tiles(y, channels, length, GROUP)).zip(last).zip(kept).collect();
        for_each_piece(parts, |_, (((unit, mut y), last), kept)| {
            let mut work = pool.take(2 * unit.states * LANES);
            scan_forward(unit, &mut y, last, kept, &mut work);
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let units = self.units(at.x);
        let [batch, length, channels] = [0, 1, 2].map(|axis| at.x[0].shape[axis]);
        let states = at.x[2].shape[1];
        let [skip, gate, bias] = self.places();
        let pool: &Pool<T> = at.pool;
        let rows = batch * length * channels;
        let zeros;
        let g = match at.grad_if_any(0) {
            Some(g) => g,
            None => {
                zeros = pool.take_zeroed(rows);
                &zeros[..]
            }
        };
        let mut by_rows = [0, 1, 2].map(|i| pool.take(if i < 2 || self.gate { rows } else { 0 }));
        let per_group = length * states;
        let mut by_b = pool.take_zeroed(units.len() * per_group);
        let mut by_c = pool.take_zeroed(units.len() * per_group);
        let mut by_a = pool.take_zeroed(batch * channels * states);
        let mut by_skip = pool.take_zeroed(batch * channels);
        let mut by_bias = pool.take_zeroed(batch * channels);
        if length > 0 && !units.is_empty() {
            let [u, delta, by_gate] = &mut by_rows;
            let mut gates = tiles(by_gate, channels, length, GROUP).into_iter();
            let counts = || units.iter().map(|unit| unit.count);
            let mut by_a = split_pieces(&mut by_a, counts().map(|n| n * states)).into_iter();
            let mut by_skip = split_pieces(&mut by_skip, counts()).into_iter();
            let mut by_bias = split_pieces(&mut by_bias, counts()).into_iter();
            let shared = by_b.chunks_exact_mut(per_group).zip(by_c.chunks_exact_mut(per_group));
            let tiles = tiles(u, channels, length, GROUP).into_iter().zip(tiles(delta, channels, length, GROUP));
            let (mut kept_from, mut last_from) = (0, 0);
            let parts = units
                .iter()
                .enumerate()
                .zip(tiles.zip(shared))
                .map(|((index, unit), ((u, delta), (b, c)))| {
                    let kept = &at.saved[0][kept_from..][..kept_size(unit)];
                    kept_from += kept.len();
                    let size = unit.count * states;
                    let g_last = at.grad_if_any(1).map_or(&[][..], |g| &g[last_from..last_from + size]);
                    last_from += size;
                    let g = &g[index / channels.div_ceil(GROUP) * length * channels..][..length * channels];
                    let (a, skip, bias) = (by_a.next(), by_skip.next(), by_bias.next());
                    let (Some(a), Some(skip), Some(bias)) = (a, skip, bias) else { unreachable!("one for each unit") };
                    (unit, g, g_last, kept, ScanGrads { u, delta, gate: gates.next(), a, b, c, skip, bias })
                })
                .collect();
            for_each_piece(parts, |_, (unit, g, g_last, kept, mut grads)| {
                let mut scratch = ScanScratch::new(states, unit.blocks(), pool);
                scan_backward(unit, g, g_last, kept, &mut grads, &mut scratch);
            });
        }
        grads.add_slice(0, &by_rows[0]);
        grads.add_slice(1, &by_rows[1]);
        let mut add_summed = |operand: usize, parts: &[T], repeats: usize, size: usize, len: usize| {
            if grads.wanted(operand) {
                let mut summed = pool.take(len);
                sum_repeats(parts, repeats, size, &mut summed);
                grads.add_slice(operand, &summed);
            }
        };
        add_summed(2, &by_a, batch, channels * states, channels * states);
        let groups = channels.div_ceil(GROUP);
        add_summed(3, &by_b, groups, per_group, batch * per_group);
        add_summed(4, &by_c, groups, per_group, batch * per_group);
        if let Some(place) = skip {
            add_summed(place, &by_skip, batch, channels, channels);
        }
        if let Some(place) = bias {
            add_summed(place, &by_bias, batch, channels, channels);
        }
        if let Some(place) = gate {
            grads.add_slice(place, &by_rows[2]);
        }
    }
}

impl Samples for SelectiveScan {
    const NAME: &'static str = "selective_scan";
    const DOC: &'static str = "Selective scan of a diagonal state-space model. mamba_ssm: `selective_scan_fn`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |op: Self, batch: usize, length: usize, channels: usize, states: usize| {
            let (rows, weights) = ([batch, length, channels], [batch, length, states]);
            let mut shapes: Vec<&[usize]> = vec![&rows, &rows];
            let (a, vector) = ([channels, states], [channels]);
            shapes.extend([&a[..], &weights, &weights]);
            let optional: [(bool, &[usize]); 3] = [(op.skip, &vector), (op.gate, &rows), (op.bias, &vector)];
            shapes.extend(optional.into_iter().filter(|(present, _)| *present).map(|(_, shape)| shape));
            Sample::new(op, -1.0..1.0, &shapes)
        };
        let all = Self { skip: true, gate: true, bias: true, softplus: true, reverse: false };
        vec![
            sample(all, 2, 5, 3, 2),
            sample(Self { reverse: true, gate: false, ..all }, 1, 18, 2, 1),
            sample(Self::default(), 1, 3, 17, 2),
            sample(Self { skip: true, ..Self::default() }, 1, 1, 1, 3),
            sample(all, 1, 0, 2, 2),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The selective scan of this input, `[batch, length, channels]`; returns y of the same shape and the last states
    /// `[batch, channels, states]`.
    ///
    /// `delta` is `[batch, length, channels]`, `a` `[channels, states]` (negative for a state that decays), `b` and `c`
    /// `[batch, length, states]`; `options` holds skip, gate and delta's bias, whose presence [`SelectiveScan`]'s fields
    /// `skip`, `gate` and `bias` tell, in that order. Memory between the passes is one state in 16 steps.
    /// mamba_ssm: `selective_scan_fn` (there with channels before length).
    ///
    /// # Panics
    /// When the shapes or the number of options do not fit.
    pub fn selective_scan(
        self,
        delta: Self,
        a: Self,
        [b, c]: [Self; 2],
        options: &[Self],
        scan: SelectiveScan,
    ) -> [Self; 2] {
        let expected = scan.places().iter().flatten().count();
        assert_eq!(options.len(), expected, "selective_scan: {} optional operands, expected {expected}", options.len());
        let mut operands = vec![self, delta, a, b, c];
        operands.extend(options);
        let outputs = self.tape.record(scan, &operands);
        [outputs[0], outputs[1]]
    }
}
