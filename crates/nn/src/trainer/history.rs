//! What was measured while a model was trained.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The numbers of one epoch: one line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// Means over the epoch's training examples by name; `loss` is the total.
    pub train: BTreeMap<String, f64>,
    /// Held-out scores by name; empty when nothing is held out.
    pub validation: BTreeMap<String, f64>,
    /// Wall-clock seconds of the epoch, held-out scores included.
    pub seconds: f64,
}

/// The numbers of all epochs of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One entry an epoch, in order.
    pub epochs: Vec<EpochMetrics>,
    /// The name of the held-out score that chose the best epoch.
    pub monitored: Option<String>,
    /// The epoch, counted from 1, with the lowest monitored score.
    pub best_epoch: Option<usize>,
}

impl History {
    /// A training number over the epochs, as (epoch, value).
    pub fn train(&self, name: &str) -> Vec<(usize, f64)> {
        self.series(|epoch| &epoch.train, name)
    }

    /// A held-out score over the epochs, as (epoch, value).
    pub fn validation(&self, name: &str) -> Vec<(usize, f64)> {
        self.series(|epoch| &epoch.validation, name)
    }

    fn series(&self, side: impl Fn(&EpochMetrics) -> &BTreeMap<String, f64>, name: &str) -> Vec<(usize, f64)> {
        self.epochs.iter().filter_map(|epoch| side(epoch).get(name).map(|&value| (epoch.epoch, value))).collect()
    }
}
