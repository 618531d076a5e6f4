//! Ops that pick and add by index agree with a reference, whatever the number of threads.

mod naive;

use std::sync::Arc;

use gradome_tape::{Tape, Tensor, Var};
use naive::{Draw, assert_moves, for_each_index, place, shapes};
use proptest::prelude::*;

/// `count` indices below `n`; neighbours follow one another now and then.
fn indices(count: usize, n: usize, draw: &mut Draw) -> Arc<[u32]> {
    let mut last = 0;
    let next = |_| {
        last = if draw.below(2) == 0 { (last + 1) % n } else { draw.below(n) };
        last as u32
    };
    (0..count).map(next).collect()
}

/// A shape with an axis that holds something, and that axis.
fn with_an_axis() -> impl Strategy<Value = (Vec<usize>, usize)> {
    shapes(6).prop_filter("an axis to index", |s| s.iter().any(|&n| n > 0)).prop_map(|shape| {
        let axis = shape.iter().rposition(|&n| n > 0).unwrap();
        (shape, axis)
    })
}

fn assert_selects(shape: &[usize], axis: usize, picked: &Arc<[u32]>) {
    let mut to = shape.to_vec();
    to[axis] = picked.len();
    assert_moves(
        &[shape.to_vec()],
        |_, v| v[0].index_select(axis as isize, picked),
        &to,
        0.0,
        |i| {
            let mut from = i.to_vec();
            from[axis] = picked[i[axis]] as usize;
            Some((0, from))
        },
    );
}

fn assert_gathers(shape: &[usize], axis: usize, to: &[usize], picked: &Arc<[u32]>) {
    assert_moves(
        &[shape.to_vec()],
        |_, v| v[0].gather(axis as isize, to, picked),
        to,
        0.0,
        |i| {
            let mut from = i.to_vec();
            from[axis] = picked[place(to, i)] as usize;
            Some((0, from))
        },
    );
}

/// Small integers, so that sums are exact in any order.
fn whole_numbers(shape: &[usize], factor: usize) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| (factor * i % 17) as f64 - 8.0)
}

fn assert_scatters(shape: &[usize], axis: usize, from: &[usize], places: &Arc<[u32]>) {
    let tape = Tape::<f64>::new();
    let (base, source) = (whole_numbers(shape, 3), whole_numbers(from, 5));
    let (base_var, source_var) = (tape.variable(&base), tape.variable(&source));
    let y = base_var.scatter_add(axis as isize, places, source_var);
    let cotangent = whole_numbers(shape, 7);
    let gradients = y.backward_with(&cotangent);
    let (mut expected, mut source_gradient) = (base.to_f64(), Vec::new());
    for_each_index(from, |i| {
        let mut to = i.to_vec();
        to[axis] = places[place(from, i)] as usize;
        expected[place(shape, &to)] += source.at(i);
        source_gradient.push(cotangent.at(&to));
    });
    assert_eq!(y.value().data(), expected);
    assert_eq!(gradients.of(base_var).unwrap().data(), cotangent.data());
    assert_eq!(gradients.of(source_var).unwrap().data(), source_gradient);
}

type Reduce = for<'t> fn(Var<'t, f64>, &Arc<[u32]>, usize) -> Var<'t, f64>;

/// Value and gradient of a segment op on `[rows, width]`, of one column of one segment at a time: `reference` gives,
/// for the segment's values and the cotangents that concern it, the results and the gradient.
fn assert_by_segment(
    (ids, segments, width): (&Arc<[u32]>, usize, usize),
    by_rows: bool,
    op: Reduce,
    reference: impl Fn(&[f64], &[f64]) -> (Vec<f64>, Vec<f64>),
) {
    let tape = Tape::<f64>::new();
    let values = Tensor::from_fn([ids.len(), width], |i| (1.7 * i as f64).sin() * 2.0);
    let x = tape.variable(&values);
    let y = op(x, ids, segments);
    assert_eq!(&*y.shape(), &[if by_rows { ids.len() } else { segments }, width]);
    let cotangent = Tensor::from_fn(y.shape(), |i| (0.9 * i as f64).cos() + 0.3);
    let (gradients, y) = (y.backward_with(&cotangent), y.value());
    let close = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-13 * (1.0 + a.abs());
    for segment in 0..segments {
        let rows: Vec<usize> = (0..ids.len()).filter(|&row| ids[row] as usize == segment).collect();
        let out: Vec<usize> = if by_rows { rows.clone() } else { vec![segment] };
        for column in 0..width {
            let of = |tensor: &Tensor<f64>, rows: &[usize]| -> Vec<f64> {
                rows.iter().map(|&row| tensor.at(&[row, column])).collect()
            };
            let (value, gradient) = reference(&of(&values, &rows), &of(&cotangent, &out));
            for (found, expected) in of(&y, &out).iter().zip(&value) {
                assert!(close(*found, *expected), "segment {segment}: {found}, expected {expected}");
            }
            for (found, expected) in of(gradients.of(x).unwrap(), &rows).iter().zip(&gradient) {
                assert!(close(*found, *expected), "gradient in segment {segment}: {found}, expected {expected}");
            }
        }
    }
}

