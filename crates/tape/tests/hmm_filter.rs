//! The filter of hidden Markov chains, and the adjoints of filter and posteriors, against plain loops and small ops.

use gradome_goldens::assert_close;
use gradome_tape::{Float, Tape, Tensor, Var};

const NONE: f64 = f64::NEG_INFINITY;

fn wave(shape: &[usize], phase: f64, scale: f64) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| scale * (1.3 * i as f64 + phase).sin())
}

/// Log-weights of first states, transitions and emissions.
fn waves(steps: usize, states: usize, scale: f64) -> [Tensor<f64>; 3] {
    [wave(&[states], 0.3, scale), wave(&[states, states], 1.3, scale), wave(&[steps, states], 2.3, scale)]
}

/// ln(e^a + e^b + ..).
fn log_sum_exp(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = x.clone().fold(NONE, f64::max);
    if largest == NONE { NONE } else { largest + x.map(|x| (x - largest).exp()).sum::<f64>().ln() }
}

/// p(state | steps so far) of sequences laid end to end, one step after the other.
fn filtered(model: &[Tensor<f64>; 3], lengths: &[usize]) -> Vec<f64> {
    let [initial, transition, emission] = model;
    let states = initial.data().len();
    let mut all = Vec::new();
    let mut at = 0;
    for &length in lengths {
        let mut ln: Vec<f64> = initial.data().to_vec();
        for step in 0..length {
            if step > 0 {
                ln = (0..states)
                    .map(|to| log_sum_exp((0..states).map(|from| ln[from] + transition.at(&[from, to]))))
                    .collect();
            }
            ln.iter_mut().enumerate().for_each(|(state, ln)| *ln += emission.at(&[at, state]));
            let total = log_sum_exp(ln.iter().copied());
            if total > NONE {
                ln.iter_mut().for_each(|ln| *ln -= total);
            }
            all.extend(ln.iter().map(|ln| ln.exp()));
            at += 1;
        }
    }
    all
}

fn run<T: Float>(model: &[Tensor<f64>; 3], lengths: &[usize]) -> Vec<f64> {
    let tape = Tape::<T>::new();
    let [initial, transition, emission] = model.each_ref().map(|x| tape.constant(&x.cast()));
    emission.hmm_filter(initial, transition, lengths).value().to_f64()
}

#[test]
fn the_filter_is_the_normalised_forward_recursion() {
    for (lengths, states) in [(vec![3000], 15), (vec![1, 0, 130, 64, 65], 3), (vec![200], 33), (vec![9, 0], 1)] {
        for scale in [1.0, 3.0] {
            let model = waves(lengths.iter().sum(), states, scale);
            let expected = filtered(&model, &lengths);
            assert_close("f64", &run::<f64>(&model, &lengths), &expected, 1e-11);
            assert_close("f32", &run::<f32>(&model, &lengths), &expected, 2e-5);
        }
    }
}

#[test]
fn weights_beyond_the_range_of_a_float_are_filtered_in_logarithms() {
    for scale in [60.0, 900.0] {
        let mut model = waves(200, 5, scale);
        assert_close("f64", &run::<f64>(&model, &[120, 80]), &filtered(&model, &[120, 80]), 1e-9);
        model[1] = wave(&[5, 5], 1.3, 1.0);
        assert_close("f64", &run::<f64>(&model, &[120, 80]), &filtered(&model, &[120, 80]), 1e-9);
    }
    // two chains that never meet: the first leads by far until the second becomes the only one that is possible
    let mut model = [Tensor::zeros([2]), Tensor::new([2, 2], &[0.0, NONE, NONE, 0.0]), Tensor::zeros([40, 2])];
    for step in 0..39 {
        model[2].data_mut()[2 * step + 1] = -50.0;
    }
    model[2].data_mut()[78] = NONE;
    let expected = filtered(&model, &[40]);
    assert_eq!(&expected[78..], &[0.0, 1.0]);
    assert_close("f64", &run::<f64>(&model, &[40]), &expected, 1e-12);
    assert_close("f32", &run::<f32>(&model, &[40]), &expected, 1e-6);
}

