//! The differentiable annotator: a hidden Markov chain whose emissions are learned by gradients, alone or as a part of a
//! larger model.

use gradome_nn::{Error, Hmm, Init, Operator, ParamId, ParamStore, Result, Rng, Step};
use gradome_tape::{Float, HmmInferred, Tape, Tensor, Var, ViterbiPath};
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::emission::{Emission, Observed};
use super::model::{ChromHmmModel, StateOrder};

/// The configuration of a [`ChromatinStateAnnotator`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChromatinStatesConfig {
    /// Number of states. Default 15.
    pub states: usize,
    /// Number of marks. Default 6.
    pub marks: usize,
    /// What a state emits. Default Bernoulli.
    pub emission: Emission,
    /// Cell types with emissions of their own; they share starts and transitions. Default 1.
    pub cell_types: usize,
    /// Logit by which the first transitions favour staying. Default 2.
    pub stay: f64,
    /// Bernoulli: observations are logits of presence and count as soft calls, as in DiffBio. Default false.
    pub soft_observations: bool,
    /// Bernoulli: added to probabilities inside logarithms. Default 0: the exact likelihood; DiffBio 1e-8.
    pub epsilon: f64,
    /// Gaussian: added to the variance. Default 1e-6; DiffBio 1e-8.
    pub variance_floor: f64,
}

impl Default for ChromatinStatesConfig {
    fn default() -> Self {
        Self {
            states: 15,
            marks: 6,
            emission: Emission::Bernoulli,
            cell_types: 1,
            stay: 2.0,
            soft_observations: false,
            epsilon: 0.0,
            variance_floor: 1e-6,
        }
    }
}

impl ChromatinStatesConfig {
    /// DiffBio's annotator: soft Bernoulli calls, or with cell types Gaussian emissions.
    pub fn diffbio(states: usize, marks: usize, cell_types: Option<usize>) -> Self {
        let emission = if cell_types.is_some() { Emission::Gaussian } else { Emission::Bernoulli };
        Self {
            states,
            marks,
            emission,
            cell_types: cell_types.unwrap_or(1),
            soft_observations: true,
            epsilon: 1e-8,
            variance_floor: 1e-8,
            ..Self::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("states", self.states), ("marks", self.marks), ("cell_types", self.cell_types)] {
            if value == 0 {
                return Err(Error::config(field, "must be 1 or more"));
            }
        }
        for (field, value) in [("epsilon", self.epsilon), ("variance_floor", self.variance_floor)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::config(field, format!("{value} is not in 0..1")));
            }
        }
        if !self.stay.is_finite() {
            return Err(Error::config("stay", "must be finite"));
        }
        Ok(())
    }
}

/// Observations of some sequences, laid end to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChromatinTracks {
    /// `[sequences]` bins of each.
    pub lengths: Vec<usize>,
    /// `[bins, marks]` calls, counts or values; NaN where a mark was not measured.
    pub observations: Vec<f64>,
    /// `[sequences, cell types]` how much of each cell type a sequence is, usually one-hot; empty with one cell type.
    pub cell_types: Vec<f64>,
}

/// Checked observations as arrays of one precision, which any number of passes share.
pub struct ChromatinArrays<T: Float> {
    pub(super) lengths: Vec<usize>,
    observations: Tensor<T>,
    measured: Option<Tensor<T>>,
    /// `[sequences, cell types]` weights, with more than one cell type.
    pub(super) cell_types: Option<Tensor<T>>,
}

impl<T: Float> ChromatinArrays<T> {
    /// Puts the arrays on a tape, without a copy.
    pub fn on<'t>(&self, tape: &'t Tape<T>) -> ChromatinInput<'t, T> {
        ChromatinInput {
            lengths: self.lengths.clone(),
            observations: tape.constant(&self.observations),
            measured: self.measured.as_ref().map(|m| tape.constant(m)),
            cell_types: self.cell_types.as_ref().map(|weights| tape.constant(weights)),
        }
    }
}

/// Observations on a tape.
pub struct ChromatinInput<'t, T: Float> {
    /// `[sequences]` bins of each.
    pub lengths: Vec<usize>,
    /// `[bins, marks]`; 0 where not measured.
    pub observations: Var<'t, T>,
    /// `[bins, marks]` 1 where measured, else 0; nothing when all were.
    pub measured: Option<Var<'t, T>>,
    /// `[sequences, cell types]` weights, with more than one cell type.
    pub cell_types: Option<Var<'t, T>>,
}

/// What the annotator says of some sequences.
pub struct ChromatinOutput<'t, T: Float> {
    /// `[bins, states]` ln-probability of the observations of a bin given its state.
    pub ln_emissions: Var<'t, T>,
    /// `[states]` ln-probability of the first state.
    pub ln_initial: Var<'t, T>,
    /// `[states, states]` ln-probability of the next state (from, to).
    pub ln_transitions: Var<'t, T>,
    lengths: Vec<usize>,
}