fn assert_reduces(ids: &Arc<[u32]>, segments: usize, width: usize) {
    let sizes = (ids, segments, width);
    assert_by_segment(
        sizes,
        false,
        |x, ids, n| x.segment_sum(ids, n),
        |x, g| (vec![x.iter().sum()], vec![g[0]; x.len()]),
    );
    assert_by_segment(
        sizes,
        false,
        |x, ids, n| x.segment_mean(ids, n),
        |x, g| {
            let n = x.len().max(1) as f64;
            (vec![x.iter().sum::<f64>() / n], vec![g[0] / n; x.len()])
        },
    );
    assert_by_segment(
        sizes,
        false,
        |x, ids, n| x.segment_max(ids, n),
        |x, g| {
            let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (vec![max], x.iter().map(|&x| if x == max { g[0] } else { 0.0 }).collect())
        },
    );
    assert_by_segment(
        sizes,
        true,
        |x, ids, n| x.segment_softmax(ids, n),
        |x, g| {
            let total: f64 = x.iter().map(|x| x.exp()).sum();
            let y: Vec<f64> = x.iter().map(|x| x.exp() / total).collect();
            let along: f64 = y.iter().zip(g).map(|(y, g)| y * g).sum();
            let gradient = y.iter().zip(g).map(|(y, g)| y * (g - along)).collect();
            (y, gradient)
        },
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn index_select_picks_positions((shape, axis) in with_an_axis(), count in 0usize..7, seed: u64) {
        assert_selects(&shape, axis, &indices(count, shape[axis], &mut Draw(seed)));
    }

    #[test]
    fn gather_picks_elements((shape, axis) in with_an_axis(), count in 0usize..7, seed: u64) {
        let mut to = shape.clone();
        to[axis] = count;
        assert_gathers(&shape, axis, &to, &indices(to.iter().product(), shape[axis], &mut Draw(seed)));
    }

    #[test]
    fn scatter_add_adds_elements((shape, axis) in with_an_axis(), count in 0usize..7, seed: u64) {
        let mut from = shape.clone();
        from[axis] = count;
        assert_scatters(&shape, axis, &from, &indices(from.iter().product(), shape[axis], &mut Draw(seed)));
    }

    #[test]
    fn segments_are_reduced_one_by_one(
        rows in 0usize..12, segments in 1usize..5, width in 0usize..20, sorted: bool, seed: u64,
    ) {
        let mut ids = indices(rows, segments, &mut Draw(seed)).to_vec();
        if sorted {
            ids.sort_unstable();
        }
        assert_reduces(&ids.into(), segments, width);
    }
}

#[test]
fn large_arrays_are_indexed_like_small_ones() {
    let mut draw = Draw(1);
    for threads in [1, 3] {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            assert_selects(&[50, 90], 0, &indices(500, 50, &mut draw));
            assert_selects(&[3, 5000, 2], 1, &indices(7000, 5000, &mut draw));
            assert_selects(&[50_000], 0, &indices(50_000, 50_000, &mut draw));
            assert_gathers(&[700, 60], 0, &[700, 60], &indices(42_000, 700, &mut draw));
            assert_gathers(&[700, 60], 1, &[700, 70], &indices(49_000, 60, &mut draw));
            assert_scatters(&[700, 60], 0, &[650, 60], &indices(39_000, 700, &mut draw));
            assert_scatters(&[4, 60, 3], 1, &[4, 4000, 3], &indices(48_000, 60, &mut draw));
            assert_reduces(&indices(5000, 23, &mut draw), 23, 9);
        });
    }
}

