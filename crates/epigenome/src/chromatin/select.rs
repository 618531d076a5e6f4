//! Which model: several starts, numbers of states compared by BIC and held-out likelihood, uncertain emissions.

use gradome_io::genome::binarised::Binarised;
use rayon::prelude::*;

use super::counts::{ExpectedCounts, check_model};
use super::em::EmSettings;
use super::java::JavaRandom;
use super::model::ChromHmmModel;
use crate::{Error, Result};

impl ChromHmmModel {
    /// The best of several fits: from the information-based start where it reaches so many states, and from random
    /// starts with the seeds `seed`, `seed + 1`, ... ; fits run side by side.
    ///
    /// # Errors
    /// When no start can be fitted; the error is that of the first.
    pub fn fit_best(
        data: &Binarised,
        states: usize,
        random_starts: usize,
        seed: i64,
        settings: &EmSettings,
    ) -> Result<Self> {
        let start = |number: usize| match number {
            0 => Ok(Self::from_information(data, states, 0.02)?.0),
            n => Self::random(&data.marks, states, &mut JavaRandom::new(seed.wrapping_add(n as i64 - 1))),
        };
        let fits: Vec<Result<Self>> =
            (0..=random_starts).into_par_iter().map(|number| start(number)?.fit(data, settings, |_| Ok(()))).collect();
        let mut best: Option<(f64, Self)> = None;
        let mut first_error = None;
        for fit in fits {
            match fit.and_then(|model| Ok((model.ln_likelihood(data)?, model))) {
                Ok(fit) if best.as_ref().is_none_or(|best| fit.0 > best.0) => best = Some(fit),
                Ok(_) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match (best, first_error) {
            (Some(best), _) => Ok(best.1),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::Data("no start was given".into())),
        }
    }

    /// The ln-likelihood of all sequences.
    ///
    /// # Errors
    /// When model and data do not fit, or the model cannot have made a sequence.
    pub fn ln_likelihood(&self, data: &Binarised) -> Result<f64> {
        Ok(ExpectedCounts::of_each(self, data)?.iter().map(|counts| counts.ln_likelihood).sum())
    }

    /// How many numbers the data decided: starts, transitions that are not zero, emissions.
    pub fn free_parameters(&self) -> usize {
        let states = self.states();
        let transitions = self.transitions.iter().filter(|p| **p > 0.0).count();
        (states - 1) + (transitions - states) + states * self.marks.len()
    }

    /// The Bayesian information criterion: parameters x ln(bins) - 2 ln-likelihood; less is better (Schwarz 1978).
    ///
    /// # Errors
    /// As [`ChromHmmModel::ln_likelihood`].
    pub fn bic(&self, data: &Binarised) -> Result<f64> {
        Ok(self.free_parameters() as f64 * (data.bins() as f64).ln() - 2.0 * self.ln_likelihood(data)?)
    }
}

/// How well a number of states fits.
#[derive(Clone, Debug, PartialEq)]
pub struct StateCountScore {
    /// The number of states.
    pub states: usize,
    /// ln-likelihood of all data under the model fitted to all.
    pub ln_likelihood: f64,
    /// Bayesian information criterion of that fit; less is better.
    pub bic: f64,
    /// ln-likelihood a bin of sequences that were held out, over all folds; more is better.
    pub held_out_per_bin: f64,
}

/// Compares numbers of states by BIC and by likelihood of held-out sequences in `folds` folds.
///
/// Sequence number `k` is held out in fold `k % folds`; fits start from `random_starts` random and the information-based
/// start, with pseudocounts so that nothing held out is impossible.
///
/// # Errors
/// When there are fewer sequences than folds or a fit fails.
pub fn compare_state_counts(
    data: &Binarised,
    counts: &[usize],
    folds: usize,
    random_starts: usize,
    seed: i64,
    settings: &EmSettings,
) -> Result<Vec<StateCountScore>> {
    if folds < 2 || data.sequences.len() < folds {
        return Err(Error::Data(format!(
            "{} sequences cannot be held out in {folds} folds: give at least 2 folds and a sequence for each; cut long \
             chromosomes into blocks",
            data.sequences.len()
        )));
    }
    let some = |keep: &dyn Fn(usize) -> bool| Binarised {
        sequences: data.sequences.iter().enumerate().filter(|(k, _)| keep(*k)).map(|(_, s)| s.clone()).collect(),
        ..data.clone()
    };
    let settings = EmSettings { pseudocounts: true, ..*settings };
    let mut scores = Vec::with_capacity(counts.len());
    for &states in counts {
        let model = ChromHmmModel::fit_best(data, states, random_starts, seed, &settings)?;
        let mut held_out = 0.0;
        for fold in 0..folds {
            let (train, rest) = (some(&|k| k % folds != fold), some(&|k| k % folds == fold));
            let model = ChromHmmModel::fit_best(&train, states, random_starts, seed, &settings)?;
            held_out += model.ln_likelihood(&rest)?;
        }
        scores.push(StateCountScore {
            states,
            ln_likelihood: model.ln_likelihood(data)?,
            bic: model.bic(data)?,
            held_out_per_bin: held_out / data.bins() as f64,
        });
    }
    Ok(scores)
}

/// Cuts sequences into blocks of at most so many bins, for held-out comparisons and the bootstrap.
pub fn cut_into_blocks(data: &Binarised, bins: usize) -> Binarised {
    let mut cut = Binarised { sequences: Vec::new(), ..data.clone() };
    for sequence in &data.sequences {
        for (number, patterns) in sequence.patterns.chunks(bins.max(1)).enumerate() {
            let mut block = sequence.clone();
            block.chromosome = format!("{}.{number}", sequence.chromosome);
            block.patterns = patterns.to_vec();
            cut.sequences.push(block);
        }
    }
    cut
}

/// Standard errors of a fitted model's emission probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct EmissionErrors {
    /// `[states, marks]` standard error of the probability that the mark is present; NaN where the data say nothing.
    pub standard_errors: Vec<f64>,
}

