//! First values have the statistics of their rules.

use gradome_nn::{Fan, Init, Law, ParamStore};
use gradome_tape::Tensor;

/// 200 inputs and 300 outputs.
fn drawn(init: Init) -> Vec<f64> {
    let mut store = ParamStore::<f64>::new(5);
    let id = store.scope("layer").parameter("weight", [200, 300], init);
    store.get(id).to_f64()
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

#[test]
fn variances_are_those_of_the_papers() {
    let scaled = |gain, fan, law| Init::Scaled { gain, fan, law };
    let cases = [
        (Init::XavierUniform, 2.0 / 500.0),
        (Init::XavierNormal, 2.0 / 500.0),
        (Init::KaimingUniform, 2.0 / 200.0),
        (Init::KaimingNormal, 2.0 / 200.0),
        (Init::FanIn, 1.0 / 600.0),
        (scaled(1.0, Fan::Out, Law::Normal), 1.0 / 300.0),
        (scaled(5.0 / 3.0, Fan::In, Law::Uniform), 25.0 / 9.0 / 200.0),
        (scaled(2.0, Fan::Mean, Law::Normal), 4.0 / 250.0),
        // a normal number cut at two standard deviations has 0.7737 of its variance
        (Init::TruncatedNormal { sd: 0.5, bound: 1.0 }, 0.25 * 0.773_741_2),
    ];
    for (init, variance) in cases {
        let (mean, found) = moments(&drawn(init));
        // 60 000 draws: the variance is known to 0.6 %, the mean to 0.4 % of the standard deviation
        assert!((found / variance - 1.0).abs() < 0.025, "{init:?}: variance {found}, not {variance}");
        assert!(mean.abs() < 0.02 * variance.sqrt(), "{init:?}: mean {mean}");
    }
}

#[test]
fn values_stay_within_their_bounds_and_use_them() {
    let most = |values: &[f64]| values.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    for (init, bound) in [
        (Init::XavierUniform, (6.0_f64 / 500.0).sqrt()),
        (Init::KaimingUniform, (6.0_f64 / 200.0).sqrt()),
        (Init::FanIn, (1.0_f64 / 200.0).sqrt()),
        (Init::TruncatedNormal { sd: 0.5, bound: 0.3 }, 0.3),
    ] {
        let found = most(&drawn(init));
        assert!(found <= bound * (1.0 + 1e-12) && found > 0.99 * bound, "{init:?}: {found} of {bound}");
    }
    assert!(most(&drawn(Init::KaimingNormal)) > 3.5 * (2.0_f64 / 200.0).sqrt());
}

#[test]
fn orthogonal_matrices_have_orthonormal_rows_or_columns() {
    for shape in [[7, 7], [9, 4], [3, 8], [1, 1]] {
        let mut store = ParamStore::<f64>::new(1);
        let id = store.scope("layer").parameter("weight", shape, Init::Orthogonal(2.0));
        let w = store.get(id);
        let (long, short) = (shape[0].max(shape[1]), shape[0].min(shape[1]));
        let at = |line: usize, i: usize| if shape[0] >= shape[1] { w.at(&[i, line]) } else { w.at(&[line, i]) };
        for a in 0..short {
            for b in 0..short {
                let product: f64 = (0..long).map(|i| at(a, i) * at(b, i)).sum();
                let expected = if a == b { 4.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-12, "{shape:?}: lines {a} and {b}: {product}");
            }
        }
    }
}

/// Without the signs of R's diagonal, Householder's Q has diagonal elements of mostly one sign.
#[test]
fn orthogonal_matrices_prefer_no_sign() {
    let mut positive = 0;
    for seed in 0..200 {
        let mut store = ParamStore::<f64>::new(seed);
        let id = store.scope("layer").parameter("weight", [3, 3], Init::Orthogonal(1.0));
        positive += (0..3).filter(|&i| store.get(id).at(&[i, i]) > 0.0).count();
    }
    assert!((240..360).contains(&positive), "{positive} of 600 are positive");
}

#[test]
fn kernels_count_all_but_the_last_axis_as_inputs() {
    let mut store = ParamStore::<f64>::new(2);
    let id = store.scope("conv").parameter("weight", [9, 20, 100], Init::KaimingNormal);
    let (_, variance) = moments(&store.get(id).to_f64());
    assert!((variance * 90.0 - 1.0).abs() < 0.05, "{variance}");
    let empty = store.scope("empty").parameter("weight", [0, 3], Init::Orthogonal(1.0));
    assert_eq!(*store.get(empty), Tensor::zeros([0, 3]));
}
