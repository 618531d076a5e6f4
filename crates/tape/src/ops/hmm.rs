//! Hidden Markov chains as whole ops: log-likelihoods whose gradients are expected counts (Rabiner 1989; Eisner 2016),
//! and posteriors with an adjoint of their own.

use std::ops::Range;

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::markov::{Chain, Cotangent, Scratch, padded};
use crate::kernels::{for_each_piece, split_pieces};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Steps of one unit of work: consecutive sequences are taken together until they have as many.
const STEPS_PER_GROUP: usize = 1024;

/// The ln-sum over all paths of hidden states, for sequences of unequal lengths laid end to end.
///
/// Operands: ln weights of the first state `[states]`, of transitions `[states, states]`, of emissions
/// `[sum of lengths, states]` and, if there is a fourth, of the last state `[states]`. With normalised weights this is the
/// log-likelihood of a hidden Markov model, with others the log-partition of a linear-chain conditional random field.
pub struct HmmLogLikelihood {
    /// Steps of each sequence.
    pub lengths: Vec<usize>,
}

/// The probability of every state at every step, given whole sequences; operands as of [`HmmLogLikelihood`].
pub struct HmmPosteriors {
    /// Steps of each sequence.
    pub lengths: Vec<usize>,
}

/// Checks the operands and returns the number of steps and of states.
pub(crate) fn chain_sizes(name: &str, inputs: &[Shape], lengths: &[usize]) -> (usize, usize) {
    let (initial, transition, emission) = (&inputs[0], &inputs[1], &inputs[2]);
    let (states, steps) = (initial.last_size(), lengths.iter().sum::<usize>());
    let last = inputs.get(3).unwrap_or(initial);
    assert!(
        states > 0 && **initial == [states] && **transition == [states, states] && **emission == [steps, states],
        "{name}: initial {initial}, transition {transition}, emission {emission} for {steps} steps: expected \
         [states], [states, states], [steps, states] with states > 0"
    );
    assert!(last == initial, "{name}: last {last}, initial {initial}: shapes differ");
    (steps, states)
}

/// Consecutive sequences that make up a unit of work: which, and which steps.
pub(crate) fn groups(lengths: &[usize]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut groups = Vec::new();
    let (mut first, mut start, mut step) = (0, 0, 0);
    for (sequence, length) in lengths.iter().enumerate() {
        step += length;
        if step - start >= STEPS_PER_GROUP || sequence + 1 == lengths.len() {
            groups.push((first..sequence + 1, start..step));
            (first, start) = (sequence + 1, step);
        }
    }
    groups
}

/// What the filter leaves for the other passes.
pub(super) struct Filtered<'a, T> {
    /// `[steps, padded states]`
    pub rows: &'a [T],
    /// `[steps]`
    pub scale: &'a [T],
    /// For each sequence whether its rows are scaled probabilities (1) or logarithms (0).
    pub scaled: &'a [T],
    /// The log-likelihood of each sequence.
    pub values: &'a [T],
}

impl<'a, T: Float> Filtered<'a, T> {
    /// The rows of one sequence and their sums, and whether they are scaled.
    pub fn of(&self, sequence: usize, steps: Range<usize>, width: usize) -> (&'a [T], &'a [T], bool) {
        let rows = &self.rows[steps.start * width..steps.end * width];
        (rows, &self.scale[steps], self.scaled[sequence] == T::ONE)
    }
}

pub(super) fn chain<'a, T: Float>(x: &[Array<'a, T>], pool: &Pool<T>) -> Chain<'a, T> {
    Chain::new(x[0].data, x[1].data, x.get(3).map_or(&[], |last| last.data), pool)
}

