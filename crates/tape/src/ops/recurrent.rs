//! LSTM and GRU layers over whole sequences, each as one op.
//!
//! The products with the input are one matrix product for all times; only the recurrent part goes step by step. The
//! gradients of the weights are one matrix product each at the end of the backward pass.

use std::marker::PhantomData;
use std::ops::Range;

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::for_each_part;
use crate::kernels::gates::{gru_back, gru_hidden_half, gru_step, lstm_back, lstm_step};
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::kernels::reduce::sum_middle;
use crate::kernels::tile::{Panels, block_product, line, scaled_rows};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// What goes through a recurrent layer besides its input and weights.
#[derive(Clone, Debug, Default)]
pub struct RecurrentOptions {
    /// Whether time runs backwards.
    pub reverse: bool,
    /// For each sequence of the batch how many times are valid: at later ones the states hold and the output is zero,
    /// as with PyTorch's packed sequences.
    pub lengths: Option<Vec<usize>>,
}

/// The arithmetic of one kind of cell.
pub trait Cell: Send + Sync + 'static {
    #[doc(hidden)]
    const NAME: &'static str;
    #[doc(hidden)]
    const DOC: &'static str;
    /// Gates, whose weights stand below each other.
    const GATES: usize;
    /// States: h, or h and c.
    const STATES: usize;
    /// Whether the last gate needs its hidden half, with the hidden bias, apart from its input half.
    const APART: bool;

    /// One step of one sequence: `states` are h and c before, `after` those after; four arrays of gates are kept.
    #[doc(hidden)]
    fn step<T: Float>(input: &[T], hidden: &[T], states: [&[T]; 2], gates: &mut [T], after: [&mut [T]; 2]);
    /// Its reverse: `d_states` hold the gradients of the states after, and then what passes straight to those before.
    #[doc(hidden)]
    fn back<T: Float>(gates: &[T], cells: [&[T]; 2], before: &[T], d_states: [&mut [T]; 2], d_gates: &mut [T]);
    /// Gradients of the gates' hidden half from those of their input half.
    #[doc(hidden)]
    fn hidden_half<T: Float>(gates: &[T], d_gates: &mut [T], size: usize);
}

/// The long short-term memory (Hochreiter & Schmidhuber 1997; Gers et al. 2000).
pub struct LstmCell;
/// The gated recurrent unit (Cho et al. 2014).
pub struct GruCell;

impl Cell for LstmCell {
    const NAME: &'static str = "lstm";
    const DOC: &'static str = "A long short-term memory over whole sequences: every h, and the last h and c \
                               (Hochreiter & Schmidhuber 1997). PyTorch: `nn.LSTM`, one layer and direction.";
    const GATES: usize = 4;
    const STATES: usize = 2;
    const APART: bool = false;

    fn step<T: Float>(
        input: &[T],
        hidden: &[T],
        [_, c]: [&[T]; 2],
        gates: &mut [T],
        [h_after, c_after]: [&mut [T]; 2],
    ) {
        lstm_step(input, hidden, c, gates, h_after, c_after);
    }
    fn back<T: Float>(gates: &[T], [c, c_after]: [&[T]; 2], _: &[T], [dh, dc]: [&mut [T]; 2], d_gates: &mut [T]) {
        lstm_back(gates, c, c_after, dh, dc, d_gates);
        dh.fill(T::ZERO);
    }
    fn hidden_half<T: Float>(_: &[T], _: &mut [T], _: usize) {}
}

impl Cell for GruCell {
    const NAME: &'static str = "gru";
    const DOC: &'static str = "Gated recurrent units over whole sequences: every h, and the last h (Cho et al. 2014). \
                               PyTorch: `nn.GRU`, one layer and direction.";
    const GATES: usize = 3;
    const STATES: usize = 1;
    const APART: bool = true;

    fn step<T: Float>(input: &[T], hidden: &[T], [h, _]: [&[T]; 2], gates: &mut [T], [after, _]: [&mut [T]; 2]) {
        gru_step(input, hidden, h, gates, after);
    }
    fn back<T: Float>(gates: &[T], _: [&[T]; 2], before: &[T], [dh, _]: [&mut [T]; 2], d_gates: &mut [T]) {
        gru_back(gates, before, dh, d_gates);
    }
    fn hidden_half<T: Float>(gates: &[T], d_gates: &mut [T], size: usize) {
        gru_hidden_half(gates, d_gates, size);
    }
}

