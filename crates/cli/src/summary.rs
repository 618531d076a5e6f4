//! What a trained model says of its cells, in numbers: `latent.csv` and `summary.json`.

use std::io::Write;
use std::path::Path;

use gradome::io::{Kind, Modality, write_atomic};
use gradome::multiomics::{NORMALIZED_DEPTH, View};
use gradome::nn::metrics::silhouette;
use gradome::report::cluster::KMeans;
use gradome::report::knn::neighbours;
use gradome::report::pca::Pca;
use gradome::report::points::Points;
use serde::{Deserialize, Serialize};

use crate::error::{Result, wrong};
use crate::fit::{Job, Trained};
use crate::run_dir::{LATENT_FILE, RunDir};
use crate::table::write_table;
use crate::tally::{Tally, shown_features};

/// Features with the largest changes that a cluster is described by, of each modality.
const MARKERS: usize = 6;
/// Features that the latent space is coloured by.
const SHOWN: usize = 8;
/// Neighbours that are asked for their batch.
const NEIGHBOURS: usize = 15;
/// Of more cells than this, an even part is asked: every pair is looked at.
const ASKED_CELLS: usize = 2000;
/// Principal components that stand for the cells before training.
pub const COMPONENTS: usize = 20;

/// Everything the report says beside training curves and the latent state of each cell.
#[derive(Serialize, Deserialize)]
pub struct Summary {
    pub title: String,
    pub version: String,
    pub seed: u64,
    pub seconds: f64,
    pub parameters: usize,
    pub train_cells: usize,
    pub held_out_cells: usize,
    pub best_epoch: Option<usize>,
    pub stopped_early: bool,
    pub batches: Vec<String>,
    pub modalities: Vec<ModalityFit>,
    pub clusters: Vec<Cluster>,
    /// Mean silhouette of the clusters, -1 to 1.
    pub silhouette: Option<f64>,
    pub mixing: Option<Mixing>,
    pub shown: Vec<Shown>,
    pub imputation: Option<Imputation>,
}

/// How a modality's values compare with what the model expects.
#[derive(Serialize, Deserialize)]
pub struct ModalityFit {
    pub name: String,
    pub likelihood: String,
    pub counts: bool,
    pub features: Vec<String>,
    /// Share of the values that were measured.
    pub measured: f64,
    /// `[features]` mean over the cells in which it was measured; null where it was in none.
    pub observed: Vec<Option<f64>>,
    /// `[features]` mean of what the model expects of the same cells.
    pub expected: Vec<Option<f64>>,
    /// `[features]` Pearson correlation over cells (of ln(1 + x) for counts); null where it does not vary.
    pub correlation: Vec<Option<f64>>,
}

/// A cluster and what sets it apart.
#[derive(Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    pub cells: usize,
    /// For each modality, its features with the largest z-scores.
    pub markers: Vec<Vec<(String, f64)>>,
}

/// Nearest neighbours from other batches, relative to cells in random order: 0 is apart, 1 is mixed.
#[derive(Serialize, Deserialize)]
pub struct Mixing {
    pub before: f64,
    pub after: f64,
}

/// A feature that the latent space is coloured by.
#[derive(Serialize, Deserialize)]
pub struct Shown {
    pub modality: String,
    pub feature: String,
    /// What the values are.
    pub unit: String,
    /// `[cells]`
    pub values: Vec<f32>,
}

/// How well values that were hidden from training were filled in.
#[derive(Serialize, Deserialize)]
pub struct Imputation {
    pub hidden_cells: usize,
    pub methods: Vec<ImputationScore>,
    pub features: Vec<String>,
}

/// The scores of one way to fill in.
#[derive(Serialize, Deserialize)]
pub struct ImputationScore {
    pub method: String,
    /// `[features]` Pearson correlation over hidden cells, of ln(1 + count); null where it does not vary.
    pub correlation: Vec<Option<f64>>,
    /// Mean over features of that.
    pub mean_correlation: Option<f64>,
    /// Mean absolute error of ln(1 + count).
    pub error: f64,
}

