//! Hidden Markov chains as whole ops: log-likelihoods whose gradients are expected counts (Rabiner 1989; Eisner 2016),
//! and posteriors with an adjoint of their own.

use std::ops::Range;

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::markov::{Chain, Cotangent, FilteredSteps, Scratch, padded};
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

/// Arrays that are saved of filtered sequences.
pub(super) const SAVED: usize = 5;

/// Sequences that were filtered, for the passes that follow.
pub(super) struct Filtered<'a, T: Float> {
    pub chain: Chain<'a, T>,
    /// Rows, scale and weights as of [`FilteredSteps`], and for each sequence whether its rows are scaled probabilities (1)
    /// or logarithms (0), and its log-likelihood.
    arrays: &'a [Buffer<T>; SAVED],
}

impl<'a, T: Float> Filtered<'a, T> {
    /// From what [`forward_by_sequences`] saved.
    pub fn saved(at: &At<'a, T>) -> Self {
        let arrays = at.saved.first_chunk().expect("the arrays of the filter were saved first");
        Self { chain: chain(at.x, at.pool), arrays }
    }

    /// The log-likelihood of each sequence.
    pub fn values(&self) -> &'a [T] {
        &self.arrays[SAVED - 1]
    }

    fn of(&self, sequence: usize, steps: Range<usize>) -> FilteredSteps<'a, T> {
        let [rows, scale, weights, scaled, _] = self.arrays;
        let here = steps.start * self.chain.width..steps.end * self.chain.width;
        let scaled = scaled[sequence] == T::ONE;
        FilteredSteps { rows: &rows[here.clone()], scale: &scale[steps], weights: &weights[here], scaled }
    }

    /// The probabilities of one sequence, given its steps so far.
    pub fn normalise(&self, sequence: usize, steps: Range<usize>, probabilities: &mut [T], scratch: &mut Scratch<T>) {
        self.chain.normalise(self.of(sequence, steps), probabilities, scratch);
    }

    /// The posteriors of one sequence, and its expected transitions added to counts of zero: zero when it is impossible,
    /// NaN when its likelihood is.
    pub fn smooth(
        &self,
        sequence: usize,
        steps: Range<usize>,
        posteriors: &mut [T],
        counts: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        let value = self.values()[sequence];
        if value.is_finite() {
            self.chain.smooth(self.of(sequence, steps), posteriors, counts, scratch);
        } else {
            let fill = if value == T::of(f64::NEG_INFINITY) { T::ZERO } else { T::of(f64::NAN) };
            posteriors.fill(fill);
            counts.fill(fill);
        }
    }

    /// The gradient of one sequence from the `cotangent` of all steps' probabilities: zero when it is impossible (but for
    /// the filter, which goes as far as a state explains), NaN when its likelihood is.
    pub fn adjoint(
        &self,
        cotangent: Cotangent<'_, T>,
        (sequence, steps): (usize, Range<usize>),
        (slopes, counts): (&mut [T], &mut [T]),
        scratch: &mut Scratch<T>,
        pool: &Pool<T>,
    ) {
        let value = self.values()[sequence];
        let impossible = value == T::of(f64::NEG_INFINITY);
        if value.is_finite() || impossible && cotangent.is_filter() {
            let cotangent = cotangent.from(steps.start * self.chain.states);
            self.chain.adjoint(self.of(sequence, steps), cotangent, (slopes, counts), scratch, pool);
        } else {
            let fill = if impossible { T::ZERO } else { T::of(f64::NAN) };
            slopes.fill(fill);
            counts.fill(fill);
        }
    }
}

fn chain<'a, T: Float>(x: &[Array<'a, T>], pool: &Pool<T>) -> Chain<'a, T> {
    Chain::new(x[0].data, x[1].data, x.get(3).map_or(&[], |last| last.data), pool)
}

