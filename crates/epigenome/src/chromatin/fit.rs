//! Training an annotator on observations: by expectation-maximisation or gradients, from one or several starts.

use gradome_nn::optim::{Lbfgs, LbfgsStop};
use gradome_nn::{Operator, ParamStore};

use super::annotator::{ChromatinArrays, ChromatinStateAnnotator, ChromatinStatesConfig};
use super::data::ChromatinData;
use super::division::SMOOTHING;
use super::em::EmSettings;
use super::emission::Emission;
use super::java::JavaRandom;
use super::model::ChromHmmModel;
use super::trained::{ChromatinHeader, TrainedChromatinStates};
use crate::{Error, Result};

/// How parameters are found.
#[derive(Clone, Copy, Debug)]
pub enum FitMethod {
    /// Expectation-maximisation as in ChromHMM; of calls with emissions that all cell types share.
    Em(EmSettings),
    /// L-BFGS along the gradient of the log-likelihood.
    ///
    /// Far from an optimum long steps along a gradient can end in a poorer one than expectation-maximisation finds, near
    /// it they are faster (Salakhutdinov et al. 2003); so for calls some passes of the latter may come first.
    Gradient {
        /// The search.
        optimizer: Lbfgs,
        /// Passes of expectation-maximisation before, for calls; cell types then share their emissions.
        warm_up: usize,
    },
}

/// Where a fit starts.
#[derive(Clone, Debug)]
pub enum FitStart {
    /// From the groups of bins that marks tell apart best; for counts and values where they stand out.
    Information,
    /// From random parameters (calls), or random centres of the observations, by a seed.
    Random(u64),
    /// From a model of calls.
    Model(Box<ChromHmmModel>),
}

impl FitStart {
    /// The start in a few words.
    pub fn name(&self) -> String {
        match self {
            Self::Information => "information".into(),
            Self::Random(seed) => format!("random, seed {seed}"),
            Self::Model(model) => format!("a model of {} states", model.states()),
        }
    }
}

/// One of several fits.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The start in a few words.
    pub start: String,
    /// The ln-likelihood that it reached, or why it failed.
    pub outcome: Result<f64, String>,
}

/// A trained model and how it came about.
pub struct ChromatinFit {
    /// The model with the highest likelihood of all starts.
    pub trained: TrainedChromatinStates,
    /// ln-likelihood of each pass, or the best so far of each evaluation of the gradient.
    pub curve: Vec<f64>,
    /// Whether the fit ended because nothing was left to gain.
    pub converged: bool,
    /// All starts.
    pub attempts: Vec<Attempt>,
}

/// What one start gave.
struct Found {
    store: ParamStore<f64>,
    curve: Vec<f64>,
    converged: bool,
}

impl TrainedChromatinStates {
    /// Trains from every start and keeps the best.
    ///
    /// Sizes of the configuration (marks, cell types) are taken from the data where `own_emissions` says that each cell
    /// type has its own. `arcsinh` is kept with the model and says what was done to the values. `each` is told of the
    /// start, the pass and its ln-likelihood.
    ///
    /// # Errors
    /// When the data holds nothing or does not fit the emissions, or no start can be fitted; the error is that of the
    /// first.
    pub fn fit(
        config: &ChromatinStatesConfig,
        data: &ChromatinData,
        (own_emissions, arcsinh): (bool, bool),
        method: &FitMethod,
        starts: &[FitStart],
        mut each: impl FnMut(&FitStart, usize, f64),
    ) -> Result<ChromatinFit> {
        data.validate()?;
        let cells = data.cells();
        let cell_types = if own_emissions { cells.len() } else { 1 };
        let config = ChromatinStatesConfig { marks: data.marks.len(), cell_types, ..config.clone() };
        config.validate()?;
        let mut blank = ParamStore::new(0);
        let annotator = ChromatinStateAnnotator::new(&config, &mut blank)?;
        let job = Job { annotator, blank, data, cells: &cells };
        if let FitMethod::Em(_) = method
            && (config.emission != Emission::Bernoulli || cell_types > 1)
        {
            let problem = "expectation-maximisation is for calls whose emissions all cell types share; use gradients";
            return Err(Error::Data(problem.into()));
        }
        let parts = match method {
            FitMethod::Em(_) => Vec::new(),
            FitMethod::Gradient { .. } => job.arrays()?,
        };
        let mut best: Option<(f64, Found)> = None;
        let (mut attempts, mut first_error) = (Vec::new(), None);
        for start in starts {
            let found = job.run(start, method, &parts, |pass, value| each(start, pass, value));
            let found = found.and_then(|found| Ok((job.trained(&found.store)?.ln_likelihood(data)?, found)));
            let outcome = found.as_ref().map(|found| found.0).map_err(ToString::to_string);
            attempts.push(Attempt { start: start.name(), outcome });
            match found {
                Ok(found) if best.as_ref().is_none_or(|best| found.0 > best.0) => best = Some(found),
                Ok(_) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let Some((ln_likelihood, Found { store, curve, converged })) = best else {
            return Err(first_error.unwrap_or_else(|| Error::Data("no start was given".into())));
        };
        let mut trained = job.trained(&store)?;
        trained.header = ChromatinHeader { arcsinh, ln_likelihood, passes: curve.len(), ..trained.header };
        trained.sort_states();
        Ok(ChromatinFit { trained, curve, converged, attempts })
    }
}

/// What all starts share.
struct Job<'a> {
    annotator: ChromatinStateAnnotator,
    blank: ParamStore<f64>,
    data: &'a ChromatinData,
    cells: &'a [String],
}

impl Job<'_> {
    fn trained(&self, store: &ParamStore<f64>) -> Result<TrainedChromatinStates> {
        let header = ChromatinHeader {
            marks: self.data.marks.clone(),
            cells: self.cells.to_vec(),
            bin_size: self.data.bin_size,
            arcsinh: false,
            ln_likelihood: f64::NEG_INFINITY,
            passes: 0,
            bins: self.data.bins(),
        };
        Ok(TrainedChromatinStates { annotator: self.annotator.clone(), store: store.clone(), header })
    }

