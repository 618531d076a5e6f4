//! The learned peak callers in the form of their peer: 64 stretches of 10,000 positions, the mean squares of all
//! outputs.

use gradome_epigenome::peaks::{
    Caller, CountLaw, DecisionConfig, DenoiserConfig, FnoPeakCaller, FnoPeakCallerConfig, PeakCaller, PeakCallerConfig,
    PeakOutput, SignalInput,
};
use gradome_nn::parts::Parts;
use gradome_nn::trainer::Loss;
use gradome_nn::{Operator, ParamStore, Rng, Step};
use gradome_tape::{Tensor, Var};
use rand::SeedableRng;
use rand_distr::{Distribution, Poisson};

const STRETCHES: usize = 64;
const LENGTH: usize = 10_000;

/// A step of a caller on stretches in parts of one: the mean squares of `outputs`, over all stretches.
fn task<C: Caller + 'static>(
    config: &C::Config,
    outputs: impl for<'t> Fn(&PeakOutput<'t, f32>) -> Vec<Var<'t, f32>> + Sync + 'static,
) -> Box<dyn FnMut()> {
    let mut store = ParamStore::<f32>::new(0);
    let caller = C::new(config, &mut store).expect("the form is valid");
    let coverage = coverage();
    let parts = Parts::default();
    Box::new(move || {
        let summed = parts.sum(&store, STRETCHES, &Rng::seed_from_u64(2), |step, part| {
            let squares = outputs(&caller.call(step, &signals(step, &coverage[part])))
                .into_iter()
                .map(|value| value.square().mean());
            let loss = squares.reduce(|a, b| a + b).expect("a caller has outputs");
            Ok((Loss::new(loss), 1.0 / STRETCHES as f64))
        });
        std::hint::black_box(summed.expect("the losses are numbers").numbers);
    })
}

fn coverage() -> Vec<Tensor<f32>> {
    let mut rng = Rng::seed_from_u64(1);
    let reads = Poisson::new(3.0).expect("a positive mean");
    let mut stretch = |_| Tensor::from_fn([1, 1, LENGTH], |_| reads.sample(&mut rng) as f32);
    (0..STRETCHES).map(&mut stretch).collect()
}

fn signals<'t>(step: Step<'_, 't, f32>, coverage: &Tensor<f32>) -> SignalInput<'t, f32> {
    SignalInput { tracks: step.tape.constant(coverage), noise: None }
}

fn decisions<'t>(output: &PeakOutput<'t, f32>) -> Vec<Var<'t, f32>> {
    let decisions = output.decisions;
    vec![decisions.probabilities, decisions.summits(), decisions.starts(), decisions.ends()]
}

pub(super) fn convolutional() -> Box<dyn FnMut()> {
    task::<PeakCaller>(&PeakCallerConfig::diffbio(), decisions)
}

/// The same after a denoiser, whose divergence is squared as well: its value is taken first, of all stretches.
pub(super) fn denoised() -> Box<dyn FnMut()> {
    let denoiser = DenoiserConfig { step: 200, law: CountLaw::Poisson, ..DenoiserConfig::default() };
    let config = PeakCallerConfig { denoiser: Some(denoiser), ..PeakCallerConfig::diffbio() };
    let mut store = ParamStore::<f32>::new(0);
    let caller = PeakCaller::new(&config, &mut store).expect("the form is valid");
    let coverage = coverage();
    let parts = Parts::default();
    Box::new(move || {
        let (store, caller, coverage, rng) = (&store, &caller, &coverage, Rng::seed_from_u64(2));
        let kl = parts.sum(store, STRETCHES, &rng, |step, part| {
            let kl =
                step.tape.no_grad(|| caller.denoise(step, &signals(step, &coverage[part])).expect("it denoises").kl);
            Ok((Loss::new(kl), 1.0))
        });
        let kl = kl.expect("the divergence is a number").numbers[0].1;
        let summed = parts.sum(store, STRETCHES, &rng, |step, part| {
            let output = caller.call(step, &signals(step, &coverage[part]));
            let squares = decisions(&output).into_iter().map(|value| value.square().mean() * (1.0 / STRETCHES as f64));
            // the slope of the square of the sum
            let own = output.denoised.as_ref().expect("it denoises").kl * (2.0 * kl);
            Ok((Loss::new(squares.fold(own, |a, b| a + b)), 1.0))
        });
        std::hint::black_box(summed.expect("the losses are numbers").numbers);
    })
}

pub(super) fn fourier() -> Box<dyn FnMut()> {
    let reference = FnoPeakCallerConfig::diffbio();
    let decision = DecisionConfig { learnable_temperature: false, ..reference.decision };
    task::<FnoPeakCaller>(&FnoPeakCallerConfig { decision, ..reference }, |output| {
        vec![output.decisions.probabilities, output.scores]
    })
}