/// Filters every sequence into arrays of `steps x width`, `steps`, `sequences` and `sequences` elements.
pub(super) fn filter_all<T: Float>(
    lengths: &[usize],
    x: &[Array<'_, T>],
    pool: &Pool<T>,
    (rows, scale, scaled, values): (&mut [T], &mut [T], &mut [T], &mut [T]),
) {
    let chain = chain(x, pool);
    let groups = groups(lengths);
    let steps = || groups.iter().map(|(_, steps)| steps.len());
    let sequences = || groups.iter().map(|(sequences, _)| sequences.len());
    let rows = split_pieces(rows, steps().map(|n| n * chain.width));
    let scale = split_pieces(scale, steps());
    let scaled = split_pieces(scaled, sequences());
    let values = split_pieces(values, sequences());
    let parts = groups.iter().zip(rows.into_iter().zip(scale)).zip(scaled.into_iter().zip(values)).collect();
    for_each_piece(parts, |_, (((sequences, steps), (rows, scale)), (scaled, values))| {
        let mut scratch = Scratch::new(chain.width, pool);
        let mut start = 0;
        for (k, &length) in lengths[sequences.clone()].iter().enumerate() {
            let range = start..start + length;
            let emission = &x[2].data[(steps.start + start) * chain.states..];
            let rows = &mut rows[range.start * chain.width..range.end * chain.width];
            let (value, linear) = chain.filter(emission, rows, &mut scale[range], &mut scratch);
            values[k] = T::of(value);
            scaled[k] = if linear { T::ONE } else { T::ZERO };
            start += length;
        }
    });
}

/// What a group of sequences adds to the gradients of the shared weights.
struct Shared<T: Float> {
    first: Buffer<T>,
    last: Buffer<T>,
    transitions: Buffer<T>,
}

/// Runs `work(sequence, its part of emissions, their gradient, transition counts)` for every sequence, which writes the
/// gradient of the emissions and the counts; weighs both by `weight(sequence)` and adds them to all gradients.
pub(super) fn back_by_sequences<T: Float>(
    lengths: &[usize],
    at: &At<'_, T>,
    grads: &mut Grads<'_, T>,
    chain: &Chain<'_, T>,
    weight: impl Fn(usize) -> T + Sync,
    work: impl Fn(usize, Range<usize>, &mut [T], &mut [T], &mut Scratch<T>) + Sync + Send,
) {
    let (states, width) = (chain.states, chain.width);
    let groups = groups(lengths);
    let mut slopes = at.scratch(at.x[2].data.len());
    let mut shared: Vec<Shared<T>> = groups
        .iter()
        .map(|_| Shared {
            first: at.pool.take_zeroed(states),
            last: at.pool.take_zeroed(states),
            transitions: at.pool.take_zeroed(width * width),
        })
        .collect();
    let parts = split_pieces(&mut slopes, groups.iter().map(|(_, steps)| steps.len() * states));
    let parts = groups.iter().zip(parts).zip(&mut shared).collect();
    for_each_piece(parts, |_, (((sequences, steps), slopes), shared)| {
        let mut scratch = Scratch::new(width, at.pool);
        let mut counts = at.pool.take(width * width);
        let mut start = 0;
        for sequence in sequences.clone() {
            let length = lengths[sequence];
            let slopes = &mut slopes[start * states..(start + length) * states];
            if length > 0 {
                counts.fill(T::ZERO);
                let from = steps.start + start;
                work(sequence, from..from + length, slopes, &mut counts, &mut scratch);
                let weight = weight(sequence);
                if weight != T::ONE {
                    slopes.iter_mut().for_each(|slope| *slope *= weight);
                }
                add(&mut shared.first, &slopes[..states], T::ONE);
                add(&mut shared.last, &slopes[(length - 1) * states..], T::ONE);
                add(&mut shared.transitions, &counts, weight);
            }
            start += length;
        }
    });
    grads.add_slice(2, &slopes);
    let Some((total, others)) = shared.split_first_mut() else {
        for operand in [0, 1, 3].into_iter().filter(|&i| i < at.x.len()) {
            grads.add(operand, |_| T::ZERO);
        }
        return;
    };
    for other in others {
        add(&mut total.first, &other.first, T::ONE);
        add(&mut total.last, &other.last, T::ONE);
        add(&mut total.transitions, &other.transitions, T::ONE);
    }
    grads.add_slice(0, &total.first);
    grads.add(1, |i| total.transitions[i / states * width + i % states]);
    if at.x.len() > 3 {
        grads.add_slice(3, &total.last);
    }
}

fn add<T: Float>(sum: &mut [T], x: &[T], weight: T) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * *x);
}

