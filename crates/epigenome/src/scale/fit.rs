//! Training, saving and loading.

use std::path::Path;

use gradome_io::{Feature, Modality};
use gradome_nn::trainer::{End, FitOptions, History, Loss, Progress, Scores, Task};
use gradome_nn::{
    Checkpoint, Decay, Error, ModelCard, Operator, ParamStore, Result, Rng, Schedule, Step, TrainerConfig,
};
use gradome_report::points::Points;
use gradome_tape::{Float, Tape, Tensor};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use super::gaussian_mixture::GaussianMixture;
use super::mixture::{Mixture, MixtureEpsilons};
use super::model::{OpenChromatin, Scale, ScaleConfig};
use super::trained::{CHUNK, TrainedScale, open_cells};

/// Keeps what is drawn for held-out cells apart from everything else that is drawn with the seed.
const VALIDATION_STREAM: u64 = 0x5ca1e;
/// Starts of the mixture that joint training begins with.
const MIXTURE_STARTS: usize = 10;
/// Starts for each number of clusters that is tried.
const TRIAL_STARTS: usize = 3;
/// A peak that fewer or more of the cells have open than this starts as if it were this share.
const RAREST: f64 = 1e-4;
/// The header's key of the peaks' names.
const FEATURES: &str = "features";

/// How many clusters a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterCount {
    /// So many.
    Fixed(usize),
    /// From 1 to so many: where the mixture of the pre-trained embedding has the lowest Bayesian information criterion.
    UpTo(usize),
}

/// How a [`TrainedScale`] is trained.
#[derive(Clone, Debug)]
pub struct ScaleFitOptions {
    /// The loop of joint training; its learning rate, batch size, patience and seed are those of pre-training as well.
    pub fit: FitOptions,
    /// Epochs, at most, in which the autoencoder is trained under a standard normal prior before the mixture is added.
    pub pretraining_epochs: usize,
    /// How many clusters.
    pub clusters: ClusterCount,
    /// Share of the cells held out to decide when to stop; 0 trains on all cells for all epochs.
    pub validation_fraction: f64,
}

impl ScaleFitOptions {
    /// The training that suits some hundred to some ten thousand cells, without files or output.
    pub fn quiet(seed: u64) -> Self {
        Self {
            fit: FitOptions::quiet(default_scale_trainer(seed)),
            pretraining_epochs: 100,
            clusters: ClusterCount::UpTo(20),
            validation_fraction: 0.1,
        }
    }
}

/// The loop that suits some hundred to some ten thousand cells: the reference's rate, decay and clipping.
pub fn default_scale_trainer(seed: u64) -> TrainerConfig {
    TrainerConfig {
        max_epochs: 100,
        batch_size: 32,
        learning_rate: 1e-3,
        schedule: Schedule { warmup_epochs: 1.0, decay: Decay::Cosine { final_factor: 0.05 } },
        weight_decay: 5e-4,
        gradient_clip: 10.0,
        patience: 15,
        seed,
        ..TrainerConfig::default()
    }
}

/// What training gave.
pub struct ScaleFit {
    /// The model with the best held-out bound; of the last step when it was interrupted.
    pub trained: TrainedScale,
    /// The numbers of every epoch before the mixture was added.
    pub pretraining: History,
    /// The numbers of every epoch of joint training; empty when pre-training was interrupted.
    pub history: History,
    /// How training ended.
    pub end: End,
}

/// The cells of both phases.
struct Cells<'a> {
    peaks: &'a Modality,
    train: Vec<usize>,
    validation: Vec<usize>,
    /// `[validation cells, latent]`, the same after every epoch.
    noise: Vec<f64>,
}

impl<'a> Cells<'a> {
    /// Holds out a random share of the cells.
    fn split(peaks: &'a Modality, share: f64, latent: usize, seed: u64) -> Self {
        let count = peaks.matrix.rows();
        let mut rng = Rng::seed_from_u64(seed ^ VALIDATION_STREAM);
        let mut train: Vec<usize> = (0..count).collect();
        train.shuffle(&mut rng);
        let held_out = ((count as f64 * share).round() as usize).min(count.saturating_sub(1));
        let validation: Vec<usize> = train.drain(..held_out).collect();
        train.sort_unstable();
        let noise = (0..held_out * latent).map(|_| rng.sample(StandardNormal)).collect();
        Self { peaks, train, validation, noise }
    }
}

/// The model and its cells as the trainer sees them.
struct Training<'a> {
    model: &'a Scale,
    cells: &'a Cells<'a>,
    /// Whether the prior is the mixture, not the standard normal.
    joint: bool,
}

