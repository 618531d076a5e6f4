//! A trained annotator with the names of its marks and cell types: what it says of observations.

use std::path::Path;

use gradome_nn::{Checkpoint, Error as ModelError, ModelCard, Operator, ParamStore, Step};
use gradome_tape::{Tape, Tensor};
use serde::{Deserialize, Serialize};

use super::annotator::{ChromatinOutput, ChromatinStateAnnotator, ChromatinStatesConfig};
use super::data::ChromatinData;
use super::emission::Emission;
use super::model::{ChromHmmModel, StateOrder};
use super::order::correlation_order;
use super::segments::{Annotates, Decoding};
use crate::{Error, Result};

/// Key of a checkpoint's header.
const HEADER: &str = "chromatin_states";

/// What a model was trained on, and how far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChromatinHeader {
    /// Names of the marks.
    pub marks: Vec<String>,
    /// Cell types of the training data; with emissions a cell type in the order of those.
    pub cells: Vec<String>,
    /// Size of a bin (bp).
    pub bin_size: u64,
    /// Whether values are arcsinh-transformed.
    pub arcsinh: bool,
    /// ln-likelihood of the training data at the end.
    pub ln_likelihood: f64,
    /// Passes over the data, or evaluations of the gradient, of the fit that was kept.
    pub passes: usize,
    /// Bins that were learned from.
    pub bins: usize,
}

/// A trained annotator.
#[derive(Clone)]
pub struct TrainedChromatinStates {
    pub(super) annotator: ChromatinStateAnnotator,
    pub(super) store: ParamStore<f64>,
    pub(super) header: ChromatinHeader,
}

impl TrainedChromatinStates {
    /// The configuration.
    pub fn config(&self) -> &ChromatinStatesConfig {
        self.annotator.config()
    }

    /// What it was trained on.
    pub fn header(&self) -> &ChromatinHeader {
        &self.header
    }

    /// The number of states.
    pub fn states(&self) -> usize {
        self.config().states
    }

    /// `[cell types, states, marks]` probability of presence, mean count or mean value; one cell type where they share.
    pub fn expected(&self) -> Vec<f64> {
        let (location, _) = self.annotator.emissions(&self.store);
        let natural = |x: f64| match self.config().emission {
            Emission::Bernoulli => 1.0 / (1.0 + (-x).exp()),
            Emission::Poisson | Emission::NegativeBinomial => x.exp(),
            Emission::Gaussian => x,
        };
        location.into_iter().map(natural).collect()
    }

    /// Variances `[cell types, states, marks]` of Gaussian emissions, dispersions `[marks]` of negative binomial ones.
    pub fn spread(&self) -> Option<Vec<f64>> {
        let (_, scale) = self.annotator.emissions(&self.store);
        let floor = if self.config().emission == Emission::Gaussian { self.config().variance_floor } else { 0.0 };
        scale.map(|scale| scale.into_iter().map(|x| x.exp() + floor).collect())
    }

    /// Probabilities of the first state `[states]`, and of transitions `[states, states]` (from, to).
    pub fn chain(&self) -> (Vec<f64>, Vec<f64>) {
        let tape = Tape::<f64>::new();
        let bound = self.store.bind(&tape);
        let both = self.annotator.chain().log_probabilities(Step::eval(&tape, &bound));
        let [initial, transitions] = both.map(|ln| ln.exp().value().to_f64());
        (initial, transitions)
    }

    /// The models of calls, one for each cell type with emissions of its own; nothing for counts and real values.
    ///
    /// # Errors
    /// Never for a model that was fitted or loaded.
    pub fn models_of_calls(&self) -> Result<Vec<ChromHmmModel>> {
        if self.config().emission != Emission::Bernoulli {
            return Ok(Vec::new());
        }
        let mut models = self.annotator.models(&self.store, &self.header.marks)?;
        for model in &mut models {
            model.order = StateOrder::Emission;
            model.training = Some((self.header.ln_likelihood, self.header.passes));
        }
        Ok(models)
    }

    /// How many numbers the data decided: starts, transitions that are not zero, emissions.
    pub fn free_parameters(&self) -> usize {
        /// Transitions below this were ruled out.
        const RULED_OUT: f64 = 1e-200;
        let states = self.states();
        let transitions = self.chain().1.iter().filter(|p| **p > RULED_OUT).count();
        let (location, scale) = self.annotator.emissions(&self.store);
        (states - 1) + (transitions - states) + location.len() + scale.map_or(0, |scale| scale.len())
    }

    /// The Bayesian information criterion of the training data; less is better (Schwarz 1978).
    pub fn bic(&self) -> f64 {
        self.free_parameters() as f64 * (self.header.bins as f64).ln() - 2.0 * self.header.ln_likelihood
    }

