//! Optimisers against the published rules.

use gradome_nn::ParamStore;
use gradome_nn::optim::{Average, AverageConfig, AverageStart, Optimizer, OptimizerConfig, clip_factor, global_norm};
use gradome_tape::{Gradients, Tape, Tensor};

const ADAM: OptimizerConfig = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/// Gradients that are exactly the given arrays: of the inner product of parameter and array.
fn gradients_of(store: &ParamStore<f64>, arrays: &[(&str, &Tensor<f64>)]) -> Gradients<f64> {
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let step = gradome_nn::Step::eval(&tape, &bound);
    let products =
        arrays.iter().map(|(path, array)| (step.param(store.find(path).unwrap()) * tape.constant(array)).sum());
    products.reduce(|a, b| a + b).unwrap().backward()
}

/// The weight after each step with the given gradients, from 1.
fn path(config: OptimizerConfig, weight_decay: f64, learning_rate: f64, gradients: &[f64]) -> Vec<f64> {
    let mut store = ParamStore::new(0);
    let w = store.add("w", Tensor::scalar(1.0), true);
    let mut optimizer = Optimizer::new(config, weight_decay, &store);
    let step = |&g: &f64| {
        let gradients = gradients_of(&store, &[("w", &Tensor::scalar(g))]);
        optimizer.step(&mut store, &gradients, learning_rate, 1.0);
        store.get(w).item()
    };
    gradients.iter().map(step).collect()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-14, "{found:?} is not {expected:?}");
    }
}

// The expected values below follow the pseudo-code of PyTorch's AdamW and SGD pages in 40-digit decimal arithmetic.
// An epsilon of 0.01 would show if it stood inside the root.

#[test]
fn adam_moves_as_pytorch_does() {
    let config = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 0.01 };
    let expected = [0.990_909_090_909_090_9, 0.994_352_385_766_311_2, 0.991_071_793_483_116_2];
    assert_close(&path(config, 0.0, 0.01, &[0.1, -0.2, 0.3]), &expected);
}

#[test]
fn adam_with_weight_decay_moves_as_pytorchs_adamw() {
    let config = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 0.01 };
    let expected = [0.989_909_090_909_090_9, 0.992_362_476_675_402_1, 0.988_089_521_915_531_7];
    assert_close(&path(config, 0.1, 0.01, &[0.1, -0.2, 0.3]), &expected);
}

#[test]
fn momentum_moves_as_pytorchs_sgd() {
    let config = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false };
    // velocities 0.1, 0.9 * 0.1 - 0.2 = -0.11, -0.9 * 0.11 + 0.3 = 0.201
    assert_close(&path(config, 0.0, 0.5, &[0.1, -0.2, 0.3]), &[0.95, 1.005, 0.9045]);
    // each weight first shrinks by 0.5 * 0.1 of itself
    assert_close(&path(config, 0.1, 0.5, &[0.1, -0.2, 0.3]), &[0.9, 0.91, 0.764]);
}

/// The weights after steps on f(w) = sum_i (1 + i) (w_i - sin i)^2 / 2 + cos w_i, i = 0..4, from w_i = cos i.
fn after(config: OptimizerConfig, weight_decay: f64, learning_rate: f64, steps: usize) -> Vec<f64> {
    let mut store = ParamStore::new(0);
    let w = store.add("w", Tensor::from_fn([4], |i| (i as f64).cos()), true);
    let mut optimizer = Optimizer::new(config, weight_decay, &store);
    for _ in 0..steps {
        let i = [0.0_f64, 1.0, 2.0, 3.0];
        let slope = |k: usize| {
            let w = store.get(w).data()[k];
            (1.0 + i[k]) * (w - i[k].sin()) - w.sin()
        };
        let gradients = gradients_of(&store, &[("w", &Tensor::from_fn([4], slope))]);
        optimizer.step(&mut store, &gradients, learning_rate, 1.0);
    }
    store.get(w).to_f64()
}

// The expected values of the next two tests are those of PyTorch 2.15 after 8 steps (3 where said) on that function.

