//! Stacked, bidirectional recurrent layers.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, RecurrentOptions, Tensor, Var};

use super::{Dropout, waves};
use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// The size of a stack of recurrent layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentSize {
    /// Features of the input.
    pub inputs: usize,
    /// Features of a state, in each direction.
    pub hidden: usize,
    /// Layers on top of each other.
    pub layers: usize,
    /// Whether each layer also runs backwards; its outputs stand beside those of the forward direction.
    pub bidirectional: bool,
    /// The share of elements dropped between layers, in 0..1.
    pub dropout: f64,
}

impl RecurrentSize {
    /// One layer, forward, without dropout.
    pub fn new(inputs: usize, hidden: usize) -> Self {
        Self { inputs, hidden, layers: 1, bidirectional: false, dropout: 0.0 }
    }

    /// 1, or 2 when bidirectional.
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }
}

/// The parameters of a stack: input weight, hidden weight and both biases of each layer and direction.
#[derive(Clone, Debug)]
struct Stack {
    size: RecurrentSize,
    weights: Vec<[ParamId; 4]>,
}

impl Stack {
    fn new<T: Float>(scope: &mut Scope<'_, T>, size: RecurrentSize, gates: usize) -> Self {
        let init = Init::Uniform((1.0 / size.hidden.max(1) as f64).sqrt());
        let rows = gates * size.hidden;
        let mut weights = Vec::new();
        for layer in 0..size.layers {
            let inputs = if layer == 0 { size.inputs } else { size.directions() * size.hidden };
            for direction in 0..size.directions() {
                let suffix = format!("l{layer}{}", if direction == 1 { "_reverse" } else { "" });
                weights.push([
                    scope.parameter(&format!("weight_ih_{suffix}"), [rows, inputs], init),
                    scope.parameter(&format!("weight_hh_{suffix}"), [rows, size.hidden], init),
                    scope.parameter(&format!("bias_ih_{suffix}"), [rows], init),
                    scope.parameter(&format!("bias_hh_{suffix}"), [rows], init),
                ]);
            }
        }
        Self { size, weights }
    }

    /// Runs `cell(x, weights, state number, reverse)` for each layer and direction; it gives every h and keeps the rest.
    fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        x: Var<'t, T>,
        mut cell: impl FnMut(Var<'t, T>, [Var<'t, T>; 4], usize, bool) -> Var<'t, T>,
    ) -> Var<'t, T> {
        let dropout = Dropout { rate: self.size.dropout };
        let mut x = x;
        for (layer, directions) in self.weights.chunks(self.size.directions()).enumerate() {
            if layer > 0 {
                x = dropout.forward(step, x);
            }
            let outputs: Vec<Var<'t, T>> = directions
                .iter()
                .enumerate()
                .map(|(d, ids)| cell(x, ids.map(|id| step.param(id)), layer * directions.len() + d, d == 1))
                .collect();
            x = if outputs.len() == 1 { outputs[0] } else { step.tape.concat(&outputs, -1) };
        }
        x
    }

    /// The states before the first step, `[layers directions, batch, hidden]`, split; zeros when absent.
    fn initial<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        given: Option<Var<'t, T>>,
        batch: usize,
    ) -> impl Fn(usize) -> Var<'t, T> {
        let hidden = self.size.hidden;
        let zeros = step.tape.constant(&Tensor::zeros([batch, hidden]));
        move |index| given.map_or(zeros, |states| states.narrow(0, index, 1).reshape([batch, hidden]))
    }
}

/// A stack of long short-term memories (Hochreiter & Schmidhuber 1997).
///
/// Parameters have PyTorch's names, shapes and gate order, so that its weights load as they are. Starts uniform within
/// 1 / sqrt(hidden), as there. PyTorch: `nn.LSTM(.., batch_first=True)`.
#[derive(Clone, Debug)]
pub struct Lstm(Stack);

