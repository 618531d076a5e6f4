//! The forward filter of hidden Markov chains (Rabiner 1989, eq. 92, normalised), with an adjoint of its own.

use crate::float::Float;
use crate::kernels::markov::{Cotangent, Scratch, padded};
use crate::kernels::{for_each_piece, split_pieces};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::hmm::{Filtered, adjoint, back_by_sequences, chain, chain_samples, chain_sizes, filter_all, groups};
use crate::shape::Shape;
use crate::var::Var;

/// The probability of every state at every step, given the steps up to it; operands as of
/// [`HmmLogLikelihood`](crate::ops::hmm::HmmLogLikelihood) without the weights of a last state.
pub struct HmmFilter {
    /// Steps of each sequence.
    pub lengths: Vec<usize>,
}

impl<T: Float> Op<T> for HmmFilter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        assert_eq!(inputs.len(), 3, "hmm_filter: the operands are initial, transition, emission");
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
            let mut start = 0;
            for sequence in sequences.clone() {
                let end = start + self.lengths[sequence];
                let filtered = filtered.of(sequence, steps.start + start..steps.start + end, chain.width);
                chain.normalise(filtered, &mut y[start * states..end * states], &mut scratch);
                start = end;
            }
        });
        saved.kept.extend([rows, scale, scaled, values]);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let filtered = Filtered { rows: &at.saved[0], scale: &at.saved[1], scaled: &at.saved[2], values: &at.saved[3] };
        let chain = chain(at.x, at.pool);
        let cotangent = Cotangent::Filter(at.grad(0));
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

impl Samples for HmmFilter {
    const NAME: &'static str = "hmm_filter";
    const DOC: &'static str = "Probability of every hidden state at every step given the steps up to it. \
         Dynamax: `hmm_filter(..).filtered_probs`.";
    fn samples() -> Vec<Sample<Self>> {
        let mut samples = chain_samples(|lengths| Self { lengths });
        // weights of the last state say nothing about the steps so far
        samples.iter_mut().for_each(|sample| sample.inputs.truncate(3));
        samples
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The probability `[sum of lengths, states]` of every state at every step given the steps up to it; operands as of
    /// [`Var::hmm_log_likelihood`]. Rows are zero from the step on that no state explains, and NaN from the first NaN on.
    /// Dynamax: `hmm_filter(..).filtered_probs`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn hmm_filter(self, initial: Self, transition: Self, lengths: &[usize]) -> Self {
        let op = HmmFilter { lengths: lengths.to_vec() };
        self.tape.record(op, &[initial, transition, self])[0]
    }
}