    fn arrays(&self) -> Result<Vec<ChromatinArrays<f64>>> {
        let cells = (self.annotator.config().cell_types > 1).then_some(self.cells);
        let parts = self.data.tracks(cells)?;
        Ok(parts.iter().map(|part| self.annotator.arrays(part)).collect::<Result<_, _>>()?)
    }

    /// The model of calls that a start means.
    fn model(&self, start: &FitStart) -> Result<ChromHmmModel> {
        let states = self.annotator.config().states;
        match start {
            FitStart::Information => Ok(ChromHmmModel::from_information(&self.data.calls()?, states, SMOOTHING)?.0),
            FitStart::Random(seed) => {
                ChromHmmModel::random(&self.data.marks, states, &mut JavaRandom::new(*seed as i64))
            }
            FitStart::Model(model) => {
                if model.states() != states || model.marks != self.data.marks {
                    return Err(Error::Data(format!(
                        "the model to start from has {} states of {}; asked for are {states} of {}",
                        model.states(),
                        model.marks.join(", "),
                        self.data.marks.join(", ")
                    )));
                }
                Ok((**model).clone())
            }
        }
    }

    /// First parameters of counts and values.
    fn begin(&self, start: &FitStart, store: &mut ParamStore<f64>) -> Result<()> {
        let config = self.annotator.config();
        let division = match start {
            FitStart::Information => {
                let calls = self.data.standing_out().calls()?;
                let (model, _) = ChromHmmModel::from_information(&calls, config.states, SMOOTHING)?;
                (0..calls.sequences.len()).map(|k| model.best_states(&calls, k)).collect::<Result<Vec<_>>>()?
            }
            FitStart::Random(seed) => {
                self.data.random_states(config.states, config.emission != Emission::Gaussian, *seed)
            }
            FitStart::Model(_) => {
                return Err(Error::Data("a model of calls is no start for counts or real values".into()));
            }
        };
        self.annotator.set_division(store, self.data, self.cells, &division)
    }

    fn run(
        &self,
        start: &FitStart,
        method: &FitMethod,
        parts: &[ChromatinArrays<f64>],
        mut each: impl FnMut(usize, f64),
    ) -> Result<Found> {
        let mut store = self.blank.clone();
        let mut curve: Vec<f64> = Vec::new();
        let mut em = |settings: &EmSettings, store: &mut ParamStore<f64>, curve: &mut Vec<f64>| -> Result<()> {
            let model = self.model(start)?.fit(&self.data.calls()?, settings, |pass| {
                curve.push(pass.ln_likelihood);
                each(pass.iteration, pass.ln_likelihood);
                Ok(())
            })?;
            Ok(self.annotator.set_model(store, &model)?)
        };
        let (optimizer, warm_up) = match method {
            FitMethod::Em(settings) => {
                em(settings, &mut store, &mut curve)?;
                let converged = curve.len() < settings.max_iterations;
                return Ok(Found { store, curve, converged });
            }
            FitMethod::Gradient { optimizer, warm_up } => (optimizer, *warm_up),
        };
        match (self.annotator.config().emission == Emission::Bernoulli, warm_up) {
            (false, _) => self.begin(start, &mut store)?,
            (true, 0) => self.annotator.set_model(&mut store, &self.model(start)?)?,
            (true, passes) => {
                // nothing may be ruled out yet
                let settings = EmSettings { max_iterations: passes, least_transition: 0.0, ..EmSettings::default() };
                em(&settings, &mut store, &mut curve)?;
            }
        }
        let report = self.annotator.fit_gradient(&mut store, parts, optimizer, |value| {
            let best = curve.last().map_or(value, |best| if value > *best { value } else { *best });
            curve.push(best);
            each(curve.len(), best);
        })?;
        Ok(Found { store, curve, converged: report.stop != LbfgsStop::IterationsUsed })
    }
}