impl Training<'_> {
    fn batch(&self, cells: &[usize], noise: Option<&[f64]>) -> OpenChromatin {
        OpenChromatin { noise: noise.map(<[f64]>::to_vec), ..OpenChromatin::of(self.cells.peaks, cells) }
    }

    fn prior<'t, T: Float>(&self, step: Step<'_, 't, T>) -> Mixture<'t, T> {
        if self.joint { self.model.mixture(step) } else { Mixture::standard(step.tape, self.model.config().latent_dim) }
    }
}

impl<T: Float> Task<T> for Training<'_> {
    fn rows(&self) -> usize {
        self.cells.train.len()
    }

    fn loss<'t>(&self, step: Step<'_, 't, T>, rows: &[usize], _: &Progress) -> Result<Loss<'t, T>> {
        let cells: Vec<usize> = rows.iter().map(|&row| self.cells.train[row]).collect();
        let input = self.model.input(step.tape, &self.batch(&cells, None))?;
        let output = self.model.under(step, &input, self.prior(step), MixtureEpsilons::default());
        Ok(Loss::new(output.loss).with("kl", output.kl.mean()).with("log_likelihood", output.ln_likelihood.mean()))
    }

    fn validate(&self, store: &ParamStore<T>) -> Result<Option<Scores>> {
        if self.cells.validation.is_empty() {
            return Ok(None);
        }
        let latent = self.model.config().latent_dim;
        let (mut kl, mut ln_likelihood) = (0.0, 0.0);
        let mut tape = Tape::new();
        for (cells, noise) in self.cells.validation.chunks(CHUNK).zip(self.cells.noise.chunks(CHUNK * latent)) {
            {
                let bound = store.bind(&tape);
                let step = Step::eval(&tape, &bound);
                let input = self.model.input(&tape, &self.batch(cells, Some(noise)))?;
                let output = self.model.under(step, &input, self.prior(step), MixtureEpsilons::default());
                kl += output.kl.sum().item().to_f64();
                ln_likelihood += output.ln_likelihood.sum().item().to_f64();
            }
            tape.reset();
        }
        let (kl, ln_likelihood) =
            (kl / self.cells.validation.len() as f64, ln_likelihood / self.cells.validation.len() as f64);
        let scores = [("loss", kl - ln_likelihood), ("kl", kl), ("log_likelihood", ln_likelihood)];
        Ok(Some(scores.map(|(name, score)| (name.to_owned(), score)).to_vec()))
    }
}

impl TrainedScale {
    /// Trains a model on cells; what is not 0 counts as open.
    ///
    /// The autoencoder learns under a standard normal prior first; then a mixture fitted to the embedding takes the
    /// prior's place and both are trained on. The numbers of peaks and components in `config` are replaced by those of
    /// the data and of `options.clusters`. Results depend on data, settings and seed alone, not on the number of
    /// threads.
    ///
    /// # Errors
    /// When settings make no sense, there are fewer cells than clusters, training produces values that are not finite,
    /// or a file cannot be written; runs cannot be resumed.
    pub fn fit(config: &ScaleConfig, peaks: &Modality, options: &ScaleFitOptions) -> Result<ScaleFit> {
        let share = options.validation_fraction;
        if !(0.0..1.0).contains(&share) {
            return Err(Error::config("validation_fraction", format!("{share} is outside of 0 to below 1")));
        }
        if options.fit.resume {
            return Err(Error::config("resume", "a run of two phases cannot go on; start it again"));
        }
        let (ClusterCount::Fixed(most) | ClusterCount::UpTo(most)) = options.clusters;
        let cells = peaks.matrix.rows();
        if most == 0 || (most > cells && matches!(options.clusters, ClusterCount::Fixed(_))) {
            let problem = format!("{most} clusters of {cells} cells; give from 1 to the number of cells");
            return Err(Error::config("clusters", problem));
        }
        let (seed, latent) = (options.fit.trainer.seed, config.latent_dim);
        let config = ScaleConfig { peaks: peaks.features.len(), components: 1, ..config.clone() };
        let mut store = ParamStore::<f32>::new(seed);
        let model = Scale::new(&config, &mut store)?;
        let cells = &Cells::split(peaks, share, latent, seed);
        model.start_from(&mut store, peaks, &cells.train);

        let first = FitOptions {
            trainer: TrainerConfig { max_epochs: options.pretraining_epochs, ..options.fit.trainer.clone() },
            folder: None,
            ..options.fit.clone()
        };
        let pretraining = first
            .trainer(card(&config, &peaks.features)?)?
            .train(&Training { model: &model, cells, joint: false }, &mut store)?;
        let features = peaks.features.clone();
        if let End::Interrupted { .. } = pretraining.end {
            let trained = Self { model, store, features };
            let history = History::default();
            return Ok(ScaleFit { trained, pretraining: pretraining.history, history, end: pretraining.end });
        }
        let trained = Self { model, store, features };
        let found = trained.start_of_mixture(peaks, options.clusters, seed)?;
        let (model, mut store) = trained.with_mixture(&found, seed)?;
        let trainer = options.fit.trainer(card(model.config(), &peaks.features)?)?;
        let outcome = trainer.train(&Training { model: &model, cells, joint: true }, &mut store)?;
        let trained = Self { model, store, features: trained.features };
        Ok(ScaleFit { trained, pretraining: pretraining.history, history: outcome.history, end: outcome.end })
    }

