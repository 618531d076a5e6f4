//! First parameters of an annotator: from a model of calls, or from states that bins are put into at first.

use gradome_nn::{ParamStore, Rng};
use gradome_tape::Tensor;
use rand::{RngExt, SeedableRng};

use super::annotator::ChromatinStateAnnotator;
use super::data::ChromatinData;
use super::emission::Emission;
use crate::{Error, Result};

/// Uniform probabilities that are mixed into an information-based start, ChromHMM's default.
pub(super) const SMOOTHING: f64 = 0.02;
/// Bins that random centres are drawn from and moved over, at most.
const SAMPLE: usize = 20_000;
/// Rounds in which random centres move to the middle of their bins.
const ROUNDS: usize = 8;
/// Bins of the overall mean that are mixed into a state's own moments, so that none rests on nothing.
const PRIOR_BINS: f64 = 1.0;
/// A mean count below this is taken as this: its logarithm stays finite.
const LEAST_MEAN: f64 = 1e-4;

/// Number, sum and sum of squares of what was measured, for each `[marks]`.
#[derive(Clone)]
struct Moments(Vec<[f64; 3]>);

impl Moments {
    fn zero(marks: usize) -> Self {
        Self(vec![[0.0; 3]; marks])
    }

    fn add(&mut self, row: &[f32]) {
        for (moments, value) in self.0.iter_mut().zip(row).filter(|(_, value)| !value.is_nan()) {
            let value = f64::from(*value);
            moments[0] += 1.0;
            moments[1] += value;
            moments[2] += value * value;
        }
    }

    /// Mean and variance of a mark, with a little of those of all bins mixed in.
    fn with_prior(&self, mark: usize, prior: (f64, f64)) -> (f64, f64) {
        let [n, sum, squares] = self.0[mark];
        let mean = (sum + PRIOR_BINS * prior.0) / (n + PRIOR_BINS);
        let within = (squares - 2.0 * mean * sum + n * mean * mean).max(0.0);
        (mean, (within + PRIOR_BINS * prior.1) / (n + PRIOR_BINS))
    }

    fn mean_variance(&self, mark: usize) -> (f64, f64) {
        let [n, sum, squares] = self.0[mark];
        let mean = if n > 0.0 { sum / n } else { 0.0 };
        (mean, if n > 0.0 { (squares / n - mean * mean).max(0.0) } else { 0.0 })
    }
}

/// Moments of all bins.
fn overall(data: &ChromatinData) -> Moments {
    let mut all = Moments::zero(data.marks.len());
    data.sequences.iter().flat_map(|s| s.values.chunks_exact(data.marks.len())).for_each(|row| all.add(row));
    all
}

impl ChromatinData {
    /// Calls where a value stands out: more than a standard deviation above the mean of its mark.
    ///
    /// They give counts and real values an information-based start.
    pub fn standing_out(&self) -> Self {
        let all = overall(self);
        let thresholds: Vec<f64> = (0..self.marks.len())
            .map(|mark| {
                let (mean, variance) = all.mean_variance(mark);
                mean + variance.sqrt()
            })
            .collect();
        let mut calls = self.clone();
        for sequence in &mut calls.sequences {
            for row in sequence.values.chunks_exact_mut(thresholds.len()) {
                for (value, threshold) in row.iter_mut().zip(&thresholds).filter(|(value, _)| !value.is_nan()) {
                    *value = f32::from(u8::from(f64::from(*value) > *threshold));
                }
            }
        }
        calls
    }

    /// A state for each bin of each sequence, by the nearest of random centres (k-means++ and a few rounds of k-means
    /// on standardised values, counts as ln(1 + count)); marks that were not measured do not count.
    pub(super) fn random_states(&self, states: usize, counts: bool, seed: u64) -> Vec<Vec<u16>> {
        let marks = self.marks.len();
        let scaled = |value: f32| if counts { f64::from(value).ln_1p() } else { f64::from(value) };
        let mut all = Moments::zero(marks);
        let mut row_of = vec![0.0f32; marks];
        for row in self.sequences.iter().flat_map(|s| s.values.chunks_exact(marks)) {
            row_of.iter_mut().zip(row).for_each(|(to, value)| *to = scaled(*value) as f32);
            all.add(&row_of);
        }
        let spread: Vec<f64> = (0..marks).map(|mark| all.mean_variance(mark).1.max(1e-12).sqrt()).collect();
        let point = |row: &[f32]| -> Vec<f64> { row.iter().zip(&spread).map(|(v, s)| scaled(*v) / s).collect() };
        let distance = |a: &[f64], b: &[f64]| -> f64 {
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).filter(|d| !d.is_nan()).sum()
        };
        let rows: Vec<&[f32]> = self.sequences.iter().flat_map(|s| s.values.chunks_exact(marks)).collect();
        let mut rng = Rng::seed_from_u64(seed);
        let draws = rows.len().min(SAMPLE);
        let sample: Vec<Vec<f64>> = (0..draws).map(|_| point(rows[rng.random_range(0..rows.len())])).collect();
        let mut centres = vec![sample[rng.random_range(0..sample.len())].clone()];
        let mut nearest: Vec<f64> = vec![f64::INFINITY; sample.len()];
        while centres.len() < states {
            let last = &centres[centres.len() - 1];
            nearest.iter_mut().zip(&sample).for_each(|(d, p)| *d = d.min(distance(p, last)));
            let mut left = rng.random::<f64>() * nearest.iter().sum::<f64>();
            let chosen = nearest.iter().position(|d| {
                left -= d;
                left < 0.0
            });
            centres.push(sample[chosen.unwrap_or_else(|| rng.random_range(0..sample.len()))].clone());
        }
        let closest = |centres: &[Vec<f64>], point: &[f64]| -> usize {
            let mut best = (f64::INFINITY, 0);
            for (state, centre) in centres.iter().enumerate() {
                let d = distance(point, centre);
                if d < best.0 {
                    best = (d, state);
                }
            }
            best.1
        };
        for _ in 0..ROUNDS {
            let mut sums = vec![Moments::zero(marks); states];
            for point in &sample {
                let row: Vec<f32> = point.iter().map(|v| *v as f32).collect();
                sums[closest(&centres, point)].add(&row);
            }
            for (centre, sums) in centres.iter_mut().zip(&sums) {
                for (mark, value) in centre.iter_mut().enumerate().filter(|(mark, _)| sums.0[*mark][0] > 0.0) {
                    *value = sums.mean_variance(mark).0;
                }
            }
        }
        let of = |row: &[f32]| closest(&centres, &point(row)) as u16;
        self.sequences.iter().map(|s| s.values.chunks_exact(marks).map(of).collect()).collect()
    }
}

