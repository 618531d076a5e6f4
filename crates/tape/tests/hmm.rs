//! Hidden Markov chains against the enumeration of all paths, against chains of small ops, and at the ends of the range.

use gradome_goldens::assert_close;
use gradome_tape::{Float, Tape, Tensor, Var};
use proptest::prelude::*;

const NONE: f64 = f64::NEG_INFINITY;

fn wave(shape: &[usize], phase: f64, scale: f64) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| scale * (1.3 * i as f64 + phase).sin())
}

/// A chain with its weights in logarithms.
struct Model {
    initial: Tensor<f64>,
    transition: Tensor<f64>,
    emission: Tensor<f64>,
}

impl Model {
    fn waves(steps: usize, states: usize, phase: f64, scale: f64) -> Self {
        Self {
            initial: wave(&[states], phase, scale),
            transition: wave(&[states, states], phase + 1.0, scale),
            emission: wave(&[steps, states], phase + 2.0, scale),
        }
    }

    fn weight(&self, path: &[usize], start: usize) -> f64 {
        let emission = path.iter().enumerate().map(|(t, &s)| self.emission.at(&[start + t, s]));
        let transitions = path.windows(2).map(|pair| self.transition.at(&[pair[0], pair[1]]));
        path.first().map_or(0.0, |&s| self.initial.at(&[s])) + emission.sum::<f64>() + transitions.sum::<f64>()
    }

    /// The log-likelihood, the posteriors and the expected transitions of one sequence, from all its paths.
    fn enumerate(&self, start: usize, length: usize) -> (f64, Vec<f64>, Vec<f64>) {
        let states = self.initial.shape()[0];
        let paths: Vec<Vec<usize>> = (0..states.pow(length as u32))
            .map(|code| (0..length).map(|t| code / states.pow(t as u32) % states).collect())
            .collect();
        let weights: Vec<f64> = paths.iter().map(|path| self.weight(path, start)).collect();
        let largest = weights.iter().copied().fold(NONE, f64::max);
        if largest == NONE {
            return (NONE, vec![0.0; length * states], vec![0.0; states * states]);
        }
        let sum: f64 = weights.iter().map(|w| (w - largest).exp()).sum();
        let (mut posteriors, mut transitions) = (vec![0.0; length * states], vec![0.0; states * states]);
        for (path, weight) in paths.iter().zip(&weights) {
            let p = (weight - largest).exp() / sum;
            path.iter().enumerate().for_each(|(t, &s)| posteriors[t * states + s] += p);
            path.windows(2).for_each(|pair| transitions[pair[0] * states + pair[1]] += p);
        }
        (largest + sum.ln(), posteriors, transitions)
    }

    fn vars<'t>(&self, tape: &'t Tape<f64>) -> [Var<'t, f64>; 3] {
        [tape.variable(&self.initial), tape.variable(&self.transition), tape.variable(&self.emission)]
    }

    /// Value and gradients of the log-likelihoods weighted by `weights`.
    fn run(&self, lengths: &[usize], weights: &[f64]) -> (Vec<f64>, [Vec<f64>; 3], Vec<f64>) {
        let tape = Tape::new();
        let [initial, transition, emission] = self.vars(&tape);
        let y = emission.hmm_log_likelihood(initial, transition, lengths);
        let posteriors = emission.hmm_posteriors(initial, transition, lengths).value().to_f64();
        let gradients = y.backward_with(&Tensor::new([lengths.len()], weights));
        let of = |v: Var<'_, f64>| gradients.of(v).unwrap().to_f64();
        (y.value().to_f64(), [of(initial), of(transition), of(emission)], posteriors)
    }
}

