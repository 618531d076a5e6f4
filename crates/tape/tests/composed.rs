//! Ops on whole arrays equal the chains of small ops that they replace, in value and in every gradient.

use gradome_goldens::assert_close;
use gradome_tape::{Tape, Tensor, Var};

/// Relative to the largest element of an array, or to 1.
const TOLERANCE: f64 = 1e-10;

type Build = for<'t> fn(&'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>;

/// Compares value and gradients of two ways to compute one thing, for waves of the given shapes.
fn assert_same(case: &str, shapes: &[&[usize]], whole: Build, composed: Build) {
    let inputs: Vec<Tensor<f64>> = shapes
        .iter()
        .enumerate()
        .map(|(k, shape)| Tensor::from_fn(*shape, |i| (1.7 * i as f64 + k as f64 + 0.2).sin() * 1.4 + 0.1))
        .collect();
    let run = |build: Build| {
        let tape = Tape::new();
        let vars: Vec<Var<'_, f64>> = inputs.iter().map(|x| tape.variable(x)).collect();
        let y = build(&tape, &vars);
        let cotangent = Tensor::from_fn(y.shape(), |i| (0.9 * i as f64).cos() + 0.3);
        let gradients = y.backward_with(&cotangent);
        let gradients: Vec<Vec<f64>> = vars.iter().map(|&v| gradients.of(v).unwrap().to_f64()).collect();
        (y.value().to_f64(), gradients)
    };
    let ((value, gradients), (expected, expected_gradients)) = (run(whole), run(composed));
    assert_close(&format!("{case}: element"), &value, &expected, TOLERANCE);
    for (k, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
        assert_close(&format!("{case}: gradient of operand {k}, element"), found, expected, TOLERANCE);
    }
}

#[test]
fn linear_is_a_product_and_a_sum() {
    for shapes in [[&[5, 4][..], &[4, 3], &[3]], [&[2, 5, 4], &[4, 3], &[3]], [&[70, 90], &[90, 60], &[60]]] {
        assert_same("linear", &shapes, |_, v| v[0].linear(v[1], v[2]), |_, v| v[0].matmul(v[1]) + v[2]);
    }
}

#[test]
fn transposed_products_are_products_of_transposes() {
    assert_same("a bt", &[&[5, 4], &[3, 4]], |_, v| v[0].matmul_transposed(v[1]), |_, v| v[0].matmul(v[1].transpose()));
    assert_same("at b", &[&[4, 5], &[4, 3]], |_, v| v[0].transposed_matmul(v[1]), |_, v| v[0].transpose().matmul(v[1]));
}

#[test]
fn a_product_is_a_sum_of_products() {
    assert_same(
        "matmul",
        &[&[6, 4], &[4, 5]],
        |_, v| v[0].matmul(v[1]),
        |_, v| (v[0].reshape([6, 4, 1]) * v[1].reshape([1, 4, 5])).sum_axis(1),
    );
}

#[test]
fn the_softmax_family_is_made_of_exponentials_and_sums() {
    let shapes: [&[&[usize]]; 3] = [&[&[4, 7]], &[&[2, 3, 33]], &[&[5]]];
    for shapes in shapes {
        assert_same(
            "softmax",
            shapes,
            |_, v| v[0].softmax(),
            |_, v| v[0].exp() / v[0].exp().sum_axis(-1).unsqueeze(-1),
        );
        assert_same(
            "log_softmax",
            shapes,
            |_, v| v[0].log_softmax(),
            |_, v| v[0] - v[0].exp().sum_axis(-1).ln().unsqueeze(-1),
        );
        assert_same("log_sum_exp", shapes, |_, v| v[0].log_sum_exp(), |_, v| v[0].exp().sum_axis(-1).ln());
    }
}

#[test]
fn layer_norm_is_made_of_means_and_variances() {
    for shapes in [[&[6, 9][..], &[9], &[9]], [&[2, 3, 40], &[40], &[40]]] {
        assert_same(
            "layer_norm",
            &shapes,
            |_, v| v[0].layer_norm(v[1], v[2], 1e-5),
            |_, v| {
                let centred = v[0] - v[0].mean_axis(-1).unsqueeze(-1);
                let sd = (v[0].variance_axis(-1).unsqueeze(-1) + 1e-5).sqrt();
                centred / sd * v[1] + v[2]
            },
        );
    }
}