impl ChromHmmModel {
    /// Standard errors of the emissions from the observed information (Louis 1982; here by central differences).
    ///
    /// The gradient of the ln-likelihood by an emission's logit is its expected count of presences less what the state's
    /// visits make expected; differencing it over all emission logits gives the information matrix, starts and
    /// transitions held fixed, whose inverse is the covariance of the logits.
    ///
    /// # Errors
    /// When model and data do not fit.
    pub fn emission_errors(&self, data: &Binarised) -> Result<EmissionErrors> {
        check_model(self, data)?;
        /// Step of a logit; the gradient is known to about 1e-10 of its size.
        const STEP: f64 = 1e-4;
        let size = self.emissions.len();
        let gradient = |model: &Self| -> Result<Vec<f64>> {
            let mut total = vec![0.0; size];
            for counts in ExpectedCounts::of_each(model, data)? {
                for ((total, count), p) in total.iter_mut().zip(&counts.calls).zip(&model.emissions) {
                    *total += count[1] * p[0] - count[0] * p[1];
                }
            }
            Ok(total)
        };
        let moved = |place: usize, by: f64| {
            let mut model = self.clone();
            let [absent, present] = model.emissions[place];
            let raised = present * by.exp();
            model.emissions[place] = [absent / (absent + raised), raised / (absent + raised)];
            model
        };
        // an emission of 0 or 1 lies on the border, where there is no curvature to tell its error
        let inside: Vec<usize> = (0..size).filter(|&i| self.emissions[i].iter().all(|&p| p > 1e-12)).collect();
        let rows: Vec<Vec<f64>> = inside
            .par_iter()
            .map(|&place| {
                let (up, down) = (gradient(&moved(place, STEP))?, gradient(&moved(place, -STEP))?);
                Ok(inside.iter().map(|&i| -(up[i] - down[i]) / (2.0 * STEP)).collect())
            })
            .collect::<Result<_>>()?;
        let variances = variances(&rows);
        let mut standard_errors = vec![f64::NAN; size];
        for (&place, variance) in inside.iter().zip(variances) {
            let [absent, present] = self.emissions[place];
            // from the logit to the probability (delta method)
            standard_errors[place] = if variance > 0.0 { variance.sqrt() * absent * present } else { f64::NAN };
        }
        Ok(EmissionErrors { standard_errors })
    }