    /// The cell types that have emissions of their own, if there are any.
    pub(super) fn own_cells(&self) -> Option<&[String]> {
        (self.config().cell_types > 1).then_some(&self.header.cells[..])
    }

    /// A model with the emissions of one of its cell types, for any other data.
    ///
    /// # Errors
    /// When the cell types share their emissions, or there is none of this name.
    pub fn of_cell(&self, cell: &str) -> Result<Self> {
        let cells = self.own_cells().ok_or_else(|| Error::Data("all cell types share their emissions".into()))?;
        let Some(place) = cells.iter().position(|own| own == cell) else {
            return Err(Error::Data(format!("the model has emissions of {}, none of {cell}", cells.join(", "))));
        };
        let config = ChromatinStatesConfig { cell_types: 1, ..self.config().clone() };
        let mut store = ParamStore::new(0);
        let annotator = ChromatinStateAnnotator::new(&config, &mut store)?;
        for (to, from) in [
            (annotator.chain().initial, self.annotator.chain().initial),
            (annotator.chain().transition, self.annotator.chain().transition),
        ] {
            store.set(to, self.store.get(from).clone());
        }
        let (location, scale) = self.annotator.emissions(&self.store);
        let size = location.len() / cells.len();
        let part = |values: &[f64]| values[place * size..(place + 1) * size].to_vec();
        // dispersions are shared by the cell types
        let scale = scale.map(|scale| if scale.len() == location.len() { part(&scale) } else { scale });
        annotator.set_emissions(&mut store, &part(&location), scale.as_deref());
        let header = ChromatinHeader { cells: vec![cell.to_owned()], ..self.header.clone() };
        Ok(Self { annotator, store, header })
    }

    /// The marks in an order in which neighbours are emitted by the same states.
    pub fn mark_order(&self) -> Vec<usize> {
        let (states, marks) = (self.states(), self.header.marks.len());
        let expected = self.mean_over_cells();
        let column = |mark: usize| (0..states).map(|s| expected[s * marks + mark]).collect::<Vec<f64>>();
        correlation_order(&(0..marks).map(column).collect::<Vec<_>>())
    }

    /// `[states, marks]`
    fn mean_over_cells(&self) -> Vec<f64> {
        let expected = self.expected();
        let size = self.states() * self.header.marks.len();
        let types = expected.len() / size;
        (0..size).map(|i| (0..types).map(|c| expected[c * size + i]).sum::<f64>() / types as f64).collect()
    }

    /// Brings the states into an order in which neighbours emit similar marks.
    pub(super) fn sort_states(&mut self) {
        let marks = self.header.marks.len();
        let rows: Vec<Vec<f64>> = self.mean_over_cells().chunks_exact(marks).map(<[f64]>::to_vec).collect();
        let order = correlation_order(&rows);
        let (location, scale) = self.annotator.emissions(&self.store);
        let states = order.len();
        let sorted = |values: &[f64]| -> Vec<f64> {
            let each = values.chunks_exact(states * marks);
            each.flat_map(|v| order.iter().flat_map(move |&s| &v[s * marks..(s + 1) * marks])).copied().collect()
        };
        // dispersions are shared by the states
        let scale = scale.map(|scale| if scale.len() == location.len() { sorted(&scale) } else { scale });
        let location = sorted(&location);
        self.annotator.set_emissions(&mut self.store, &location, scale.as_deref());
        let chain = self.annotator.chain().clone();
        let (initial, transitions) =
            (self.store.get(chain.initial).to_f64(), self.store.get(chain.transition).to_f64());
        let initial: Vec<f64> = order.iter().map(|&s| initial[s]).collect();
        let pairs = order.iter().flat_map(|&from| order.iter().map(move |&to| from * states + to));
        let transitions: Vec<f64> = pairs.map(|place| transitions[place]).collect();
        self.store.set(chain.initial, Tensor::from_f64([states], &initial));
        self.store.set(chain.transition, Tensor::from_f64([states, states], &transitions));
    }

