//! How a model is trained.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optim::{AverageConfig, OptimizerConfig};
use crate::schedule::Schedule;

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Passes over the training examples, at most. Default 200.
    pub max_epochs: usize,
    /// Examples a step. Default 128.
    pub batch_size: usize,
    /// A last batch of an epoch with fewer examples than this is left out, unless it is the only one. Default 2:
    /// one example has no batch statistics.
    pub min_batch_size: usize,
    /// Parts that a step's examples are split in. Each is computed by one thread, side by side, and their losses are
    /// averaged: less memory, and small models scale with the threads. For losses that are means over examples, or whose
    /// task weighs parts ([`Task::part_loss`](super::Task::part_loss)), without batch statistics. The number of parts
    /// changes rounding and noise, that of threads does not. Default 1.
    pub parts: usize,
    /// Whether the examples come in a new random order each epoch. Default true.
    pub shuffle: bool,
    /// The full learning rate. Default 1e-3.
    pub learning_rate: f64,
    /// How the learning rate changes. Default not at all.
    pub schedule: Schedule,
    /// The rule that moves the parameters. Default Adam.
    pub optimizer: OptimizerConfig,
    /// Decoupled weight decay: each step takes this share, times the learning rate, of each weight. Default 0.
    pub weight_decay: f64,
    /// Averages of the weights over steps take the weights' place in held-out scores and in the trained model. Running
    /// means of batch norms stay those of the weights themselves. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageConfig>,
    /// The norm of all gradients together is held to this; 0 does not clip. Default 0.
    pub gradient_clip: f64,
    /// Training stops after this many epochs without a better held-out score; 0 never stops early. Default 30.
    pub patience: usize,
    /// Epochs at the start in which neither `patience` nor plateaus count, because the loss itself still changes (a
    /// warm-up of one of its terms). Default 0.
    pub settle_epochs: usize,
    /// A score must be lower by more than this to count as better for `patience`. Default 0.
    pub min_delta: f64,
    /// A resumable checkpoint is written after each so many epochs, beside the one when training is interrupted;
    /// 0 writes none. Default 0.
    pub checkpoint_every: usize,
    /// The seed of the order of examples and of all noise. Default 0.
    pub seed: u64,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            max_epochs: 200,
            batch_size: 128,
            min_batch_size: 2,
            parts: 1,
            shuffle: true,
            learning_rate: 1e-3,
            schedule: Schedule::default(),
            optimizer: OptimizerConfig::default(),
            weight_decay: 0.0,
            average: None,
            gradient_clip: 0.0,
            patience: 30,
            settle_epochs: 0,
            min_delta: 0.0,
            checkpoint_every: 0,
            seed: 0,
        }
    }
}

impl TrainerConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// When one is out of its range; the error names it.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("max_epochs", self.max_epochs),
            ("batch_size", self.batch_size),
            ("min_batch_size", self.min_batch_size),
            ("parts", self.parts),
        ];
        for (field, value) in counts {
            if value == 0 {
                return Err(Error::config(field, "0 is too small; give 1 or more"));
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Error::config("learning_rate", format!("{} is not a positive number", self.learning_rate)));
        }
        for (field, value) in
            [("weight_decay", self.weight_decay), ("gradient_clip", self.gradient_clip), ("min_delta", self.min_delta)]
        {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::config(field, format!("{value} is not a number of 0 or more")));
            }
        }
        self.schedule.validate()?;
        self.average.map_or(Ok(()), |average| average.validate())?;
        self.optimizer.validate()
    }

    /// How many steps an epoch has.
    pub(super) fn batches(&self, rows: usize) -> usize {
        let rest = rows % self.batch_size;
        let whole = rows / self.batch_size;
        whole + usize::from(rest > 0 && (rest >= self.min_batch_size || whole == 0))
    }
}
