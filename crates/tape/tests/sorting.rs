//! Sorting, the largest k and quantiles against naive references, with ties, NaN and infinities.

use gradome_tape::{Tape, Tensor, Var};
use proptest::prelude::*;

const INF: f64 = f64::INFINITY;

/// Numbers with many ties.
fn values(n: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-4i32..5).prop_map(|v| f64::from(v) * 0.5), n)
}

/// NumPy's default: linear interpolation at place (n - 1) q.
fn quantile(line: &[f64], q: f64) -> f64 {
    let mut sorted = line.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (line.len() - 1) as f64 * q;
    let low = place.floor() as usize;
    sorted[low] + (sorted[(low + 1).min(line.len() - 1)] - sorted[low]) * place.fract()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sorted_columns_are_stable_permutations_whose_gradient_goes_home(
        (n, x) in (1usize..20).prop_flat_map(|n| (Just(n), values(3 * n))),
        k in 0usize..20,
    ) {
        let k = k.min(n);
        let tape = Tape::<f64>::new();
        let v = tape.variable(&Tensor::new([n, 3], &x));
        let weights = tape.constant(&Tensor::from_fn([n, 3], |i| 1.0 + i as f64));
        let (sorted, order) = (v.sort(0), v.argsort(0).value());
        let grad = (sorted * weights).sum().backward().of(v).unwrap().to_f64();
        let [top, places] = v.top_k(k, 0);
        let (top, places, down) = (top.value(), places.value(), v.sort_descending(0).value());
        for column in 0..3 {
            let line: Vec<f64> = (0..n).map(|i| x[i * 3 + column]).collect();
            let mut expected: Vec<usize> = (0..n).collect();
            expected.sort_by(|&a, &b| line[a].total_cmp(&line[b]));
            for (rank, &from) in expected.iter().enumerate() {
                prop_assert_eq!(sorted.value().at(&[rank, column]), line[from]);
                prop_assert_eq!(order.at(&[rank, column]), from as f64);
                prop_assert_eq!(grad[from * 3 + column], 1.0 + (rank * 3 + column) as f64);
            }
            expected.sort_by(|&a, &b| line[b].total_cmp(&line[a]).then(a.cmp(&b)));
            for (rank, &from) in expected.iter().enumerate() {
                prop_assert_eq!(down.at(&[rank, column]), line[from]);
                if rank < k {
                    prop_assert_eq!(top.at(&[rank, column]), line[from]);
                    prop_assert_eq!(places.at(&[rank, column]), from as f64);
                }
            }
        }
    }

    #[test]
    fn quantiles_interpolate_like_numpy(
        (n, x) in (1usize..20).prop_flat_map(|n| (Just(n), values(2 * n))),
        q in prop::sample::select(vec![0.0, 0.1, 0.25, 0.5, 0.77, 1.0]),
    ) {
        let tape = Tape::<f64>::new();
        let v = tape.variable(&Tensor::new([2, n], &x));
        let y = v.quantile_axis(q, -1);
        let (value, turned) = (y.value(), v.transpose().quantile_axis(q, 0).value());
        for (y, line) in value.data().iter().zip(x.chunks(n)) {
            prop_assert!((y - quantile(line, q)).abs() < 1e-12);
        }
        prop_assert_eq!(value.data(), turned.data());
        // the weights of an interpolation add up to 1
        let grad = y.sum().backward().of(v).unwrap().to_f64();
        prop_assert!(grad.chunks(n).all(|g| (g.iter().sum::<f64>() - 1.0).abs() < 1e-12 && g.iter().all(|g| *g >= 0.0)));
    }
}

#[test]
fn a_top_k_has_the_gradient_of_its_elements_and_none_through_positions() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([5], &[0.3, 2.0, -1.0, 2.0, 1.0]));
    let [top, places] = x.top_k(3, 0);
    assert_eq!((top.value().data(), places.value().data()), (&[2.0, 2.0, 1.0][..], &[1.0, 3.0, 4.0][..]));
    let weights = tape.constant(&Tensor::new([3], &[1.0, 10.0, 100.0]));
    let grad = (top * weights).sum().backward().of(x).unwrap().to_f64();
    assert_eq!(grad, [0.0, 1.0, 0.0, 10.0, 100.0]);
    assert!(places.sum().backward().of(x).is_none_or(|g| g.data().iter().all(|g| *g == 0.0)));
    assert!(!x.argsort(0).needs_grad());
}

