//! Sums over what a model decodes, a few cells at a time, so that no decoded matrix is held whole.

use gradome::io::{Matrix, Modality};
use gradome::multiomics::{Decode, Likelihood, MultiOmicsData, TrainedMultiOmicsVae, View};

use crate::error::Result;
use crate::summary::{ModalityFit, Shown, finite};

/// Cells that are decoded at once.
const CHUNK: usize = 1024;
/// Fewer cells than this make no correlation worth telling.
const FEWEST_CELLS: f64 = 3.0;

/// Sums of pairs (x observed, y expected) of one feature.
#[derive(Clone, Default)]
pub struct Agreement {
    count: f64,
    /// As measured.
    raw: [f64; 2],
    /// Of ln(1 + x) for counts.
    sum: [f64; 2],
    square: [f64; 2],
    product: f64,
}

impl Agreement {
    fn add(&mut self, raw: [f64; 2], scaled: [f64; 2]) {
        self.count += 1.0;
        for side in 0..2 {
            self.raw[side] += raw[side];
            self.sum[side] += scaled[side];
            self.square[side] += scaled[side] * scaled[side];
        }
        self.product += scaled[0] * scaled[1];
    }

    fn mean(&self, side: usize) -> Option<f64> {
        (self.count > 0.0).then(|| self.raw[side] / self.count)
    }

    fn correlation(&self) -> Option<f64> {
        let variance = |side: usize| self.square[side] - self.sum[side] * self.sum[side] / self.count;
        let product = self.product - self.sum[0] * self.sum[1] / self.count;
        let scale = (variance(0).max(0.0) * variance(1).max(0.0)).sqrt();
        (self.count >= FEWEST_CELLS && scale > 0.0).then(|| (product / scale).clamp(-1.0, 1.0))
    }
}

/// What a modality's decoded values add up to over all cells.
pub struct Tally {
    name: String,
    likelihood: Likelihood,
    features: Vec<String>,
    cells: f64,
    agreement: Vec<Agreement>,
    /// `[features]` sums of the normalised values, of ln(1 + x) for counts.
    sum: Vec<f64>,
    square: Vec<f64>,
    /// `[clusters][features]`
    of_cluster: Vec<Vec<f64>>,
    cluster_sizes: Vec<f64>,
}

/// Counts are compared on a log scale.
fn scale(likelihood: Likelihood, value: f32) -> f64 {
    let value = f64::from(value);
    if likelihood.counts() { value.max(0.0).ln_1p() } else { value }
}

impl Tally {
    /// Decodes every cell of modality number `at`.
    pub fn of(
        model: &TrainedMultiOmicsVae,
        data: &MultiOmicsData,
        at: usize,
        clusters: &[usize],
        cluster_count: usize,
    ) -> Result<Self> {
        let (modality, likelihood) = (&data.modalities[at], model.config().modalities[at].likelihood);
        let features = modality.features.len();
        let mut tally = Self {
            name: modality.name.clone(),
            likelihood,
            features: modality.feature_names().map(str::to_owned).collect(),
            cells: data.cells() as f64,
            agreement: vec![Agreement::default(); features],
            sum: vec![0.0; features],
            square: vec![0.0; features],
            of_cluster: vec![vec![0.0; features]; cluster_count],
            cluster_sizes: vec![0.0; cluster_count],
        };
        let best_batch = View { as_batch: best_measured_batch(data, at), ..View::default() };
        let mut observed = vec![0.0; features];
        each_chunk(data, |cells, part| {
            let expected = model.impute(part, &modality.name, 0, 0)?;
            let normalized = model.decode(part, &modality.name, Decode::Normalized, &best_batch, 0, 0)?;
            let (mut of_model, mut comparable) = (vec![0.0; features], vec![0.0; features]);
            for (row, &cell) in cells.iter().enumerate() {
                modality.matrix.read_row(cell, &mut observed);
                expected.read_row(row, &mut of_model);
                normalized.read_row(row, &mut comparable);
                let cluster = clusters[cell];
                tally.cluster_sizes[cluster] += 1.0;
                for feature in 0..features {
                    if is_measured(modality, cell, feature) {
                        let (x, y) = (observed[feature], of_model[feature]);
                        let scaled = [scale(likelihood, x), scale(likelihood, y)];
                        tally.agreement[feature].add([f64::from(x), f64::from(y)], scaled);
                    }
                    let value = scale(likelihood, comparable[feature]);
                    tally.sum[feature] += value;
                    tally.square[feature] += value * value;
                    tally.of_cluster[cluster][feature] += value;
                }
            }
            Ok(())
        })?;
        Ok(tally)
    }

    fn deviation(&self, feature: usize) -> f64 {
        let mean = self.sum[feature] / self.cells;
        (self.square[feature] / self.cells - mean * mean).max(0.0).sqrt()
    }

