//! Dropout.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Tensor, Var};
use rand::RngExt;

use crate::check::check_step;
use crate::store::{ParamStore, Step};

/// Sets a random share of elements to zero in training and scales the others up (Srivastava et al. 2014).
///
/// PyTorch: `nn.Dropout`. The noise comes from the step's generator.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// The share of elements that are dropped, in 0..1.
    pub rate: f64,
}

impl Dropout {
    /// The same shape; unchanged in evaluation.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>) -> Var<'t, T> {
        if !step.training() || self.rate == 0.0 {
            return x;
        }
        let kept = T::of(1.0 / (1.0 - self.rate));
        let mask = step.with_rng(|rng| {
            Tensor::from_fn(x.shape(), |_| if rng.random::<f64>() < self.rate { T::ZERO } else { kept })
        });
        x * step.tape.constant(&mask)
    }
}

pub(super) fn check() -> Outcome {
    let mut outcome = Outcome::new("dropout-layer");
    let store = ParamStore::new(1);
    let layer = Dropout { rate: 0.4 };
    for training in [true, false] {
        let case = if training { "training" } else { "evaluation" };
        check_step(&mut outcome, case, &store, &[("x", super::waves([4, 6], 0.3))], training, |step, x| {
            layer.forward(step, x[0])
        });
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Rng;
    use gradome_tape::Tape;
    use rand::SeedableRng;

    #[test]
    fn dropout_keeps_the_mean() {
        let tape = Tape::<f64>::new();
        let store = ParamStore::new(0);
        let bound = store.bind(&tape);
        let x = tape.full([200, 100], 1.0);
        let y = Dropout { rate: 0.3 }.forward(Step::train(&tape, &bound, Rng::seed_from_u64(5)), x);
        let dropped = y.value().data().iter().filter(|&&v| v == 0.0).count();
        assert!((dropped as f64 / 20_000.0 - 0.3).abs() < 0.02);
        assert!((y.mean().item() - 1.0).abs() < 0.02);
    }
}
