//! Training by expectation-maximisation: ChromHMM's incremental passes, and plain Baum-Welch.

use std::time::{Duration, Instant};

use gradome_io::genome::binarised::Binarised;

use super::counts::{ExpectedCounts, check_model};
use super::model::ChromHmmModel;
use crate::{Error, Result};

/// When parameters are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// After each sequence, with the counts of the last visit of all others (Neal & Hinton 1998); the first pass once.
    Incremental,
    /// After each pass; sequences are counted side by side.
    BaumWelch,
}

/// How a model is trained; the defaults are ChromHMM's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmSettings {
    /// When parameters are renewed.
    pub algorithm: Algorithm,
    /// Threads for plain Baum-Welch; 0 for those of the process.
    pub threads: usize,
    /// Passes over the data, at most.
    pub max_iterations: usize,
    /// Stops when a pass gains less ln-likelihood than this, or loses some; a negative value never stops.
    pub tolerance: f64,
    /// Transitions to other states below this become zero for good.
    pub least_transition: f64,
    /// Whether 1 is added to every count, so that nothing becomes impossible.
    pub pseudocounts: bool,
    /// Stops after the first pass that ends later than this.
    pub max_time: Option<Duration>,
}

impl Default for EmSettings {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Incremental,
            threads: 0,
            max_iterations: 200,
            tolerance: 1e-3,
            least_transition: 1e-8,
            pseudocounts: false,
            max_time: None,
        }
    }
}

/// What is known after a pass.
pub struct Pass<'a> {
    /// Its number, from 1.
    pub iteration: usize,
    /// ln-likelihood as the pass saw it; incremental passes change the parameters on the way.
    pub ln_likelihood: f64,
    /// Time since the start.
    pub elapsed: Duration,
    /// The model after the pass.
    pub model: &'a ChromHmmModel,
}

impl ChromHmmModel {
    /// Trains from this model; sequences are visited in the order of the data.
    ///
    /// `each` is told of every pass; its error ends the training. The trained model keeps the order of the states.
    ///
    /// # Errors
    /// When model and data do not fit, a sequence has no bins, the model cannot have made a sequence, or `each` fails.
    pub fn fit(
        &self,
        data: &Binarised,
        settings: &EmSettings,
        mut each: impl FnMut(&Pass<'_>) -> Result<()>,
    ) -> Result<Self> {
        check_model(self, data)?;
        if data.sequences.is_empty() || settings.max_iterations == 0 {
            return Err(Error::Data("training needs at least one sequence and one iteration".into()));
        }
        let own = (settings.threads > 0 && settings.algorithm == Algorithm::BaumWelch)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(settings.threads).build())
            .transpose()
            .map_err(|error| Error::Data(format!("{} threads: {error}", settings.threads)))?;
        let count_each = |model: &Self| match &own {
            Some(pool) => pool.install(|| ExpectedCounts::of_each(model, data)),
            None => ExpectedCounts::of_each(model, data),
        };
        let start = Instant::now();
        let mut model = self.clone();
        let mut stored = vec![ExpectedCounts::zero(model.states(), model.marks.len()); data.sequences.len()];
        let mut last = f64::NEG_INFINITY;
        for iteration in 1.. {
            let mut ln_likelihood = 0.0;
            if settings.algorithm == Algorithm::BaumWelch {
                stored = count_each(&model)?;
                ln_likelihood = stored.iter().map(|counts| counts.ln_likelihood).sum();
                model.maximise(&total(&stored), settings);
            } else {
                for sequence in 0..data.sequences.len() {
                    stored[sequence] = ExpectedCounts::of(&model, data, sequence)?;
                    ln_likelihood += stored[sequence].ln_likelihood;
                    // the first pass has no counts of later sequences yet
                    if iteration > 1 || sequence + 1 == data.sequences.len() {
                        model.maximise(&total(&stored), settings);
                    }
                }
            }
            model.training = Some((ln_likelihood, iteration));
            let elapsed = start.elapsed();
            each(&Pass { iteration, ln_likelihood, elapsed, model: &model })?;
            let converged = settings.tolerance >= 0.0 && ln_likelihood - last < settings.tolerance;
            if iteration >= settings.max_iterations || converged || settings.max_time.is_some_and(|most| elapsed > most)
            {
                break;
            }
            last = ln_likelihood;
        }
        Ok(model)
    }

    /// Sets every probability to its share of the counts; a state that nothing is expected to visit keeps its own.
    pub(super) fn maximise(&mut self, counts: &ExpectedCounts, settings: &EmSettings) {
        let extra = if settings.pseudocounts { 1.0 } else { 0.0 };
        let states = self.states();
        share(&mut self.initial, &counts.starts, extra);
        let mut eliminated = false;
        for (from, row) in self.transitions.chunks_exact_mut(states).enumerate() {
            let counts = &counts.transitions[from * states..(from + 1) * states];
            // what is zero stays zero
            let raised: Vec<f64> =
                row.iter().zip(counts).map(|(p, c)| if *p > 0.0 { c + extra } else { 0.0 }).collect();
            if !share(row, &raised, 0.0) {
                continue;
            }
            for (to, p) in row.iter_mut().enumerate() {
                if to != from && *p > 0.0 && *p < settings.least_transition {
                    *p = 0.0;
                    eliminated = true;
                }
            }
        }
        if eliminated {
            for row in self.transitions.chunks_exact_mut(states) {
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|p| *p /= sum);
            }
        }
        for (pair, counts) in self.emissions.iter_mut().zip(&counts.calls) {
            share(pair, counts, extra);
        }
    }
}

/// Makes probabilities the shares of counts; false and unchanged when there are none.
fn share(probabilities: &mut [f64], counts: &[f64], extra: f64) -> bool {
    let sum = counts.iter().fold(0.0, |sum, count| sum + (count + extra));
    if sum.is_nan() || sum <= 0.0 {
        return false;
    }
    probabilities.iter_mut().zip(counts).for_each(|(p, count)| *p = (count + extra) / sum);
    true
}

fn total(stored: &[ExpectedCounts]) -> ExpectedCounts {
    let mut total = ExpectedCounts::zero(stored[0].starts.len(), stored[0].calls.len() / stored[0].starts.len());
    stored.iter().for_each(|counts| total.add(counts));
    total
}