/// Filter and posteriors of one sequence, made of small ops.
fn composed<'t>([initial, transition, emission]: [Var<'t, f64>; 3]) -> [Var<'t, f64>; 2] {
    let (steps, states) = (emission.shape()[0], initial.shape()[0]);
    let row = |t: usize| emission.narrow(0, t, 1).reshape([states]);
    let mut forward = vec![initial + row(0)];
    for t in 1..steps {
        let past = forward[t - 1].log_softmax().reshape([1, states]);
        forward.push((transition.transpose() + past).log_sum_exp() + row(t));
    }
    let mut backward = vec![row(0) * 0.0];
    for t in (1..steps).rev() {
        let ahead = (backward[steps - 1 - t] + row(t)).reshape([1, states]);
        backward.push((transition + ahead).log_sum_exp().log_softmax());
    }
    let rows = |row: &dyn Fn(usize) -> Var<'t, f64>| {
        let rows: Vec<_> = (0..steps).map(|t| row(t).softmax().reshape([1, states])).collect();
        initial.tape().concat(&rows, 0)
    };
    [rows(&|t| forward[t]), rows(&|t| forward[t] + backward[steps - 1 - t])]
}

#[test]
fn the_adjoints_are_those_of_chains_of_small_ops() {
    // more steps than a block of the kernels, one and several registers of states, scaled and in logarithms
    for (steps, states, scale) in [(150, 4, 1.5), (70, 15, 1.5), (65, 20, 1.5), (64, 9, 1.0), (70, 3, 200.0)] {
        let model = waves(steps, states, scale);
        let tape = Tape::new();
        let vars = model.each_ref().map(|x| tape.variable(x));
        let [initial, transition, emission] = vars;
        let whole = [
            emission.hmm_filter(initial, transition, &[steps]),
            emission.hmm_posteriors(initial, transition, &[steps]),
        ];
        for (whole, parts) in whole.into_iter().zip(composed(vars)) {
            assert_close("value", whole.value().data(), parts.value().data(), 1e-10);
            let cotangent = wave(&[steps, states], 0.9, 1.0);
            let [whole, parts] = [whole, parts].map(|y| y.backward_with(&cotangent));
            for var in vars {
                assert_close("slope", whole.of(var).unwrap().data(), parts.of(var).unwrap().data(), 1e-9);
            }
        }
    }
}

fn slopes<T: Float>(model: &[Tensor<f64>; 3], lengths: &[usize], filter: bool) -> [Vec<f64>; 3] {
    let tape = Tape::<T>::new();
    let vars = model.each_ref().map(|x| tape.variable(&x.cast()));
    let [initial, transition, emission] = vars;
    let y = if filter {
        emission.hmm_filter(initial, transition, lengths)
    } else {
        emission.hmm_posteriors(initial, transition, lengths)
    };
    let gradients = y.backward_with(&wave(&y.shape(), 0.9, 1.0).cast());
    vars.map(|v| gradients.of(v).unwrap().to_f64())
}

#[test]
fn slopes_of_long_chains_hold_in_single_precision() {
    let steps = 50_000;
    // sticky, and one state rarely seen
    let transition = Tensor::from_fn([5, 5], |i| if i / 5 == i % 5 { 0.0 } else { -4.0 - (i % 3) as f64 });
    let model = [wave(&[5], 0.3, 1.0), transition, wave(&[steps, 5], 2.3, 1.5)];
    for filter in [true, false] {
        let (single, double) = (slopes::<f32>(&model, &[steps], filter), slopes::<f64>(&model, &[steps], filter));
        for (single, double) in single.iter().zip(&double) {
            assert_close("slope", single, double, 2e-4);
        }
        // a constant added to all weights of a step changes no probability
        assert!(double[2].chunks(5).all(|row| row.iter().sum::<f64>().abs() < 1e-12));
        assert!(single[2].chunks(5).all(|row| row.iter().sum::<f64>().abs() < 2e-5));
    }
}