    /// The mixture of the embedding: fitted to the posterior means, and widened by the posteriors' mean variance, since
    /// the prior is that of states, not of their means.
    fn start_of_mixture(&self, peaks: &Modality, clusters: ClusterCount, seed: u64) -> Result<GaussianMixture> {
        let latent = self.config().latent_dim;
        let (mut means, mut variances) = (Vec::new(), vec![0.0; latent]);
        let cells = peaks.matrix.rows();
        self.for_each_chunk(peaks, |_, output| {
            means.extend_from_slice(output.posterior.mean.value().data());
            for (i, v) in output.posterior.ln_variance.exp().value().data().iter().enumerate() {
                variances[i % latent] += f64::from(*v) / cells as f64;
            }
            Ok(())
        })?;
        let wrong = |error: &dyn std::fmt::Display| Error::data("embedding", error.to_string());
        let points = Points::new(&means, [cells, latent]).map_err(|error| wrong(&error))?;
        let found = match clusters {
            ClusterCount::Fixed(count) => GaussianMixture::fit(&points, count, MIXTURE_STARTS, seed),
            ClusterCount::UpTo(most) => GaussianMixture::fit_any(&points, most, TRIAL_STARTS, seed),
        };
        let mut found = found.map_err(|error| wrong(&error))?;
        found.variances.iter_mut().enumerate().for_each(|(i, v)| *v += variances[i % latent]);
        Ok(found)
    }

    /// The same autoencoder with a mixture as its prior.
    fn with_mixture(&self, found: &GaussianMixture, seed: u64) -> Result<(Scale, ParamStore<f32>)> {
        let config = ScaleConfig { components: found.weights.len(), ..self.config().clone() };
        let mut store = ParamStore::<f32>::new(seed);
        let model = Scale::new(&config, &mut store)?;
        for (_, entry) in self.store.entries() {
            if let Some(id) = store.find(&entry.path).filter(|&id| store.get(id).shape() == entry.value.shape()) {
                store.set(id, entry.value.clone());
            }
        }
        model.set_mixture(&mut store, found);
        Ok((model, store))
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
        let checkpoint = Checkpoint::<Scale, f32>::load(path)?;
        let names = checkpoint.metadata.get(FEATURES).cloned().unwrap_or_default();
        let features: Vec<Feature> = serde_json::from_value(names)
            .map_err(|_| Error::file(path, "holds no list of peaks; was it written by `fit`?"))?;
        if features.len() != checkpoint.config.peaks {
            return Err(Error::file(path, "names another number of peaks than the model has"));
        }
        Ok(Self { model: checkpoint.operator, store: checkpoint.store, features })
    }
}

impl Scale {
    /// Sets the decoder's offsets from training cells: training starts from how often each peak is open.
    fn start_from(&self, store: &mut ParamStore<f32>, peaks: &Modality, cells: &[usize]) {
        let logit = |open: f64| {
            let share = (open / cells.len().max(1) as f64).clamp(RAREST, 1.0 - RAREST);
            (share / (1.0 - share)).ln()
        };
        let offsets: Vec<f64> = open_cells(peaks, cells).into_iter().map(logit).collect();
        store.set(self.decoder.bias, Tensor::from_f64([offsets.len()], &offsets));
    }

    fn set_mixture<T: Float>(&self, store: &mut ParamStore<T>, found: &GaussianMixture) {
        let (count, dims) = (found.weights.len(), found.dims);
        // from [components, dims] to [dims, components]
        let turned = |of: &[f64], f: fn(f64) -> f64| {
            Tensor::from_fn([dims, count], |i| T::of(f(of[i % count * dims + i / count])))
        };
        store.set(self.prior.weight_scores, Tensor::from_fn([count], |c| T::of(found.weights[c].ln())));
        store.set(self.prior.means, turned(&found.means, |mean| mean));
        store.set(self.prior.ln_variances, turned(&found.variances, f64::ln));
    }
}

fn card(config: &ScaleConfig, features: &[Feature]) -> Result<ModelCard> {
    let features = serde_json::to_value(features).map_err(|e| Error::data(FEATURES, e.to_string()))?;
    Ok(ModelCard::new::<Scale>(config)?.with(FEATURES, features))
}
