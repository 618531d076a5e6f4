//! The training loop: batches, epochs, early stopping, metrics, interruption and resumption.
//!
//! A run is a function of its configuration, its data and its first weights: neither the number of threads nor a stop
//! and a resumption in between change a bit of its weights.

mod config;
mod display;
mod history;
mod options;
mod resume;
mod run;
mod stop;
mod task;

use std::path::{Path, PathBuf};

use gradome_tape::Float;

use crate::checkpoint::ModelCard;
use crate::error::{Error, Result};
use crate::store::ParamStore;

pub use config::TrainerConfig;
pub use history::{EpochMetrics, History};
pub use options::FitOptions;
pub use stop::StopFlag;
pub use task::{Loss, Progress, Scores, Task};

/// The trained model in a run's folder.
pub const MODEL_FILE: &str = "model.safetensors";
/// The state of a run that has not ended, in its folder.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";
/// One JSON object an epoch, in a run's folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// Trains models; see [`Trainer::train`].
///
/// ```
/// use gradome_nn::trainer::{Loss, Progress, Scores, Task};
/// use gradome_nn::{Linear, ModelCard, ParamStore, Result, Step, Trainer, TrainerConfig};
/// use gradome_tape::Tensor;
///
/// /// Finds the line through points at 0, 1, 2, ...
/// struct Points { line: Linear, heights: Vec<f32> }
///
/// impl Task<f32> for Points {
///     fn rows(&self) -> usize {
///         self.heights.len()
///     }
///     fn loss<'t>(&self, step: Step<'_, 't, f32>, rows: &[usize], _: &Progress) -> Result<Loss<'t, f32>> {
///         let column = |f: &dyn Fn(usize) -> f32| step.tape.constant(&Tensor::from_fn([rows.len(), 1], |i| f(rows[i])));
///         let error = self.line.forward(step, column(&|row| row as f32)) - column(&|row| self.heights[row]);
///         Ok(Loss::new(error.square().mean()))
///     }
///     fn validate(&self, _: &ParamStore<f32>) -> Result<Option<Scores>> {
///         Ok(None)
///     }
/// }
///
/// let mut store = ParamStore::new(0);
/// let task = Points { line: Linear::new(&mut store.scope("line"), 1, 1), heights: vec![1.0, 3.0, 5.0, 7.0] };
/// let config = TrainerConfig { max_epochs: 500, learning_rate: 0.05, ..TrainerConfig::default() };
/// let card = ModelCard { operator: "line".into(), config: Default::default(), metadata: Default::default() };
/// Trainer::new(config, card)?.quiet(true).train(&task, &mut store)?;
/// assert!((store.get(task.line.weight).item() - 2.0).abs() < 0.05);
/// # Ok::<(), gradome_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Trainer {
    config: TrainerConfig,
    card: ModelCard,
    folder: Option<PathBuf>,
    stop: StopFlag,
    resume: bool,
    quiet: bool,
}

/// How a run ended, and what was measured.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The numbers of every epoch.
    pub history: History,
    /// How it ended.
    pub end: End,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// After the last epoch.
    Finished,
    /// When held-out scores got no better.
    StoppedEarly,
    /// When it was asked to stop; the weights are those of the last step.
    Interrupted {
        /// The signal: 2 for SIGINT, 15 for SIGTERM.
        signal: i32,
        /// The file to resume from; none when the run has no folder.
        checkpoint: Option<PathBuf>,
    },
}

impl Trainer {
    /// A trainer of a model with the given card; it writes no files until it is given a folder.
    ///
    /// # Errors
    /// When a field of the configuration is wrong; the error names it.
    pub fn new(config: TrainerConfig, card: ModelCard) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, card, folder: None, stop: StopFlag::new(), resume: false, quiet: false })
    }

    /// Lets runs write [`METRICS_FILE`], [`CHECKPOINT_FILE`] and at the end [`MODEL_FILE`] into a folder, which is
    /// made when it is missing.
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Watches a flag that asks to stop.
    pub fn stop_flag(mut self, stop: &StopFlag) -> Self {
        self.stop = stop.clone();
        self
    }

    /// Whether to go on from the folder's [`CHECKPOINT_FILE`] instead of from the start.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Whether to print nothing.
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Trains a task's parameters in a store.
    ///
    /// At the end the store holds the weights with the best held-out score, or the last ones when nothing is held out,
    /// and the folder holds them with the card as [`MODEL_FILE`]. A run that is interrupted leaves its state in
    /// [`CHECKPOINT_FILE`]; resumed with the same configuration, card and data it ends with the same bits as a run
    /// without a stop. Only `max_epochs` and `checkpoint_every` may differ when it is resumed.
    ///
    /// # Errors
    /// When a loss, a gradient or a score is not finite: the error names the epoch, the step, and where they are known
    /// the op and the parameter, and the store keeps the last good weights. When the task fails, when a file cannot be
    /// written, or when the checkpoint to resume from is missing, damaged or of another run.
    pub fn train<T: Float>(&self, task: &impl Task<T>, store: &mut ParamStore<T>) -> Result<Outcome> {
        if task.rows() == 0 {
            return Err(Error::data("training data", "there are no examples; give at least one"));
        }
        if self.resume && self.folder.is_none() {
            return Err(Error::config("resume", "there is no folder to resume from; give the folder of the run"));
        }
        run::Run::new(self, task, store)?.go()
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(name))
    }
}
