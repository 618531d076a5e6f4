//! Training, saving and loading.

use std::collections::BTreeMap;
use std::path::Path;

use gradome_io::genome::Window;
use gradome_nn::trainer::{End, FitOptions, History, Loss, Progress, Scores, Task};
use gradome_nn::{
    Checkpoint, Decay, Error, ModelCard, Operator, ParamStore, Result, Rng, Schedule, Step, TrainerConfig,
};
use gradome_tape::{Float, Tensor};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::config::{ContextualEpigenomicsConfig, HeadKind, Strands};
use super::data::ContextualWindows;
use super::heads::mean_of_known;
use super::model::ContextualEpigenomics;
use super::trained::{TrainedContextualEpigenomics, for_each_chunk};

/// A share of ones nearer to 0 or 1 than this starts as this.
const RAREST: f64 = 1e-4;

/// Which windows train the model, and which decide when to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Numbers of the training windows.
    pub train: Vec<usize>,
    /// Numbers of the held-out windows; none: training runs to its last epoch.
    pub validation: Vec<usize>,
}

impl Split {
    /// Holds out about a share of the windows, whole blocks of `block` base pairs at a time, because neighbours are
    /// alike. A window belongs to the block in which it starts; at least one block trains, and where there are two or
    /// more and the share is above 0, one at least is held out.
    pub fn by_blocks(windows: &[Window], block: u64, share: f64, seed: u64) -> Self {
        let mut blocks: BTreeMap<(&str, i64), Vec<usize>> = BTreeMap::new();
        let length = block.clamp(1, i64::MAX as u64) as i64;
        for (number, window) in windows.iter().enumerate() {
            let block = window.start.div_euclid(length);
            blocks.entry((window.chromosome.as_str(), block)).or_default().push(number);
        }
        let mut blocks: Vec<Vec<usize>> = blocks.into_values().collect();
        blocks.shuffle(&mut Rng::seed_from_u64(seed));
        let least = usize::from(share > 0.0);
        let held_out = ((blocks.len() as f64 * share).round() as usize).max(least).min(blocks.len().saturating_sub(1));
        let mut train = blocks.split_off(held_out).concat();
        let mut validation = blocks.concat();
        train.sort_unstable();
        validation.sort_unstable();
        Self { train, validation }
    }
}

/// The training that suits some hundred to some thousand windows.
pub fn default_trainer(seed: u64) -> TrainerConfig {
    TrainerConfig {
        max_epochs: 40,
        batch_size: 16,
        learning_rate: 2e-3,
        schedule: Schedule { warmup_epochs: 1.0, decay: Decay::Cosine { final_factor: 0.05 } },
        weight_decay: 1e-2,
        gradient_clip: 5.0,
        patience: 10,
        seed,
        ..TrainerConfig::default()
    }
}

/// What training gave.
pub struct Fit {
    /// The model with the best held-out loss; of the last step when it was interrupted.
    pub trained: TrainedContextualEpigenomics,
    /// The numbers of every epoch.
    pub history: History,
    /// How training ended.
    pub end: End,
}

/// The model and its windows as the trainer sees them.
struct Training<'a> {
    model: &'a ContextualEpigenomics,
    data: &'a ContextualWindows,
    split: &'a Split,
}

impl<T: Float> Task<T> for Training<'_> {
    fn rows(&self) -> usize {
        self.split.train.len()
    }

    fn loss<'t>(&self, step: Step<'_, 't, T>, rows: &[usize], _: &Progress) -> Result<Loss<'t, T>> {
        let config = self.model.config();
        let windows: Vec<usize> = rows.iter().map(|&row| self.split.train[row]).collect();
        let mut batch = self.data.select(&windows);
        if config.strands == Strands::Augment {
            let turned: Vec<bool> = step.with_rng(|rng| windows.iter().map(|_| rng.random()).collect());
            for (window, _) in turned.iter().enumerate().filter(|(_, turned)| **turned) {
                batch.reverse_complement(window, config);
            }
        }
        let output = self.model.forward(step, &self.model.input(step.tape, &batch)?)?;
        let total = output.loss.ok_or_else(|| Error::data("targets", "there are none to learn from"))?;
        let mut loss = Loss::new(total);
        for (head, &part) in config.heads.iter().zip(&output.head_losses) {
            loss = loss.with(format!("loss_{}", head.name), part);
        }
        Ok(match output.contact_loss {
            Some(part) => loss.with("loss_contacts", part),
            None => loss,
        })
    }

    fn validate(&self, store: &ParamStore<T>) -> Result<Option<Scores>> {
        let held_out = &self.split.validation;
        if held_out.is_empty() {
            return Ok(None);
        }
        let config = self.model.config();
        // sums over windows: a chunk counts by its windows
        let mut sums = vec![0.0; config.heads.len() + 1];
        for_each_chunk(self.model, store, self.data, held_out, |chunk, output| {
            let share = chunk.len() as f64 / held_out.len() as f64;
            for (sum, loss) in sums.iter_mut().zip(output.head_losses.iter().chain(output.contact_loss.iter())) {
                *sum += share * loss.item().to_f64();
            }
        })?;
        let weights = config.heads.iter().map(|head| head.weight).chain([config.contact_weight]);
        let total = sums.iter().zip(weights).map(|(sum, weight)| sum * weight).sum();
        let mut scores = vec![("loss".to_owned(), total)];
        scores.extend(config.heads.iter().zip(&sums).map(|(head, &sum)| (format!("loss_{}", head.name), sum)));
        if config.has_contacts() {
            scores.push(("loss_contacts".to_owned(), sums[config.heads.len()]));
        }
        Ok(Some(scores))
    }
}

