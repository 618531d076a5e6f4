//! The finite-difference checks of the learned peak callers.

use gradome_nn::check::check_step;
use gradome_nn::{Operator, ParamStore};
use gradome_tape::check::Outcome;
use gradome_tape::{Float, Tensor, Var};

use super::{
    Caller, CountLaw, DecisionConfig, DenoiserConfig, FnoForm, FnoPeakCaller, FnoPeakCallerConfig, Indicators,
    LatentPrior, PeakCaller, PeakCallerConfig, PeakOutput, SignalInput,
};

/// One number that depends on every output, each position with a weight of its own.
fn of_all_outputs<'t, T: Float>(output: &PeakOutput<'t, T>) -> Var<'t, T> {
    let decisions = output.decisions;
    let mut parts =
        vec![output.scores, decisions.probabilities, decisions.summits(), decisions.starts(), decisions.ends()];
    parts.extend(output.denoised.iter().map(|denoised| denoised.track));
    let weighed = |(i, part): (usize, Var<'t, T>)| {
        let weights = Tensor::from_fn(part.shape(), |k| T::of((1.3 * k as f64 + i as f64).sin()));
        (part * part.tape().constant(&weights)).sum()
    };
    parts.into_iter().enumerate().map(weighed).reduce(|a, b| a + b).expect("a caller has outputs")
}

/// Checks a caller's parameters and signals at one batch.
fn check<C: Caller>(outcome: &mut Outcome, case: &str, config: &C::Config) {
    let mut store = ParamStore::<f64>::new(5);
    let caller = match C::new(config, &mut store) {
        Ok(caller) => caller,
        Err(error) => return outcome.require(false, || format!("{case}: {error}")),
    };
    let batch = C::sample(config, 3);
    let shape = [batch.stretches, C::tracks(config), batch.length];
    let noise = batch.noise.as_ref().map(|noise| Tensor::from_f64([noise.len()], noise));
    // counts are moved off 0, where the reference's |x| has a kink
    let signals: Vec<f64> = batch.tracks.iter().enumerate().map(|(i, x)| x + 0.3 + 0.1 * (i as f64).sin()).collect();
    let inputs = [("tracks", Tensor::from_f64(shape, &signals))];
    check_step(outcome, case, &store, &inputs, false, |step, x| {
        let noise = noise.as_ref().map(|noise| step.tape.constant(noise));
        of_all_outputs(&caller.call(step, &SignalInput { tracks: x[0], noise }))
    });
    // a likelihood takes the counts as given
    check_step(outcome, &format!("{case}, loss"), &store, &[], false, |step, _| {
        let input = caller.signals(step.tape, &batch).expect("the sample is valid");
        let denoised = caller.call(step, &input).denoised;
        denoised.map_or_else(|| step.tape.scalar(0.0), |denoised| denoised.loss)
    });
}

pub(crate) fn check_cnn() -> Outcome {
    let mut outcome = Outcome::new(PeakCaller::NAME);
    let small = PeakCallerConfig { filters: 3, kernel_sizes: vec![3, 4], dilations: vec![1, 2], ..Default::default() };
    let decision = DecisionConfig { summit_window: 6, ..Default::default() };
    let denoiser = DenoiserConfig { window: 8, step: 4, latent_dim: 2, hidden_dim: 4, ..Default::default() };
    let reference = DecisionConfig { indicators: Indicators::Sigmoid, summit_window: 7, ..Default::default() };
    for (case, config) in [
        ("two tracks", PeakCallerConfig { tracks: 2, decision, ..small.clone() }),
        ("reference's indicators", PeakCallerConfig { decision: reference, ..small.clone() }),
        ("denoised", PeakCallerConfig { tracks: 2, decision, denoiser: Some(denoiser.clone()), ..small.clone() }),
        (
            "denoised, mixture of two",
            PeakCallerConfig {
                denoiser: Some(DenoiserConfig { prior: LatentPrior::Mixture { components: 2 }, ..denoiser.clone() }),
                ..small.clone()
            },
        ),
        (
            "denoised, Poisson, windows in a row",
            PeakCallerConfig {
                denoiser: Some(DenoiserConfig { step: 8, law: CountLaw::Poisson, ..denoiser }),
                ..small
            },
        ),
    ] {
        check::<PeakCaller>(&mut outcome, case, &config);
    }
    outcome
}

pub(crate) fn check_fno() -> Outcome {
    let mut outcome = Outcome::new(FnoPeakCaller::NAME);
    let small = FnoPeakCallerConfig { hidden: 3, modes: 4, blocks: 2, padding: 5, ..Default::default() };
    for (case, config) in [
        ("with local convolutions", FnoPeakCallerConfig { tracks: 2, local_kernels: vec![3], ..small.clone() }),
        (
            "plain, no padding",
            FnoPeakCallerConfig { form: FnoForm::Plain, padding: 0, local_kernels: vec![], grid: true, ..small },
        ),
    ] {
        check::<FnoPeakCaller>(&mut outcome, case, &config);
    }
    outcome
}
