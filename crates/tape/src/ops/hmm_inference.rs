//! All that one filter pass over hidden Markov chains leads to: log-likelihood, posteriors and filter.

use smallvec::SmallVec;

use crate::float::Float;
use crate::kernels::markov::{Cotangent, Scratch, padded};
use crate::kernels::sweep::add_assign;
use crate::kernels::{for_each_piece, split_pieces};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::hmm::{
    Filtered, adjoint, back_by_sequences, chain, chain_samples, chain_sizes, filter_all, groups, smooth,
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
        let [values, posteriors, filter] = y else { unreachable!("three outputs were announced") };
        let [steps, states] = [x[2].shape[0], x[2].shape[1]];
        let pool = saved.pool.clone();
        let (mut rows, mut scale) = (pool.take(steps * padded(states)), pool.take(steps));
        let mut scaled = pool.take(self.lengths.len());
        filter_all(&self.lengths, x, &pool, (&mut rows, &mut scale, &mut scaled, values));
        let chain = chain(x, &pool);
        let size = chain.width * chain.width;
        // the expected transitions of each sequence
        let mut counts = pool.take_zeroed(self.lengths.len() * size);
        let filtered = Filtered { rows: &rows, scale: &scale, scaled: &scaled, values };
        let groups = groups(&self.lengths);
        let each_step = || groups.iter().map(|(_, steps)| steps.len() * states);
        let outputs = split_pieces(posteriors, each_step()).into_iter().zip(split_pieces(filter, each_step()));
        let counted = split_pieces(&mut counts, groups.iter().map(|(sequences, _)| sequences.len() * size));
        let parts = groups.iter().zip(outputs.zip(counted)).collect();
        for_each_piece(parts, |_, ((sequences, steps), ((posteriors, filter), counts))| {
            let mut scratch = Scratch::new(chain.width, &pool);
            let mut start = 0;
            for (sequence, counts) in sequences.clone().zip(counts.chunks_exact_mut(size)) {
                let end = start + self.lengths[sequence];
                let range = steps.start + start..steps.start + end;
                let here = start * states..end * states;
                chain.normalise(
                    filtered.of(sequence, range.clone(), chain.width),
                    &mut filter[here.clone()],
                    &mut scratch,
                );
                smooth(&filtered, &chain, x[2].data, sequence, range, &mut posteriors[here], counts, &mut scratch);
                start = end;
            }
        });
        saved.kept.extend([rows, scale, scaled, counts]);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let filtered = Filtered { rows: &at.saved[0], scale: &at.saved[1], scaled: &at.saved[2], values: at.y[0].data };
        let (chain, counted) = (chain(at.x, at.pool), &at.saved[3]);
        let cotangents: SmallVec<[Cotangent<'_, T>; 2]> =
            [at.grad_if_any(1).map(Cotangent::Posteriors), at.grad_if_any(2).map(Cotangent::Filter)]
                .into_iter()
                .flatten()
                .collect();
        back_by_sequences(
            &self.lengths,
            at,
            grads,
            &chain,
            |_| T::ONE,
            |sequence, steps, slopes, counts, _| {
                match at.grad_if_any(0) {
                    // the gradient of the log-likelihood is what is expected
                    Some(g) => {
                        let posteriors = &at.y[1].data[steps.start * chain.states..steps.end * chain.states];
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
                    let mut scratch = Scratch::new(chain.width, at.pool);
                    let sequence = (sequence, steps.clone());
                    adjoint(&filtered, &chain, at, **cotangent, sequence, (slopes, counts), &mut scratch);
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
