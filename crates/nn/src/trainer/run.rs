//! One run of the loop.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use gradome_tape::{Float, Gradients, Tape, Tensor};

use super::display::Display;
use super::resume::{self, Arrays, Snapshot, State};
use super::{CHECKPOINT_FILE, End, EpochMetrics, Loss, METRICS_FILE, MODEL_FILE, Outcome, Progress, Task, Trainer};
use crate::checkpoint::{self, file::write_atomically};
use crate::error::{Error, Result};
use crate::optim::{Average, Optimizer, clip_factor, global_norm};
use crate::parts::{Parts, Summed};
use crate::random::{Purpose, epoch_order, stream};
use crate::store::{ParamStore, Rng, Step, Updates};

pub(super) struct Run<'a, T: Float, K> {
    trainer: &'a Trainer,
    task: &'a K,
    store: &'a mut ParamStore<T>,
    optimizer: Optimizer<T>,
    average: Option<Average<T>>,
    tape: Tape<T>,
    parts: Parts<T>,
    state: State,
    /// All arrays of the store at the lowest monitored score.
    best: Option<Vec<Tensor<T>>>,
    /// The examples in this epoch's order.
    order: Vec<usize>,
    batches: usize,
    display: Display,
}

/// A batch in parts.
struct Split<'a, K> {
    task: &'a K,
    /// The examples of all parts.
    batch: &'a [usize],
    parts: usize,
    progress: &'a Progress,
}

impl<K> Split<'_, K> {
    /// The examples of one part.
    fn rows(&self, part: usize) -> &[usize] {
        &self.batch[part * self.batch.len() / self.parts..(part + 1) * self.batch.len() / self.parts]
    }

    /// The loss of one part, and its weight.
    fn loss<'t, T: Float>(&self, step: Step<'_, 't, T>, part: usize) -> Result<(Loss<'t, T>, f64)>
    where
        K: Task<T>,
    {
        let (own, all) = (self.rows(part), self.batch);
        Ok((self.task.part_loss(step, own, all, self.progress)?, own.len() as f64 / all.len() as f64))
    }
}

impl<'a, T: Float, K: Task<T>> Run<'a, T, K> {
    pub fn new(trainer: &'a Trainer, task: &'a K, store: &'a mut ParamStore<T>) -> Result<Self> {
        let config = &trainer.config;
        let mut optimizer = Optimizer::new(config.optimizer, config.weight_decay, store);
        let mut average = config.average.map(|average| Average::new(average, store));
        let (mut state, mut best) = (State::default(), None);
        if let Some(path) = trainer.file(CHECKPOINT_FILE).filter(|_| trainer.resume) {
            let arrays = Arrays { store, optimizer: &mut optimizer, average: average.as_mut() };
            (state, best) = resume::read(&path, config, &trainer.card, task.rows(), arrays)?;
        }
        let batches = config.batches(task.rows());
        let display = Display::new(trainer.quiet, config.max_epochs, config.max_epochs * batches, state.step);
        let (tape, parts, order) = (Tape::new(), Parts::default(), Vec::new());
        Ok(Self { trainer, task, store, optimizer, average, tape, parts, state, best, order, batches, display })
    }

    pub fn go(mut self) -> Result<Outcome> {
        let end = self.epochs();
        let text = match &end {
            Ok(End::Finished) => format!("trained for {} epochs", self.state.epoch),
            Ok(End::StoppedEarly) => format!("stopped early after {} epochs: no better score", self.state.epoch),
            Ok(End::Interrupted { .. }) => format!("interrupted in epoch {}", self.state.epoch + 1),
            Err(_) => format!("failed in epoch {}", self.state.epoch + 1),
        };
        self.display.end(&text);
        Ok(Outcome { end: end?, history: self.state.history })
    }

    fn epochs(&mut self) -> Result<End> {
        self.start_metrics()?;
        let config = &self.trainer.config;
        let mut end = End::Finished;
        while self.state.epoch < config.max_epochs {
            if self.stops_early() {
                end = End::StoppedEarly;
                break;
            }
            self.shuffle();
            let (start, before) = (Instant::now(), self.state.seconds);
            while self.state.batch < self.batches {
                self.step()?;
                self.state.seconds = before + start.elapsed().as_secs_f64();
                if let Some(interrupted) = self.interrupted()? {
                    return Ok(interrupted);
                }
            }
            self.swap_average();
            let scores = self.task.validate(self.store);
            self.state.seconds = before + start.elapsed().as_secs_f64();
            let ended = scores.and_then(|scores| self.end_epoch(scores.unwrap_or_default()));
            self.swap_average();
            ended?;
            if let Some(interrupted) = self.interrupted()? {
                return Ok(interrupted);
            }
            if config.checkpoint_every > 0 && self.state.epoch.is_multiple_of(config.checkpoint_every) {
                self.snapshot()?;
            }
        }
        self.finish()?;
        Ok(end)
    }

    fn stops_early(&self) -> bool {
        let patience = self.trainer.config.patience;
        patience > 0 && self.state.waited >= patience
    }

