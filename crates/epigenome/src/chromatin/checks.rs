//! The finite-difference check of the annotator.

use gradome_nn::check::check_step;
use gradome_nn::{Operator, ParamStore};
use gradome_tape::check::Outcome;

use super::annotator::{ChromatinStateAnnotator, ChromatinStatesConfig};
use super::emission::Emission;

/// Small models of every kind of emission.
fn models() -> Vec<(&'static str, ChromatinStatesConfig)> {
    let model = |emission| ChromatinStatesConfig { states: 3, marks: 2, emission, ..ChromatinStatesConfig::default() };
    vec![
        ("calls", model(Emission::Bernoulli)),
        ("calls of two cell types", ChromatinStatesConfig { cell_types: 2, ..model(Emission::Bernoulli) }),
        ("soft calls", ChromatinStatesConfig::diffbio(3, 2, None)),
        ("Poisson counts", model(Emission::Poisson)),
        ("counts of two cell types", ChromatinStatesConfig { cell_types: 2, ..model(Emission::NegativeBinomial) }),
        ("values", model(Emission::Gaussian)),
        ("values of three cell types", ChromatinStatesConfig::diffbio(3, 2, Some(3))),
    ]
}

/// Compares the gradients of likelihood, posteriors, filter and smoothed path with finite differences.
pub fn check() -> Outcome {
    let mut outcome = Outcome::new(ChromatinStateAnnotator::NAME);
    for (case, config) in models() {
        let mut store = ParamStore::<f64>::new(4);
        let model = match ChromatinStateAnnotator::new(&config, &mut store) {
            Ok(model) => model,
            Err(error) => {
                outcome.require(false, || format!("{case}: {error}"));
                continue;
            }
        };
        let tracks = ChromatinStateAnnotator::sample(&config, 2);
        check_step(&mut outcome, case, &store, &[], true, |step, _| {
            let input = model.input(step.tape, &tracks).expect("the sample is valid");
            let output = model.forward(step, &input).expect("the sample is valid");
            let states = output.posteriors().square().sum() + output.smoothed_path(0.7).square().sum();
            let alone = output.each_bin_alone().square().sum() + output.filtered().square().sum();
            let all = output.inference();
            let all = all.ln_likelihood.sum() + all.posteriors.square().sum() + all.filtered.square().sum();
            output.ln_likelihood().sum() + states + alone + all
        });
    }
    outcome
}