    /// The features whose normalised values differ most between cells.
    pub fn most_variable(&self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.features.len()).collect();
        order.sort_by(|&a, &b| self.deviation(b).total_cmp(&self.deviation(a)));
        order.truncate(count);
        order
    }

    /// The features that stand out in a cluster: its mean in standard deviations from the mean of all cells.
    ///
    /// The median deviation is added to each, as in Tusher et al. (PNAS 98, 2001, equation 1): a model's levels of
    /// faint features hardly vary, and would otherwise stand out by next to nothing.
    pub fn markers(&self, cluster: usize, count: usize) -> Vec<(String, f64)> {
        let mut deviations: Vec<f64> = (0..self.features.len()).map(|feature| self.deviation(feature)).collect();
        deviations.sort_by(f64::total_cmp);
        let usual = deviations[deviations.len() / 2];
        let z = |feature: usize| {
            let difference =
                self.of_cluster[cluster][feature] / self.cluster_sizes[cluster] - self.sum[feature] / self.cells;
            finite(difference / (self.deviation(feature) + usual)).unwrap_or(0.0)
        };
        let mut scores: Vec<(usize, f64)> =
            (0..self.features.len()).map(|f| (f, z(f))).filter(|(_, z)| *z > 0.0).collect();
        scores.sort_by(|a, b| b.1.total_cmp(&a.1));
        scores.into_iter().take(count).map(|(feature, z)| (self.features[feature].clone(), z)).collect()
    }

    /// How observed and expected values compare.
    pub fn into_fit(self) -> ModalityFit {
        let measured: f64 = self.agreement.iter().map(|a| a.count).sum();
        ModalityFit {
            name: self.name,
            likelihood: self.likelihood.name().into(),
            counts: self.likelihood.counts(),
            measured: measured / (self.cells * self.features.len() as f64),
            observed: self.agreement.iter().map(|a| a.mean(0)).collect(),
            expected: self.agreement.iter().map(|a| a.mean(1)).collect(),
            correlation: self.agreement.iter().map(Agreement::correlation).collect(),
            features: self.features,
        }
    }
}

/// The normalised values of some features in every cell.
pub fn shown_features(
    model: &TrainedMultiOmicsVae,
    data: &MultiOmicsData,
    at: usize,
    features: &[usize],
) -> Result<Vec<Shown>> {
    let modality = &data.modalities[at];
    let likelihood = model.config().modalities[at].likelihood;
    let mut values = vec![Vec::with_capacity(data.cells()); features.len()];
    let best_batch = View { as_batch: best_measured_batch(data, at), ..View::default() };
    each_chunk(data, |cells, part| {
        let normalized: Matrix = model.decode(part, &modality.name, Decode::Normalized, &best_batch, 0, 0)?;
        let mut row = vec![0.0; modality.features.len()];
        for at in 0..cells.len() {
            normalized.read_row(at, &mut row);
            values.iter_mut().zip(features).for_each(|(all, &f)| all.push(scale(likelihood, row[f]) as f32));
        }
        Ok(())
    })?;
    let unit = if likelihood.counts() { "ln(1 + level)" } else { "level" };
    Ok(features
        .iter()
        .zip(values)
        .map(|(&feature, values)| Shown {
            modality: modality.name.clone(),
            feature: modality.features[feature].name.clone(),
            unit: unit.into(),
            values,
        })
        .collect())
}

fn each_chunk(data: &MultiOmicsData, mut f: impl FnMut(&[usize], &MultiOmicsData) -> Result<()>) -> Result<()> {
    let all: Vec<usize> = (0..data.cells()).collect();
    all.chunks(CHUNK).try_for_each(|cells| f(cells, &data.select(cells)))
}

pub fn is_measured(modality: &Modality, cell: usize, feature: usize) -> bool {
    modality.measured.as_ref().is_none_or(|measured| measured.cell(cell)[feature])
}

/// The batch in which most of a modality was measured: decoders know it best. None without batches.
fn best_measured_batch(data: &MultiOmicsData, at: usize) -> Option<u32> {
    let modality = &data.modalities[at];
    let batches = data.batch.iter().max().filter(|most| **most > 0)? + 1;
    let share = |batch: u32| {
        let cells: Vec<usize> = (0..data.cells()).filter(|&cell| data.batch[cell] == batch).collect();
        let features = 0..modality.features.len();
        let known =
            cells.iter().map(|&c| features.clone().filter(|&f| is_measured(modality, c, f)).count()).sum::<usize>();
        known as f64 / cells.len().max(1) as f64
    };
    let shares: Vec<f64> = (0..batches).map(share).collect();
    let most = shares.iter().copied().fold(0.0, f64::max);
    shares.iter().position(|&share| share == most).map(|batch| batch as u32)
}
