//! All that one filter pass over hidden Markov chains leads to: log-likelihood, posteriors and filter.

use smallvec::SmallVec;

use crate::float::Float;
use crate::kernels::for_each_piece;
use crate::kernels::markov::{Cotangent, Scratch, padded};
use crate::kernels::sweep::add_assign;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::hmm::{
    Filtered, SAVED, back_by_sequences, by_sequences, chain_samples, chain_sizes, forward_by_sequences,
};
use crate::shape::Shape;
use crate::var::Var;

/// The log-likelihood of each sequence and the probability of every state at every step, given the whole sequence and
/// given the steps up to it; operands as of [`HmmFilter`](crate::ops::hmm_filter::HmmFilter).
pub struct HmmInference {
    /// Steps of each sequence.
    pub lengths: Vec<usize>,
}

/// What [`Var::hmm_inference`] gives.
#[derive(Clone, Copy)]
pub struct HmmInferred<'t, T: Float> {
    /// `[sequences]`, as of [`Var::hmm_log_likelihood`].
    pub ln_likelihood: Var<'t, T>,
    /// `[sum of lengths, states]`, as of [`Var::hmm_posteriors`].
    pub posteriors: Var<'t, T>,
    /// `[sum of lengths, states]`, as of [`Var::hmm_filter`].
    pub filtered: Var<'t, T>,
}

impl<T: Float> Op<T> for HmmInference {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        assert_eq!(inputs.len(), 3, "hmm_inference: the operands are initial, transition, emission");
        chain_sizes(Self::NAME, inputs, &self.lengths);
        Shapes::from_slice(&[Shape::new(&[self.lengths.len()]), inputs[2], inputs[2]])
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let [values, posteriors, probabilities] = y else { unreachable!("three outputs were announced") };
        let states = x[2].shape[1];
        let size = padded(states).pow(2);
        // the expected transitions of each sequence
        let mut counts = saved.pool.take_zeroed(self.lengths.len() * size);
        let each_bin = by_sequences(posteriors, &self.lengths, states).into_iter().zip(by_sequences(
            probabilities,
            &self.lengths,
            states,
        ));
        let pieces = each_bin.zip(values.iter_mut().zip(counts.chunks_exact_mut(size)));
        forward_by_sequences(
            &self.lengths,
            x,
            saved,
            pieces,
            |filtered, sequence, steps, ((posteriors, probabilities), (value, counts)), scratch| {
                *value = filtered.values()[sequence];
                filtered.normalise(sequence, steps.clone(), probabilities, scratch);
                filtered.smooth(sequence, steps, posteriors, counts, scratch);
            },
        );
        saved.kept.push(counts);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (filtered, counted) = (Filtered::saved(at), &at.saved[SAVED]);
        let states = filtered.chain.states;
        let cotangents: SmallVec<[Cotangent<'_, T>; 2]> =
            [at.grad_if_any(1).map(Cotangent::Posteriors), at.grad_if_any(2).map(Cotangent::Filter)]
                .into_iter()
                .flatten()
                .collect();
        back_by_sequences(
            &self.lengths,
            at,
            grads,
            &filtered.chain,
            |_| T::ONE,
            |sequence, steps, slopes, counts, _| {
                match at.grad_if_any(0) {
                    // the gradient of the log-likelihood is what is expected
                    Some(g) => {
                        let posteriors = &at.y[1].data[steps.start * states..steps.end * states];
                        slopes.iter_mut().zip(posteriors).for_each(|(slope, p)| *slope = g[sequence] * *p);
                        let expected = &counted[sequence * counts.len()..(sequence + 1) * counts.len()];
                        counts.iter_mut().zip(expected).for_each(|(count, n)| *count = g[sequence] * *n);
                    }
                    None => slopes.fill(T::ZERO),
                }
                let mut others: SmallVec<[_; 2]> = cotangents
                    .iter()
                    .map(|cotangent| (cotangent, at.scratch(slopes.len()), at.pool.take_zeroed(counts.len())))
                    .collect();
                for_each_piece(others.iter_mut().collect(), |_, (cotangent, slopes, counts)| {
                    let mut scratch = Scratch::new(filtered.chain.width, at.pool);
                    filtered.adjoint(**cotangent, (sequence, steps.clone()), (slopes, counts), &mut scratch, at.pool);
                });
                for (_, other_slopes, other_counts) in &others {
                    add_assign(slopes, other_slopes);
                    add_assign(counts, other_counts);
                }
            },
        );
    }
}

impl Samples for HmmInference {
    const NAME: &'static str = "hmm_inference";
    const DOC: &'static str = "Log-likelihood, posteriors and filter of hidden Markov chains from one pass. \
         Dynamax: `hmm_smoother`.";
    fn samples() -> Vec<Sample<Self>> {
        let mut samples = chain_samples(|lengths| Self { lengths });
        // weights of the last state say nothing about the steps so far
        samples.iter_mut().for_each(|sample| sample.inputs.truncate(3));
        samples
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// What [`Var::hmm_log_likelihood`], [`Var::hmm_posteriors`] and [`Var::hmm_filter`] give, from one filter pass and one
    /// smoothing: less than half of their work where all are wanted. Dynamax: `hmm_smoother`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn hmm_inference(self, initial: Self, transition: Self, lengths: &[usize]) -> HmmInferred<'t, T> {
        let op = HmmInference { lengths: lengths.to_vec() };
        let outputs = self.tape.record(op, &[initial, transition, self]);
        HmmInferred { ln_likelihood: outputs[0], posteriors: outputs[1], filtered: outputs[2] }
    }
}
