//! Chains of hidden states or labels over emissions from any network.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Var, ViterbiPath};

use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// The starts and transitions of a hidden Markov model, as logits (Rabiner 1989).
///
/// Emissions are log-probabilities `[sum of lengths, states]` of each observation given the state, sequences end to end;
/// whatever gives them learns through this layer. TensorFlow Probability: `HiddenMarkovModel`.
#[derive(Clone, Debug)]
pub struct Hmm {
    /// `[states]`
    pub initial: ParamId,
    /// `[states, states]` from, to.
    pub transition: ParamId,
}

impl Hmm {
    /// Adds the logits: equal starts, and transitions that favour staying in a state by the logit `stay`.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, states: usize, stay: f64) -> Self {
        let diagonal = |i: usize| T::of(if i / states == i % states { stay } else { 0.0 });
        Self {
            initial: scope.parameter("initial", [states], Init::Constant(0.0)),
            transition: scope.parameter_from("transition", gradome_tape::Tensor::from_fn([states, states], diagonal)),
        }
    }

    /// The log-probabilities `[states]` of the first state and `[states, states]` of transitions.
    pub fn log_probabilities<'t, T: Float>(&self, step: Step<'_, 't, T>) -> [Var<'t, T>; 2] {
        [self.initial, self.transition].map(|id| step.param(id).log_softmax())
    }

    /// The log-likelihood `[sequences]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn log_likelihood<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        emission: Var<'t, T>,
        lengths: &[usize],
    ) -> Var<'t, T> {
        let [initial, transition] = self.log_probabilities(step);
        emission.hmm_log_likelihood(initial, transition, lengths)
    }

    /// The probability `[sum of lengths, states]` of every state at every step, given whole sequences.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn posteriors<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        emission: Var<'t, T>,
        lengths: &[usize],
    ) -> Var<'t, T> {
        let [initial, transition] = self.log_probabilities(step);
        emission.hmm_posteriors(initial, transition, lengths)
    }

    /// The likeliest states; no gradient flows through them.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn viterbi<'t, T: Float>(&self, step: Step<'_, 't, T>, emission: Var<'t, T>, lengths: &[usize]) -> ViterbiPath {
        let [initial, transition] = self.log_probabilities(step);
        emission.viterbi(initial, transition, lengths)
    }
}

/// The potentials of a linear-chain conditional random field (Lafferty, McCallum & Pereira 2001). pytorch-crf: `CRF`.
///
/// Starts uniform within 0.1, as there.
#[derive(Clone, Debug)]
pub struct Crf {
    /// `[labels, labels]` from, to.
    pub transition: ParamId,
    /// `[labels]`
    pub first: ParamId,
    /// `[labels]`
    pub last: ParamId,
}

impl Crf {
    /// Adds the potentials.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, labels: usize) -> Self {
        Self {
            transition: scope.parameter("transition", [labels, labels], Init::Uniform(0.1)),
            first: scope.parameter("first", [labels], Init::Uniform(0.1)),
            last: scope.parameter("last", [labels], Init::Uniform(0.1)),
        }
    }

    /// The log-probability `[sequences]` of the given labels (`[sum of lengths]`) with unary potentials
    /// `[sum of lengths, labels]`; its negative is the usual loss.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn log_likelihood<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        unary: Var<'t, T>,
        labels: &[u32],
        lengths: &[usize],
    ) -> Var<'t, T> {
        let ends = [self.first, self.last].map(|id| step.param(id));
        unary.crf_log_likelihood(step.param(self.transition), Some(ends), labels, lengths)
    }
}

pub(super) fn check_hmm() -> Outcome {
    let mut outcome = Outcome::new("hmm-layer");
    let mut store = ParamStore::new(1);
    let layer = Hmm::new(&mut store.scope("hmm"), 3, 1.0);
    let emission = [("emission", super::waves([7, 3], 0.2))];
    check_step(&mut outcome, "likelihood", &store, &emission, false, |step, x| {
        layer.log_likelihood(step, x[0], &[4, 3])
    });
    check_step(&mut outcome, "posteriors", &store, &emission, false, |step, x| layer.posteriors(step, x[0], &[4, 3]));
    outcome
}

pub(super) fn check_crf() -> Outcome {
    let mut outcome = Outcome::new("crf-layer");
    let mut store = ParamStore::new(1);
    let layer = Crf::new(&mut store.scope("crf"), 3);
    check_step(&mut outcome, "[5, 3]", &store, &[("unary", super::waves([5, 3], 0.2))], false, |step, x| {
        layer.log_likelihood(step, x[0], &[0, 2, 1, 1, 0], &[2, 3])
    });
    outcome
}