/// A recurrent layer in one direction.
pub struct Recurrent<C> {
    options: RecurrentOptions,
    cell: PhantomData<C>,
}

/// The op behind [`Var::lstm`].
pub type Lstm = Recurrent<LstmCell>;
/// The op behind [`Var::gru`].
pub type Gru = Recurrent<GruCell>;

/// Arrays of gates that are kept for each step.
const KEPT: usize = 4;
/// Multiply-adds of a step that make one task.
const WORK: usize = 1 << 20;
/// Rows of a task are a multiple of this, the largest register tile.
const TILE: usize = 8;

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    time: usize,
    inputs: usize,
    hidden: usize,
}

impl<C: Cell> Recurrent<C> {
    fn sizes(&self, inputs: &[Shape]) -> Sizes {
        let name = C::NAME;
        let [x, w_input, w_hidden] = [&inputs[0], &inputs[1], &inputs[2]];
        assert!(
            x.rank() == 3 && w_input.rank() == 2 && w_hidden.rank() == 2,
            "{name}: {x} with weights {w_input} and {w_hidden}: expected [batch, time, inputs], \
             [{0} hidden, inputs] and [{0} hidden, hidden]",
            C::GATES
        );
        let sizes = Sizes { batch: x[0], time: x[1], inputs: x[2], hidden: w_hidden[1] };
        let rows = C::GATES * sizes.hidden;
        assert!(
            sizes.hidden > 0 && **w_input == [rows, sizes.inputs] && **w_hidden == [rows, sizes.hidden],
            "{name}: {x} with weights {w_input} and {w_hidden}: expected [{rows}, {}] and [{rows}, {}]",
            sizes.inputs,
            sizes.hidden
        );
        let states = &inputs[5..];
        assert!(
            inputs[3..5].iter().all(|b| **b == [rows]) && states.iter().all(|s| **s == [sizes.batch, sizes.hidden]),
            "{name}: biases {} and {} and states {states:?}: expected [{rows}] and [{}, {}]",
            inputs[3],
            inputs[4],
            sizes.batch,
            sizes.hidden
        );
        if let Some(lengths) = &self.options.lengths {
            assert!(
                lengths.len() == sizes.batch && lengths.iter().all(|&l| l <= sizes.time),
                "{name}: lengths {lengths:?} do not fit {} sequences of {} times",
                sizes.batch,
                sizes.time
            );
        }
        sizes
    }

    /// The time that a step is about.
    fn time(&self, step: usize, times: usize) -> usize {
        if self.options.reverse { times - 1 - step } else { step }
    }

    /// Whether a sequence has the time of a step.
    fn valid(&self, row: usize, step: usize, times: usize) -> bool {
        self.options.lengths.as_ref().is_none_or(|lengths| self.time(step, times) < lengths[row])
    }

    /// Copies rows of `[batch, time, width]` to `[step, batch, width]`.
    fn by_step<T: Float>(&self, from: &[T], batch: usize, times: usize, width: usize, to: &mut [T]) {
        for (index, to) in to.chunks_exact_mut(width.max(1)).enumerate() {
            let (step, row) = (index / batch, index % batch);
            to.copy_from_slice(&from[(row * times + self.time(step, times)) * width..][..width]);
        }
    }
}

/// Sequences in one task of a step; depends on the sizes alone.
fn rows_per_task(sizes: Sizes, gates: usize) -> usize {
    (WORK / (sizes.hidden * sizes.hidden * gates)).max(1).next_multiple_of(TILE)
}

/// W^T or W in panels, for the products of every step.
fn pack<T: Float>(matrix: MatrixRef<'_, T>, (k, n): (usize, usize), pool: &Pool<T>) -> Buffer<T> {
    let mut room = pool.take(Panels::<T>::size(k, n));
    Panels::pack(matrix, (k, n), T::ONE, &mut room);
    room
}

fn rows<T>(array: &[T], range: Range<usize>, width: usize) -> &[T] {
    &array[range.start * width..range.end * width]
}