#[test]
fn radam_moves_as_pytorch_does() {
    let config = |beta2| OptimizerConfig::Radam { beta1: 0.9, beta2, epsilon: 0.01 };
    // RAdam(lr=0.05, betas=(0.9, 0.95), eps=0.01): rectified from the sixth step on
    let expected = [0.9307332067534038, 0.8351872380698269, 0.41457998832786075, -0.19296140946404106];
    assert_close(&after(config(0.95), 0.0, 0.05, 8), &expected);
    // with weight_decay=0.1, decoupled_weight_decay=True
    let expected = [0.8934017119230372, 0.808255759062864, 0.4098581338323094, -0.17746683469508193];
    assert_close(&after(config(0.95), 0.1, 0.05, 8), &expected);
    // three steps, none of them rectified
    let expected = [0.9765076373508801, 0.7026598948054382, 0.0908763734609074, -0.4850316467647252];
    assert_close(&after(config(0.999), 0.0, 0.05, 3), &expected);
}

#[test]
fn nesterovs_momentum_moves_as_pytorchs_sgd() {
    let config = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true };
    let expected = [0.7755739490226914, 1.566574540519642, 1.7952766720735147, 0.5730258992909681];
    assert_close(&after(config, 0.0, 0.05, 8), &expected);
}

/// Algorithm 2 of the paper, written out.
#[test]
fn lion_moves_by_the_sign_of_its_interpolated_momentum() {
    let config = OptimizerConfig::Lion { beta1: 0.5, beta2: 0.75 };
    // the momentum turns the second step around and makes the fourth alone
    let gradients = [0.8, -0.1, 1.3, 0.0, -1.3];
    let (mut momentum, mut w, mut expected) = (0.0, 1.0, Vec::new());
    for g in gradients {
        let direction: f64 = 0.5 * momentum + 0.5 * g;
        w -= 0.1 * (if direction == 0.0 { 0.0 } else { direction.signum() } + 0.2 * w);
        momentum = 0.75 * momentum + 0.25 * g;
        expected.push(w);
    }
    assert_close(&path(config, 0.2, 0.1, &gradients), &expected);
    // nothing moves without a gradient, and NaN does not pass for a direction
    assert_close(&path(config, 0.0, 0.1, &[0.0, 0.0]), &[1.0, 1.0]);
    assert!(path(config, 0.0, 0.1, &[f64::NAN])[0].is_nan());
}

#[test]
fn all_rules_reach_the_minimum_of_a_quadratic() {
    let radam = OptimizerConfig::Radam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let sgd = |nesterov| OptimizerConfig::Sgd { momentum: 0.9, nesterov };
    for (config, rate) in [(ADAM, 0.1), (radam, 0.1), (sgd(false), 0.01), (sgd(true), 0.01)] {
        let mut store = ParamStore::<f64>::new(0);
        let w = store.add("w", Tensor::new([3], &[5.0, -4.0, 3.0]), true);
        let target = Tensor::new([3], &[1.0, 2.0, 3.0]);
        let curvature = Tensor::new([3], &[1.0, 4.0, 9.0]);
        let mut optimizer = Optimizer::new(config, 0.0, &store);
        let mut tape = Tape::new();
        for _ in 0..1500 {
            let difference = tape.parameter(w.key(), store.get(w)) - tape.constant(&target);
            let gradients = (difference.square() * tape.constant(&curvature)).sum().backward();
            tape.reset();
            optimizer.step(&mut store, &gradients, rate, 1.0);
        }
        for (found, expected) in store.get(w).data().iter().zip(target.data()) {
            assert!((found - expected).abs() < 1e-6, "{config:?}: {:?}", store.get(w));
        }
    }
}

