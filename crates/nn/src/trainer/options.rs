//! What a model's `fit` takes beside its data.

use std::path::PathBuf;

use super::{StopFlag, Trainer, TrainerConfig};
use crate::checkpoint::ModelCard;
use crate::error::Result;

/// How a model is trained, and what is left behind.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// The loop's settings; its seed is also that of the first weights.
    pub trainer: TrainerConfig,
    /// Where model, metrics and resumable state are written; nowhere when absent.
    pub folder: Option<PathBuf>,
    /// Whether to go on from the folder's resumable state.
    pub resume: bool,
    /// Whether to print nothing.
    pub quiet: bool,
    /// Asks training to stop.
    pub stop: StopFlag,
}

impl FitOptions {
    /// A training without files or output.
    pub fn quiet(trainer: TrainerConfig) -> Self {
        Self { trainer, folder: None, resume: false, quiet: true, stop: StopFlag::default() }
    }

    /// The trainer of a model with the given card.
    ///
    /// # Errors
    /// When a field of the loop's settings is wrong; the error names it.
    pub fn trainer(&self, card: ModelCard) -> Result<Trainer> {
        let trainer =
            Trainer::new(self.trainer.clone(), card)?.stop_flag(&self.stop).resume(self.resume).quiet(self.quiet);
        Ok(match &self.folder {
            Some(folder) => trainer.folder(folder),
            None => trainer,
        })
    }
}
