//! Training, saving and loading.

use std::path::Path;

use gradome_io::Feature;
use gradome_nn::trainer::{End, FitOptions, History, Loss, Progress, Scores, Task};
use gradome_nn::{
    Checkpoint, Decay, Error, ModelCard, Operator, ParamStore, Result, Rng, Schedule, Step, TrainerConfig,
};
use gradome_tape::{Float, Tape, Tensor};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use crate::config::MultiOmicsVaeConfig;
use crate::data::MultiOmicsData;
use crate::trained::TrainedMultiOmicsVae;
use crate::vae::{MultiOmicsInput, MultiOmicsVae};

/// Latent states a held-out cell is scored with; their noise is the same after every epoch.
const VALIDATION_SAMPLES: usize = 2;
/// Keeps the held-out cells' noise apart from everything else that is drawn with the seed.
const VALIDATION_STREAM: u64 = 0x5eed;
/// Held-out cells that are scored together.
const VALIDATION_CHUNK: usize = 512;
/// The header's key of the feature names.
const FEATURES: &str = "features";

/// Which cells train the model, and which decide when to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Numbers of the training cells.
    pub train: Vec<usize>,
    /// Numbers of the held-out cells; none: training runs to its last epoch.
    pub validation: Vec<usize>,
}

impl Split {
    /// Holds out a random share of the cells, at least one of each batch that has ten or more.
    pub fn random(data: &MultiOmicsData, share: f64, seed: u64) -> Self {
        const SMALL_BATCH: usize = 10;
        let mut rng = Rng::seed_from_u64(seed);
        let batches = data.batch.iter().max().map_or(1, |b| *b as usize + 1);
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for batch in 0..batches {
            let of_batch = |&cell: &usize| data.batch.is_empty() || data.batch[cell] as usize == batch;
            let mut cells: Vec<usize> = (0..data.cells()).filter(of_batch).collect();
            cells.shuffle(&mut rng);
            let wanted = (cells.len() as f64 * share).round() as usize;
            let least = usize::from(share > 0.0 && cells.len() >= SMALL_BATCH);
            let held_out = wanted.clamp(least, cells.len().saturating_sub(1));
            validation.extend_from_slice(&cells[..held_out]);
            train.extend_from_slice(&cells[held_out..]);
        }
        train.sort_unstable();
        validation.sort_unstable();
        Self { train, validation }
    }
}

/// The training that suits most data sets of some hundred to some ten thousand cells.
pub fn default_trainer(seed: u64) -> TrainerConfig {
    TrainerConfig {
        max_epochs: 300,
        learning_rate: 2e-3,
        schedule: Schedule {
            warmup_epochs: 3.0,
            decay: Decay::Plateau { factor: 0.5, patience: 15, min_learning_rate: 1e-4 },
        },
        weight_decay: 1e-4,
        gradient_clip: 500.0,
        patience: 30,
        settle_epochs: 30,
        seed,
        ..TrainerConfig::default()
    }
}

/// What training gave.
pub struct Fit {
    /// The model with the best held-out score; of the last step when it was interrupted.
    pub trained: TrainedMultiOmicsVae,
    /// The numbers of every epoch.
    pub history: History,
    /// How training ended.
    pub end: End,
}

/// The model and its data as the trainer sees them.
struct Training<'a> {
    model: &'a MultiOmicsVae,
    data: &'a MultiOmicsData,
    split: &'a Split,
    validation_noise: Vec<f64>,
}