    fn shuffle(&mut self) {
        let config = &self.trainer.config;
        self.order = epoch_order(self.task.rows(), config.shuffle, config.seed, self.state.epoch);
    }

    fn step(&mut self) -> Result<()> {
        let config = &self.trainer.config;
        let start = self.state.batch * config.batch_size;
        let rows = start..self.order.len().min(start + config.batch_size);
        let count = rows.len() as f64;
        let at = |batch: f64| self.state.epoch as f64 + batch / self.batches as f64;
        let progress =
            Progress { epoch: at(self.state.batch as f64), step: self.state.step, max_epochs: config.max_epochs };
        // the middle of the step: a warm-up does not waste its first step on a rate of 0
        let middle = at(self.state.batch as f64 + 0.5);
        self.state.learning_rate =
            config.schedule.rate_at(config.learning_rate, middle, config.max_epochs, &self.state.plateau);

        let (Summed { gradients, numbers }, updates) = self.loss(&self.order[rows.clone()], &progress)?;
        self.tape.reset();
        let norm = global_norm(&gradients);
        if let Some((name, value)) = numbers.iter().find(|(_, value)| !value.is_finite()) {
            return Err(self.failed(format!("'{name}' is {value}"), &self.order[rows], &progress));
        }
        if !norm.is_finite() {
            let problem = self.bad_gradient(&gradients);
            return Err(self.failed(problem, &self.order[rows], &progress));
        }
        let scale = if config.gradient_clip > 0.0 { clip_factor(norm, config.gradient_clip) } else { 1.0 };
        self.optimizer.step(self.store, &gradients, self.state.learning_rate, scale);
        if let Some(updates) = updates {
            self.store.apply(updates);
        }
        if let Some(average) = &mut self.average {
            average.update(self.store);
        }
        for (name, value) in numbers {
            let (sum, examples) = self.state.sums.entry(name).or_default();
            *sum += value * count;
            *examples += count;
        }
        self.state.batch += 1;
        self.state.step += 1;
        self.display.step();
        Ok(())
    }

    /// The loss of some examples and its gradient, and the running averages that layers left.
    fn loss(&self, rows: &[usize], progress: &Progress) -> Result<(Summed<T>, Option<Updates<T>>)> {
        let split = self.split(rows, progress);
        if split.parts > 1 {
            let sum = self.parts.sum(self.store, split.parts, &self.noise(), |step, part| split.loss(step, part));
            return Ok((sum?, None));
        }
        let bound = self.store.bind(&self.tape);
        let loss = self.task.loss(Step::train(&self.tape, &bound, self.noise()), rows, progress)?;
        let summed = Summed { numbers: loss.numbers().collect(), gradients: loss.total.backward() };
        Ok((summed, Some(bound.into_updates())))
    }