impl<T: Float> Op<T> for HmmLogLikelihood {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        chain_sizes(Self::NAME, inputs, &self.lengths);
        Shapes::from_elem(Shape::new(&[self.lengths.len()]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let [steps, states] = [x[2].shape[0], x[2].shape[1]];
        let pool = saved.pool.clone();
        let (mut rows, mut scale) = (pool.take(steps * padded(states)), pool.take(steps));
        let mut scaled = pool.take(self.lengths.len());
        filter_all(&self.lengths, x, &pool, (&mut rows, &mut scale, &mut scaled, y[0]));
        saved.kept.extend([rows, scale, scaled]);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let filtered = Filtered { rows: &at.saved[0], scale: &at.saved[1], scaled: &at.saved[2], values: at.y[0].data };
        let chain = chain(at.x, at.pool);
        let g = at.grad(0);
        back_by_sequences(
            &self.lengths,
            at,
            grads,
            &chain,
            |sequence| g[sequence],
            |sequence, steps, slopes, counts, scratch| {
                smooth(&filtered, &chain, at.x[2].data, sequence, steps, slopes, counts, scratch);
            },
        );
    }
}

/// The posteriors and expected transitions of one sequence: zero when it is impossible, NaN when its likelihood is.
#[allow(clippy::too_many_arguments)]
pub(super) fn smooth<T: Float>(
    filtered: &Filtered<'_, T>,
    chain: &Chain<'_, T>,
    emission: &[T],
    sequence: usize,
    steps: Range<usize>,
    posteriors: &mut [T],
    counts: &mut [T],
    scratch: &mut Scratch<T>,
) {
    let value = filtered.values[sequence];
    if !value.is_finite() {
        let fill = if value == T::of(f64::NEG_INFINITY) { T::ZERO } else { T::of(f64::NAN) };
        posteriors.fill(fill);
        counts.fill(fill);
        return;
    }
    let emission = &emission[steps.start * chain.states..];
    chain.smooth(emission, filtered.of(sequence, steps, chain.width), posteriors, counts, scratch);
}

/// The gradient of one sequence from the `cotangent` of all steps' probabilities: zero when it is impossible (but for the
/// filter, which goes as far as a state explains), NaN when its likelihood is.
pub(super) fn adjoint<T: Float>(
    filtered: &Filtered<'_, T>,
    chain: &Chain<'_, T>,
    at: &At<'_, T>,
    cotangent: Cotangent<'_, T>,
    (sequence, steps): (usize, Range<usize>),
    (slopes, counts): (&mut [T], &mut [T]),
    scratch: &mut Scratch<T>,
) {
    let value = filtered.values[sequence];
    let impossible = value == T::of(f64::NEG_INFINITY);
    let defined = value.is_finite() || impossible && cotangent.is_filter();
    if !defined {
        let fill = if impossible { T::ZERO } else { T::of(f64::NAN) };
        slopes.fill(fill);
        counts.fill(fill);
        return;
    }
    let from = steps.start * chain.states;
    let filtered = filtered.of(sequence, steps, chain.width);
    let emission = &at.x[2].data[from..];
    chain.adjoint(emission, filtered, cotangent.from(from), slopes, counts, scratch, at.pool);
}

impl<T: Float> Op<T> for HmmPosteriors {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        chain_sizes(Self::NAME, inputs, &self.lengths);
        Shapes::from_elem(inputs[2], 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let [steps, states] = [x[2].shape[0], x[2].shape[1]];
        let pool = saved.pool.clone();
        let (mut rows, mut scale) = (pool.take(steps * padded(states)), pool.take(steps));
        let (mut scaled, mut values) = (pool.take(self.lengths.len()), pool.take(self.lengths.len()));
        filter_all(&self.lengths, x, &pool, (&mut rows, &mut scale, &mut scaled, &mut values));
        let chain = chain(x, &pool);
        let filtered = Filtered { rows: &rows, scale: &scale, scaled: &scaled, values: &values };
        let groups = groups(&self.lengths);
        let parts = split_pieces(y[0], groups.iter().map(|(_, steps)| steps.len() * states));
        for_each_piece(groups.iter().zip(parts).collect(), |_, ((sequences, steps), y)| {
            let mut scratch = Scratch::new(chain.width, &pool);
            let mut counts = pool.take_zeroed(chain.width * chain.width);
            let mut start = 0;
            for sequence in sequences.clone() {
                let end = start + self.lengths[sequence];
                let range = steps.start + start..steps.start + end;
                let y = &mut y[start * states..end * states];
                smooth(&filtered, &chain, x[2].data, sequence, range, y, &mut counts, &mut scratch);
                start = end;
            }
        });
        saved.kept.extend([rows, scale, scaled, values]);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let filtered = Filtered { rows: &at.saved[0], scale: &at.saved[1], scaled: &at.saved[2], values: &at.saved[3] };
        let chain = chain(at.x, at.pool);
        let cotangent = Cotangent::Posteriors(at.grad(0));
        back_by_sequences(
            &self.lengths,
            at,
            grads,
            &chain,
            |_| T::ONE,
            |sequence, steps, slopes, counts, scratch| {
                adjoint(&filtered, &chain, at, cotangent, (sequence, steps), (slopes, counts), scratch);
            },
        );
    }
}

/// Sequences of unequal lengths (also 0 and 1), few states and more than a register of states, with and without weights
/// of the last state, and a spread of transitions that needs logarithms.
pub(super) fn chain_samples<O>(op: impl Fn(Vec<usize>) -> O) -> Vec<Sample<O>> {
    let sample = |lengths: &[usize], states: usize, last: bool, spread: f64| {
        let steps = lengths.iter().sum();
        let mut shapes = vec![vec![states], vec![states, states], vec![steps, states]];
        if last {
            shapes.push(vec![states]);
        }
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        Sample::new(op(lengths.to_vec()), -spread..spread, &shapes)
    };
    vec![
        sample(&[4, 0, 1, 3], 3, false, 2.0),
        sample(&[5], 1, true, 2.0),
        sample(&[2, 3], 17, true, 2.0),
        sample(&[6], 9, false, 2.0),
        sample(&[5, 1], 3, true, 20.0),
        sample(&[], 2, false, 2.0),
    ]
}

impl Samples for HmmLogLikelihood {
    const NAME: &'static str = "hmm_log_likelihood";
    const DOC: &'static str = "Log-likelihood of sequences under a hidden Markov chain; its gradients are expected counts. \
         TensorFlow Probability: `HiddenMarkovModel.log_prob`.";
    fn samples() -> Vec<Sample<Self>> {
        chain_samples(|lengths| Self { lengths })
    }
}

impl Samples for HmmPosteriors {
    const NAME: &'static str = "hmm_posteriors";
    const DOC: &'static str = "Probability of every hidden state at every step given whole sequences. \
         TensorFlow Probability: `HiddenMarkovModel.posterior_marginals`.";
    fn samples() -> Vec<Sample<Self>> {
        chain_samples(|lengths| Self { lengths })
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The log-likelihood `[sequences]` of each sequence under a hidden Markov model.
    ///
    /// This is `[sum of lengths, states]`: the log-probability of each observation given the state, sequences end to end;
    /// a missing observation is a row of zeros. `initial` is `[states]` and `transition` `[states, states]` (from, to),
    /// in logarithms; negative infinity forbids. The gradients are the expected numbers of starts, transitions and visits.
    ///
    /// A sequence of length 0 has log-likelihood 0. One that no path explains has negative infinity, and its gradient is
    /// zero. NaN and positive infinity give NaN. Weights need not be normalised. Scaled probabilities are used where they
    /// provably cannot underflow, logarithms elsewhere. TensorFlow Probability: `HiddenMarkovModel.log_prob`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn hmm_log_likelihood(self, initial: Self, transition: Self, lengths: &[usize]) -> Self {
        let op = HmmLogLikelihood { lengths: lengths.to_vec() };
        self.tape.record(op, &[initial, transition, self])[0]
    }