#[test]
fn nan_is_last_in_either_order_and_infinities_keep_their_places() {
    let tape = Tape::<f32>::new();
    let x = tape.constant(&Tensor::from_f64([7], &[f64::NAN, INF, -0.0, -INF, 0.0, -f64::NAN, 1e-45]));
    let up = x.sort(0).value().to_f64();
    assert_eq!(&up[..2], &[-INF, 0.0]);
    assert!(up[1].is_sign_negative() && up[2].is_sign_positive(), "-0 and 0 are equal and keep their order: {up:?}");
    assert!(up[3] > 0.0 && up[4] == INF && up[5].is_nan() && up[6].is_nan(), "{up:?}");
    let down = x.sort_descending(0).value().to_f64();
    assert!(down[0] == INF && down[4] == -INF && down[5].is_nan() && down[6].is_nan(), "{down:?}");
    assert_eq!(x.argsort(0).value().to_f64(), [3.0, 2.0, 4.0, 6.0, 1.0, 0.0, 5.0]);
    assert!(x.quantile_axis(0.1, 0).item().is_nan());
}

#[test]
fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([4], &[4.0, 1.0, 3.0, 100.0]));
    assert_eq!(x.median_axis(0).item(), 3.5);
    assert_eq!(x.median_axis(0).backward().of(x).unwrap().data(), &[0.5, 0.0, 0.5, 0.0]);
    assert_eq!(tape.constant(&Tensor::new([3], &[-INF, 2.0, INF])).median_axis(0).item(), 2.0);
}

#[test]
fn a_soft_quantile_is_the_kernel_weighted_mean_of_order_statistics() {
    let tape = Tape::<f64>::new();
    let line = [4.0, -1.0, 3.0, 10.0, 0.5];
    let x = tape.variable(&Tensor::new([5], &line));
    let (q, temperature) = (0.6, 0.2);
    let y = x.soft_quantile_axis(q, temperature, 0);
    let sorted = [-1.0, 0.5, 3.0, 4.0, 10.0];
    let kernel = |k: usize| (-0.5 * (((k as f64 + 0.5) / 5.0 - q) / temperature).powi(2)).exp();
    let total: f64 = (0..5).map(kernel).sum();
    let expected: f64 = (0..5).map(|k| kernel(k) / total * sorted[k]).sum();
    assert!((y.item() - expected).abs() < 1e-14);
    let grad = y.backward().of(x).unwrap().to_f64();
    // 4.0 has rank 3
    assert!((grad[0] - kernel(3) / total).abs() < 1e-14 && grad.iter().all(|g| *g > 0.0));
    // cold: the nearest order statistic; hot: the mean
    assert_eq!(x.soft_quantile_axis(0.5, 1e-4, 0).item(), 3.0);
    assert!((x.soft_quantile_axis(0.5, 1e4, 0).item() - 3.3).abs() < 1e-6);
}

fn panics(f: impl FnOnce(&Tape<f64>) + std::panic::UnwindSafe) -> String {
    let caught = std::panic::catch_unwind(|| f(&Tape::new())).expect_err("it should panic");
    caught.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn impossible_requests_are_named() {
    let zeros = |tape: &Tape<f64>, shape: &[usize], f: fn(Var<'_, f64>)| f(tape.constant(&Tensor::zeros(shape)));
    assert!(
        panics(|t| zeros(t, &[3, 2], |x| {
            x.top_k(4, 0);
        }))
        .contains("top_k: 4 of axis 0 of shape [3, 2]")
    );
    assert!(
        panics(|t| zeros(t, &[3], |x| {
            x.quantile_axis(1.5, 0);
        }))
        .contains("1.5 is not between 0 and 1")
    );
    assert!(
        panics(|t| zeros(t, &[0], |x| {
            x.median_axis(0);
        }))
        .contains("axis 0 of shape [0] is empty")
    );
    assert!(
        panics(|t| zeros(t, &[3], |x| {
            x.sort(1);
        }))
        .contains("sort: no axis 1 in shape [3]")
    );
}