    /// Standard errors of the emissions by refitting to sequences drawn with replacement (Efron 1979).
    ///
    /// Every refit starts from this model, so states keep their numbers.
    ///
    /// # Errors
    /// When a refit fails, or there are fewer than two sequences or draws.
    pub fn bootstrap_errors(
        &self,
        data: &Binarised,
        draws: usize,
        seed: i64,
        settings: &EmSettings,
    ) -> Result<EmissionErrors> {
        if data.sequences.len() < 2 || draws < 2 {
            return Err(Error::Data(
                "a bootstrap needs two sequences and two draws at least; cut long chromosomes into blocks".into(),
            ));
        }
        let settings = EmSettings { pseudocounts: true, ..*settings };
        let refits: Vec<Vec<f64>> = (0..draws)
            .into_par_iter()
            .map(|draw| {
                let mut random = JavaRandom::new(seed.wrapping_add(draw as i64));
                let sequences = (0..data.sequences.len())
                    .map(|_| data.sequences[random.next_below(data.sequences.len() as u32) as usize].clone())
                    .collect();
                let drawn = Binarised { sequences, ..data.clone() };
                let model = self.fit(&drawn, &settings, |_| Ok(()))?;
                Ok(model.emissions.iter().map(|p| p[1]).collect())
            })
            .collect::<Result<_>>()?;
        let spread = |place: usize| {
            let mean = refits.iter().map(|r| r[place]).sum::<f64>() / draws as f64;
            (refits.iter().map(|r| (r[place] - mean).powi(2)).sum::<f64>() / (draws - 1) as f64).sqrt()
        };
        Ok(EmissionErrors { standard_errors: (0..self.emissions.len()).map(spread).collect() })
    }
}

/// The variances of parameters from their information matrix; NaN where there is no information, as of a state that
/// nothing supports.
pub(super) fn variances(information: &[Vec<f64>]) -> Vec<f64> {
    /// Differences of gradients leave that share of the largest where there is nothing.
    const NOISE: f64 = 1e-12;
    let largest = information.iter().enumerate().fold(0.0, |most, (i, row)| row[i].max(most));
    let known: Vec<usize> = (0..information.len()).filter(|&i| information[i][i] > NOISE * largest).collect();
    let rows = known.iter().map(|&i| known.iter().map(|&j| information[i][j]).collect()).collect();
    let mut variances = vec![f64::NAN; information.len()];
    known.iter().zip(diagonal_of_inverse(rows)).for_each(|(&i, variance)| variances[i] = variance);
    variances
}

/// The diagonal of a matrix's inverse by Gauss-Jordan elimination with row pivots; NaN when it is singular.
fn diagonal_of_inverse(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let size = rows.len();
    for (i, row) in rows.iter_mut().enumerate() {
        row.extend((0..size).map(|j| if i == j { 1.0 } else { 0.0 }));
    }
    for column in 0..size {
        let pivot = (column..size).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()));
        let Some(pivot) = pivot.filter(|&p| rows[p][column].abs() > 0.0) else { return vec![f64::NAN; size] };
        rows.swap(column, pivot);
        let scale = 1.0 / rows[column][column];
        rows[column].iter_mut().for_each(|v| *v *= scale);
        let pivot = rows[column].clone();
        for (i, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if i != column && factor != 0.0 {
                row.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= factor * p);
            }
        }
    }
    (0..size).map(|i| rows[i][size + i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gradome_io::genome::binarised::BinarisedSequence;

    #[test]
    fn the_diagonal_of_an_inverse_is_found() {
        // [[2, 1], [1, 3]] has the inverse [[3, -1], [-1, 2]] / 5
        let diagonal = diagonal_of_inverse(vec![vec![2.0, 1.0], vec![1.0, 3.0]]);
        assert!((diagonal[0] - 0.6).abs() < 1e-15 && (diagonal[1] - 0.4).abs() < 1e-15);
        assert!(diagonal_of_inverse(vec![vec![0.0]])[0].is_nan());
    }

    #[test]
    fn with_one_state_the_error_is_that_of_a_proportion() {
        // with one state nothing is hidden: sqrt(p (1 - p) / n)
        let mut data = Binarised::new(vec!["x".into()]);
        let patterns = (0..200).map(|i| data.patterns.number_of(&[u8::from(i % 5 == 0)])).collect();
        data.sequences.push(BinarisedSequence { cell: "c".into(), chromosome: "chr1".into(), patterns });
        let start = ChromHmmModel::random(&data.marks, 1, &mut JavaRandom::new(1)).unwrap();
        let model = start.fit(&data, &EmSettings::default(), |_| Ok(())).unwrap();
        assert!((model.emissions[0][1] - 0.2).abs() < 1e-12);
        let error = model.emission_errors(&data).unwrap().standard_errors[0];
        assert!((error - (0.2f64 * 0.8 / 200.0).sqrt()).abs() < 1e-7, "{error}");
        assert_eq!(model.free_parameters(), 1);
        let bic = 200f64.ln() - 2.0 * (40.0 * 0.2f64.ln() + 160.0 * 0.8f64.ln());
        assert!((model.bic(&data).unwrap() - bic).abs() < 1e-9);
    }
}
