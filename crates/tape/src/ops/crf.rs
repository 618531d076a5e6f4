//! Linear-chain conditional random fields (Lafferty, McCallum & Pereira 2001) on the recursions of hidden Markov chains.

use crate::float::Float;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::hmm::{HmmLogLikelihood, chain_sizes};
use crate::shape::Shape;
use crate::var::Var;

/// The ln-weight of one given path for each sequence; operands as of [`HmmLogLikelihood`].
pub struct PathLogWeight {
    /// Steps of each sequence.
    pub lengths: Vec<usize>,
    /// `[sum of lengths]` the state of every step.
    pub path: Vec<u32>,
}

impl PathLogWeight {
    /// Calls `visit(sequence, operand, element)` for every weight along the paths, sequences in order.
    fn along(&self, states: usize, last: bool, mut visit: impl FnMut(usize, usize, usize)) {
        let mut start = 0;
        for (sequence, &length) in self.lengths.iter().enumerate() {
            let path = &self.path[start..start + length];
            for (k, &state) in path.iter().enumerate() {
                let state = state as usize;
                match k.checked_sub(1) {
                    None => visit(sequence, 0, state),
                    Some(before) => visit(sequence, 1, path[before] as usize * states + state),
                }
                visit(sequence, 2, (start + k) * states + state);
                if last && k + 1 == length {
                    visit(sequence, 3, state);
                }
            }
            start += length;
        }
    }
}

impl<T: Float> Op<T> for PathLogWeight {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (steps, states) = chain_sizes(Self::NAME, inputs, &self.lengths);
        assert_eq!(self.path.len(), steps, "path_log_weight: the path's length is not the number of steps");
        if let Some(state) = self.path.iter().find(|&&state| state as usize >= states) {
            panic!("path_log_weight: state {state} of {states}");
        }
        Shapes::from_elem(Shape::new(&[self.lengths.len()]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        // in double precision: a path has as many terms as steps
        let mut sums = vec![0.0; self.lengths.len()];
        self.along(x[0].data.len(), x.len() > 3, |sequence, operand, at| {
            sums[sequence] += x[operand].data[at].to_f64();
        });
        y[0].iter_mut().zip(sums).for_each(|(y, sum)| *y = T::of(sum));
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let g = at.grad(0);
        for wanted in 0..at.x.len() {
            let Some(grad) = grads.sum(wanted) else { continue };
            self.along(at.x[0].data.len(), at.x.len() > 3, |sequence, operand, at| {
                if operand == wanted {
                    grad[at] += g[sequence];
                }
            });
        }
    }
}

impl Samples for PathLogWeight {
    const NAME: &'static str = "path_log_weight";
    const DOC: &'static str = "Ln-weight of given paths of states: the numerator of a conditional random field.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |lengths: &[usize], path: &[u32], shapes: &[&[usize]]| {
            Sample::new(Self { lengths: lengths.to_vec(), path: path.to_vec() }, -1.0..1.0, shapes)
        };
        vec![
            sample(&[3, 0, 1], &[0, 2, 2, 1], &[&[3], &[3, 3], &[4, 3], &[3]]),
            sample(&[2], &[1, 0], &[&[2], &[2, 2], &[2, 2]]),
            sample(&[], &[], &[&[2], &[2, 2], &[0, 2]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The ln of the summed weight of all paths `[sequences]`, the log-partition of a linear-chain conditional random
    /// field with these unary potentials `[sum of lengths, states]` (sequences end to end).
    ///
    /// `transition` is `[states, states]` (from, to); `ends` are potentials `[states]` of the first and the last state.
    /// The gradients are the marginals of states and pairs. pytorch-crf: `CRF._compute_normalizer`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn crf_log_partition(self, transition: Self, ends: Option<[Self; 2]>, lengths: &[usize]) -> Self {
        let lengths = lengths.to_vec();
        match ends {
            Some([first, last]) => self.tape.record(HmmLogLikelihood { lengths }, &[first, transition, self, last])[0],
            None => self.tape.record(HmmLogLikelihood { lengths }, &[self.no_ends(), transition, self])[0],
        }
    }

    /// The log-probability `[sequences]` of given paths (`[sum of lengths]` states) under a linear-chain conditional
    /// random field; operands as of [`Var::crf_log_partition`]. Its negative is the usual loss. pytorch-crf: `CRF.forward`.
    ///
    /// # Panics
    /// When the shapes do not fit, or a state is outside.
    pub fn crf_log_likelihood(
        self,
        transition: Self,
        ends: Option<[Self; 2]>,
        path: &[u32],
        lengths: &[usize],
    ) -> Self {
        let op = PathLogWeight { lengths: lengths.to_vec(), path: path.to_vec() };
        let weight = match ends {
            Some([first, last]) => self.tape.record(op, &[first, transition, self, last])[0],
            None => self.tape.record(op, &[self.no_ends(), transition, self])[0],
        };
        weight - self.crf_log_partition(transition, ends, lengths)
    }

    fn no_ends(self) -> Self {
        self.tape.full(self.shape().last_size(), 0.0)
    }
}