    /// The probability `[sum of lengths, states]` of every state at every step given the whole sequence; operands as of
    /// [`Var::hmm_log_likelihood`]. Rows of a sequence that no path explains are zero.
    /// TensorFlow Probability: `HiddenMarkovModel.posterior_marginals`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn hmm_posteriors(self, initial: Self, transition: Self, lengths: &[usize]) -> Self {
        let op = HmmPosteriors { lengths: lengths.to_vec() };
        self.tape.record(op, &[initial, transition, self])[0]
    }

    /// State marginals `[sum of lengths, states]` of all paths, each weighted by exp(log-probability / temperature).
    ///
    /// The maximum of the Viterbi recursion is replaced by temperature x ln-sum-exp(. / temperature) and differentiated
    /// (Mensch & Blondel 2018, with negative entropy); at temperature 1 these are the posteriors, towards 0 they become
    /// the indicator of the best path. Operands as of [`Var::hmm_log_likelihood`].
    ///
    /// # Panics
    /// When the shapes do not fit, or the temperature is not positive.
    pub fn smoothed_viterbi(self, initial: Self, transition: Self, lengths: &[usize], temperature: f64) -> Self {
        assert!(temperature > 0.0, "smoothed_viterbi: temperature {temperature} is not positive");
        let beta = 1.0 / temperature;
        (self * beta).hmm_posteriors(initial * beta, transition * beta, lengths)
    }
}