fn assert_enumerated(model: &Model, lengths: &[usize], tolerance: f64) {
    let states = model.initial.shape()[0];
    let weights: Vec<f64> = (0..lengths.len()).map(|b| 0.5 + b as f64).collect();
    let (values, [initial, transition, emission], posteriors) = model.run(lengths, &weights);
    let mut expected = (Vec::new(), vec![0.0; states], vec![0.0; states * states], Vec::new(), Vec::new());
    let mut start = 0;
    for (&length, weight) in lengths.iter().zip(&weights) {
        let (value, posterior, transitions) = model.enumerate(start, length);
        expected.0.push(value);
        posterior.iter().take(states).zip(&mut expected.1).for_each(|(p, sum)| *sum += weight * p);
        transitions.iter().zip(&mut expected.2).for_each(|(p, sum)| *sum += weight * p);
        expected.3.extend(posterior.iter().map(|p| weight * p));
        expected.4.extend(posterior);
        start += length;
    }
    assert_close("value", &values, &expected.0, tolerance);
    assert_close("expected starts", &initial, &expected.1, tolerance);
    assert_close("expected transitions", &transition, &expected.2, tolerance);
    assert_close("expected visits", &emission, &expected.3, tolerance);
    assert_close("posterior", &posteriors, &expected.4, tolerance);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn likelihood_counts_and_posteriors_are_sums_over_all_paths(
        states in 1_usize..5, lengths in prop::collection::vec(0_usize..5, 1..4), phase in 0.0..6.0, scale in 0.1..4.0,
    ) {
        assert_enumerated(&Model::waves(lengths.iter().sum(), states, phase, scale), &lengths, 1e-11);
    }

    #[test]
    fn the_ends_of_the_range_are_sums_over_all_paths(
        states in 1_usize..4, length in 1_usize..5, phase in 0.0..6.0, power in 1..7, forbidden in 0_usize..9,
    ) {
        let mut model = Model::waves(length, states, phase, 10_f64.powi(power));
        // any spread of transitions and forbidden ones
        model.transition.data_mut()[forbidden % (states * states)] = NONE;
        assert_enumerated(&model, &[length], 1e-8);
        model.transition = wave(&[states, states], phase, 1.0);
        assert_enumerated(&model, &[length], 1e-8);
    }
}

#[test]
fn more_than_a_register_of_states_is_summed_over_all_paths() {
    for states in [8, 9, 16, 17, 33] {
        assert_enumerated(&Model::waves(5, states, 0.3, 2.0), &[3, 2], 1e-11);
    }
}

/// ln-sum-exp step by step on the tape.
fn composed<'t>(initial: Var<'t, f64>, transition: Var<'t, f64>, emission: Var<'t, f64>) -> Var<'t, f64> {
    let states = initial.shape()[0];
    let row = |t: usize| emission.narrow(0, t, 1).reshape([states]);
    let mut a = initial + row(0);
    for t in 1..emission.shape()[0] {
        a = (transition.transpose() + a.reshape([1, states])).log_sum_exp() + row(t);
    }
    a.log_sum_exp()
}

#[test]
fn the_op_is_a_chain_of_log_sum_exps() {
    // more steps than a block of the kernels
    for (steps, states) in [(150, 4), (64, 15), (65, 20)] {
        let model = Model::waves(steps, states, 0.7, 1.5);
        let tape = Tape::new();
        let vars = model.vars(&tape);
        let whole = vars[2].hmm_log_likelihood(vars[0], vars[1], &[steps]).sum();
        let parts = composed(vars[0], vars[1], vars[2]);
        assert!((whole.item() - parts.item()).abs() < 1e-10);
        let (whole, parts) = (whole.backward(), parts.backward());
        for var in vars {
            assert_close("gradient", whole.of(var).unwrap().data(), parts.of(var).unwrap().data(), 1e-11);
        }
    }
}