impl Job {
    /// Asks the trained model about all cells, and writes `latent.csv`.
    pub fn summarise(&self, trained: &Trained, dir: &RunDir, title: String) -> Result<Summary> {
        let model = &trained.model;
        let latent = model.latent(&self.data, &View::default())?;
        let points = Points::new(&latent.mean, [self.cells.len(), latent.dimensions])?;
        let clusters = self.clusters.min(points.cells());
        let clusters = KMeans { clusters, seed: self.trainer.seed, ..KMeans::default() }.fit(&points)?;
        let labels: Vec<String> = clusters.labels.iter().map(|label| (label + 1).to_string()).collect();
        self.write_latent(&dir.file(LATENT_FILE), &points, &labels)?;

        let mut tallies = Vec::new();
        for at in 0..self.data.modalities.len() {
            tallies.push(Tally::of(model, &self.data, at, &clusters.labels, clusters.sizes.len())?);
        }
        let shown_modality = self.data.modalities.iter().position(|m| m.kind == Kind::Protein).unwrap_or(0);
        let shown = tallies[shown_modality].most_variable(SHOWN);
        let markers = |cluster| tallies.iter().map(|tally| tally.markers(cluster, MARKERS)).collect();
        let asked = even_part(points.cells(), ASKED_CELLS);
        let some = points.select(&asked)?;
        let some_labels: Vec<usize> = asked.iter().map(|&cell| clusters.labels[cell]).collect();
        Ok(Summary {
            title,
            version: env!("CARGO_PKG_VERSION").into(),
            seed: self.trainer.seed,
            seconds: trained.seconds,
            parameters: model.store().parameter_count(),
            train_cells: self.split.train.len(),
            held_out_cells: self.split.validation.len(),
            best_epoch: trained.history.best_epoch,
            stopped_early: trained.stopped_early,
            batches: self.batch_names.clone(),
            clusters: (0..clusters.sizes.len())
                .map(|k| Cluster { name: (k + 1).to_string(), cells: clusters.sizes[k], markers: markers(k) })
                .collect(),
            silhouette: finite(silhouette(some.values(), some.dims(), &some_labels)),
            mixing: self.mixing(&asked, &some)?,
            shown: shown_features(model, &self.data, shown_modality, &shown)?,
            modalities: tallies.into_iter().map(Tally::into_fit).collect(),
            imputation: None,
        })
    }

    fn write_latent(&self, path: &Path, points: &Points, clusters: &[String]) -> Result<()> {
        let header = (1..=points.dims()).map(|i| format!("z{i}")).chain(["cluster".into(), "batch".into()]);
        let rows = points.rows().enumerate().map(|(cell, z)| {
            let batch = self.data.batch.get(cell).map_or_else(String::new, |&b| self.batch_names[b as usize].clone());
            z.iter().map(|&z| (z as f32).to_string()).chain([clusters[cell].clone(), batch]).collect()
        });
        write_table(path, &header.collect::<Vec<_>>(), &self.cells, rows)
    }

    /// How well batches mix among the nearest neighbours in the latent space, and in the first modality's principal
    /// components.
    fn mixing(&self, asked: &[usize], latent: &Points) -> Result<Option<Mixing>> {
        let batch: Vec<u32> = asked.iter().filter_map(|&cell| self.data.batch.get(cell).copied()).collect();
        let k = NEIGHBOURS.min(asked.len().saturating_sub(1));
        if k == 0 || batch.iter().all(|b| *b == batch[0]) {
            return Ok(None);
        }
        let values = log_normalized(&self.data.modalities[0].select_cells(asked))?;
        let components = COMPONENTS.min(values.cells()).min(values.dims());
        let before = Pca::fit(&values, components)?.project(&values)?;
        let mixed = |points: &Points| -> Result<f64> {
            let near = neighbours(points, k)?;
            let (mut found, mut random) = (0.0, 0.0);
            for (cell, own) in batch.iter().enumerate() {
                found += near.of(cell).iter().filter(|&&other| batch[other] != *own).count() as f64 / k as f64;
                random += batch.iter().filter(|other| *other != own).count() as f64 / (batch.len() - 1) as f64;
            }
            Ok(found / random)
        };
        Ok(Some(Mixing { before: mixed(&before)?, after: mixed(latent)? }))
    }
}

impl Summary {
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        Ok(write_atomic(path, |to| to.write_all(text.as_bytes()))?)
    }

    pub fn read(path: &Path) -> Result<Self> {
        let at_file =
            |problem: String| wrong(format!("{}: {problem}; is this the folder of a finished run?", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| at_file(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| at_file(error.to_string()))
    }
}

/// The modality's values as they are compared between cells: ln(1 + counts per 10,000) where depth means something.
pub fn log_normalized(modality: &Modality) -> Result<Points> {
    let (cells, features) = modality.matrix.shape();
    let depths = modality.matrix.row_sums();
    let mut values = modality.matrix.to_row_major();
    let counts = values.iter().all(|&value| value >= 0.0);
    for (row, depth) in values.chunks_exact_mut(features).zip(depths).filter(|(_, depth)| counts && *depth > 0.0) {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) * NORMALIZED_DEPTH / depth).ln_1p() as f32);
    }
    Ok(Points::new(&values, [cells, features])?)
}

/// At most `most` of the numbers below `count`, evenly spread.
fn even_part(count: usize, most: usize) -> Vec<usize> {
    let kept = count.min(most);
    (0..kept).map(|i| i * count / kept).collect()
}

/// NaN and infinity have no place in JSON.
pub fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
