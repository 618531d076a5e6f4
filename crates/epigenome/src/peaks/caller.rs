//! What all learned peak callers have in common: binned signals in, decisions out.

use gradome_nn::{Operator, ParamStore, Result, Step};
use gradome_tape::{Float, Tape, Var};

use super::decision::Decisions;
use super::denoiser::Denoised;
use super::signal::{SignalBatch, SignalInput};

/// What a peak caller says of binned signals.
pub struct PeakOutput<'t, T: Float> {
    /// `[stretches, length]` scores.
    pub scores: Var<'t, T>,
    /// Probabilities and, from them, summits, starts and ends.
    pub decisions: Decisions<'t, T>,
    /// The denoised first track and its loss, where the model denoises.
    pub denoised: Option<Denoised<'t, T>>,
}

/// A learned peak caller.
pub trait Caller: Operator<Batch = SignalBatch> + Sync {
    /// Tracks that a caller of this form takes.
    fn tracks(config: &Self::Config) -> usize;

    /// Divides each track by the spread that it has in tracks `[tracks, length]`, before training.
    fn standardise<T: Float>(&self, store: &mut ParamStore<T>, tracks: &[f32]);

    /// Puts binned signals on a tape; what [`Operator::input`] does.
    ///
    /// # Errors
    /// When an array has another size than the caller takes, or a value is negative or not finite; the error says where.
    fn signals<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &SignalBatch) -> Result<SignalInput<'t, T>>;

    /// Decides on binned signals; what [`Operator::forward`] does.
    ///
    /// # Panics
    /// When the signals have another number of tracks than the caller takes.
    fn call<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &SignalInput<'t, T>) -> PeakOutput<'t, T>;
}