    /// A batch in as many parts as the configuration says and there are examples.
    fn split<'b>(&'b self, batch: &'b [usize], progress: &'b Progress) -> Split<'b, K> {
        Split { task: self.task, batch, progress, parts: self.trainer.config.parts.min(batch.len()) }
    }

    /// Exchanges the weights and their averages, where there are any.
    fn swap_average(&mut self) {
        if let Some(average) = &mut self.average {
            average.swap(self.store);
        }
    }

    fn noise(&self) -> Rng {
        stream(self.trainer.config.seed, self.state.epoch, self.state.step, Purpose::Noise)
    }

    fn bad_gradient(&self, gradients: &Gradients<T>) -> String {
        for (id, entry) in self.store.entries() {
            let values = gradients.get(id.key()).map_or(&[][..], Tensor::data);
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return format!("the gradient of parameter '{}' is {} at element {at}", entry.path, values[at]);
            }
        }
        "the norm of all gradients is too large to compute; lower learning_rate".into()
    }

    /// Runs the step at hand again to find the op that made the first value which is not finite.
    fn failed(&self, problem: String, rows: &[usize], progress: &Progress) -> Error {
        let cause = match self.anomaly(rows, progress) {
            Ok(Some(op)) => format!("the first cause is the op {op}"),
            Ok(None) => "all values of the forward pass are finite".into(),
            Err(error) => format!("run again, the step fails: {error}"),
        };
        self.training_error(format!("{problem}; {cause}; the last good weights were kept"))
    }

    /// The op that makes the first value which is not finite when a step runs again, in the same parts.
    fn anomaly(&self, rows: &[usize], progress: &Progress) -> Result<Option<String>> {
        let split = self.split(rows, progress);
        if split.parts > 1 {
            let found = self.parts.anomaly(self.store, split.parts, &self.noise(), |step, part| split.loss(step, part));
            return Ok(found?.map(|(part, op)| {
                let examples: Vec<String> = split.rows(part).iter().map(|row| (row + 1).to_string()).collect();
                format!("{op} in part {} of {} (training examples {})", part + 1, split.parts, examples.join(", "))
            }));
        }
        self.tape.detect_anomaly(true);
        let bound = self.store.bind(&self.tape);
        self.task.loss(Step::train(&self.tape, &bound, self.noise()), rows, progress)?;
        Ok(self.tape.anomaly())
    }

    /// An error at the step at hand.
    fn training_error(&self, problem: String) -> Error {
        Error::Training { epoch: self.state.epoch + 1, step: self.state.step + 1, problem }
    }

    fn end_epoch(&mut self, scores: super::Scores) -> Result<()> {
        if let Some((name, score)) = scores.iter().find(|(_, score)| !score.is_finite()) {
            return Err(self.training_error(format!("the held-out score '{name}' is {score}")));
        }
        let state = &mut self.state;
        let train: BTreeMap<_, _> =
            std::mem::take(&mut state.sums).into_iter().map(|(name, (sum, count))| (name, sum / count)).collect();
        state.epoch += 1;
        state.batch = 0;
        let monitored = scores.first().map(|(name, score)| (name.clone(), *score));
        let plateau_score = monitored.as_ref().map_or(train["loss"], |(_, score)| *score);
        let settled = state.epoch > self.trainer.config.settle_epochs;
        if settled {
            self.trainer.config.schedule.observe(&mut state.plateau, plateau_score);
        }
        let metrics = EpochMetrics {
            epoch: state.epoch,
            learning_rate: state.learning_rate,
            train,
            validation: scores.into_iter().collect(),
            seconds: std::mem::take(&mut state.seconds),
        };
        self.write_metrics(&metrics)?;
        let state = &mut self.state;
        if let Some((name, score)) = monitored {
            if state.best.is_none_or(|best| score < best) {
                state.best = Some(score);
                state.history.best_epoch = Some(state.epoch);
                keep(&mut self.best, self.store);
            }
            if state.reference.is_none_or(|reference| score < reference - self.trainer.config.min_delta) {
                state.reference = Some(score);
                state.waited = 0;
            } else if settled {
                state.waited += 1;
            }
            state.history.monitored = Some(name);
        }
        self.display.epoch(&metrics, state.history.monitored.as_deref(), self.trainer.config.max_epochs);
        state.history.epochs.push(metrics);
        Ok(())
    }

    /// Brings the metrics file to the state at hand: empty at the start, without later epochs when resumed.
    fn start_metrics(&self) -> Result<()> {
        let Some(path) = self.trainer.file(METRICS_FILE) else { return Ok(()) };
        if let Some(folder) = &self.trainer.folder {
            std::fs::create_dir_all(folder).map_err(|error| Error::file(folder, format!("cannot be made: {error}")))?;
        }
        write_atomically(&path, |out| {
            for metrics in &self.state.history.epochs {
                line(out, metrics).map_err(|error| Error::file(&path, error))?;
            }
            Ok(())
        })
    }

    fn write_metrics(&self, metrics: &EpochMetrics) -> Result<()> {
        let Some(path) = self.trainer.file(METRICS_FILE) else { return Ok(()) };
        let file = std::fs::OpenOptions::new().append(true).open(&path);
        file.and_then(|mut file| line(&mut file, metrics)).map_err(|error| Error::file(&path, error))
    }

    fn interrupted(&self) -> Result<Option<End>> {
        let Some(signal) = self.trainer.stop.signal() else { return Ok(None) };
        let checkpoint = self.snapshot()?;
        Ok(Some(End::Interrupted { signal, checkpoint }))
    }

    fn snapshot(&self) -> Result<Option<std::path::PathBuf>> {
        let Some(path) = self.trainer.file(CHECKPOINT_FILE) else { return Ok(None) };
        let snapshot = Snapshot {
            config: &self.trainer.config,
            card: &self.trainer.card,
            rows: self.task.rows(),
            store: self.store,
            best: self.best.as_deref(),
            optimizer: &self.optimizer,
            average: self.average.as_ref(),
            state: &self.state,
        };
        snapshot.write(&path)?;
        Ok(Some(path))
    }

    /// Restores the best weights and leaves the model instead of the run's state.
    fn finish(&mut self) -> Result<()> {
        self.swap_average();
        if let Some(best) = self.best.take() {
            let ids: Vec<_> = self.store.entries().map(|(id, _)| id).collect();
            for (id, value) in ids.into_iter().zip(best) {
                self.store.set(id, value);
            }
        }
        let (Some(model), Some(state)) = (self.trainer.file(MODEL_FILE), self.trainer.file(CHECKPOINT_FILE)) else {
            return Ok(());
        };
        checkpoint::save(&model, &self.trainer.card, self.store)?;
        match std::fs::remove_file(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file(&state, format!("cannot be removed: {error}")))
            }
            _ => Ok(()),
        }
    }
}

fn line(out: &mut dyn Write, metrics: &EpochMetrics) -> std::io::Result<()> {
    let mut text = serde_json::to_string(metrics)?;
    text.push('\n');
    out.write_all(text.as_bytes())
}

/// Copies all arrays of a store, into the memory of an earlier copy where there is one.
fn keep<T: Float>(kept: &mut Option<Vec<Tensor<T>>>, store: &ParamStore<T>) {
    let values = store.entries().map(|(_, entry)| &entry.value);
    match kept {
        Some(kept) => kept.iter_mut().zip(values).for_each(|(to, from)| to.data_mut().copy_from_slice(from.data())),
        None => *kept = Some(values.cloned().collect()),
    }
}