impl ChromatinStateAnnotator {
    /// Sets emissions and chain to what a first division of all bins into states says.
    ///
    /// Means, variances and dispersions are moments; transitions are shares of neighbouring bins, with uniform ones mixed
    /// in. With emissions a cell type, each has its own moments.
    ///
    /// # Errors
    /// When the emissions are calls, which start from a model of calls.
    pub(super) fn set_division(
        &self,
        store: &mut ParamStore<f64>,
        data: &ChromatinData,
        cells: &[String],
        division: &[Vec<u16>],
    ) -> Result<()> {
        let config = self.config();
        let (states, marks, types) = (config.states, config.marks, config.cell_types);
        let all = overall(data);
        let prior: Vec<(f64, f64)> = (0..marks).map(|mark| all.mean_variance(mark)).collect();
        let mut moments = vec![Moments::zero(marks); types * states];
        let (mut starts, mut followed) = (vec![0.0; states], vec![0.0; states * states]);
        for (sequence, division) in data.sequences.iter().zip(division) {
            let cell = cells.iter().position(|cell| types > 1 && *cell == sequence.cell).unwrap_or(0);
            for (row, &state) in sequence.values.chunks_exact(marks).zip(division) {
                moments[cell * states + usize::from(state)].add(row);
            }
            starts[usize::from(division[0])] += 1.0;
            division.windows(2).for_each(|pair| followed[usize::from(pair[0]) * states + usize::from(pair[1])] += 1.0);
        }
        let each: Vec<(f64, f64)> =
            moments.iter().flat_map(|m| (0..marks).map(|mark| m.with_prior(mark, prior[mark]))).collect();
        let ln_means = || each.iter().map(|(mean, _)| mean.max(LEAST_MEAN).ln()).collect::<Vec<f64>>();
        let (location, scale): (Vec<f64>, Option<Vec<f64>>) = match config.emission {
            Emission::Bernoulli => return Err(Error::Data("calls start from a model of calls".into())),
            Emission::Poisson => (ln_means(), None),
            Emission::NegativeBinomial => {
                let dispersion = |mark: usize| {
                    let (mut excess, mut squares) = (0.0, 0.0);
                    for (moments, (mean, variance)) in moments.iter().zip(each.iter().skip(mark).step_by(marks)) {
                        excess += moments.0[mark][0] * (variance - mean);
                        squares += moments.0[mark][0] * mean * mean;
                    }
                    let ratio = if excess > 0.0 { squares / excess } else { f64::INFINITY };
                    ratio.clamp(0.05, 1e3).ln()
                };
                (ln_means(), Some((0..marks).map(dispersion).collect()))
            }
            Emission::Gaussian => {
                let ln_variance = |(_, variance): &(f64, f64)| variance.max(config.variance_floor).max(1e-12).ln();
                (each.iter().map(|(mean, _)| *mean).collect(), Some(each.iter().map(ln_variance).collect()))
            }
        };
        let mixed = |counts: &[f64]| -> Vec<f64> {
            let total: f64 = counts.iter().sum();
            let share = |count: &f64| if total > 0.0 { count / total } else { 1.0 / states as f64 };
            counts.iter().map(|count| (SMOOTHING / states as f64 + (1.0 - SMOOTHING) * share(count)).ln()).collect()
        };
        let transitions: Vec<f64> = followed.chunks_exact(states).flat_map(mixed).collect();
        let chain = self.chain();
        store.set(chain.initial, Tensor::from_f64([states], &mixed(&starts)));
        store.set(chain.transition, Tensor::from_f64([states, states], &transitions));
        self.set_emissions(store, &location, scale.as_deref());
        Ok(())
    }
}