impl<T: Float> Task<T> for Training<'_> {
    fn rows(&self) -> usize {
        self.split.train.len()
    }

    fn loss<'t>(&self, step: Step<'_, 't, T>, rows: &[usize], progress: &Progress) -> Result<Loss<'t, T>> {
        let config = self.model.config();
        let cells: Vec<usize> = rows.iter().map(|&row| self.split.train[row]).collect();
        let mut input = MultiOmicsInput::from_data(step.tape, config, self.data, &cells);
        if config.kl_warmup_epochs > 0.0 {
            // the weight of an epoch is that at its end
            input.kl_warmup = ((progress.epoch.floor() + 1.0) / config.kl_warmup_epochs).min(1.0);
        }
        let output = self.model.forward(step, &input)?;
        let mut loss = Loss::new(output.loss).with("elbo", -output.joint_loss.mean()).with("kl", output.kl.mean());
        for (modality, term) in config.modalities.iter().zip(output.ln_likelihoods) {
            loss = loss.with(format!("log_likelihood_{}", modality.name), term.mean());
        }
        Ok(loss)
    }

    fn validate(&self, store: &ParamStore<T>) -> Result<Option<Scores>> {
        let cells = &self.split.validation;
        if cells.is_empty() {
            return Ok(None);
        }
        let config = self.model.config();
        let latent = config.latent_dim;
        let share = 1.0 / cells.len() as f64;
        let mut kl = 0.0;
        let mut terms = vec![0.0; config.modalities.len()];
        let mut tape = Tape::new();
        for (chunk, cells) in cells.chunks(VALIDATION_CHUNK).enumerate() {
            {
                let bound = store.bind(&tape);
                let step = Step::eval(&tape, &bound);
                let input = MultiOmicsInput::from_data(&tape, config, self.data, cells);
                let posterior = self.model.posterior(&self.model.experts(step, &input));
                kl += posterior.kl_to_standard().sum().item().to_f64() * share;
                for sample in 0..VALIDATION_SAMPLES {
                    let start = (sample * self.split.validation.len() + chunk * VALIDATION_CHUNK) * latent;
                    let noise = &self.validation_noise[start..start + cells.len() * latent];
                    let noise = tape.constant(&Tensor::from_f64([cells.len(), latent], noise));
                    let decoded = self.model.decode(step, posterior.sample(noise), &input);
                    let explained = MultiOmicsVae::ln_likelihoods(&decoded, &input);
                    for (sum, term) in terms.iter_mut().zip(explained) {
                        *sum += term.sum().item().to_f64() * share / VALIDATION_SAMPLES as f64;
                    }
                }
            }
            tape.reset();
        }
        let elbo = terms.iter().sum::<f64>() - kl;
        let mut scores = vec![("negative_elbo".to_owned(), -elbo), ("elbo".to_owned(), elbo), ("kl".to_owned(), kl)];
        for (modality, term) in config.modalities.iter().zip(terms) {
            scores.push((format!("log_likelihood_{}", modality.name), term));
        }
        Ok(Some(scores))
    }
}

impl TrainedMultiOmicsVae {
    /// Trains a model on some cells of a data set.
    ///
    /// The held-out score is the negative ELBO per cell with every modality at weight 1; the weights at its best are
    /// kept. Results depend on data, configuration and seed alone, not on the number of threads.
    ///
    /// # Errors
    /// When configuration or data make no sense (the error names field or modality, cell and feature), training
    /// produces values that are not finite, or a file cannot be written or resumed from.
    pub fn fit(
        config: &MultiOmicsVaeConfig,
        data: &MultiOmicsData,
        split: &Split,
        options: &FitOptions,
    ) -> Result<Fit> {
        data.validate(config)?;
        if split.train.is_empty() {
            return Err(Error::data("training cells", "there are none; give a smaller held-out share"));
        }
        if let Some(cell) = split.train.iter().chain(&split.validation).find(|&&c| c >= data.cells()) {
            return Err(Error::data("split", format!("there is no cell number {cell}, only {}", data.cells())));
        }
        let seed = options.trainer.seed;
        let mut store = ParamStore::<f32>::new(seed);
        let model = MultiOmicsVae::new(config, &mut store)?;
        model.start_from(&mut store, &data.select(&split.train));

        let mut rng = Rng::seed_from_u64(seed ^ VALIDATION_STREAM);
        let count = VALIDATION_SAMPLES * split.validation.len() * config.latent_dim;
        let validation_noise = (0..count).map(|_| rng.sample(StandardNormal)).collect();
        let features: Vec<Vec<Feature>> = data.modalities.iter().map(|m| m.features.clone()).collect();
        let trainer = options.trainer(card(config, &features)?)?;
        let task = Training { model: &model, data, split, validation_noise };
        let outcome = trainer.train(&task, &mut store)?;
        let trained = Self { model, store, features };
        Ok(Fit { trained, history: outcome.history, end: outcome.end })
    }

    /// Writes the model to a file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        gradome_nn::checkpoint::save(path, &card(self.config(), &self.features)?, &self.store)
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// When the file is no checkpoint, is damaged, or holds another operator.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let checkpoint = Checkpoint::<MultiOmicsVae, f32>::load(path)?;
        let features: Vec<Vec<Feature>> = checkpoint
            .metadata
            .get(FEATURES)
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .ok_or_else(|| Error::file(path, "holds no list of feature names; was it written by `fit`?"))?;
        let sizes = checkpoint.config.modalities.iter().map(|m| m.features);
        if features.len() != checkpoint.config.modalities.len() || features.iter().map(Vec::len).ne(sizes) {
            return Err(Error::file(path, "names another number of features than the model has"));
        }
        Ok(Self { model: checkpoint.operator, store: checkpoint.store, features })
    }
}

fn card(config: &MultiOmicsVaeConfig, features: &[Vec<Feature>]) -> Result<ModelCard> {
    let features = serde_json::to_value(features).map_err(|e| Error::data(FEATURES, e.to_string()))?;
    Ok(ModelCard::new::<MultiOmicsVae>(config)?.with(FEATURES, features))
}
