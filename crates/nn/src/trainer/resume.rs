//! The state of an unfinished run, in and out of its checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use gradome_tape::{Float, Tensor};
use serde::{Deserialize, Serialize};

use super::{History, TrainerConfig};
use crate::checkpoint::{self, ModelCard, RUN_KEY, RUN_PREFIX};
use crate::error::{Error, Result};
use crate::optim::{Average, Optimizer};
use crate::schedule::PlateauState;
use crate::store::ParamStore;

/// Everything of a run but arrays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Epochs that have ended.
    pub epoch: usize,
    /// Batches done in the epoch at hand.
    pub batch: usize,
    /// Steps done in all.
    pub step: usize,
    /// For each number of the epoch at hand its sum over examples, and how many.
    pub sums: BTreeMap<String, (f64, f64)>,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Seconds spent in the epoch at hand.
    pub seconds: f64,
    pub plateau: PlateauState,
    /// The lowest monitored score.
    pub best: Option<f64>,
    /// The score that the next must fall below to count as better for patience.
    pub reference: Option<f64>,
    /// Epochs since `reference`.
    pub waited: usize,
    pub history: History,
}

/// What the checkpoint's header holds of a run.
#[derive(Serialize, Deserialize)]
struct Record {
    config: TrainerConfig,
    precision: String,
    rows: usize,
    /// Steps of each trained parameter.
    optimizer_steps: Vec<u64>,
    /// Steps of the averages of weights; 0 where there are none.
    #[serde(default)]
    average_steps: u64,
    state: State,
}

/// The arrays of a run and where it stands.
pub(super) struct Snapshot<'a, T: Float> {
    pub config: &'a TrainerConfig,
    pub card: &'a ModelCard,
    pub rows: usize,
    pub store: &'a ParamStore<T>,
    pub best: Option<&'a [Tensor<T>]>,
    pub optimizer: &'a Optimizer<T>,
    pub average: Option<&'a Average<T>>,
    pub state: &'a State,
}

impl<T: Float> Snapshot<'_, T> {
    pub fn write(&self, path: &Path) -> Result<()> {
        let record = Record {
            config: self.config.clone(),
            precision: T::NAME.into(),
            rows: self.rows,
            optimizer_steps: self.optimizer.slots().iter().map(|slot| slot.steps).collect(),
            average_steps: self.average.map_or(0, |average| average.steps),
            state: self.state.clone(),
        };
        let mut texts = checkpoint::texts(self.card, self.store);
        let record = serde_json::to_string(&record).map_err(|error| Error::file(path, error))?;
        texts.insert(RUN_KEY.into(), record);
        let mut arrays = checkpoint::arrays(self.store);
        let paths: Vec<&str> = self.store.entries().map(|(_, entry)| &*entry.path).collect();
        for (path, value) in paths.iter().zip(self.best.unwrap_or_default()) {
            arrays.push((best_name(path), value));
        }
        for slot in self.optimizer.slots() {
            for (moment, value) in self.optimizer.config().moments().iter().zip(&slot.moments) {
                arrays.push((moment_name(moment, paths[slot.id.key()]), value));
            }
        }
        for (id, value) in self.average.iter().flat_map(|average| &average.values) {
            arrays.push((moment_name(AVERAGE, paths[id.key()]), value));
        }
        checkpoint::file::write_tensors(path, &texts, &arrays)
    }
}

/// What the averages of weights are called in checkpoints, beside the moments of optimisers.
const AVERAGE: &str = "average";

/// What a checkpoint brings to where it left them.
pub(super) struct Arrays<'a, T: Float> {
    pub store: &'a mut ParamStore<T>,
    pub optimizer: &'a mut Optimizer<T>,
    pub average: Option<&'a mut Average<T>>,
}

fn best_name(path: &str) -> String {
    format!("{RUN_PREFIX}best/{path}")
}

fn moment_name(moment: &str, path: &str) -> String {
    format!("{RUN_PREFIX}{moment}/{path}")
}

