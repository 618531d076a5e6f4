//! The finite-difference check of the model.

use gradome_nn::check::check_step;
use gradome_nn::{Operator, ParamStore};
use gradome_tape::check::Outcome;

use super::{Scale, ScaleConfig};

pub(crate) fn check() -> Outcome {
    let mut outcome = Outcome::new(Scale::NAME);
    let config = ScaleConfig { peaks: 9, hidden: vec![5, 4], latent_dim: 2, components: 3 };
    let mut store = ParamStore::<f64>::new(3);
    match Scale::new(&config, &mut store) {
        Ok(model) => {
            let batch = Scale::sample(&config, 5);
            check_step(&mut outcome, "mixture of three", &store, &[], false, |step, _| {
                let input = model.input(step.tape, &batch).expect("the sample is valid");
                let output = model.forward(step, &input).expect("the sample is valid");
                output.loss + output.responsibilities.square().sum()
            });
        }
        Err(error) => outcome.require(false, || error.to_string()),
    }
    outcome
}