/// The bits of values and gradients of sums in which rounding matters.
fn bits() -> Vec<u32> {
    let mut draw = Draw(7);
    let tape = Tape::<f32>::new();
    let wave = |shape: &[usize]| Tensor::from_fn(shape, |i| (0.37 * i as f64).sin() as f32);
    let x = tape.variable(&wave(&[4000, 12]));
    let base = tape.variable(&wave(&[300, 12]));
    let ids = indices(4000, 300, &mut draw);
    let picked = base.index_select(0, &ids);
    let softmax = (x * picked).segment_softmax(&ids, 300);
    let mean = (softmax * x).segment_mean(&ids, 300);
    let scattered = base.scatter_add(0, &indices(48_000, 300, &mut draw), x);
    let gathered = scattered.gather(0, [4000, 12], &indices(48_000, 300, &mut draw));
    let largest = gathered.segment_max(&ids, 300);
    let total = (mean.tanh() + largest.tanh()).square().sum() + x.segment_sum(&ids, 300).sin().sum();
    let gradients = total.backward();
    let values = [softmax, mean, scattered, gathered, largest, total].map(Var::value);
    let gradients = [x, base].map(|v| gradients.of(v).unwrap().clone());
    values.iter().chain(&gradients).flat_map(|t| t.data().iter().map(|v| v.to_bits())).collect()
}

#[test]
fn one_two_and_three_threads_give_equal_bits() {
    let [one, two, three] =
        [1, 2, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(bits));
    assert!(one == two && one == three);
}

#[test]
fn ties_share_the_gradient_and_nan_has_none() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([5], &[2.0, 2.0, 1.0, f64::NAN, 3.0]));
    let y = x.segment_max(&[0, 0, 0, 1, 1].into(), 3);
    assert_eq!(y.value().data()[0], 2.0);
    assert!(y.value().data()[1].is_nan());
    assert_eq!(y.value().data()[2], f64::NEG_INFINITY);
    let gradients = y.backward_with(&Tensor::new([3], &[1.0, 1.0, 1.0]));
    assert_eq!(gradients.of(x).unwrap().data(), &[0.5, 0.5, 0.0, 0.0, 0.0]);
}

#[test]
fn segment_softmax_survives_huge_values() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([4], &[1e300, 1e300, f64::NEG_INFINITY, -1e300]));
    let y = x.segment_softmax(&[0, 0, 0, 1].into(), 2);
    assert_eq!(y.value().data(), &[0.5, 0.5, 0.0, 1.0]);
}

/// The panic's text of a computation that does not fit.
fn failure(f: impl for<'t> Fn(Var<'t, f64>) -> Var<'t, f64>) -> String {
    let run = || {
        let tape = Tape::new();
        f(tape.full([2, 3], 0.0));
    };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("it does not fit");
    caught.downcast_ref::<String>().expect("the text names a shape").clone()
}

#[test]
fn an_index_outside_is_named_with_op_and_shape() {
    let wrong: Arc<[u32]> = [0, 4].into();
    let six: Arc<[u32]> = [0, 1, 0, 1, 0, 5].into();
    for (found, words) in [
        (failure(|x| x.index_select(1, &wrong)), &["index_select", "index 4", "axis 1", "[2, 3]"][..]),
        (failure(|x| x.gather(0, [2, 3], &six)), &["gather", "index 5", "axis 0", "[2, 3]"]),
        (failure(|x| x.gather(0, [2, 3], &wrong)), &["gather", "2 indices", "[2, 3]"]),
        (failure(|x| x.gather(0, [3, 2], &six)), &["gather", "[3, 2]", "[2, 3]", "axis 0"]),
        (failure(|x| x.scatter_add(0, &six, x)), &["scatter_add", "index 5", "axis 0", "[2, 3]"]),
        (failure(|x| x.segment_sum(&wrong, 4)), &["segment_sum", "index 4", "[4, 3]"]),
        (failure(|x| x.segment_max(&six, 9)), &["segment_max", "6 segment ids", "[2, 3]"]),
    ] {
        for word in words {
            assert!(found.contains(word), "'{found}' does not say '{word}'");
        }
    }
}
