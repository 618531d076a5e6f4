//! The learned peak callers in the form of their peer: 64 stretches of 10,000 positions, the mean squares of all
//! outputs.

use gradome_epigenome::peaks::{
    Caller, CountLaw, DecisionConfig, DenoiserConfig, FnoPeakCaller, FnoPeakCallerConfig, PeakCaller, PeakCallerConfig,
    PeakOutput, SignalInput,
};
use gradome_nn::{ParamStore, Rng, Step};
use gradome_tape::{Tape, Tensor, Var};
use rand::SeedableRng;
use rand_distr::{Distribution, Poisson};

const SHAPE: [usize; 3] = [64, 1, 10_000];

fn task<C: Caller + 'static>(
    config: &C::Config,
    outputs: impl for<'t> Fn(&PeakOutput<'t, f32>) -> Vec<Var<'t, f32>> + 'static,
) -> Box<dyn FnMut()> {
    let mut store = ParamStore::<f32>::new(0);
    let caller = C::new(config, &mut store).expect("the form is valid");
    let mut rng = Rng::seed_from_u64(1);
    let reads = Poisson::new(3.0).expect("a positive mean");
    let coverage = Tensor::from_fn(SHAPE, |_| reads.sample(&mut rng) as f32);
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let bound = store.bind(&tape);
            let input = SignalInput { tracks: tape.constant(&coverage), noise: None };
            let output = caller.call(Step::train(&tape, &bound, rng.clone()), &input);
            let squares = outputs(&output).into_iter().map(|value| value.square().mean());
            let loss = squares.reduce(|a, b| a + b).expect("a caller has outputs");
            std::hint::black_box(loss.backward());
        }
        tape.reset();
    })
}

fn decisions<'t>(output: &PeakOutput<'t, f32>) -> Vec<Var<'t, f32>> {
    let decisions = output.decisions;
    let mut all = vec![decisions.probabilities, decisions.summits(), decisions.starts(), decisions.ends()];
    all.extend(output.denoised.iter().map(|denoised| denoised.kl));
    all
}

pub(super) fn convolutional() -> Box<dyn FnMut()> {
    task::<PeakCaller>(&PeakCallerConfig::diffbio(), decisions)
}

pub(super) fn denoised() -> Box<dyn FnMut()> {
    let denoiser = DenoiserConfig { step: 200, law: CountLaw::Poisson, ..DenoiserConfig::default() };
    task::<PeakCaller>(&PeakCallerConfig { denoiser: Some(denoiser), ..PeakCallerConfig::diffbio() }, decisions)
}

pub(super) fn fourier() -> Box<dyn FnMut()> {
    let reference = FnoPeakCallerConfig::diffbio();
    let decision = DecisionConfig { learnable_temperature: false, ..reference.decision };
    task::<FnoPeakCaller>(&FnoPeakCallerConfig { decision, ..reference }, |output| {
        vec![output.decisions.probabilities, output.scores]
    })
}
