//! Finite-difference checks of layers and operators: every parameter and every input.

use gradome_tape::check::{Outcome, check_function, gradient_check};
use gradome_tape::{Tensor, Var};

use crate::operator::OperatorEntry;
use crate::store::{ParamStore, Rng, Step};
use rand::SeedableRng;

/// Checks a scalar or tensor function of a store's trained parameters and of given inputs.
///
/// `f` gets a step (training when `training`, with the same noise at every call) and the inputs on the tape.
pub fn check_step(
    outcome: &mut Outcome,
    case: &str,
    store: &ParamStore<f64>,
    inputs: &[(&str, Tensor<f64>)],
    training: bool,
    f: impl for<'s, 't> Fn(Step<'s, 't, f64>, &[Var<'t, f64>]) -> Var<'t, f64>,
) {
    let trained: Vec<_> = store.trained().collect();
    let paths: Vec<String> = store.entries().map(|(_, e)| e.path.clone()).collect();
    let mut named: Vec<(String, Tensor<f64>)> = inputs.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    named.extend(trained.iter().map(|&id| (paths[id.key()].clone(), store.get(id).clone())));
    let report = check_function(&gradient_check(), &named, |tape, vars| {
        let (inputs, parameters) = vars.split_at(inputs.len());
        let mut bound = store.bind(tape);
        for (&id, &var) in trained.iter().zip(parameters) {
            bound.replace(id, var);
        }
        let step = if training { Step::train(tape, &bound, Rng::seed_from_u64(1)) } else { Step::eval(tape, &bound) };
        f(step, inputs)
    });
    outcome.add(case, &report);
}

/// The layers and losses of this crate, each with its check.
pub fn layers() -> Vec<OperatorEntry> {
    let mut all = crate::layers::checks();
    all.extend(crate::losses::checks());
    all
}