    /// Looks at some of the sequences together.
    fn look<R>(&self, data: &ChromatinData, mut take: impl FnMut(&ChromatinOutput<'_, f64>) -> R) -> Result<Vec<R>> {
        if data.marks != self.header.marks {
            let (known, given) = (self.header.marks.join(", "), data.marks.join(", "));
            return Err(Error::Data(format!("the model knows the marks {known}; the data has {given}")));
        }
        let mut tape = Tape::<f64>::new();
        let mut found = Vec::new();
        for part in data.tracks(self.own_cells())? {
            let arrays = self.annotator.arrays(&part)?;
            {
                let bound = self.store.bind(&tape);
                let output = self.annotator.forward(Step::eval(&tape, &bound), &arrays.on(&tape))?;
                found.push(take(&output));
            }
            tape.reset();
        }
        Ok(found)
    }

    /// The ln-likelihood of all sequences.
    ///
    /// # Errors
    /// When the data has other marks or cell types than the model, or values that its emissions cannot make.
    pub fn ln_likelihood(&self, data: &ChromatinData) -> Result<f64> {
        let parts = self.look(data, |output| output.ln_likelihood().sum().item())?;
        let sum: f64 = parts.into_iter().sum();
        if !sum.is_finite() {
            return Err(Error::Data("the model cannot have made these observations: their likelihood is zero".into()));
        }
        Ok(sum)
    }

    /// What decodes the sequences of some data; a temperature smooths the most probable path.
    ///
    /// # Errors
    /// When the temperature is not positive.
    pub fn annotate<'a>(&'a self, data: &'a ChromatinData, temperature: Option<f64>) -> Result<Annotation<'a>> {
        if temperature.is_some_and(|t| t.is_nan() || t <= 0.0) {
            return Err(Error::Data("a temperature is more than 0".into()));
        }
        Ok(Annotation { model: self, data, temperature })
    }

    /// Writes the model to a file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let header = serde_json::to_value(&self.header).map_err(|e| ModelError::config("header", e.to_string()))?;
        let card = ModelCard::new::<ChromatinStateAnnotator>(self.config())?.with(HEADER, header);
        Ok(gradome_nn::checkpoint::save(path, &card, &self.store)?)
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// When the file is no checkpoint, is damaged, holds another operator, or its header does not fit its arrays.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let checkpoint = Checkpoint::<ChromatinStateAnnotator, f64>::load(path)?;
        let wrong = |problem: &str| Error::Data(format!("{}: {problem}", path.display()));
        let header = checkpoint.metadata.get(HEADER).ok_or_else(|| wrong("its header names no marks"))?;
        let header: ChromatinHeader = serde_json::from_value(header.clone()).map_err(|e| wrong(&e.to_string()))?;
        let ChromatinStatesConfig { marks, cell_types, .. } = checkpoint.config;
        if header.marks.len() != marks || (cell_types > 1 && header.cells.len() != cell_types) || header.bin_size == 0 {
            return Err(wrong("its header does not fit its arrays"));
        }
        Ok(Self { annotator: checkpoint.operator, store: checkpoint.store, header })
    }
}

/// A model and the sequences that it decodes.
pub struct Annotation<'a> {
    model: &'a TrainedChromatinStates,
    data: &'a ChromatinData,
    temperature: Option<f64>,
}

impl Annotation<'_> {
    /// Looks at one sequence.
    fn one<R>(&self, sequence: usize, mut take: impl FnMut(&ChromatinOutput<'_, f64>) -> R) -> Result<R> {
        let sequence = self.data.sequences[sequence].clone();
        let place = format!("{} {}", sequence.cell, sequence.chromosome);
        let one = ChromatinData { sequences: vec![sequence], ..self.data.without_sequences() };
        let found = self.model.look(&one, |output| {
            let possible = output.ln_likelihood().item().is_finite();
            possible.then(|| take(output))
        })?;
        let problem = "has no bins, or the model cannot have made its observations";
        found.into_iter().flatten().next().ok_or_else(|| Error::Data(format!("{place} {problem}")))
    }

    /// `[bins, states]` posteriors, or the smoothed indicator of the most probable path.
    fn probabilities(&self, sequence: usize) -> Result<Vec<f64>> {
        self.one(sequence, |output| match self.temperature {
            Some(temperature) => output.smoothed_path(temperature).value().to_f64(),
            None => output.posteriors().value().to_f64(),
        })
    }
}

impl Annotates for Annotation<'_> {
    fn states(&self) -> usize {
        self.model.states()
    }

    fn order(&self) -> StateOrder {
        StateOrder::Emission
    }

    fn sequences(&self) -> Vec<(&str, &str)> {
        self.data.sequences.iter().map(|s| (s.cell.as_str(), s.chromosome.as_str())).collect()
    }

    fn decode(&self, sequence: usize, decoding: Decoding) -> Result<Vec<u16>> {
        if decoding == Decoding::Viterbi {
            return self.one(sequence, |output| output.path().path.iter().map(|&state| state as u16).collect());
        }
        let best = |row: &[f64]| {
            let mut best = (0, f64::NEG_INFINITY);
            for (state, &p) in row.iter().enumerate().filter(|(_, p)| !p.is_nan()) {
                if p > best.1 {
                    best = (state as u16, p);
                }
            }
            best.0
        };
        Ok(self.probabilities(sequence)?.chunks_exact(self.states()).map(best).collect())
    }

    fn posteriors(&self, sequence: usize, take: &mut dyn FnMut(&[f64])) -> Result<()> {
        self.probabilities(sequence)?.chunks_exact(self.states()).for_each(take);
        Ok(())
    }
}
