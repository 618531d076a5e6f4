//! Scans along any axis against naive loops, and where a naive formula would fail.

use gradome_tape::{Tape, Tensor, Var};
use proptest::prelude::*;

const INF: f64 = f64::INFINITY;

type Scan = (&'static str, for<'t> fn(Var<'t, f64>, isize) -> Var<'t, f64>, bool, fn(&[f64]) -> f64);

const SCANS: [Scan; 6] = [
    ("cumsum", |x, axis| x.cumsum(axis), false, |seen| seen.iter().sum()),
    ("reverse cumsum", |x, axis| x.reverse_cumsum(axis), true, |seen| seen.iter().sum()),
    ("cumprod", |x, axis| x.cumprod(axis), false, |seen| seen.iter().product()),
    ("reverse cumprod", |x, axis| x.reverse_cumprod(axis), true, |seen| seen.iter().product()),
    ("cumulative log-sum-exp", |x, axis| x.cumulative_log_sum_exp(axis), false, log_sum_exp),
    ("reverse cumulative log-sum-exp", |x, axis| x.reverse_cumulative_log_sum_exp(axis), true, log_sum_exp),
];

fn log_sum_exp(x: &[f64]) -> f64 {
    x.iter().map(|x| x.exp()).sum::<f64>().ln()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scans_along_any_axis_equal_a_loop(
        shape in prop::collection::vec(prop::sample::select(vec![1usize, 2, 3, 7, 40]), 1..4),
        which in 0usize..3,
        phase in 0.0..6.0f64,
    ) {
        let axis = which % shape.len();
        let (n, inner): (usize, usize) = (shape[axis], shape[axis + 1..].iter().product());
        let values = Tensor::from_fn(&shape[..], |i| 1.2 * (1.7 * i as f64 + phase).sin());
        for (name, op, reverse, naive) in SCANS {
            let tape = Tape::new();
            let y = op(tape.constant(&values), axis as isize - shape.len() as isize).value();
            for (i, y) in y.data().iter().enumerate() {
                let (k, start) = (i / inner % n, i / (n * inner) * n * inner + i % inner);
                let range = if reverse { k..n } else { 0..k + 1 };
                let seen: Vec<f64> = range.map(|k| values.data()[start + k * inner]).collect();
                let expected = naive(&seen);
                prop_assert!((y - expected).abs() <= 1e-12 * (1.0 + expected.abs()), "{}: {} {}", name, y, expected);
            }
        }
    }
}

#[test]
fn cumulative_log_sum_exp_is_stable_in_value_and_gradient() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([6], &[-INF, -1000.0, 1000.0, 999.0, -INF, 1001.0]));
    let y = x.cumulative_log_sum_exp(0);
    let after = |terms: &[f64]| 1000.0 + terms.iter().map(|t| t.exp()).sum::<f64>().ln();
    let expected = [-INF, -1000.0, 1000.0, after(&[0.0, -1.0]), after(&[0.0, -1.0]), after(&[0.0, -1.0, 1.0])];
    for (y, e) in y.value().data().iter().zip(expected) {
        assert!(y == &e || (y - e).abs() < 1e-12, "{y} {e}");
    }
    // each output shares its gradient of 1 by softmax weights
    let slopes = y.sum().backward().of(x).unwrap().to_f64();
    let weight = |x: f64, terms: &[f64]| (x - after(terms)).exp();
    let (two, three) = ([0.0, -1.0], [0.0, -1.0, 1.0]);
    let by_hand = [
        0.0,
        1.0,
        1.0 + 2.0 * weight(1000.0, &two) + weight(1000.0, &three),
        2.0 * weight(999.0, &two) + weight(999.0, &three),
        0.0,
        weight(1001.0, &three),
    ];
    for (s, e) in slopes.iter().zip(by_hand) {
        assert!((s - e).abs() < 1e-12, "{slopes:?} {by_hand:?}");
    }
}

#[test]
fn the_last_cumulative_log_sum_exp_has_the_gradient_of_the_whole() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::from_fn([50, 3], |i| 30.0 * (1.3 * i as f64).sin()));
    let scan = x.cumulative_log_sum_exp(0).narrow(0, 49, 1).sum().backward().of(x).unwrap().to_f64();
    let whole = x.log_sum_exp_axis(0).sum().backward().of(x).unwrap().to_f64();
    for (a, b) in scan.iter().zip(&whole) {
        assert!((a - b).abs() < 1e-13, "{a} {b}");
    }
}

#[test]
fn cumprod_has_its_gradient_at_zeros() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([4], &[2.0, 0.0, 3.0, 0.0]));
    let y = x.cumprod(0);
    assert_eq!(y.value().data(), &[2.0, 0.0, 0.0, 0.0]);
    // y = a, ab, abc, abcd: by a: 1 + b + bc + bcd; by b: a + ac + acd; by c: ab + abd; by d: abc
    assert_eq!(y.sum().backward().of(x).unwrap().data(), &[1.0, 8.0, 0.0, 0.0]);
}

#[test]
fn a_long_running_sum_in_f32_does_not_drift() {
    let n = 1_000_000;
    let tape = Tape::<f32>::new();
    let x = tape.variable(&Tensor::full([n], 0.1));
    let last = x.cumsum(0).value().data()[n - 1];
    assert!((f64::from(last) / (n as f64 * f64::from(0.1_f32)) - 1.0).abs() < 1e-7, "{last}");
    let logs = tape.constant(&Tensor::full([n], 0.0)).cumulative_log_sum_exp(0).value();
    assert!((f64::from(logs.data()[n - 1]) - (n as f64).ln()).abs() < 1e-6);
}

#[test]
fn nan_reaches_all_that_follow_and_nothing_before() {
    let tape = Tape::<f64>::new();
    let x = tape.constant(&Tensor::new([3], &[1.0, f64::NAN, 2.0]));
    for y in [x.cumsum(0), x.cumprod(0), x.cumulative_log_sum_exp(0)] {
        let y = y.value().to_f64();
        assert!(!y[0].is_nan() && y[1].is_nan() && y[2].is_nan(), "{y:?}");
    }
    assert_eq!(&*tape.constant(&Tensor::zeros([0, 3])).cumsum(0).shape(), &[0, 3]);
    assert_eq!(x.cumulative_log_sum_exp(0).value().data()[0], 1.0);
}

#[test]
#[should_panic(expected = "cumsum: no axis 1 in shape [3]")]
fn a_missing_axis_is_named() {
    let tape = Tape::<f64>::new();
    tape.constant(&Tensor::zeros([3])).cumsum(1);
}