impl<'t, T: Float> ChromatinOutput<'t, T> {
    /// `[sequences]` ln-likelihood of each sequence.
    pub fn ln_likelihood(&self) -> Var<'t, T> {
        self.ln_emissions.hmm_log_likelihood(self.ln_initial, self.ln_transitions, &self.lengths)
    }

    /// Likelihood, [posteriors](Self::posteriors) and [filter](Self::filtered) from one pass, where all are wanted.
    pub fn inference(&self) -> HmmInferred<'t, T> {
        self.ln_emissions.hmm_inference(self.ln_initial, self.ln_transitions, &self.lengths)
    }

    /// `[bins, states]` probability of each state given the whole sequence.
    pub fn posteriors(&self) -> Var<'t, T> {
        self.ln_emissions.hmm_posteriors(self.ln_initial, self.ln_transitions, &self.lengths)
    }

    /// `[bins, states]` smooth indicator of the most probable path; it becomes the path itself as the temperature falls,
    /// and the posteriors at temperature 1 (Mensch & Blondel 2018).
    ///
    /// # Panics
    /// When the temperature is not positive.
    pub fn smoothed_path(&self, temperature: f64) -> Var<'t, T> {
        self.ln_emissions.smoothed_viterbi(self.ln_initial, self.ln_transitions, &self.lengths, temperature)
    }

    /// The most probable path of each sequence; no gradient flows through it.
    pub fn path(&self) -> ViterbiPath {
        self.ln_emissions.viterbi(self.ln_initial, self.ln_transitions, &self.lengths)
    }

    /// `[bins, states]` probability of each state from its own bin alone, with that of the first state as prior.
    pub fn each_bin_alone(&self) -> Var<'t, T> {
        (self.ln_emissions + self.ln_initial).softmax()
    }

    /// `[bins, states]` probability of each state given the bins up to its own.
    pub fn filtered(&self) -> Var<'t, T> {
        self.ln_emissions.hmm_filter(self.ln_initial, self.ln_transitions, &self.lengths)
    }
}

/// A hidden Markov model of chromatin states with gradients through its likelihood, posteriors and smoothed path.
///
/// Bernoulli calls with missing values give ChromHMM's likelihood exactly; the gradient of the log-likelihood is the
/// difference between observed and expected counts, so gradient fits and expectation-maximisation share their optima.
#[derive(Clone, Debug)]
pub struct ChromatinStateAnnotator {
    config: ChromatinStatesConfig,
    chain: Hmm,
    /// `[cell types, states, marks]` logits, ln-means or means.
    location: ParamId,
    /// `[cell types, states, marks]` ln-variances, or `[marks]` ln-dispersions.
    scale: Option<ParamId>,
}

impl ChromatinStateAnnotator {
    /// The configuration.
    pub fn config(&self) -> &ChromatinStatesConfig {
        &self.config
    }

    /// The first state's and transitions' logits.
    pub fn chain(&self) -> &Hmm {
        &self.chain
    }

    /// Emission parameters `[states, marks]` for each sequence, or one for all.
    fn of_sequences<'t, T: Float>(&self, parameter: Var<'t, T>, input: &ChromatinInput<'t, T>) -> Vec<Var<'t, T>> {
        let (states, marks) = (self.config.states, self.config.marks);
        let Some(weights) = input.cell_types else { return vec![parameter.reshape([states, marks])] };
        let rows = weights.matmul(parameter.reshape([self.config.cell_types, states * marks]));
        (0..input.lengths.len()).map(|k| rows.narrow(0, k, 1).reshape([states, marks])).collect()
    }

