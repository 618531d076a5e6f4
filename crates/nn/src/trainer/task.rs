//! What is trained: a loss on examples and a score on held-out ones.

use gradome_tape::{Float, Var};

use crate::error::Result;
use crate::store::{ParamStore, Step};

/// A model with its data, as the trainer sees it.
///
/// Both methods must depend on their arguments alone; noise comes from [`Step::normal`] and [`Step::with_rng`], so that
/// a resumed run is the same run.
pub trait Task<T: Float>: Sync {
    /// How many training examples there are.
    fn rows(&self) -> usize;

    /// The loss of some training examples, given by their numbers in `0..rows()`.
    ///
    /// # Errors
    /// When the examples cannot be used; training stops with this error.
    fn loss<'t>(&self, step: Step<'_, 't, T>, rows: &[usize], progress: &Progress) -> Result<Loss<'t, T>>;

    /// The loss of one part of a batch, where [`TrainerConfig::parts`](super::TrainerConfig::parts) splits it: `rows` are
    /// the part's examples, `batch` all. The mean of all parts' losses, each counted as often as it has examples, must
    /// be the batch's loss.
    ///
    /// That holds for means over examples, so this is [`Task::loss`] of the part unless a task says otherwise. A mean
    /// over something that examples have more or less of (known targets, say) divides by what `batch` has per example.
    ///
    /// # Errors
    /// As [`Task::loss`].
    fn part_loss<'t>(
        &self,
        step: Step<'_, 't, T>,
        rows: &[usize],
        batch: &[usize],
        progress: &Progress,
    ) -> Result<Loss<'t, T>> {
        let _ = batch;
        self.loss(step, rows, progress)
    }

    /// Held-out scores after an epoch, by name; the first, of which lower is better, decides on early stopping, on
    /// the best weights and on plateaus. `None` when nothing is held out: then the last weights are kept.
    ///
    /// # Errors
    /// When the held-out examples cannot be used; training stops with this error.
    fn validate(&self, store: &ParamStore<T>) -> Result<Option<Scores>>;
}

/// Held-out numbers by name.
pub type Scores = Vec<(String, f64)>;

/// The loss of a step.
pub struct Loss<'t, T: Float> {
    /// What is minimised: one number, the mean over the examples of the step.
    pub total: Var<'t, T>,
    /// Numbers to report beside it, by name; each one number, a mean over the examples. The total is called `loss`.
    pub parts: Vec<(String, Var<'t, T>)>,
}

impl<'t, T: Float> Loss<'t, T> {
    /// A loss without parts.
    pub fn new(total: Var<'t, T>) -> Self {
        Self { total, parts: Vec::new() }
    }

    /// Adds a number to report.
    ///
    /// # Panics
    /// When the name is `loss`, which is the total's.
    pub fn with(mut self, name: impl Into<String>, part: Var<'t, T>) -> Self {
        let name = name.into();
        assert_ne!(name, "loss", "a part of the loss needs a name of its own");
        self.parts.push((name, part));
        self
    }

    /// The total, called `loss`, then the parts, by name.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (String, f64)> {
        let parts = self.parts.iter().map(|(name, part)| (name.clone(), part.item().to_f64()));
        std::iter::once(("loss".to_owned(), self.total.item().to_f64())).chain(parts)
    }
}

/// How far training has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Epochs done so far, a fraction within an epoch: 0 at the first step, 1.5 in the middle of the second epoch.
    pub epoch: f64,
    /// Steps done so far.
    pub step: usize,
    /// Epochs in all, unless training stops early.
    pub max_epochs: usize,
}
