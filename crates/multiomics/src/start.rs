//! First values taken from the training cells: what is usual, so that training only learns what differs.

use gradome_nn::{ParamStore, Step};
use gradome_tape::{Float, Tape, Tensor};

use crate::config::{Likelihood, Standardize};
use crate::data::MultiOmicsData;
use crate::encoder::depths;
use crate::vae::MultiOmicsVae;

/// Added to shares and rates before a logarithm, so that features never seen stay finite.
const SMALL_SHARE: f64 = 1e-7;
/// A protein's rates are at least this before a logarithm, in counts.
const SMALL_RATE: f64 = 0.3;
/// Bounds of the first ratio of a protein's foreground to its background, minus 1.
const FOREGROUND_BOUNDS: (f64, f64) = (0.1, 50.0);
/// A feature with a smaller standard deviation is not scaled up further.
const SMALL_SD: f64 = 1e-3;
/// Open chromatin starts with probabilities in this range.
const PROBABILITY_BOUNDS: (f64, f64) = (1e-3, 1.0 - 1e-3);

impl MultiOmicsVae {
    /// Sets usual depths, input scales and output biases from training cells.
    pub(crate) fn start_from<T: Float>(&self, store: &mut ParamStore<T>, data: &MultiOmicsData) {
        let cells: Vec<usize> = (0..data.cells()).collect();
        for (m, config) in self.config.modalities.iter().enumerate() {
            let (values, measured) = data.tensors::<T>(m, &cells);
            let known: Vec<bool> = match &measured {
                Some(mask) => mask.data().iter().map(|v| *v != T::ZERO).collect(),
                None => vec![true; values.shape().len()],
            };
            let (encoder, decoder) = (&self.encoders[m], &self.decoders[m]);
            if config.likelihood.has_depth() {
                let mut all: Vec<f64> = values
                    .data()
                    .chunks_exact(config.features)
                    .map(|row| row.iter().map(|v| v.to_f64()).sum())
                    .filter(|&depth: &f64| depth > 0.0)
                    .collect();
                store.set(encoder.usual_depth, Tensor::full([1], T::of(median(&mut all).unwrap_or(1.0))));
            }
            let transformed = {
                let tape = Tape::new();
                let bound = store.bind(&tape);
                let step = Step::eval(&tape, &bound);
                let depth = tape.constant(&depths(&values));
                encoder.transformed(tape.constant(&values), depth, step.param(encoder.usual_depth)).value()
            };
            let seen = Moments::of(&transformed, &known);
            if config.standardize != Standardize::None {
                store.set(encoder.offset, seen.mean());
            }
            if config.standardize == Standardize::ZScore {
                store.set(encoder.inverse_scale, seen.map(|_, sd| 1.0 / sd.max(SMALL_SD)));
            }
            let raw = Moments::of(&values, &known);
            match config.likelihood {
                Likelihood::SquaredError => store.set(decoder.bias(0), raw.mean()),
                Likelihood::Gaussian => {
                    if let Some((location, scale)) = decoder.units() {
                        store.set(location, raw.mean());
                        if !config.shared_variance {
                            store.set(scale, raw.map(|_, sd| sd.max(SMALL_SD)));
                        }
                    }
                }
                Likelihood::Bernoulli => {
                    let (low, high) = PROBABILITY_BOUNDS;
                    let logit = |mean: f64, _| {
                        let p = mean.clamp(low, high);
                        (p / (1.0 - p)).ln()
                    };
                    store.set(decoder.bias(0), raw.map(logit));
                }
                Likelihood::NegativeBinomialMixture => {
                    let [background, foreground] = mixture_start(&values, &known);
                    store.set(decoder.bias(0), background);
                    store.set(decoder.bias(1), foreground);
                    store.set(decoder.bias(2), Tensor::zeros([config.features]));
                }
                _ => {
                    let total: f64 = raw.moments.iter().map(|m| m.0).sum();
                    store.set(decoder.bias(0), raw.map(|mean, _| (mean / total.max(SMALL_SHARE) + SMALL_SHARE).ln()));
                }
            }
            if decoder.units().is_some() {
                store.set(decoder.bias(0), Tensor::zeros([config.features]));
            }
        }
    }
}

/// Mean and standard deviation of each feature over the cells in which it was measured.
struct Moments {
    moments: Vec<(f64, f64)>,
}

impl Moments {
    fn of<T: Float>(values: &Tensor<T>, known: &[bool]) -> Self {
        let features = values.shape().last_size();
        let column = |feature: usize| {
            (feature..known.len()).step_by(features).filter(|&i| known[i]).map(|i| values.data()[i].to_f64())
        };
        let moments = (0..features).map(|feature| {
            let count = column(feature).count().max(1) as f64;
            let mean = column(feature).sum::<f64>() / count;
            let variance = column(feature).map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            (mean, variance.sqrt())
        });
        Self { moments: moments.collect() }
    }

    fn map<T: Float>(&self, f: impl Fn(f64, f64) -> f64) -> Tensor<T> {
        Tensor::from_fn([self.moments.len()], |i| T::of(f(self.moments[i].0, self.moments[i].1)))
    }

    fn mean<T: Float>(&self) -> Tensor<T> {
        self.map(|mean, _| mean)
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A protein's cells split at its median: the log mean of the lower half, and what softplus turns into the excess of
/// the upper half's mean over it.
fn mixture_start<T: Float>(values: &Tensor<T>, known: &[bool]) -> [Tensor<T>; 2] {
    let features = values.shape().last_size();
    let start = |feature: usize| -> (f64, f64) {
        let mut column: Vec<f64> =
            (feature..known.len()).step_by(features).filter(|&i| known[i]).map(|i| values.data()[i].to_f64()).collect();
        let middle = median(&mut column).unwrap_or(0.0);
        let mean = |part: &mut dyn Iterator<Item = &f64>| {
            let (sum, count) = part.fold((0.0, 0.0), |(s, c), v| (s + v, c + 1.0));
            sum / f64::max(count, 1.0) + SMALL_RATE
        };
        let low = mean(&mut column.iter().filter(|&&v| v <= middle));
        let high = mean(&mut column.iter().filter(|&&v| v > middle));
        let excess = (high / low - 1.0).clamp(FOREGROUND_BOUNDS.0, FOREGROUND_BOUNDS.1);
        // the inverse of softplus
        (low.ln(), excess + (-(-excess).exp_m1()).ln())
    };
    let starts: Vec<(f64, f64)> = (0..features).map(start).collect();
    [Tensor::from_fn([features], |i| T::of(starts[i].0)), Tensor::from_fn([features], |i| T::of(starts[i].1))]
}