impl Lstm {
    /// Adds the parameters `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, .. , with `_reverse` for the
    /// backward direction.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, size: RecurrentSize) -> Self {
        Self(Stack::new(scope, size, 4))
    }

    /// Runs over `[batch, time, inputs]`; gives every h of the last layer `[batch, time, directions hidden]`, and the
    /// last h and c of every layer and direction `[layers directions, batch, hidden]`.
    ///
    /// `initial` are h and c before the first step, of the same shape as those last ones, or zeros. With `lengths`, one
    /// for each sequence, states hold and outputs are zero where a sequence has ended; the backward direction starts at
    /// each sequence's end. PyTorch: the same on a `PackedSequence`.
    ///
    /// # Panics
    /// When shapes or lengths do not fit.
    pub fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        x: Var<'t, T>,
        initial: Option<[Var<'t, T>; 2]>,
        lengths: Option<&[usize]>,
    ) -> [Var<'t, T>; 3] {
        let batch = x.shape()[0];
        let h = self.0.initial(step, initial.map(|[h, _]| h), batch);
        let c = self.0.initial(step, initial.map(|[_, c]| c), batch);
        let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
        let output = self.0.forward(step, x, |x, weights, index, reverse| {
            let options = RecurrentOptions { reverse, lengths: lengths.map(<[usize]>::to_vec) };
            let [output, h, c] = x.lstm(weights, [h(index), c(index)], options);
            last_h.push(h);
            last_c.push(c);
            output
        });
        [output, step.tape.stack(&last_h, 0), step.tape.stack(&last_c, 0)]
    }
}

/// A stack of gated recurrent units (Cho et al. 2014).
///
/// Parameters have PyTorch's names, shapes and gate order, so that its weights load as they are. Starts uniform within
/// 1 / sqrt(hidden), as there. PyTorch: `nn.GRU(.., batch_first=True)`.
#[derive(Clone, Debug)]
pub struct Gru(Stack);

impl Gru {
    /// Adds the parameters, named as those of [`Lstm`].
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, size: RecurrentSize) -> Self {
        Self(Stack::new(scope, size, 3))
    }

    /// Runs over `[batch, time, inputs]`; gives every h of the last layer `[batch, time, directions hidden]` and the
    /// last h of every layer and direction `[layers directions, batch, hidden]`. `initial` and `lengths` are as for
    /// [`Lstm::forward`].
    ///
    /// # Panics
    /// When shapes or lengths do not fit.
    pub fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        x: Var<'t, T>,
        initial: Option<Var<'t, T>>,
        lengths: Option<&[usize]>,
    ) -> [Var<'t, T>; 2] {
        let first = self.0.initial(step, initial, x.shape()[0]);
        let mut last = Vec::new();
        let output = self.0.forward(step, x, |x, weights, index, reverse| {
            let options = RecurrentOptions { reverse, lengths: lengths.map(<[usize]>::to_vec) };
            let [output, h] = x.gru(weights, first(index), options);
            last.push(h);
            output
        });
        [output, step.tape.stack(&last, 0)]
    }
}

/// Two layers in both directions on padded sequences, and one layer from given states.
const CASES: [(&str, usize, bool); 2] = [("two layers, both directions, padded", 2, true), ("one layer", 1, false)];

pub(super) fn check_lstm() -> Outcome {
    let mut outcome = Outcome::new("lstm-layer");
    for (case, layers, bidirectional) in CASES {
        let mut store = ParamStore::new(1);
        let size = RecurrentSize { layers, bidirectional, dropout: 0.3, ..RecurrentSize::new(2, 2) };
        let layer = Lstm::new(&mut store.scope("layer"), size);
        let state = [layers * size.directions(), 2, 2];
        let inputs = [("x", waves([2, 3, 2], 0.1)), ("h", waves(state, 0.4)), ("c", waves(state, 0.7))];
        check_step(&mut outcome, case, &store, &inputs, true, |step, v| {
            let lengths = bidirectional.then_some(&[3, 2][..]);
            let [y, h, c] = layer.forward(step, v[0], Some([v[1], v[2]]), lengths);
            let flat = |v: Var<'_, f64>| v.shape().len();
            step.tape.concat(&[y.reshape(flat(y)), h.reshape(flat(h)), c.reshape(flat(c))], 0)
        });
    }
    outcome
}

pub(super) fn check_gru() -> Outcome {
    let mut outcome = Outcome::new("gru-layer");
    for (case, layers, bidirectional) in CASES {
        let mut store = ParamStore::new(1);
        let size = RecurrentSize { layers, bidirectional, dropout: 0.3, ..RecurrentSize::new(2, 2) };
        let layer = Gru::new(&mut store.scope("layer"), size);
        let inputs = [("x", waves([2, 3, 2], 0.1)), ("h", waves([layers * size.directions(), 2, 2], 0.4))];
        check_step(&mut outcome, case, &store, &inputs, true, |step, v| {
            let lengths = bidirectional.then_some(&[3, 2][..]);
            let [y, h] = layer.forward(step, v[0], Some(v[1]), lengths);
            let flat = |v: Var<'_, f64>| v.shape().len();
            step.tape.concat(&[y.reshape(flat(y)), h.reshape(flat(h))], 0)
        });
    }
    outcome
}