#[test]
fn a_parameter_without_a_gradient_does_not_move() {
    let mut store = ParamStore::new(0);
    let used = store.add("used", Tensor::scalar(1.0), true);
    let unused = store.add("unused", Tensor::scalar(1.0), true);
    let constant = store.add("constant", Tensor::scalar(1.0), false);
    let mut optimizer = Optimizer::new(ADAM, 0.5, &store);
    for _ in 0..3 {
        let gradients = gradients_of(&store, &[("used", &Tensor::scalar(1.0))]);
        optimizer.step(&mut store, &gradients, 0.1, 1.0);
    }
    assert!(store.get(used).item() < 0.7);
    assert_eq!(store.get(constant).item(), 1.0);
    assert_eq!(store.get(unused).item(), 1.0);
    // its first step is a first step: the gradient's sign times the rate
    let gradients = gradients_of(&store, &[("unused", &Tensor::scalar(7.0))]);
    optimizer.step(&mut store, &gradients, 0.1, 1.0);
    assert_close(&[store.get(unused).item()], &[0.95 - 0.1 * 7.0 / (7.0 + 1e-8)]);
}

#[test]
fn the_global_norm_is_that_of_all_gradients_in_one_vector() {
    let mut store = ParamStore::new(0);
    store.add("a", Tensor::zeros([2]), true);
    store.add("b", Tensor::zeros([100_003]), true);
    let (a, b) = (Tensor::new([2], &[3.0, 4.0]), Tensor::full([100_003], 2.0));
    let norm = global_norm(&gradients_of(&store, &[("a", &a), ("b", &b)]));
    let expected = (25.0_f64 + 4.0 * 100_003.0).sqrt();
    assert!((norm / expected - 1.0).abs() < 1e-15, "{norm} is not {expected}");
}

#[test]
fn clipping_brings_the_norm_down_and_never_up() {
    assert_eq!(clip_factor(0.5, 1.0), 1.0);
    assert_eq!(clip_factor(0.0, 1.0), 1.0);
    assert!((clip_factor(10.0, 1.0) - 0.1).abs() < 1e-7);
    // a step of plain descent with rate 1 then has the length that was asked for
    let mut store = ParamStore::new(0);
    let w = store.add("w", Tensor::zeros([2]), true);
    let gradients = gradients_of(&store, &[("w", &Tensor::new([2], &[30.0, -40.0]))]);
    let factor = clip_factor(global_norm(&gradients), 5.0);
    Optimizer::new(OptimizerConfig::Sgd { momentum: 0.0, nesterov: false }, 0.0, &store)
        .step(&mut store, &gradients, 1.0, factor);
    let moved = store.get(w).data();
    assert!((moved[0] + 3.0).abs() < 1e-6 && (moved[1] - 4.0).abs() < 1e-6, "{moved:?}");
}

#[test]
fn steps_and_norms_have_the_same_bits_at_any_number_of_threads() {
    const SIZE: usize = 200_001;
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let mut store = ParamStore::new(0);
            let w = store.add("w", Tensor::from_fn([SIZE], |i| (i as f64).cos()), true);
            let g = Tensor::from_fn([SIZE], |i| (i as f64 * 0.37).sin());
            let mut bits = Vec::new();
            let (beta1, beta2) = (0.9, 0.99);
            for config in [
                ADAM,
                OptimizerConfig::Sgd { momentum: 0.9, nesterov: false },
                OptimizerConfig::Radam { beta1, beta2, epsilon: 1e-8 },
                OptimizerConfig::Lion { beta1, beta2 },
            ] {
                let mut optimizer = Optimizer::new(config, 0.01, &store);
                for _ in 0..3 {
                    let gradients = gradients_of(&store, &[("w", &g)]);
                    bits.push(global_norm(&gradients).to_bits());
                    optimizer.step(&mut store, &gradients, 0.01, 0.5);
                }
                bits.extend(store.get(w).data().iter().map(|v| v.to_bits()));
            }
            bits
        })
    };
    let one = run(1);
    assert!(one == run(2), "2 threads differ from 1");
    assert!(one == run(4), "4 threads differ from 1");
}

#[test]
fn a_step_allocates_nothing() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| {
        let mut store = ParamStore::new(0);
        store.add("w", Tensor::zeros([100_000]), true);
        let mut adam = Optimizer::new(ADAM, 0.1, &store);
        let gradients = gradients_of(&store, &[("w", &Tensor::full([100_000], 1.0))]);
        let made = allocation_counter::measure(|| adam.step(&mut store, &gradients, 0.1, 1.0));
        assert_eq!(made.count_total, 0);
    });
}

