//! The best path of hidden states (Viterbi 1967); it has no gradient.

use crate::float::Float;
use crate::kernels::{for_each_piece, split_pieces};
use crate::ops::hmm::{chain_sizes, groups};
use crate::var::Var;

/// The best path of each sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct ViterbiPath {
    /// `[sum of lengths]` the state of every step, sequences end to end.
    pub path: Vec<u32>,
    /// `[sequences]` the ln-weight of each best path; negative infinity when no path is possible.
    pub log_weights: Vec<f64>,
}

impl<T: Float> Var<'_, T> {
    /// The likeliest path of hidden states of each sequence; operands as of [`Var::hmm_log_likelihood`].
    ///
    /// Of equally likely states the first is taken. Sums are in double precision. No gradient flows through it:
    /// [`Var::smoothed_viterbi`] is its smooth form. TensorFlow Probability: `HiddenMarkovModel.posterior_mode`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn viterbi(self, initial: Self, transition: Self, lengths: &[usize]) -> ViterbiPath {
        let (steps, states) = chain_sizes("viterbi", &[initial.shape(), transition.shape(), self.shape()], lengths);
        let [initial, transition, emission] = [initial, transition, self].map(|v| v.value());
        let (initial, transition) = (initial.to_f64(), transition.to_f64());
        let mut best = ViterbiPath { path: vec![0; steps], log_weights: vec![0.0; lengths.len()] };
        let groups = groups(lengths);
        let paths = split_pieces(&mut best.path, groups.iter().map(|(_, steps)| steps.len()));
        let weights = split_pieces(&mut best.log_weights, groups.iter().map(|(sequences, _)| sequences.len()));
        for_each_piece(groups.iter().zip(paths).zip(weights).collect(), |_, (((sequences, steps), path), weights)| {
            let mut start = 0;
            for (&length, weight) in lengths[sequences.clone()].iter().zip(weights) {
                let from = steps.start + start;
                let emission = &emission.data()[from * states..(from + length) * states];
                *weight = best_path(&initial, &transition, emission, &mut path[start..start + length]);
                start += length;
            }
        });
        best
    }
}

/// Fills the best path of one sequence and returns its weight.
fn best_path<T: Float>(initial: &[f64], transition: &[f64], emission: &[T], path: &mut [u32]) -> f64 {
    let states = initial.len();
    let mut rows = emission.chunks_exact(states);
    let Some(first) = rows.next() else { return 0.0 };
    let mut weights: Vec<f64> = initial.iter().zip(first).map(|(i, e)| i + e.to_f64()).collect();
    let mut next = weights.clone();
    // the best predecessor of every state at every step after the first
    let mut predecessors = vec![0_u32; (path.len() - 1) * states];
    for (row, from) in rows.zip(predecessors.chunks_exact_mut(states)) {
        next.fill(f64::NEG_INFINITY);
        for (i, (weight, transition)) in weights.iter().zip(transition.chunks_exact(states)).enumerate() {
            for j in 0..states {
                let candidate = weight + transition[j];
                if candidate > next[j] {
                    next[j] = candidate;
                    from[j] = i as u32;
                }
            }
        }
        next.iter_mut().zip(row).for_each(|(weight, e)| *weight += e.to_f64());
        std::mem::swap(&mut weights, &mut next);
    }
    let (mut state, mut largest) = (0, weights[0]);
    for (i, &weight) in weights.iter().enumerate() {
        if weight > largest {
            (state, largest) = (i, weight);
        }
    }
    for (t, slot) in path.iter_mut().enumerate().rev() {
        *slot = state as u32;
        if t > 0 {
            state = predecessors[(t - 1) * states + state] as usize;
        }
    }
    largest
}
