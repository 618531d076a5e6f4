//! Values and gradients have the same bits at any number of threads.

use gradome_tape::{Float, Tape, Tensor};

fn wave<T: Float>(shape: &[usize], phase: f64, scale: f64) -> Tensor<T> {
    Tensor::from_fn(shape, |i| T::of(scale * (0.37 * i as f64 + phase).sin()))
}

/// The loss of a graph of many kinds of ops on arrays of more than 100,000 elements, and every gradient.
fn bits<T: Float>() -> Vec<u64> {
    const ROWS: usize = 700;
    const FEATURES: usize = 150;
    const HIDDEN: usize = 320;
    let tape = Tape::<T>::new();
    let mut key = 0;
    let mut parameter = |shape: &[usize], scale: f64| {
        key += 1;
        tape.parameter(key, &wave(shape, key as f64, scale))
    };
    let x = parameter(&[ROWS, FEATURES], 1.0);
    let counts = tape.constant(&Tensor::from_fn([ROWS, FEATURES], |i| T::of(((i * i) % 37 % 9) as f64)));
    let hidden = x.linear(parameter(&[FEATURES, HIDDEN], 0.1), parameter(&[HIDDEN], 0.1));
    let [normal, mean, variance] = hidden.batch_norm(parameter(&[HIDDEN], 1.0), parameter(&[HIDDEN], 0.1), 1e-3);
    let gated = (normal.tanh() * hidden.sigmoid() + parameter(&[HIDDEN], 0.3)).softplus() * parameter(&[ROWS, 1], 1.0);
    let rows = gated.layer_norm(parameter(&[HIDDEN], 1.0), parameter(&[HIDDEN], 0.1), 1e-5);
    let logits = rows.matmul(parameter(&[HIDDEN, FEATURES], 0.1));
    let attention = logits.softmax().matmul_transposed(logits);
    let gram = logits.transposed_matmul(hidden);
    let ln_mean = logits.log_softmax() + 5.0;
    let ln_p = counts.negative_binomial(ln_mean, parameter(&[FEATURES], 0.5), 0.0);
    let poisson = counts.poisson(logits);
    let loss = ln_p.mean() * -1.0 + attention.square().mean() + gram.abs().mean() - poisson.sum_axis(1).mean()
        + (mean.square() + variance.sqrt()).sum()
        + logits.log_sum_exp().mean()
        + ((gated - 0.2).square() * (gated.sin() + 1.5)).sum()
        + logits.variance_axis(0).mean()
        + logits.max_axis(1).mean();
    let gradients = loss.backward();
    let mut all = vec![loss.item().to_f64().to_bits()];
    for value in [hidden, normal, gated, rows, logits, attention, gram, ln_p, poisson] {
        all.extend(value.value().to_f64().iter().map(|v| v.to_bits()));
    }
    assert_eq!(gradients.keys().len(), key);
    for key in gradients.keys() {
        let gradient = gradients.get(key).unwrap().to_f64();
        assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|g| *g != 0.0), "parameter {key}");
        all.extend(gradient.iter().map(|g| g.to_bits()));
    }
    all
}

fn with_threads<T: Float>(threads: usize) -> Vec<u64> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(bits::<T>)
}

#[test]
fn one_two_and_four_threads_give_equal_bits_in_f32() {
    let one = with_threads::<f32>(1);
    assert!(one == with_threads::<f32>(2) && one == with_threads::<f32>(4));
}

#[test]
fn one_two_and_four_threads_give_equal_bits_in_f64() {
    let one = with_threads::<f64>(1);
    assert!(one == with_threads::<f64>(2) && one == with_threads::<f64>(4));
}