#[test]
fn batch_norm_is_made_of_means_and_variances() {
    // the three outputs together, so that the gradients of mean and variance take part
    assert_same(
        "batch_norm",
        &[&[40, 7], &[7], &[7]],
        |tape, v| {
            let [y, mean, variance] = v[0].batch_norm(v[1], v[2], 1e-3);
            tape.concat(&[y, mean.unsqueeze(0), variance.unsqueeze(0)], 0)
        },
        |tape, v| {
            let (mean, variance) = (v[0].mean_axis(0), v[0].variance_axis(0));
            let y = (v[0] - mean) * (variance + 1e-3).rsqrt() * v[1] + v[2];
            tape.concat(&[y, mean.unsqueeze(0), variance.unsqueeze(0)], 0)
        },
    );
}

#[test]
fn variance_is_the_mean_square_off_the_squared_mean() {
    for axis in [0, 1, -1] {
        let build: (Build, Build) = match axis {
            0 => (|_, v| v[0].variance_axis(0), |_, v| v[0].square().mean_axis(0) - v[0].mean_axis(0).square()),
            1 => (|_, v| v[0].variance_axis(1), |_, v| v[0].square().mean_axis(1) - v[0].mean_axis(1).square()),
            _ => (|_, v| v[0].variance_axis(-1), |_, v| v[0].square().mean_axis(-1) - v[0].mean_axis(-1).square()),
        };
        assert_same("variance", &[&[5, 6, 7]], build.0, build.1);
    }
    assert_same("mean", &[&[300, 400]], |_, v| v[0].mean(), |_, v| v[0].sum_axis(0).sum_axis(0) * (1.0 / 120_000.0));
}

fn counts<'t>(tape: &'t Tape<f64>, shape: &[usize]) -> Var<'t, f64> {
    tape.constant(&Tensor::from_fn(shape, |i| [0.0, 1.0, 3.0, 0.0, 12.0, 32.0, 33.0, 150.0][i % 8]))
}

#[test]
fn negative_binomial_is_a_chain_of_log_gammas() {
    let composed: Build = |tape, v| {
        let x = counts(tape, &v[0].shape());
        let (mean, theta) = (v[0].exp(), v[1].exp());
        (x + theta).lgamma() - theta.lgamma() - (x + 1.0).lgamma()
            + theta * (theta / (theta + mean)).ln()
            + x * (mean / (theta + mean)).ln()
    };
    let whole: Build = |tape, v| counts(tape, &v[0].shape()).negative_binomial(v[0], v[1], 0.0);
    for shapes in [[&[9, 8][..], &[8]], [&[9, 8], &[9, 8]], [&[9, 8], &[9, 1]], [&[9, 8], &[]]] {
        assert_same("negative_binomial", &shapes, whole, composed);
    }
    let with_epsilon: Build = |tape, v| {
        let x = counts(tape, &v[0].shape());
        let (mean, theta) = (v[0].exp(), v[1].exp());
        let ln_total = (theta + mean + 1e-2).ln();
        (x + theta).lgamma() - theta.lgamma() - (x + 1.0).lgamma()
            + theta * ((theta + 1e-2).ln() - ln_total)
            + x * ((mean + 1e-2).ln() - ln_total)
    };
    let whole: Build = |tape, v| counts(tape, &v[0].shape()).negative_binomial(v[0], v[1], 1e-2);
    assert_same("negative_binomial with epsilon", &[&[9, 8], &[8]], whole, with_epsilon);
}

#[test]
fn poisson_is_a_chain_with_a_log_gamma() {
    assert_same(
        "poisson",
        &[&[5, 8]],
        |tape, v| counts(tape, &[5, 8]).poisson(v[0]),
        |tape, v| counts(tape, &[5, 8]) * v[0] - v[0].exp() - (counts(tape, &[5, 8]) + 1.0).lgamma(),
    );
}