impl<T: Float, C: Cell> Op<T> for Recurrent<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let Sizes { batch, time, hidden, .. } = self.sizes(inputs);
        let mut shapes = Shapes::from_elem(Shape::new(&[batch, hidden]), 1 + C::STATES);
        shapes[0] = Shape::new(&[batch, time, hidden]);
        shapes
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let shapes: Shapes = x.iter().map(|x| x.shape).collect();
        let sizes @ Sizes { batch, time, inputs, hidden: h } = self.sizes(&shapes);
        let (pool, wide, steps) = (saved.pool.clone(), C::GATES * h, batch * time);

        let mut by_step = pool.take(steps * inputs);
        self.by_step(x[0].data, batch, time, inputs, &mut by_step);
        let mut projected = pool.take(steps * wide);
        for row in projected.chunks_exact_mut(wide) {
            row.iter_mut().zip(x[3].data.iter().zip(x[4].data)).enumerate().for_each(|(i, (out, (a, b)))| {
                // the hidden bias of a GRU's candidate stays within the reset gate
                *out = if C::APART && i >= 2 * h { *a } else { *a + *b };
            });
        }
        let weights = MatrixRef::row_major(x[1].data, inputs).transposed();
        gemm((steps, inputs, wide), MatrixRef::row_major(&by_step, inputs), weights, &mut projected, true);
        drop(by_step);

        let packed = pack(MatrixRef::row_major(x[2].data, h).transposed(), (h, wide), &pool);
        let mut states =
            [pool.take((steps + batch) * h), pool.take(if C::STATES == 2 { (steps + batch) * h } else { 0 })];
        let mut gates = pool.take(steps * KEPT * h);
        for (state, first) in states.iter_mut().zip(&x[5..]) {
            state[..batch * h].copy_from_slice(first.data);
        }
        let task = rows_per_task(sizes, C::GATES);
        let padded = wide.next_multiple_of(line::<T>());
        for step in 0..time {
            let [(h_before, h_after), (c_before, c_after)] = states.each_mut().map(|state| {
                let at = ((step + 1) * batch * h).min(state.len());
                let (before, after) = state.split_at_mut(at);
                let end = (batch * h).min(after.len());
                (&before[before.len() - end..], &mut after[..end])
            });
            let projected = rows(&projected, step * batch..(step + 1) * batch, wide);
            let gates = &mut gates[step * batch * KEPT * h..(step + 1) * batch * KEPT * h];
            let widths = [h, if C::STATES == 2 { h } else { 0 }, KEPT * h];
            for_each_part(batch.div_ceil(task), [h_after, c_after, gates], widths.map(|w| task * w), &|part,
                                                                                                       [
                h_after,
                c_after,
                gates,
            ]| {
                let first = part * task;
                let count = gates.len() / (KEPT * h);
                let mut product = pool.take(count * padded);
                if C::APART {
                    for row in product.chunks_exact_mut(padded) {
                        row[..2 * h].fill(T::ZERO);
                        row[2 * h..wide].copy_from_slice(&x[4].data[2 * h..]);
                        row[wide..].fill(T::ZERO);
                    }
                }
                let left = MatrixRef::row_major(rows(h_before, first..first + count, h), h);
                block_product((count, h, wide), left, Panels::of(&packed, (h, wide)), &mut product, padded, C::APART);
                for row in 0..count {
                    let at = first + row;
                    let (own, own_c) = (row * h..(row + 1) * h, row * widths[1]..(row + 1) * widths[1]);
                    let before = rows(h_before, at..at + 1, h);
                    let before_c = rows(c_before, at..at + 1, widths[1]);
                    if self.valid(at, step, time) {
                        C::step(
                            rows(projected, at..at + 1, wide),
                            rows(&product, row..row + 1, padded),
                            [before, before_c],
                            &mut gates[row * KEPT * h..(row + 1) * KEPT * h],
                            [&mut h_after[own], &mut c_after[own_c]],
                        );
                    } else {
                        gates[row * KEPT * h..(row + 1) * KEPT * h].fill(T::ZERO);
                        h_after[own].copy_from_slice(before);
                        c_after[own_c].copy_from_slice(before_c);
                    }
                }
            });
        }
        for step in 0..time {
            for row in 0..batch {
                let out = &mut y[0][(row * time + self.time(step, time)) * h..][..h];
                if self.valid(row, step, time) {
                    out.copy_from_slice(rows(&states[0], (step + 1) * batch + row..(step + 1) * batch + row + 1, h));
                } else {
                    out.fill(T::ZERO);
                }
            }
        }
        for (last, state) in y[1..].iter_mut().zip(&states) {
            last.copy_from_slice(&state[steps * h..]);
        }
        let [hidden, cells] = states;
        saved.kept.extend([gates, hidden, cells]);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let shapes: Shapes = at.x.iter().map(|x| x.shape).collect();
        let sizes @ Sizes { batch, time, inputs, hidden: h } = self.sizes(&shapes);
        let (wide, steps) = (C::GATES * h, batch * time);
        let (gates, hidden, cells) = (&at.saved[0], &at.saved[1], &at.saved[2]);
        let width_c = if C::STATES == 2 { h } else { 0 };

        let w_hidden = MatrixRef::row_major(at.x[2].data, h);
        let packed = pack(w_hidden, (wide, h), at.pool);
        let mut d_states = [at.pool.take_zeroed(batch * h), at.pool.take_zeroed(batch * width_c)];
        for (output, d_state) in d_states.iter_mut().enumerate().take(C::STATES) {
            if let Some(grad) = at.grad_if_any(output + 1) {
                d_state.copy_from_slice(grad);
            }
        }
        let mut d_gates = at.scratch(steps * wide);
        let task = rows_per_task(sizes, C::GATES);
        let padded = h.next_multiple_of(line::<T>());
        for step in (0..time).rev() {
            let d_gates = &mut d_gates[step * batch * wide..(step + 1) * batch * wide];
            let [dh, dc] = &mut d_states;
            for_each_part(
                batch.div_ceil(task),
                [dh, dc, d_gates],
                [task * h, task * width_c, task * wide],
                &|part, [dh, dc, d_gates]| {
                    let first = part * task;
                    let count = dh.len() / h;
                    let mut halves = at.scratch(count * wide);
                    for row in 0..count {
                        let (own, own_c) = (row * h..(row + 1) * h, row * width_c..(row + 1) * width_c);
                        let (half, d_gates) = (&mut halves[row * wide..][..wide], &mut d_gates[row * wide..][..wide]);
                        if !self.valid(first + row, step, time) {
                            half.fill(T::ZERO);
                            d_gates.fill(T::ZERO);
                            continue;
                        }
                        let (index, dh) = (step * batch + first + row, &mut dh[own]);
                        if let Some(grad) = at.grad_if_any(0) {
                            let grad = &grad[((first + row) * time + self.time(step, time)) * h..][..h];
                            dh.iter_mut().zip(grad).for_each(|(sum, g)| *sum += *g);
                        }
                        let gates = rows(gates, index..index + 1, KEPT * h);
                        let both = [index, index + batch].map(|i| rows(cells, i..i + 1, width_c));
                        C::back(gates, both, rows(hidden, index..index + 1, h), [dh, &mut dc[own_c]], d_gates);
                        half.copy_from_slice(d_gates);
                        C::hidden_half(gates, half, h);
                    }
                    let mut through = at.scratch(count * padded);
                    let left = MatrixRef::row_major(&halves, wide);
                    block_product((count, wide, h), left, Panels::of(&packed, (wide, h)), &mut through, padded, false);
                    for (dh, through) in dh.chunks_exact_mut(h).zip(through.chunks_exact(padded)) {
                        dh.iter_mut().zip(through).for_each(|(sum, g)| *sum += *g);
                    }
                },
            );
        }
        for (operand, d_state) in d_states.iter().enumerate().take(C::STATES) {
            grads.add_slice(5 + operand, d_state);
        }

        let d_input = MatrixRef::row_major(&d_gates, wide);
        if grads.wanted(0) {
            let mut by_step = at.scratch(steps * inputs);
            gemm((steps, wide, inputs), d_input, MatrixRef::row_major(at.x[1].data, inputs), &mut by_step, false);
            let (grad, accumulate) = grads.write(0).expect("it is wanted");
            for (index, grad) in grad.chunks_exact_mut(inputs.max(1)).enumerate() {
                let source = self.time(index % time, time) * batch + index / time;
                scaled_rows(rows(&by_step, source..source + 1, inputs), inputs, T::ONE, grad, inputs, accumulate);
            }
        }
        if let Some((grad, accumulate)) = grads.write(1) {
            let mut by_step = at.scratch(steps * inputs);
            self.by_step(at.x[0].data, batch, time, inputs, &mut by_step);
            gemm((wide, steps, inputs), d_input.transposed(), MatrixRef::row_major(&by_step, inputs), grad, accumulate);
        }
        let mut summed = at.scratch(wide);
        sum_middle(&d_gates, (1, steps, wide), &mut summed, at.pool);
        grads.add_slice(3, &summed);
        // from here on the gradients of the hidden half
        for (d_gates, gates) in d_gates.chunks_exact_mut(wide).zip(gates.chunks_exact(KEPT * h)) {
            C::hidden_half(gates, d_gates, h);
        }
        if let Some((grad, accumulate)) = grads.write(2) {
            let d_hidden = MatrixRef::row_major(&d_gates, wide).transposed();
            gemm((wide, steps, h), d_hidden, MatrixRef::row_major(hidden, h), grad, accumulate);
        }
        if C::APART {
            sum_middle(&d_gates, (1, steps, wide), &mut summed, at.pool);
        }
        grads.add_slice(4, &summed);
    }
}

