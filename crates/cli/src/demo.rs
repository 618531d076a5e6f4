//! `gradome demo`: the whole job on real cells that come with the program.

use std::path::PathBuf;

use clap::Args;
use gradome::io::{Dataset, Matrix, Measured, Modality, read_h5ad_bytes};
use gradome::multiomics::Likelihood;
use gradome::nn::Rng;
use gradome::nn::metrics::pearson;
use gradome::report::knn::nearest;
use gradome::report::pca::Pca;
use gradome::report::points::Points;
use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::Global;
use crate::error::{Result, wrong};
use crate::fit::{Job, Model, Trained, Training, finish, shell_word};
use crate::inputs::batches;
use crate::prepare::Prepared;
use crate::run_dir::{Reuse, RunDir};
use crate::summary::{COMPONENTS, Imputation, ImputationScore, finite, log_normalized};
use crate::tally::is_measured;

/// Train on real blood cells that come with the program.
///
/// 400 blood cells of two experiments (10x Genomics, CITE-seq) with 1,000 genes and 29 surface proteins, of which the
/// second experiment measured only 14. The model joins the experiments, fills in the missing proteins, and is scored on
/// proteins that were hidden from it in a fifth of the first experiment's cells. Takes less than two minutes.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome demo
  gradome demo --out /tmp/demo --seed 1")]
pub struct Demo {
    /// The folder to write to; made when it is missing
    #[arg(long, value_name = "DIR", default_value = "gradome-demo", help_heading = "Output")]
    out: PathBuf,
    #[command(flatten)]
    reuse: Reuse,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    training: Training,
}

/// Origin and licence stand in the README beside it.
static CELLS: &[u8] = include_bytes!("../../../demo-data/pbmc_cite_seq.h5ad");
const FILE: &str = "pbmc_cite_seq.h5ad";
/// The batch in which every protein was measured, so that every protein can be scored.
const COMPLETE_BATCH: &str = "5k";
/// Share of its cells whose proteins are hidden.
const HIDDEN_SHARE: f64 = 0.2;
/// Neighbours whose mean is the nearest-neighbour guess.
const NEIGHBOURS: usize = 15;

impl Demo {
    pub fn run(&self, global: &Global) -> Result<()> {
        let dir = RunDir::new(&self.out, self.reuse)?;
        let mut data = read_h5ad_bytes(FILE, CELLS.to_vec(), &["X", "obsm/protein_expression"])?;
        let (batch_names, batch) = batches(&data, "batch")?;
        let task = HiddenProteins::hide(&mut data, &batch_names, &batch, global.seed)?;
        let likelihoods = vec![Likelihood::NegativeBinomial, Likelihood::NegativeBinomialMixture];
        let prepared = Prepared { data, likelihoods, batch_names, batch };
        let config = self.model.config(&prepared)?;
        let job = Job::new(prepared, config, &self.training, global.seed)?;
        dir.start()?;
        let seed = if global.seed == 0 { String::new() } else { format!(" --seed {}", global.seed) };
        let again = format!("gradome demo --out {}{seed} --resume", shell_word(&self.out));
        let trained = job.train(&dir, global, &again)?;
        let mut summary = job.summarise(&trained, &dir, "Blood cells by RNA and surface proteins".into())?;
        summary.imputation = Some(task.score(&job, &trained)?);
        finish(&dir, &summary)
    }
}

/// Proteins that training does not see.
struct HiddenProteins {
    /// All cells as they were measured.
    truth: Modality,
    hidden: Vec<usize>,
    /// The other cells of the complete batch.
    reference: Vec<usize>,
}

impl HiddenProteins {
    /// Hides all proteins of some cells.
    fn hide(data: &mut Dataset, batch_names: &[String], batch: &[u32], seed: u64) -> Result<Self> {
        let complete = batch_names.iter().position(|name| name == COMPLETE_BATCH);
        let mut cells: Vec<usize> = (0..batch.len()).filter(|&cell| Some(batch[cell] as usize) == complete).collect();
        cells.shuffle(&mut Rng::seed_from_u64(seed));
        let mut hidden = cells.split_off((cells.len() as f64 * (1.0 - HIDDEN_SHARE)).round() as usize);
        hidden.sort_unstable();
        cells.sort_unstable();
        let protein = data.modalities.iter_mut().find(|modality| modality.name == "protein");
        let protein = protein.ok_or_else(|| wrong(format!("{FILE} holds no proteins")))?;
        let truth = protein.clone();
        let features = truth.features.len();
        let mut values = truth.matrix.to_row_major();
        hidden.iter().for_each(|&cell| values[cell * features..][..features].fill(0.0));
        protein.matrix = Matrix::dense(batch.len(), features, values);
        protein.measured = Measured::from_rows((0..batch.len()).map(|cell| {
            let seen = hidden.binary_search(&cell).is_err();
            (0..features).map(|feature| seen && is_measured(&truth, cell, feature)).collect()
        }));
        Ok(Self { truth, hidden, reference: cells })
    }

    /// Scores the model's values and two simple guesses against the truth.
    fn score(&self, job: &Job, trained: &Trained) -> Result<Imputation> {
        let log_counts = |modality: &Modality, cells: &[usize]| -> Result<Points> {
            let values: Vec<f32> =
                modality.select_cells(cells).matrix.to_row_major().into_iter().map(f32::ln_1p).collect();
            Ok(Points::new(&values, [cells.len(), modality.features.len()])?)
        };
        let truth = log_counts(&self.truth, &self.hidden)?;
        let known = log_counts(&self.truth, &self.reference)?;

        let imputed = trained.model.impute(&job.data.select(&self.hidden), &self.truth.name, 0, 0)?;
        let model = log_counts(
            &Modality { matrix: imputed, ..self.truth.clone() },
            &(0..self.hidden.len()).collect::<Vec<_>>(),
        )?;

        let rna = log_normalized(&job.data.modalities[0])?;
        let components = Pca::fit(&rna, COMPONENTS)?.project(&rna)?;
        let near = nearest(&components.select(&self.hidden)?, &components.select(&self.reference)?, NEIGHBOURS)?;
        let neighbours = near.mean_of(&known)?;

        let features = truth.dims();
        let mean: Vec<f64> = (0..features)
            .map(|feature| known.rows().map(|row| row[feature]).sum::<f64>() / known.cells() as f64)
            .collect();
        let mean = Points::new(&mean.repeat(truth.cells()), [truth.cells(), features])?;

        Ok(Imputation {
            hidden_cells: self.hidden.len(),
            methods: vec![
                score("gradome", &truth, &model),
                score(&format!("{NEIGHBOURS} nearest cells by RNA"), &truth, &neighbours),
                score("the protein's mean", &truth, &mean),
            ],
            features: self.truth.feature_names().map(str::to_owned).collect(),
        })
    }
}

fn score(method: &str, truth: &Points, guess: &Points) -> ImputationScore {
    let column = |points: &Points, feature: usize| points.rows().map(|row| row[feature]).collect::<Vec<f64>>();
    let correlation: Vec<Option<f64>> =
        (0..truth.dims()).map(|feature| finite(pearson(&column(truth, feature), &column(guess, feature)))).collect();
    let known: Vec<f64> = correlation.iter().copied().flatten().collect();
    let difference = truth.values().iter().zip(guess.values()).map(|(truth, guess)| (truth - guess).abs());
    ImputationScore {
        method: method.into(),
        mean_correlation: (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64),
        correlation,
        error: difference.sum::<f64>() / truth.values().len() as f64,
    }
}
