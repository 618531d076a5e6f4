//! The forward filter of hidden Markov chains (Rabiner 1989, eq. 92, normalised), with an adjoint of its own.

use crate::float::Float;
use crate::kernels::markov::Cotangent;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::hmm::{backward_of, by_sequences, chain_samples, chain_sizes, forward_by_sequences};
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
        let pieces = by_sequences(y[0], &self.lengths, x[2].shape[1]);
        forward_by_sequences(&self.lengths, x, saved, pieces, |filtered, sequence, steps, y, scratch| {
            filtered.normalise(sequence, steps, y, scratch);
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        backward_of(&self.lengths, at, grads, Cotangent::Filter(at.grad(0)));
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