#[test]
fn two_chains_that_never_meet_are_not_lost_when_one_seems_impossible() {
    // the second state is 1e6 below the first, then far above it; nothing leads from one to the other
    for scale in [30.0, 400.0, 1e6] {
        let model = Model {
            initial: Tensor::zeros([2]),
            transition: Tensor::new([2, 2], &[0.0, NONE, NONE, 0.0]),
            emission: Tensor::new([4, 2], &[0.0, -scale, 0.0, -scale, -scale, 0.0, -2.0 * scale, 0.0]),
        };
        let (values, [_, _, emission], _) = model.run(&[4], &[1.0]);
        assert_close("value", &values, &[-2.0 * scale], 1e-12);
        assert_close("visits", &emission, &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 1e-9);
        let tape = Tape::<f32>::new();
        let [initial, transition, emission] =
            [&model.initial, &model.transition, &model.emission].map(|x| tape.variable(&x.cast()));
        let value = emission.hmm_log_likelihood(initial, transition, &[4]);
        assert!((f64::from(value.value().data()[0]) / (-2.0 * scale) - 1.0).abs() < 1e-6);
        assert!((value.backward_with(&Tensor::full([1], 1.0)).of(emission).unwrap().at(&[0, 1]) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn an_impossible_sequence_has_likelihood_zero_and_a_gradient_of_zero() {
    let mut model = Model::waves(6, 3, 0.2, 1.0);
    model.emission.data_mut()[3..6].fill(NONE);
    let (values, gradients, posteriors) = model.run(&[3, 3], &[1.0, 1.0]);
    assert_eq!(values[0], NONE);
    assert!(values[1].is_finite());
    assert!(gradients[2][..9].iter().all(|g| *g == 0.0) && posteriors[..9].iter().all(|p| *p == 0.0));
    assert!((gradients[0].iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

#[test]
fn nan_in_one_sequence_stays_in_it() {
    let mut model = Model::waves(6, 3, 0.2, 1.0);
    model.emission.data_mut()[4] = f64::NAN;
    let (values, gradients, _) = model.run(&[3, 3], &[1.0, 1.0]);
    assert!(values[0].is_nan() && values[1].is_finite());
    assert!(gradients[2][..9].iter().all(|g| g.is_nan()) && gradients[2][9..].iter().all(|g| g.is_finite()));
}

#[test]
fn a_row_of_zeros_is_a_missing_observation() {
    // rows of transitions add up to 1, so leaving out the end changes nothing
    let normal = |x: &Tensor<f64>| Tape::new().constant(x).log_softmax().value();
    let mut model = Model::waves(5, 3, 0.2, 1.0);
    (model.initial, model.transition) = (normal(&model.initial), normal(&model.transition));
    model.emission.data_mut()[9..].fill(0.0);
    let (values, ..) = model.run(&[5], &[1.0]);
    let short = Model { emission: Tensor::new([3, 3], &model.emission.data()[..9]), ..model };
    assert_close("value", &values, &short.run(&[3], &[1.0]).0, 1e-12);
}

#[test]
fn posteriors_of_a_million_steps_add_up_to_one_in_single_precision() {
    let steps = 1_000_000;
    let tape = Tape::<f32>::new();
    let emission = tape.variable(&wave(&[steps, 3], 0.0, 3.0).cast());
    let (initial, transition) =
        (tape.constant(&wave(&[3], 1.0, 1.0).cast()), tape.constant(&wave(&[3, 3], 2.0, 2.0).cast()));
    let value = emission.hmm_log_likelihood(initial, transition, &[steps]).sum();
    let visits = value.backward().of(emission).unwrap().to_f64();
    assert!(visits.chunks(3).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 2e-6));
}

fn thousands_of_steps_without_an_observation<T: Float>(tolerance: f64) {
    let tape = Tape::<T>::new();
    let lengths = [10_000, 3];
    let emission = tape.variable(&Tensor::zeros([10_003, 15]));
    // equal states that are left alike, so that each step's sum of scaled probabilities is above 1
    let stay = Tensor::from_fn([15, 15], |i| T::of(if i / 15 == i % 15 { 2.0 } else { 0.0 }));
    let (initial, transition) = (tape.full([15], 0.0).log_softmax(), tape.constant(&stay).log_softmax());
    let values = emission.hmm_log_likelihood(initial, transition, &lengths);
    // probabilities that add up to 1: ln 1
    assert_close("value", &values.value().to_f64(), &[0.0, 0.0], tolerance);
    let visits = values.sum().backward().of(emission).unwrap().to_f64();
    assert!(visits.iter().all(|p| (p - 1.0 / 15.0).abs() < 1e-6));
    let posteriors = emission.hmm_posteriors(initial, transition, &lengths).value().to_f64();
    assert!(posteriors.iter().all(|p| (p - 1.0 / 15.0).abs() < 1e-6));
}

#[test]
fn chains_whose_scaled_sums_exceed_one_stay_finite() {
    thousands_of_steps_without_an_observation::<f64>(1e-9);
    // the transitions themselves are rounded
    thousands_of_steps_without_an_observation::<f32>(1e-2);
}

#[test]
fn smoothed_viterbi_is_the_posterior_at_one_and_the_best_path_near_zero() {
    let model = Model::waves(7, 3, 0.4, 2.0);
    let tape = Tape::new();
    let [initial, transition, emission] = model.vars(&tape);
    let lengths = [4, 3];
    let one = emission.smoothed_viterbi(initial, transition, &lengths, 1.0).value().to_f64();
    assert_close("marginal", &one, &emission.hmm_posteriors(initial, transition, &lengths).value().to_f64(), 1e-13);
    let best = emission.viterbi(initial, transition, &lengths);
    let cold = emission.smoothed_viterbi(initial, transition, &lengths, 1e-3).value().to_f64();
    for (t, &state) in best.path.iter().enumerate() {
        assert!((cold[t * 3 + state as usize] - 1.0).abs() < 1e-6);
    }
}

#[test]
fn viterbi_finds_the_best_of_all_paths() {
    for phase in 0..5 {
        let model = Model::waves(6, 3, f64::from(phase), 2.0);
        let tape = Tape::new();
        let [initial, transition, emission] = model.vars(&tape);
        let best = emission.viterbi(initial, transition, &[0, 5, 1]);
        assert_eq!(best.log_weights[0], 0.0);
        for (range, sequence) in [(0..5, 1), (5..6, 2)] {
            let path: Vec<usize> = best.path[range.clone()].iter().map(|&s| s as usize).collect();
            let all = 3_usize.pow(range.len() as u32);
            let weights = (0..all).map(|code| {
                let path: Vec<usize> = (0..range.len()).map(|t| code / 3_usize.pow(t as u32) % 3).collect();
                model.weight(&path, range.start)
            });
            let largest = weights.fold(NONE, f64::max);
            assert!((model.weight(&path, range.start) - largest).abs() < 1e-12);
            assert!((best.log_weights[sequence] - largest).abs() < 1e-12);
        }
    }
}

#[test]
fn viterbi_takes_the_first_of_equal_states() {
    let tape = Tape::<f32>::new();
    let best = tape.full([4, 3], 0.0).viterbi(tape.full([3], 0.0), tape.full([3, 3], 0.0), &[4]);
    assert_eq!(best.path, [0; 4]);
}

fn bits<T: Float>() -> Vec<u64> {
    let lengths = [700, 0, 1, 900, 1300, 5, 2100];
    let steps = lengths.iter().sum::<usize>();
    let tape = Tape::<T>::new();
    let vars =
        [wave(&[5], 0.1, 1.0), wave(&[5, 5], 0.2, 2.0), wave(&[steps, 5], 0.3, 3.0)].map(|x| tape.variable(&x.cast()));
    let values = vars[2].hmm_log_likelihood(vars[0], vars[1], &lengths);
    let posteriors = vars[2].hmm_posteriors(vars[0], vars[1], &lengths);
    let gradients = (values.mean() + posteriors.square().sum()).backward();
    let all = vars
        .iter()
        .map(|v| gradients.of(*v).unwrap().to_f64())
        .chain([values.value().to_f64(), posteriors.value().to_f64()]);
    all.flatten().map(f64::to_bits).collect()
}

#[test]
fn bits_are_the_same_at_any_number_of_threads() {
    let with = |threads: usize, run: fn() -> Vec<u64>| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    };
    assert!(with(1, bits::<f32>) == with(3, bits::<f32>));
    assert!(with(1, bits::<f64>) == with(3, bits::<f64>));
}

#[test]
#[should_panic(expected = "hmm_log_likelihood: initial [3], transition [3, 3], emission [4, 3] for 5 steps")]
fn lengths_that_do_not_add_up_are_named() {
    let tape = Tape::<f64>::new();
    tape.full([4, 3], 0.0).hmm_log_likelihood(tape.full([3], 0.0), tape.full([3, 3], 0.0), &[5]);
}