#[test]
fn a_filter_ends_where_no_state_explains_a_step() {
    for scale in [1.0, 400.0] {
        let mut model = waves(10, 3, scale);
        model[2].data_mut()[4 * 3..5 * 3].fill(NONE);
        let rows = run::<f64>(&model, &[7, 3]);
        assert_close("value", &rows, &filtered(&model, &[7, 3]), 1e-9);
        assert!(rows[4 * 3..7 * 3].iter().all(|p| *p == 0.0));
        let short = {
            let [initial, transition, emission] = &model;
            let kept = [&emission.data()[..12], &emission.data()[21..]].concat();
            [initial.clone(), transition.clone(), Tensor::new([7, 3], &kept)]
        };
        // the same cotangents for the steps that are left
        let of = |model: &[Tensor<f64>; 3], lengths: &[usize], weight: &Tensor<f64>| {
            let tape = Tape::<f64>::new();
            let vars = model.each_ref().map(|x| tape.variable(x));
            let gradients = vars[2].hmm_filter(vars[0], vars[1], lengths).backward_with(weight);
            vars.map(|v| gradients.of(v).unwrap().to_f64())
        };
        let weight = wave(&[10, 3], 0.9, 1.0);
        let left = Tensor::new([7, 3], &[&weight.data()[..12], &weight.data()[21..]].concat());
        let (found, expected) = (of(&model, &[7, 3], &weight), of(&short, &[4, 3], &left));
        assert_close("initial", &found[0], &expected[0], 1e-12);
        assert_close("transition", &found[1], &expected[1], 1e-12);
        assert_close("emission", &[&found[2][..12], &found[2][21..]].concat(), &expected[2], 1e-12);
        assert!(found[2][12..21].iter().all(|g| *g == 0.0));
    }
}

#[test]
fn impossible_states_and_transitions_have_no_slope() {
    let mut model = waves(80, 4, 1.0);
    model[0].data_mut()[1] = NONE;
    model[1].data_mut()[2] = NONE;
    model[2].data_mut()[4 * 9 + 3] = NONE;
    assert_close("value", &run::<f64>(&model, &[80]), &filtered(&model, &[80]), 1e-12);
    for filter in [true, false] {
        let [initial, transition, emission] = slopes::<f64>(&model, &[80], filter);
        assert_eq!((initial[1], transition[2], emission[4 * 9 + 3]), (0.0, 0.0, 0.0));
        assert!([initial, transition, emission].concat().iter().all(|g| g.is_finite()));
    }
}

#[test]
fn nan_spreads_to_later_steps_of_its_own_sequence_only() {
    for scale in [1.0, 400.0] {
        let mut model = waves(6, 3, scale);
        model[2].data_mut()[4] = f64::NAN;
        let rows = run::<f64>(&model, &[3, 3]);
        assert!(rows[..3].iter().chain(&rows[9..]).all(|p| p.is_finite()));
        assert!(rows[3..9].iter().all(|p| p.is_nan()));
        let [_, _, emission] = slopes::<f64>(&model, &[3, 3], true);
        assert!(emission[..9].iter().all(|g| g.is_nan()) && emission[9..].iter().all(|g| g.is_finite()));
    }
}

#[test]
fn one_step_is_the_softmax_of_its_weights() {
    let model = waves(1, 5, 2.0);
    let tape = Tape::<f64>::new();
    let sum = tape.constant(&model[0]) + tape.constant(&model[2]);
    assert_close("row", &run::<f64>(&model, &[1]), sum.softmax().value().data(), 1e-14);
    assert!(run::<f64>(&waves(0, 5, 2.0), &[0, 0]).is_empty());
}