/// Brings a run's arrays to where a checkpoint left them; returns the state and the best weights.
pub(super) fn read<T: Float>(
    path: &Path,
    config: &TrainerConfig,
    card: &ModelCard,
    rows: usize,
    arrays: Arrays<'_, T>,
) -> Result<(State, Option<Vec<Tensor<T>>>)> {
    let Arrays { store, optimizer, average } = arrays;
    if !path.exists() {
        return Err(Error::file(path, "there is no run to resume here; start without resuming"));
    }
    let file = checkpoint::open(path)?;
    let other = |what: String| Error::file(path, format!("this run cannot be resumed: {what}"));
    if !file.texts.contains_key(RUN_KEY) {
        return Err(other("the file holds a finished model".into()));
    }
    let operator = file.text("operator")?;
    if operator != card.operator {
        return Err(other(format!("this checkpoint is of '{operator}', not of '{}'", card.operator)));
    }
    let record: Record = file.json(RUN_KEY)?;
    let differs = |what: &str, then: &serde_json::Value, now: &serde_json::Value| match first_difference(then, now) {
        Some((field, then, now)) => {
            Err(other(format!("{what} '{field}' was {} and is now {}", brief(&then), brief(&now))))
        }
        None => Ok(()),
    };
    differs("the model's config field", &file.json("config")?, &card.config)?;
    differs("the model's metadata entry", &file.json("metadata")?, &serde_json::json!(card.metadata))?;
    let comparable = |config: &TrainerConfig| {
        serde_json::to_value(TrainerConfig { max_epochs: 1, checkpoint_every: 0, ..config.clone() })
            .map_err(|error| Error::file(path, error))
    };
    differs("the trainer's config field", &comparable(&record.config)?, &comparable(config)?)?;
    if record.precision != T::NAME {
        return Err(other(format!("it computes in {}, not in {}", record.precision, T::NAME)));
    }
    if record.rows != rows {
        return Err(other(format!("it had {} training examples, now there are {rows}", record.rows)));
    }
    if record.optimizer_steps.len() != optimizer.slots().len() {
        return Err(other("its optimiser has another number of parameters".into()));
    }
    let tensors = file.tensors();
    let read = |name: String, like: &Tensor<T>| file.read::<T>(&name, tensors.get(&name), like.shape());
    let best = match record.state.best {
        Some(_) => Some(store.entries().map(|(_, e)| read(best_name(&e.path), &e.value)).collect::<Result<Vec<_>>>()?),
        None => None,
    };
    let moments = optimizer.config().moments();
    let paths: Vec<String> = store.entries().map(|(_, entry)| entry.path.clone()).collect();
    for (slot, steps) in optimizer.slots_mut().iter_mut().zip(record.optimizer_steps) {
        slot.steps = steps;
        for (moment, value) in moments.iter().zip(&mut slot.moments) {
            *value = read(moment_name(moment, &paths[slot.id.key()]), value)?;
        }
    }
    if let Some(average) = average {
        average.steps = record.average_steps;
        for (id, value) in &mut average.values {
            *value = read(moment_name(AVERAGE, &paths[id.key()]), value)?;
        }
    }
    checkpoint::read_store(&file, store)?;
    Ok((record.state, best))
}

/// The dotted path and both values of the first field in which two configurations differ.
fn first_difference(
    then: &serde_json::Value,
    now: &serde_json::Value,
) -> Option<(String, serde_json::Value, serde_json::Value)> {
    let (Some(a), Some(b)) = (then.as_object(), now.as_object()) else {
        return (then != now).then(|| (String::new(), then.clone(), now.clone()));
    };
    a.keys().chain(b.keys()).find_map(|key| {
        let null = serde_json::Value::Null;
        let (path, then, now) = first_difference(a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null))?;
        Some((if path.is_empty() { key.clone() } else { format!("{key}.{path}") }, then, now))
    })
}

/// A value as a message shows it: lists of thousands of names are cut.
fn brief(value: &serde_json::Value) -> String {
    const SHOWN: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