impl ContextualEpigenomics {
    /// Sets the scale of tracks and the offsets of heads from training windows: training starts from base rates.
    fn start_from<T: Float>(&self, store: &mut ParamStore<T>, data: &ContextualWindows, windows: &[usize]) {
        let (config, count) = (self.config(), self.config().tracks.len());
        if let Some((centre, factor)) = self.stem.scale {
            let [mut n, mut sums, mut squares] = [0.0, 0.0, 0.0].map(|zero: f64| vec![zero; count]);
            for &window in windows {
                for position in window * data.length..(window + 1) * data.length {
                    if data.mask.get(position) == Some(&0.0) {
                        continue;
                    }
                    for (track, &x) in data.tracks[position * count..(position + 1) * count].iter().enumerate() {
                        let x = f64::from(if config.log_tracks { x.ln_1p() } else { x });
                        n[track] += 1.0;
                        sums[track] += x;
                        squares[track] += x * x;
                    }
                }
            }
            let mean = |t: usize| sums[t] / n[t].max(1.0);
            let sd = |t: usize| (squares[t] / n[t].max(1.0) - mean(t).powi(2)).max(0.0).sqrt();
            // a track that never changes says nothing: it is left as 0
            let inverse = |t: usize| if sd(t) > 0.0 { 1.0 / sd(t) } else { 1.0 };
            store.set(centre, Tensor::from_fn([count], |t| T::of(mean(t))));
            store.set(factor, Tensor::from_fn([count], |t| T::of(inverse(t))));
        }
        let chosen = ContextualWindows { targets: data.targets.clone(), windows: data.windows, ..Default::default() };
        let chosen = chosen.select(windows);
        for (head, targets) in self.heads.iter().zip(&chosen.targets) {
            let start = |mean: f64| match head.config.kind {
                HeadKind::Binary => {
                    let share = mean.clamp(RAREST, 1.0 - RAREST);
                    (share / (1.0 - share)).ln()
                }
                HeadKind::Counts => mean.max(RAREST).ln(),
                HeadKind::Regression => mean,
                HeadKind::MultiClass => 0.0,
            };
            if head.config.kind != HeadKind::MultiClass {
                let means = mean_of_known(targets, head.config.outputs);
                let offsets = means.into_iter().map(|mean| mean.map_or(0.0, start));
                store.set(head.bias(), Tensor::from_f64([head.config.outputs], &offsets.collect::<Vec<_>>()));
            }
        }
    }
}

impl TrainedContextualEpigenomics {
    /// Trains a model on some windows.
    ///
    /// The weights with the best held-out loss are kept. Results depend on data, configuration and seed alone, not on
    /// the number of threads.
    ///
    /// # Errors
    /// When configuration or windows make no sense (the error names field or array, window and position), training
    /// produces values that are not finite, or a file cannot be written or resumed from.
    pub fn fit(
        config: &ContextualEpigenomicsConfig,
        data: &ContextualWindows,
        split: &Split,
        options: &FitOptions,
    ) -> Result<Fit> {
        config.validate()?;
        data.validate(config)?;
        if split.train.is_empty() {
            return Err(Error::data("training windows", "there are none; give more windows or hold out fewer"));
        }
        if let Some(window) = split.train.iter().chain(&split.validation).find(|&&w| w >= data.windows) {
            return Err(Error::data("split", format!("there is no window number {window}, only {}", data.windows)));
        }
        if data.targets.is_empty() {
            return Err(Error::data("targets", "there are none to learn from"));
        }
        if config.has_contacts() && data.contacts.is_empty() {
            return Err(Error::data("contacts", "there are none to learn from; give them or set contact_weight to 0"));
        }
        let mut store = ParamStore::<f32>::new(options.trainer.seed);
        let model = ContextualEpigenomics::new(config, &mut store)?;
        model.check_length(data.length)?;
        model.start_from(&mut store, data, &split.train);
        let trainer = options.trainer(ModelCard::new::<ContextualEpigenomics>(config)?)?;
        let outcome = trainer.train(&Training { model: &model, data, split }, &mut store)?;
        let trained = Self { model, store };
        Ok(Fit { trained, history: outcome.history, end: outcome.end })
    }

    /// Writes the model to a file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        gradome_nn::checkpoint::save(path, &ModelCard::new::<ContextualEpigenomics>(self.config())?, &self.store)
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// When the file is no checkpoint, is damaged, or holds another operator.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let checkpoint = Checkpoint::<ContextualEpigenomics, f32>::load(path)?;
        Ok(Self { model: checkpoint.operator, store: checkpoint.store })
    }
}
