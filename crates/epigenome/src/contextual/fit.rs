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
use super::data::{ContextualWindows, Known};
use super::heads::mean_of_known;
use super::model::{ContextualEpigenomics, ContextualInput};
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
        parts: 8,
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
    /// What is known of each training window.
    known: Vec<Known>,
}

impl<'a> Training<'a> {
    fn new(model: &'a ContextualEpigenomics, data: &'a ContextualWindows, split: &'a Split) -> Self {
        let known = split.train.iter().map(|&window| data.known(model.config(), window)).collect();
        Self { model, data, split, known }
    }

    /// The loss of some training windows, as a batch or, given what its windows know on average, as a part of one.
    fn loss_of<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        rows: &[usize],
        known: Option<Known>,
    ) -> Result<Loss<'t, T>> {
        let config = self.model.config();
        let windows: Vec<usize> = rows.iter().map(|&row| self.split.train[row]).collect();
        let mut batch = self.data.select(&windows);
        if config.strands == Strands::Augment {
            let turned: Vec<bool> = step.with_rng(|rng| windows.iter().map(|_| rng.random()).collect());
            for (window, _) in turned.iter().enumerate().filter(|(_, turned)| **turned) {
                batch.reverse_complement(window, config);
            }
        }
        let input = ContextualInput { known, ..self.model.input(step.tape, &batch)? };
        let output = self.model.forward(step, &input)?;
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
}

impl<T: Float> Task<T> for Training<'_> {
    fn rows(&self) -> usize {
        self.split.train.len()
    }

    fn loss<'t>(&self, step: Step<'_, 't, T>, rows: &[usize], _: &Progress) -> Result<Loss<'t, T>> {
        self.loss_of(step, rows, None)
    }

    fn part_loss<'t>(
        &self,
        step: Step<'_, 't, T>,
        rows: &[usize],
        batch: &[usize],
        _: &Progress,
    ) -> Result<Loss<'t, T>> {
        self.loss_of(step, rows, Some(Known::mean(batch.iter().map(|&row| &self.known[row]))))
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
        let outcome = trainer.train(&Training::new(&model, data, split), &mut store)?;
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

#[cfg(test)]
mod tests {
    use gradome_nn::parts::Parts;
    use gradome_tape::Tape;

    use super::*;
    use crate::contextual::{Encoder, HeadConfig, Level};

    const WINDOWS: usize = 7;
    const LENGTH: usize = 9;

    /// Windows that know more or less of each head, and are padded more or less; nothing is known of the last head.
    fn uneven(config: &ContextualEpigenomicsConfig, masked: bool) -> ContextualWindows {
        let mut rng = Rng::seed_from_u64(5);
        let bases = WINDOWS * LENGTH * config.bin_size;
        let mut data = ContextualWindows {
            windows: WINDOWS,
            length: LENGTH,
            dna: (0..bases).map(|_| rng.random_range(0..5)).collect(),
            contacts: (0..WINDOWS * LENGTH * LENGTH).map(|_| rng.random()).collect(),
            ..ContextualWindows::default()
        };
        if masked {
            data.mask = (0..WINDOWS * LENGTH).map(|i| f32::from(u8::from(i % LENGTH < 3 + i / LENGTH))).collect();
        }
        for (number, head) in config.heads.iter().enumerate() {
            let each = if head.level == Level::Position { LENGTH * head.targets() } else { head.targets() };
            let known = |window: usize, rng: &mut Rng| {
                number + 1 < config.heads.len() && window != 2 && rng.random_range(0..WINDOWS) <= window
            };
            let value = |i| if known(i / each, &mut rng) { f32::from(rng.random_range(0..2_u8)) } else { f32::NAN };
            data.targets.push((0..WINDOWS * each).map(value).collect());
        }
        data
    }

    /// The names and values of all losses, and the gradient.
    fn found(config: &ContextualEpigenomicsConfig, data: &ContextualWindows, parts: usize) -> (Vec<String>, Vec<f64>) {
        let mut store = ParamStore::<f64>::new(2);
        let model = ContextualEpigenomics::new(config, &mut store).unwrap();
        if let Some(weighting) = store.find("weighting.ln_variances") {
            let count = config.heads.len();
            store.set(weighting, Tensor::from_fn([count], |i| 0.3 * i as f64 - 0.4));
        }
        let split = Split { train: (0..WINDOWS).rev().collect(), validation: Vec::new() };
        let training = Training::new(&model, data, &split);
        let progress = Progress { epoch: 0.0, step: 0, max_epochs: 1 };
        let rows: Vec<usize> = (0..WINDOWS).collect();
        let (numbers, gradients) = if parts == 1 {
            let tape = Tape::new();
            let bound = store.bind(&tape);
            let loss = training.loss(Step::eval(&tape, &bound), &rows, &progress).unwrap();
            let total = ("loss".to_owned(), loss.total.item());
            let numbers = std::iter::once(total).chain(loss.parts.iter().map(|(name, x)| (name.clone(), x.item())));
            (numbers.collect::<Vec<_>>(), loss.total.backward())
        } else {
            let summed = Parts::default().sum(&store, parts, &Rng::seed_from_u64(0), |step, part| {
                let own = &rows[part * WINDOWS / parts..(part + 1) * WINDOWS / parts];
                let loss = training.part_loss(step, own, &rows, &progress)?;
                Ok((loss, own.len() as f64 / WINDOWS as f64))
            });
            let summed = summed.unwrap();
            (summed.numbers, summed.gradients)
        };
        let mut gradient = vec![0.0; store.parameter_count()];
        store.flatten_gradients(&gradients, &mut gradient);
        let (names, mut values): (Vec<_>, Vec<_>) = numbers.into_iter().unzip();
        values.extend(gradient);
        (names, values)
    }

    #[test]
    fn parts_with_more_or_less_known_add_up_to_the_loss_and_gradient_of_the_batch() {
        let head = HeadConfig::new;
        let heads = vec![
            head("binary", HeadKind::Binary, Level::Position),
            HeadConfig { outputs: 3, ..head("classes", HeadKind::MultiClass, Level::Position) },
            HeadConfig { weight: 0.3, ..head("value", HeadKind::Regression, Level::Window) },
            HeadConfig { outputs: 2, ..head("counts", HeadKind::Counts, Level::Position) },
            head("nothing", HeadKind::Binary, Level::Window),
        ];
        let encoder = Encoder::Transformer { layers: 1, heads: 2, feed_forward: 12, window: None, even_padding: false };
        for (masked, uncertainty_weighting) in [(false, false), (true, false), (true, true)] {
            let config = ContextualEpigenomicsConfig {
                hidden_dim: 8,
                encoder: encoder.clone(),
                heads: heads.clone(),
                contact_weight: 0.7,
                dropout: 0.0,
                strands: Strands::Average,
                uncertainty_weighting,
                ..ContextualEpigenomicsConfig::default()
            };
            let data = uneven(&config, masked);
            data.validate(&config).unwrap();
            let (names, whole) = found(&config, &data, 1);
            assert!(whole[1..5].iter().all(|&loss| loss != 0.0) && whole[5] == 0.0, "{names:?} {:?}", &whole[..7]);
            for parts in [2, 3, WINDOWS] {
                let (same, sum) = found(&config, &data, parts);
                assert_eq!(same, names);
                let largest = whole.iter().zip(&sum).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(largest < 1e-12, "{parts} parts, masked {masked}: losses or slopes differ by {largest}");
            }
        }
    }
}