/// Runs `work(sequence, steps, piece, scratch)` for every sequence with its piece, groups side by side.
fn for_each_sequence<T: Float, P: Send>(
    lengths: &[usize],
    (width, pool): (usize, &Pool<T>),
    pieces: impl IntoIterator<Item = P>,
    work: impl Fn(usize, Range<usize>, P, &mut Scratch<T>) + Sync,
) {
    let mut pieces = pieces.into_iter();
    let groups = groups(lengths).into_iter().map(|(sequences, steps)| {
        let pieces: Vec<P> = pieces.by_ref().take(sequences.len()).collect();
        (sequences, steps.start, pieces)
    });
    for_each_piece(groups.collect(), |_, (sequences, mut start, pieces)| {
        let mut scratch = Scratch::new(width, pool);
        for (sequence, piece) in sequences.zip(pieces) {
            let steps = start..start + lengths[sequence];
            start = steps.end;
            work(sequence, steps, piece, &mut scratch);
        }
    });
}

/// The forward pass of an op over chains: filters every sequence, runs `work(filtered, sequence, steps, piece, scratch)`
/// for each with its piece, and saves what was filtered.
pub(super) fn forward_by_sequences<T: Float, P: Send>(
    lengths: &[usize],
    x: &[Array<'_, T>],
    saved: &mut Saved<T>,
    pieces: impl IntoIterator<Item = P>,
    work: impl Fn(&Filtered<'_, T>, usize, Range<usize>, P, &mut Scratch<T>) + Sync,
) {
    let pool = saved.pool.clone();
    let chain = chain(x, &pool);
    let (states, width, emission) = (chain.states, chain.width, x[2].data);
    let (steps, sequences) = (x[2].shape[0], lengths.len());
    let mut arrays: [_; SAVED] =
        [steps * width, steps, steps * width, sequences, sequences].map(|size| pool.take(size));
    let [rows, scale, weights, scaled, values] = &mut arrays;
    let rows = by_sequences(rows, lengths, width).into_iter().zip(by_sequences(scale, lengths, 1));
    let outputs = rows.zip(by_sequences(weights, lengths, width)).zip(scaled.iter_mut().zip(values.iter_mut()));
    for_each_sequence(lengths, (width, &pool), outputs, |_, steps, (((rows, scale), weights), (scaled, value)), _| {
        let (ln_likelihood, linear) = chain.filter(&emission[steps.start * states..], (rows, scale, weights));
        *value = T::of(ln_likelihood);
        *scaled = if linear { T::ONE } else { T::ZERO };
    });
    let filtered = Filtered { chain, arrays: &arrays };
    for_each_sequence(lengths, (width, &pool), pieces, |sequence, steps, piece, scratch| {
        work(&filtered, sequence, steps, piece, scratch);
    });
    saved.kept.extend(arrays);
}

/// The pieces of an array `[steps, width]` that belong to each sequence.
pub(super) fn by_sequences<'y, T>(y: &'y mut [T], lengths: &[usize], width: usize) -> Vec<&'y mut [T]> {
    split_pieces(y, lengths.iter().map(|length| length * width))
}

/// The backward pass of an op that gives but the probabilities that `cotangent` belongs to.
pub(super) fn backward_of<T: Float>(
    lengths: &[usize],
    at: &At<'_, T>,
    grads: &mut Grads<'_, T>,
    cotangent: Cotangent<'_, T>,
) {
    let filtered = Filtered::saved(at);
    let weight = |_| T::ONE;
    back_by_sequences(lengths, at, grads, &filtered.chain, weight, |sequence, steps, slopes, counts, scratch| {
        filtered.adjoint(cotangent, (sequence, steps), (slopes, counts), scratch, at.pool);
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
        let values = y[0].iter_mut();
        forward_by_sequences(&self.lengths, x, saved, values, |filtered, sequence, _, value, _| {
            *value = filtered.values()[sequence];
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (filtered, g) = (Filtered::saved(at), at.grad(0));
        let weight = |sequence: usize| g[sequence];
        back_by_sequences(
            &self.lengths,
            at,
            grads,
            &filtered.chain,
            weight,
            |sequence, steps, slopes, counts, scratch| {
                filtered.smooth(sequence, steps, slopes, counts, scratch);
            },
        );
    }
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
        let (pool, states) = (saved.pool.clone(), x[2].shape[1]);
        let pieces = by_sequences(y[0], &self.lengths, states);
        forward_by_sequences(&self.lengths, x, saved, pieces, |filtered, sequence, steps, y, scratch| {
            let mut counts = pool.take_zeroed(padded(states).pow(2));
            filtered.smooth(sequence, steps, y, &mut counts, scratch);
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        backward_of(&self.lengths, at, grads, Cotangent::Posteriors(at.grad(0)));
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
