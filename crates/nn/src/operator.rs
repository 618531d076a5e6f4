//! What every operator of a domain offers, so that who knows one knows all.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Tape};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::store::{ParamStore, Step};

/// A differentiable model of a domain: a configuration, parameters, named inputs and named outputs.
pub trait Operator: Sized {
    /// The name in commands, checkpoints and reference files, `multiomics-vae`.
    const NAME: &'static str;
    /// The configuration: fields with units, defaults and sources.
    type Config: Clone + Default + Serialize + DeserializeOwned;
    /// Plain arrays: no tape, no precision.
    type Batch;
    /// The batch on a tape.
    type Input<'t, T: Float>;
    /// What the forward pass computes.
    type Output<'t, T: Float>;

    /// Builds the operator and adds its parameters to a store.
    ///
    /// # Errors
    /// When a field of the configuration is wrong; the error names it.
    fn new<T: Float>(config: &Self::Config, store: &mut ParamStore<T>) -> Result<Self>;

    /// A small valid batch, for the checks.
    fn sample(config: &Self::Config, seed: u64) -> Self::Batch;

    /// Puts a batch on a tape.
    ///
    /// # Errors
    /// When an array does not fit the configuration or holds values that make no sense; the error names it.
    fn input<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &Self::Batch) -> Result<Self::Input<'t, T>>;

    /// Computes the outputs.
    ///
    /// # Errors
    /// When the input cannot be used with this configuration.
    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &Self::Input<'t, T>) -> Result<Self::Output<'t, T>>;
}

/// A layer or operator in the list of checks.
pub struct OperatorEntry {
    /// Its name.
    pub name: &'static str,
    /// `layer`, `loss` or `operator`.
    pub kind: &'static str,
    /// Checks its gradients in f64 against finite differences.
    pub check: fn() -> Outcome,
}
