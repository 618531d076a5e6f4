//! Embeddings of categories.

use std::sync::Arc;

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Var};

use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamId, ParamStore, Scope, Step};

/// A learned vector for each category; starts standard normal. PyTorch: `nn.Embedding`.
#[derive(Clone, Debug)]
pub struct Embedding {
    table: ParamId,
}

impl Embedding {
    /// Adds the table `[categories, dimensions]`.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, categories: usize, dimensions: usize) -> Self {
        Self { table: scope.parameter("table", [categories, dimensions], Init::Normal(1.0)) }
    }

    /// The vectors `[n, dimensions]` of n categories.
    ///
    /// # Panics
    /// When a category is outside of the table.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, categories: &Arc<[u32]>) -> Var<'t, T> {
        step.param(self.table).index_select(0, categories)
    }
}

pub(super) fn check() -> Outcome {
    let mut outcome = Outcome::new("embedding-layer");
    let mut store = ParamStore::new(1);
    let layer = Embedding::new(&mut store.scope("embedding"), 3, 2);
    let rows: Arc<[u32]> = [2, 0, 2, 1, 2].into();
    check_step(&mut outcome, "5 of 3 categories", &store, &[], true, |step, _| layer.forward(step, &rows));
    outcome
}
