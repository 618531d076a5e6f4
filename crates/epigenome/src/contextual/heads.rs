//! Tasks: what is predicted from embeddings, and how wrong it is.

use gradome_nn::losses::{CrossEntropy, LossKind, bce_with_logits, squared_error};
use gradome_nn::{Linear, ParamId, Scope, Step};
use gradome_tape::{Float, Tensor, Var};

use super::config::{HeadConfig, HeadKind, Level};

/// One task.
pub(crate) struct Head {
    pub config: HeadConfig,
    layer: Linear,
}

impl Head {
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, config: &HeadConfig, hidden: usize) -> Self {
        let layer = Linear::new(&mut scope.scope(&config.name), hidden, config.outputs);
        Self { config: config.clone(), layer }
    }

    /// `[windows, length, outputs]` or, once a window, `[windows, outputs]`.
    pub fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        embeddings: Var<'t, T>,
        pooled: Var<'t, T>,
    ) -> Var<'t, T> {
        match self.config.level {
            Level::Position => self.layer.forward(step, embeddings),
            Level::Window => self.layer.forward(step, pooled),
        }
    }

    /// Its offsets `[outputs]`.
    pub fn bias(&self) -> ParamId {
        self.layer.bias
    }

    /// How uncertainty weighs its loss.
    pub fn loss_kind(&self) -> LossKind {
        if self.config.kind == HeadKind::Regression { LossKind::Regression } else { LossKind::Classification }
    }

    /// The mean loss over targets that are known and inside of the mask (`[windows, length]` 0 and 1), in nats or, for
    /// regression, squared units; 0 when there is none.
    ///
    /// `targets` is `[windows, length, targets]` or `[windows, targets]`, NaN where not known. In a part of a batch the
    /// sum of losses is divided by `known`, the targets that as many windows of the batch know on average.
    pub fn loss<'t, T: Float>(
        &self,
        output: Var<'t, T>,
        targets: &Tensor<T>,
        mask: Option<&Tensor<T>>,
        known: Option<f64>,
    ) -> Var<'t, T> {
        let each = self.config.targets();
        let inside = |i: usize| match (mask, self.config.level) {
            (Some(mask), Level::Position) => mask.data()[i / each] != T::ZERO,
            _ => true,
        };
        let values = targets.data();
        let counts = |i: usize| inside(i) && !values[i].to_f64().is_nan();
        let counted = Tensor::from_fn(targets.shape(), |i| if counts(i) { T::ONE } else { T::ZERO });
        let own = || counted.data().iter().filter(|&&k| k != T::ZERO).count().max(1) as f64;
        let tape = output.tape();
        let errors = if self.config.kind == HeadKind::MultiClass {
            let class = |i: usize| if counts(i) { values[i].to_f64() as u32 } else { u32::MAX };
            let classes: Vec<u32> = (0..values.len()).map(class).collect();
            CrossEntropy { ignore: Some(u32::MAX), ..CrossEntropy::default() }.rows(output, &classes)
        } else {
            let observed = Tensor::from_fn(targets.shape(), |i| if counts(i) { values[i] } else { T::ZERO });
            let observed = tape.constant(&observed);
            let errors = match self.config.kind {
                HeadKind::Binary => bce_with_logits(output, observed),
                HeadKind::Regression => squared_error(output, observed),
                _ => -observed.poisson(output),
            };
            tape.constant(&counted).choose(errors, tape.scalar(0.0))
        };
        errors.sum() / known.unwrap_or_else(own)
    }
}

/// For each output the mean of the targets `[.., outputs]` that are known; nothing where none is.
pub(crate) fn mean_of_known(targets: &[f32], outputs: usize) -> Vec<Option<f64>> {
    let mean = |output: usize| {
        let known = targets.iter().skip(output).step_by(outputs).filter(|value| !value.is_nan());
        let (count, sum) = known.fold((0.0, 0.0), |(count, sum), &value| (count + 1.0, sum + f64::from(value)));
        (count > 0.0).then(|| sum / count)
    };
    (0..outputs).map(mean).collect()
}