    /// `[bins, states]` ln-probabilities of some bins under emission parameters `[states, marks]`.
    fn ln_probabilities<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        observed: Observed<'t, T>,
        location: Var<'t, T>,
        scale: Option<Var<'t, T>>,
    ) -> Var<'t, T> {
        let config = &self.config;
        match config.emission {
            Emission::Bernoulli => observed.bernoulli(location, config.epsilon, config.soft_observations),
            Emission::Gaussian => observed.gaussian(location, scale.unwrap_or(location), config.variance_floor),
            Emission::Poisson => observed.counts(location, None),
            Emission::NegativeBinomial => observed.counts(location, self.scale.map(|id| step.param(id))),
        }
    }

    /// Sets `[cell types, states, marks]` logits, ln-means or means, and ln-variances or `[marks]` ln-dispersions.
    pub(super) fn set_emissions<T: Float>(&self, store: &mut ParamStore<T>, location: &[f64], scale: Option<&[f64]>) {
        for (id, values) in [(Some(self.location), Some(location)), (self.scale, scale)] {
            if let (Some(id), Some(values)) = (id, values) {
                let shape = store.get(id).shape();
                store.set(id, Tensor::from_f64(shape, values));
            }
        }
    }

    /// The key of the first of them among gradients.
    pub(super) fn location_key(&self) -> usize {
        self.location.key()
    }

    /// The parameters that [`Self::set_emissions`] sets.
    pub(super) fn emissions<T: Float>(&self, store: &ParamStore<T>) -> (Vec<f64>, Option<Vec<f64>>) {
        (store.get(self.location).to_f64(), self.scale.map(|id| store.get(id).to_f64()))
    }

    /// Takes over a model of calls, the same for every cell type; probabilities of 0 and 1 become logits of about 690.
    ///
    /// # Errors
    /// When the sizes differ or the emissions are not Bernoulli.
    pub fn set_model<T: Float>(&self, store: &mut ParamStore<T>, model: &ChromHmmModel) -> Result<()> {
        /// Stands in for ln 0.
        const LN_NONE: f64 = -690.0;
        let config = &self.config;
        let fits = config.emission == Emission::Bernoulli;
        if !fits || (model.states(), model.marks.len()) != (config.states, config.marks) {
            return Err(Error::config("emission", "a model of calls fits Bernoulli emissions of its own sizes only"));
        }
        let ln = |p: &f64| p.ln().max(LN_NONE);
        let set = |store: &mut ParamStore<T>, id: ParamId, values: Vec<f64>| {
            let shape = store.get(id).shape();
            store.set(id, Tensor::from_f64(shape, &values));
        };
        set(store, self.chain.initial, model.initial.iter().map(ln).collect());
        set(store, self.chain.transition, model.transitions.iter().map(ln).collect());
        let logits: Vec<f64> = model.emissions.iter().map(|[absent, present]| ln(present) - ln(absent)).collect();
        set(store, self.location, logits.repeat(config.cell_types));
        Ok(())
    }

    /// The parameters as models of calls, one for each cell type.
    ///
    /// # Errors
    /// When the emissions are not Bernoulli, or there is not a name a mark.
    pub fn models<T: Float>(&self, store: &ParamStore<T>, marks: &[String]) -> Result<Vec<ChromHmmModel>> {
        let config = &self.config;
        if config.emission != Emission::Bernoulli || marks.len() != config.marks {
            return Err(Error::config("emission", "only Bernoulli emissions make a model of calls"));
        }
        let tape = Tape::<T>::new();
        let bound = store.bind(&tape);
        let step = Step::eval(&tape, &bound);
        let [initial, transitions] = self.chain.log_probabilities(step).map(|ln| ln.exp().value().to_f64());
        let logits = step.param(self.location);
        let [present, absent] = [logits, -logits].map(|v| v.sigmoid().value().to_f64());
        let emissions: Vec<[f64; 2]> = absent.into_iter().zip(present).map(|(a, p)| [a, p]).collect();
        let model = |emissions: &[[f64; 2]]| ChromHmmModel {
            marks: marks.to_vec(),
            initial: initial.clone(),
            transitions: transitions.clone(),
            emissions: emissions.to_vec(),
            order: StateOrder::Fixed,
            training: None,
        };
        Ok(emissions.chunks_exact(config.states * config.marks).map(model).collect())
    }

    /// Checks observations and turns them into arrays of one precision.
    ///
    /// # Errors
    /// When an array does not fit the configuration or holds values that make no sense; the error names bin and mark.
    pub fn arrays<T: Float>(&self, batch: &ChromatinTracks) -> Result<ChromatinArrays<T>> {
        let config = &self.config;
        let shape = [batch.lengths.iter().sum::<usize>(), config.marks];
        let values = &batch.observations;
        if values.len() != shape[0] * shape[1] {
            let problem = format!("{} values do not make [{}, {}] bins x marks", values.len(), shape[0], shape[1]);
            return Err(Error::data("observations", problem));
        }
        for (i, &value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            let (fits, what) = match config.emission {
                Emission::Bernoulli if !config.soft_observations => (value == 0.0 || value == 1.0, "0 or 1"),
                Emission::Bernoulli | Emission::Gaussian => (value.is_finite(), "a finite number"),
                _ => (value >= 0.0 && value.fract() == 0.0 && value.is_finite(), "a count"),
            };
            if !fits {
                let (bin, mark) = (i / config.marks + 1, i % config.marks + 1);
                return Err(Error::data("observations", format!("bin {bin} mark {mark} is {value}, not {what}")));
            }
        }
        if !values.is_empty() && values.iter().all(|value| value.is_nan()) {
            return Err(Error::data("observations", "nothing was measured: every value is NaN"));
        }
        let known = |i: usize| !values[i].is_nan();
        let observations = Tensor::from_fn(shape, |i| if known(i) { T::of(values[i]) } else { T::ZERO });
        let missing = values.iter().any(|value| value.is_nan());
        let measured = missing.then(|| Tensor::from_fn(shape, |i| if known(i) { T::ONE } else { T::ZERO }));
        let types = if config.cell_types > 1 { batch.lengths.len() * config.cell_types } else { 0 };
        if batch.cell_types.len() != types {
            let problem = format!("{} weights, {types} were expected", batch.cell_types.len());
            return Err(Error::data("cell_types", problem));
        }
        let types = [batch.lengths.len(), config.cell_types];
        Ok(ChromatinArrays {
            lengths: batch.lengths.clone(),
            observations,
            measured,
            cell_types: (config.cell_types > 1).then(|| Tensor::from_f64(types, &batch.cell_types)),
        })
    }
}

