//! A model with its parameters: what it says of windows.

use gradome_nn::{Operator, ParamStore, Result, Step};
use gradome_tape::{Float, Tape, Tensor};

use super::config::{ContextualEpigenomicsConfig, HeadKind};
use super::data::ContextualWindows;
use super::model::{ContextualEpigenomics, ContextualOutput};

/// Positions that are looked at together: enough for the kernels, little memory.
const CHUNK_POSITIONS: usize = 16_384;

/// A trained contextual model.
pub struct TrainedContextualEpigenomics {
    pub(crate) model: ContextualEpigenomics,
    pub(crate) store: ParamStore<f32>,
}

/// What a model expects of windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// For each head `[windows, length, outputs]` or `[windows, outputs]`: probabilities of ones or classes, means, or
    /// expected counts; row-major.
    pub heads: Vec<Vec<f32>>,
    /// `[windows, hidden]` the windows as a whole, row-major.
    pub pooled: Vec<f32>,
}

/// Runs a model over some windows, chunk by chunk, without dropout.
pub(crate) fn for_each_chunk<T: Float>(
    model: &ContextualEpigenomics,
    store: &ParamStore<T>,
    data: &ContextualWindows,
    windows: &[usize],
    mut look: impl FnMut(&[usize], &ContextualOutput<'_, T>),
) -> Result<()> {
    let positions = data.length.max(1) * if model.config().dna { model.config().bin_size } else { 1 };
    let mut tape = Tape::new();
    for chunk in windows.chunks((CHUNK_POSITIONS / positions).max(1)) {
        {
            let bound = store.bind(&tape);
            let input = model.input(&tape, &data.select(chunk))?;
            let step = Step::eval(&tape, &bound);
            look(chunk, &model.forward(step, &input)?);
        }
        tape.reset();
    }
    Ok(())
}

impl TrainedContextualEpigenomics {
    /// The configuration.
    pub fn config(&self) -> &ContextualEpigenomicsConfig {
        self.model.config()
    }

    /// All parameters.
    pub fn store(&self) -> &ParamStore<f32> {
        &self.store
    }

    /// What the model expects of windows; their targets are not looked at.
    ///
    /// # Errors
    /// When the windows do not fit the model; the error names array, window and position.
    pub fn predict(&self, windows: &ContextualWindows) -> Result<Predictions> {
        let all: Vec<usize> = (0..windows.windows).collect();
        windows.validate(self.config())?;
        let mut found = Predictions { heads: vec![Vec::new(); self.config().heads.len()], pooled: Vec::new() };
        for_each_chunk(&self.model, &self.store, windows, &all, |_, output| {
            for ((head, values), expected) in self.config().heads.iter().zip(&output.heads).zip(&mut found.heads) {
                let values: Tensor<f32> = match head.kind {
                    HeadKind::Binary => values.sigmoid().value(),
                    HeadKind::MultiClass => values.softmax().value(),
                    HeadKind::Regression => values.value(),
                    HeadKind::Counts => values.exp().value(),
                };
                expected.extend_from_slice(values.data());
            }
            found.pooled.extend_from_slice(output.pooled.value().data());
        })?;
        Ok(found)
    }
}