impl<C: Cell> Samples for Recurrent<C> {
    const NAME: &'static str = C::NAME;
    const DOC: &'static str = C::DOC;

    fn samples() -> Vec<Sample<Self>> {
        let sample = |reverse, lengths: Option<Vec<usize>>, [batch, time, inputs, hidden]: [usize; 4]| {
            let rows = C::GATES * hidden;
            let op = Self { options: RecurrentOptions { reverse, lengths }, cell: PhantomData };
            let state = [batch, hidden];
            let shapes: [&[usize]; 7] =
                [&[batch, time, inputs], &[rows, inputs], &[rows, hidden], &[rows], &[rows], &state, &state];
            Sample::new(op, -1.0..1.0, &shapes[..5 + C::STATES])
        };
        vec![
            sample(false, None, [2, 4, 3, 2]),
            sample(true, None, [1, 3, 2, 3]),
            sample(false, Some(vec![2, 4, 0]), [3, 4, 2, 2]),
            sample(true, Some(vec![2, 3]), [2, 3, 1, 2]),
            sample(false, None, [1, 1, 1, 1]),
            sample(false, None, [2, 0, 2, 1]),
            sample(false, None, [0, 3, 2, 1]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// A long short-term memory over `[batch, time, inputs]`: every h `[batch, time, hidden]`, the last h and the last
    /// c, both `[batch, hidden]`.
    ///
    /// `weights` are those of the input `[4 hidden, inputs]`, of h `[4 hidden, hidden]`, and both biases `[4 hidden]`;
    /// `initial` are h and c before the first step. Gates stand in PyTorch's order i, f, g, o, so its weights load as
    /// they are: i, f, o = sigmoid(..), g = tanh(..), c' = f c + i g, h' = o tanh(c') (Hochreiter & Schmidhuber 1997;
    /// Gers et al. 2000). PyTorch: `nn.LSTM(.., batch_first=True)`, one layer and direction.
    ///
    /// # Panics
    /// When the shapes or lengths do not fit.
    pub fn lstm(self, weights: [Self; 4], initial: [Self; 2], options: RecurrentOptions) -> [Self; 3] {
        let [w_input, w_hidden, b_input, b_hidden] = weights;
        let [h, c] = initial;
        let op = Lstm { options, cell: PhantomData };
        let out = self.tape.record(op, &[self, w_input, w_hidden, b_input, b_hidden, h, c]);
        [out[0], out[1], out[2]]
    }

    /// Gated recurrent units over `[batch, time, inputs]`: every h `[batch, time, hidden]` and the last `[batch, hidden]`.
    ///
    /// `weights` are those of the input `[3 hidden, inputs]`, of h `[3 hidden, hidden]`, and both biases `[3 hidden]`;
    /// `initial` is h before the first step. Gates stand in PyTorch's order r, z, n, so its weights load as they are:
    /// r, z = sigmoid(..), n = tanh(W x + b + r (U h + b')), h' = (1 - z) n + z h (Cho et al. 2014, with the reset gate
    /// after the product). PyTorch: `nn.GRU(.., batch_first=True)`, one layer and direction.
    ///
    /// # Panics
    /// When the shapes or lengths do not fit.
    pub fn gru(self, weights: [Self; 4], initial: Self, options: RecurrentOptions) -> [Self; 2] {
        let [w_input, w_hidden, b_input, b_hidden] = weights;
        let op = Gru { options, cell: PhantomData };
        let out = self.tape.record(op, &[self, w_input, w_hidden, b_input, b_hidden, initial]);
        [out[0], out[1]]
    }
}