impl Operator for ChromatinStateAnnotator {
    const NAME: &'static str = "chromatin-states";
    type Config = ChromatinStatesConfig;
    type Batch = ChromatinTracks;
    type Input<'t, T: Float> = ChromatinInput<'t, T>;
    type Output<'t, T: Float> = ChromatinOutput<'t, T>;

    fn new<T: Float>(config: &Self::Config, store: &mut ParamStore<T>) -> Result<Self> {
        config.validate()?;
        let chain = Hmm::new(&mut store.scope("chain"), config.states, config.stay);
        let each = [config.cell_types, config.states, config.marks];
        let mut emission = store.scope("emission");
        let (location, scale) = match config.emission {
            Emission::Bernoulli => (emission.parameter("logits", each, Init::Normal(0.5)), None),
            Emission::Poisson => (emission.parameter("ln_mean", each, Init::Normal(0.5)), None),
            Emission::NegativeBinomial => (
                emission.parameter("ln_mean", each, Init::Normal(0.5)),
                Some(emission.parameter("ln_dispersion", [config.marks], Init::Constant(0.0))),
            ),
            Emission::Gaussian => (
                emission.parameter("mean", each, Init::Normal(0.5)),
                Some(emission.parameter("ln_variance", each, Init::Normal(0.1))),
            ),
        };
        Ok(Self { config: config.clone(), chain, location, scale })
    }

    fn sample(config: &Self::Config, seed: u64) -> Self::Batch {
        let lengths = vec![4, 1, 3];
        let mut rng = Rng::seed_from_u64(seed);
        let bins: usize = lengths.iter().sum();
        let observations = (0..bins * config.marks).map(|i| {
            let uniform: f64 = rng.random();
            match config.emission {
                _ if i % 7 == 3 && !config.soft_observations => f64::NAN,
                Emission::Bernoulli if config.soft_observations => 4.0 * uniform - 2.0,
                Emission::Bernoulli => uniform.round(),
                Emission::Gaussian => 4.0 * uniform - 2.0,
                _ => (uniform * 6.0).floor(),
            }
        });
        let observations = observations.collect();
        let types = config.cell_types;
        let one_hot = |i: usize| if i / types % types == i % types { 1.0 } else { 0.0 };
        let cell_types = if types > 1 { (0..lengths.len() * types).map(one_hot).collect() } else { Vec::new() };
        ChromatinTracks { lengths, observations, cell_types }
    }

    fn input<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &Self::Batch) -> Result<Self::Input<'t, T>> {
        Ok(self.arrays(batch)?.on(tape))
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &Self::Input<'t, T>) -> Result<Self::Output<'t, T>> {
        let per_cell_type = |id: ParamId| self.of_sequences(step.param(id), input);
        let locations = per_cell_type(self.location);
        let scales = self.scale.filter(|_| self.config.emission == Emission::Gaussian).map(per_cell_type);
        let scale = |k: usize| scales.as_ref().map(|scales| scales[k]);
        let ln_emissions = if locations.len() == 1 {
            let observed = Observed { values: input.observations, measured: input.measured };
            self.ln_probabilities(step, observed, locations[0], scale(0))
        } else {
            let mut start = 0;
            let each = input.lengths.iter().enumerate().map(|(k, &length)| {
                let part = |v: Var<'t, T>| v.narrow(0, start, length);
                let observed = Observed { values: part(input.observations), measured: input.measured.map(part) };
                start += length;
                self.ln_probabilities(step, observed, locations[k], scale(k))
            });
            let each: Vec<Var<'t, T>> = each.collect();
            step.tape.concat(&each, 0)
        };
        let [ln_initial, ln_transitions] = self.chain.log_probabilities(step);
        Ok(ChromatinOutput { ln_emissions, ln_initial, ln_transitions, lengths: input.lengths.clone() })
    }
}
