//! Reductions along any axis against naive loops, and at the ends of their range.

use gradome_tape::{Float, Tape, Tensor, Var};
use proptest::prelude::*;

const INF: f64 = f64::INFINITY;

/// The lines of an array along an axis, in the order of the reduced array's elements.
fn lines(shape: &[usize], axis: usize, values: &[f64]) -> Vec<Vec<f64>> {
    let n = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    (0..outer * inner).map(|i| (0..n).map(|k| values[(i / inner * n + k) * inner + i % inner]).collect()).collect()
}

fn wave(shape: &[usize], phase: f64) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| 3.0 * (1.7 * i as f64 + phase).sin())
}

fn mean(line: &[f64]) -> f64 {
    line.iter().sum::<f64>() / line.len() as f64
}

fn variance(line: &[f64], correction: f64) -> f64 {
    line.iter().map(|x| (x - mean(line)).powi(2)).sum::<f64>() / (line.len() as f64 - correction)
}

type Reduction = (&'static str, for<'t> fn(Var<'t, f64>, isize) -> Var<'t, f64>, fn(&[f64]) -> f64);

const REDUCTIONS: [Reduction; 11] = [
    ("sum", |x, axis| x.sum_axis(axis), |line| line.iter().sum()),
    ("mean", |x, axis| x.mean_axis(axis), mean),
    ("variance", |x, axis| x.variance_axis(axis), |line| variance(line, 0.0)),
    ("unbiased variance", |x, axis| x.variance_axis_with(axis, 1), |line| variance(line, 1.0)),
    ("max", |x, axis| x.max_axis(axis), |line| line.iter().copied().fold(-INF, f64::max)),
    ("min", |x, axis| x.min_axis(axis), |line| line.iter().copied().fold(INF, f64::min)),
    ("log_sum_exp", |x, axis| x.log_sum_exp_axis(axis), |line| line.iter().map(|x| x.exp()).sum::<f64>().ln()),
    ("l1", |x, axis| x.l1_norm_axis(axis), |line| line.iter().map(|x| x.abs()).sum()),
    ("l2", |x, axis| x.l2_norm_axis(axis), |line| line.iter().map(|x| x * x).sum::<f64>().sqrt()),
    (
        "argmax",
        |x, axis| x.argmax_axis(axis),
        |line| (0..line.len()).rev().max_by(|&a, &b| line[a].total_cmp(&line[b])).unwrap() as f64,
    ),
    (
        "argmin",
        |x, axis| x.argmin_axis(axis),
        |line| (0..line.len()).min_by(|&a, &b| line[a].total_cmp(&line[b])).unwrap() as f64,
    ),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reductions_along_any_axis_equal_a_loop(
        shape in prop::collection::vec(prop::sample::select(vec![1usize, 2, 3, 5, 17, 40]), 1..4),
        which in 0usize..3,
        negative in any::<bool>(),
        phase in 0.0..6.0f64,
    ) {
        let axis = which % shape.len();
        let named = if negative { axis as isize - shape.len() as isize } else { axis as isize };
        let values = wave(&shape, phase);
        for (name, op, naive) in REDUCTIONS {
            let tape = Tape::new();
            let y = op(tape.constant(&values), named).value();
            let mut reduced = shape.clone();
            reduced.remove(axis);
            prop_assert_eq!(&*y.shape(), &reduced[..]);
            for (y, line) in y.data().iter().zip(lines(&shape, axis, values.data())) {
                let expected = naive(&line);
                let same = (y - expected).abs() <= 1e-12 * (1.0 + expected.abs()) || y.is_nan() && expected.is_nan();
                prop_assert!(same, "{} of {:?}: {}, not {}", name, line, y, expected);
            }
        }
    }
}

#[test]
fn reductions_over_all_elements_equal_those_of_the_flat_array() {
    let tape = Tape::<f64>::new();
    let values = wave(&[3, 4, 5], 0.4);
    let (x, line) = (tape.variable(&values), values.data());
    let close = |y: Var<'_, f64>, expected: f64| assert!((y.item() - expected).abs() < 1e-12, "{y:?} {expected}");
    close(x.max(), line.iter().copied().fold(-INF, f64::max));
    close(x.min(), line.iter().copied().fold(INF, f64::min));
    close(x.variance_with(0), variance(line, 0.0));
    close(x.variance_with(1), variance(line, 1.0));
    close(x.l2_norm(), line.iter().map(|x| x * x).sum::<f64>().sqrt());
    let largest = line.iter().position(|v| *v == x.max().item()).unwrap();
    let slopes = (x.max() * 2.0).backward().of(x).unwrap().to_f64();
    assert!(slopes.iter().enumerate().all(|(i, s)| *s == if i == largest { 2.0 } else { 0.0 }));
}

#[test]
fn large_reductions_in_both_layouts_agree_with_each_other() {
    // more than one run of columns and one chunk of rows
    let wide = wave(&[70, 3000], 0.3);
    let tape = Tape::<f64>::new();
    let (x, turned) = (tape.variable(&wide), tape.constant(&wide).transpose());
    for (name, op, _) in REDUCTIONS {
        let (a, b) = (op(x, 0).value(), op(turned, 1).value());
        for (a, b) in a.data().iter().zip(b.data()) {
            assert!((a - b).abs() <= 1e-12 * (1.0 + a.abs()), "{name}: {a} by columns, {b} by rows");
        }
    }
}

fn extremes_of<T: Float>() {
    let tape = Tape::<T>::new();
    let columns = [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [2.0, 1.0, f64::NAN]];
    for column in columns {
        for shape in [&[3usize, 1][..], &[1, 3]] {
            let x = tape.constant(&Tensor::from_f64(shape, &column));
            let axis = shape.iter().position(|&n| n == 3).unwrap() as isize;
            for y in [
                x.max_axis(axis),
                x.min_axis(axis),
                x.log_sum_exp_axis(axis),
                x.l2_norm_axis(axis),
                x.sum_axis(axis),
                x.variance_axis(axis),
            ] {
                assert!(y.value().data()[0].to_f64().is_nan(), "{column:?} {shape:?}");
            }
            let first = column.iter().position(|v| v.is_nan()).unwrap() as f64;
            assert_eq!(x.argmax_axis(axis).value().to_f64(), [first]);
            assert_eq!(x.argmin_axis(axis).value().to_f64(), [first]);
        }
    }
    let ends = tape.constant(&Tensor::from_f64([2, 2], &[-INF, INF, -INF, 1.0]));
    assert_eq!(ends.max_axis(0).value().to_f64(), [-INF, INF]);
    assert_eq!(ends.min_axis(0).value().to_f64(), [-INF, 1.0]);
    assert_eq!(ends.log_sum_exp_axis(0).value().to_f64(), [-INF, INF]);
    assert_eq!(ends.l2_norm_axis(1).value().to_f64(), [INF, INF]);
}

#[test]
fn nan_and_infinities_are_never_hidden() {
    extremes_of::<f32>();
    extremes_of::<f64>();
}

#[test]
fn ties_give_their_gradient_to_the_first() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([3, 2], &[1.0, 5.0, 1.0, 5.0, 0.0, 5.0]));
    assert_eq!(x.max_axis(0).sum().backward().of(x).unwrap().data(), &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(x.min_axis(1).sum().backward().of(x).unwrap().data(), &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(x.argmax_axis(0).value().data(), &[0.0, 0.0]);
    assert_eq!(x.argmin_axis(0).value().data(), &[2.0, 0.0]);
    assert!(!x.argmax_axis(0).needs_grad());
    assert_eq!(x.argmax(), [1, 1, 1]);
}

#[test]
fn euclidean_norms_neither_overflow_nor_vanish_and_have_slope_zero_at_zero() {
    let tape = Tape::<f32>::new();
    let x = tape.variable(&Tensor::new([4, 2], &[3e30, 4e30, 3e-30, 4e-30, 0.0, 0.0, 3e-42, 4e-42]));
    for y in [x.l2_norm_axis(1), x.transpose().l2_norm_axis(0)] {
        let norms = y.value().to_f64();
        assert!((norms[0] / 5e30 - 1.0).abs() < 1e-6 && (norms[1] / 5e-30 - 1.0).abs() < 1e-6, "{norms:?}");
        assert_eq!(norms[2], 0.0);
        // subnormal numbers have few digits
        assert!((norms[3] / 5e-42 - 1.0).abs() < 1e-2, "{norms:?}");
        let slopes = y.sum().backward().of(x).unwrap().to_f64();
        assert!((slopes[0] - 0.6).abs() < 1e-6 && (slopes[3] - 0.8).abs() < 1e-6, "{slopes:?}");
        assert_eq!(&slopes[4..6], &[0.0, 0.0]);
    }
}

#[test]
fn variances_without_enough_elements_are_not_numbers() {
    let tape = Tape::<f64>::new();
    let one = tape.constant(&Tensor::new([1, 2], &[3.0, 4.0]));
    assert_eq!(one.variance_axis(0).value().data(), &[0.0, 0.0]);
    assert!(one.variance_axis_with(0, 1).value().data().iter().all(|v| v.is_nan()));
    assert!(tape.constant(&Tensor::zeros([0, 2])).variance_axis(0).value().data().iter().all(|v| v.is_nan()));
    assert_eq!(tape.constant(&Tensor::zeros([0, 2])).l2_norm_axis(0).value().data(), &[0.0, 0.0]);
}

#[test]
#[should_panic(expected = "log_sum_exp: axis 0 of shape [0, 2] is empty")]
fn an_empty_axis_has_no_log_sum_exp() {
    let tape = Tape::<f64>::new();
    tape.constant(&Tensor::zeros([0, 2])).log_sum_exp_axis(0);
}

/// Values and gradients of reductions, scans and sorts of an array of several chunks.
fn bits(threads: usize) -> Vec<u32> {
    let run = || {
        let tape = Tape::<f32>::new();
        let x = tape.variable(&wave(&[90, 31, 70], 0.2).cast());
        let mut all = Vec::new();
        for axis in 0..3 {
            let reduced = x.max_axis(axis) + x.min_axis(axis) + x.log_sum_exp_axis(axis) + x.l2_norm_axis(axis);
            let y = reduced + x.variance_axis(axis) + x.quantile_axis(0.3, axis) + x.argmax_axis(axis);
            let z = x.cumsum(axis) + x.cumulative_log_sum_exp(axis) + x.sort(axis) + x.argsort(axis);
            let loss = y.square().sum() + z.sin().sum();
            let gradient = loss.backward().of(x).unwrap().clone();
            for value in [y.value(), z.value(), gradient] {
                all.extend(value.data().iter().map(|v| v.to_bits()));
            }
        }
        all
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

#[test]
fn one_two_and_three_threads_give_equal_bits() {
    let one = bits(1);
    assert!(one == bits(2) && one == bits(3));
}