fn bits<T: Float>() -> Vec<u64> {
    let lengths = [700, 0, 1, 900, 1300, 5, 2100];
    let model = waves(lengths.iter().sum(), 5, 2.0);
    let all = run::<T>(&model, &lengths).into_iter().chain(slopes::<T>(&model, &lengths, true).concat());
    all.map(f64::to_bits).collect()
}

#[test]
fn bits_are_the_same_at_any_number_of_threads() {
    let with = |threads: usize, run: fn() -> Vec<u64>| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    };
    assert!(with(1, bits::<f32>) == with(2, bits::<f32>));
    assert!(with(1, bits::<f64>) == with(2, bits::<f64>));
}

#[test]
#[should_panic(expected = "hmm_filter: initial [3], transition [3, 3], emission [4, 3] for 5 steps")]
fn lengths_that_do_not_add_up_are_named() {
    let tape = Tape::<f64>::new();
    tape.full([4, 3], 0.0).hmm_filter(tape.full([3], 0.0), tape.full([3, 3], 0.0), &[5]);
}

/// The loss of three outputs and its gradients with respect to the model.
fn weighted<T: Float>(
    model: &[Tensor<f64>; 3],
    given: impl for<'t> Fn([Var<'t, T>; 3]) -> [Var<'t, T>; 3],
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let tape = Tape::<T>::new();
    let inputs = model.each_ref().map(|x| tape.variable(&x.cast()));
    let outputs = given(inputs);
    let losses = outputs.iter().enumerate().map(|(k, y)| {
        let weights = wave(&y.shape(), k as f64, 1.0);
        (*y * tape.constant(&weights.cast())).sum()
    });
    let gradients = losses.reduce(|a, b| a + b).unwrap().backward();
    let values = outputs.iter().flat_map(|y| y.value().to_f64()).collect();
    (values, inputs.iter().map(|x| gradients.of(*x).unwrap().to_f64()).collect())
}

#[test]
fn one_pass_gives_what_the_three_ops_give() {
    // scaled probabilities, and transitions that need logarithms
    for (states, scale) in [(3, 1.5), (15, 1.5), (17, 1.5), (4, 90.0)] {
        let lengths = [40, 0, 1, 700, 90];
        let model = waves(lengths.iter().sum(), states, scale);
        let one = weighted::<f64>(&model, |[initial, transition, emission]| {
            let all = emission.hmm_inference(initial, transition, &lengths);
            [all.ln_likelihood, all.posteriors, all.filtered]
        });
        let three = weighted::<f64>(&model, |[initial, transition, emission]| {
            [
                emission.hmm_log_likelihood(initial, transition, &lengths),
                emission.hmm_posteriors(initial, transition, &lengths),
                emission.hmm_filter(initial, transition, &lengths),
            ]
        });
        assert_close("value", &one.0, &three.0, 1e-14);
        for (one, three) in one.1.iter().zip(&three.1) {
            assert_close("gradient", one, three, 1e-12);
        }
    }
}

#[test]
fn one_pass_takes_the_gradient_of_any_of_its_outputs_alone() {
    let lengths = [5, 30];
    let model = waves(35, 3, 1.0);
    for wanted in 0..3 {
        let gradient = |one_pass: bool| {
            let tape = Tape::<f64>::new();
            let [initial, transition, emission] = model.each_ref().map(|x| tape.variable(x));
            let all = emission.hmm_inference(initial, transition, &lengths);
            let y = match (wanted, one_pass) {
                (0, true) => all.ln_likelihood,
                (1, true) => all.posteriors,
                (_, true) => all.filtered,
                (0, _) => emission.hmm_log_likelihood(initial, transition, &lengths),
                (1, _) => emission.hmm_posteriors(initial, transition, &lengths),
                _ => emission.hmm_filter(initial, transition, &lengths),
            };
            let gradients = (y * y).sum().backward();
            [initial, transition, emission].map(|x| gradients.of(x).unwrap().to_f64())
        };
        for (one, three) in gradient(true).iter().zip(&gradient(false)) {
            assert_close("gradient", one, three, 1e-13);
        }
    }
}