#[test]
fn constants_out_of_range_are_named() {
    let adam = |beta1, beta2, epsilon| OptimizerConfig::Adam { beta1, beta2, epsilon };
    let wrong = [
        ("beta1", adam(1.0, 0.999, 1e-8)),
        ("beta2", adam(0.9, -0.1, 1e-8)),
        ("epsilon", adam(0.9, 0.999, 0.0)),
        ("momentum", OptimizerConfig::Sgd { momentum: f64::NAN, nesterov: false }),
        ("nesterov", OptimizerConfig::Sgd { momentum: 0.0, nesterov: true }),
        ("beta2", OptimizerConfig::Radam { beta1: 0.9, beta2: 1.0, epsilon: 1e-8 }),
        ("beta1", OptimizerConfig::Lion { beta1: -0.1, beta2: 0.9 }),
    ];
    for (field, config) in wrong {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(&format!("'optimizer.{field}'")), "{error}");
    }
    assert!(OptimizerConfig::default().validate().is_ok());
}

#[test]
fn configurations_are_read_by_their_names() {
    let read = |text: &str| serde_json::from_str::<OptimizerConfig>(text).unwrap();
    assert_eq!(read(r#"{"kind":"lion"}"#), OptimizerConfig::Lion { beta1: 0.9, beta2: 0.99 });
    assert_eq!(
        read(r#"{"kind":"radam","beta1":0.8}"#),
        OptimizerConfig::Radam { beta1: 0.8, beta2: 0.999, epsilon: 1e-8 }
    );
    assert_eq!(read(r#"{"kind":"sgd"}"#), OptimizerConfig::Sgd { momentum: 0.0, nesterov: false });
}

/// Averages of one weight that takes the given values.
fn averages(config: AverageConfig, first: f64, values: &[f64]) -> Vec<f64> {
    let mut store = ParamStore::<f64>::new(0);
    let w = store.add("w", Tensor::scalar(first), true);
    let mut average = Average::new(config, &store);
    let look = |&value: &f64| {
        store.set(w, Tensor::scalar(value));
        average.update(&store);
        average.swap(&mut store);
        let found = store.get(w).item();
        average.swap(&mut store);
        assert_eq!(store.get(w).item(), value);
        found
    };
    values.iter().map(look).collect()
}

#[test]
fn averages_follow_their_recursions() {
    let values = [3.0, -1.0, 4.0, 1.0, 5.0];
    let config = |start| AverageConfig { decay: 0.9, start };
    // the sums of Adam: m = 0.9 m + 0.1 w, over 1 - 0.9^t
    let (mut m, mut expected) = (0.0, Vec::new());
    for (t, w) in values.iter().enumerate() {
        m = 0.9 * m + 0.1 * w;
        expected.push(m / (1.0 - 0.9f64.powi(t as i32 + 1)));
    }
    assert_close(&averages(config(AverageStart::BiasCorrected), 100.0, &values), &expected);
    let (mut a, mut b, mut plain, mut warm) = (7.0, 7.0, Vec::new(), Vec::new());
    for (t, w) in values.iter().enumerate() {
        let decay = 0.9_f64.min((2.0 + t as f64) / (11.0 + t as f64));
        a = 0.9 * a + 0.1 * w;
        b = decay * b + (1.0 - decay) * w;
        plain.push(a);
        warm.push(b);
    }
    assert_close(&averages(config(AverageStart::FirstWeights), 7.0, &values), &plain);
    assert_close(&averages(config(AverageStart::WarmUp), 7.0, &values), &warm);
}

#[test]
fn averages_leave_untrained_arrays_alone() {
    let mut store = ParamStore::<f32>::new(0);
    let (w, running) = (store.add("w", Tensor::scalar(1.0), true), store.add("running", Tensor::scalar(2.0), false));
    let mut average = Average::new(AverageConfig::default(), &store);
    store.set(w, Tensor::scalar(5.0));
    store.set(running, Tensor::scalar(6.0));
    average.swap(&mut store);
    assert_eq!((store.get(w).item(), store.get(running).item()), (1.0, 6.0));
    assert!(AverageConfig { decay: 1.0, ..AverageConfig::default() }.validate().is_err());
}
