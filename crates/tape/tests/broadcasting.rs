//! Broadcasting, by elementwise ops and on its own, agrees with a reference that looks up one element at a time.

mod naive;

use std::slice;

use gradome_tape::{Tape, Tensor};
use naive::{Draw, assert_moves, for_each_index, place, shapes};
use proptest::prelude::*;

/// Makes some axes 1 and drops some leading ones: a shape that broadcasts to `shape`.
fn smaller(shape: &[usize], draw: &mut Draw) -> Vec<usize> {
    let dropped = if draw.below(2) == 0 { 0 } else { draw.below(shape.len() + 1) };
    shape[dropped..].iter().map(|&n| if draw.below(3) == 0 { 1 } else { n }).collect()
}

/// The index in the smaller shape of an element of the larger one.
fn within(shape: &[usize], index: &[usize]) -> Vec<usize> {
    let tail = &index[index.len() - shape.len()..];
    tail.iter().zip(shape).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect()
}

/// The common shape of broadcast operands: at each axis, counted from the last, the size that is not 1.
fn common(shapes: &[Vec<usize>]) -> Vec<usize> {
    let rank = shapes.iter().map(Vec::len).max().unwrap();
    let size = |back: usize| {
        let sizes = shapes.iter().filter(|s| back <= s.len()).map(|s| s[s.len() - back]);
        sizes.fold(1, |all, n| if n == 1 { all } else { n })
    };
    (1..=rank).rev().map(size).collect()
}

/// Checks `a b + c` and its gradients; all numbers are small integers, so that sums are exact in any order.
fn assert_broadcasts(shapes: &[Vec<usize>], eager: bool) {
    let tape = Tape::<f64>::new();
    tape.set_eager(eager);
    let inputs: Vec<Tensor<f64>> = shapes
        .iter()
        .enumerate()
        .map(|(k, shape)| Tensor::from_fn(&shape[..], |i| ((3 + k) * i % 11) as f64 - 5.0))
        .collect();
    let vars: Vec<_> = inputs.iter().map(|x| tape.variable(x)).collect();
    let y = vars[0] * vars[1] + vars[2];
    let whole = common(shapes);
    assert_eq!(&*y.shape(), &whole[..]);
    let cotangent = Tensor::from_fn(&whole[..], |i| (i * 7 % 23) as f64 - 11.0);
    let gradients = y.backward_with(&cotangent);
    let mut expected: Vec<Vec<f64>> = inputs.iter().map(|x| vec![0.0; x.data().len()]).collect();
    let (mut at, value) = (0, y.value());
    for_each_index(&whole, |index| {
        let places: Vec<usize> = shapes.iter().map(|shape| place(shape, &within(shape, index))).collect();
        let [a, b, c] = [0, 1, 2].map(|k| inputs[k].data()[places[k]]);
        assert_eq!(value.data()[at], a * b + c, "element {index:?}");
        for (k, slope) in [b, a, 1.0].into_iter().enumerate() {
            expected[k][places[k]] += slope * cotangent.data()[at];
        }
        at += 1;
    });
    for (k, expected) in expected.iter().enumerate() {
        assert_eq!(gradients.of(vars[k]).unwrap().data(), expected, "gradient of operand {k}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn elementwise_operands_broadcast(shape in shapes(6), seed: u64, eager: bool) {
        let mut draw = Draw(seed);
        let operands: Vec<Vec<usize>> = (0..3).map(|_| smaller(&shape, &mut draw)).collect();
        assert_broadcasts(&operands, eager);
    }

    #[test]
    fn broadcast_to_repeats(shape in shapes(6), seed: u64) {
        let from = smaller(&shape, &mut Draw(seed));
        assert_moves(slice::from_ref(&from), |_, v| v[0].broadcast_to(&shape[..]), &shape, 0.0, |index| {
            Some((0, within(&from, index)))
        });
    }
}

#[test]
fn large_operands_broadcast_like_small_ones() {
    let shapes = |all: [&[usize]; 3]| all.map(<[usize]>::to_vec);
    for threads in [1, 3] {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            for eager in [false, true] {
                assert_broadcasts(&shapes([&[9, 7, 700], &[7, 1], &[700]]), eager);
                assert_broadcasts(&shapes([&[5, 1, 90, 100], &[1, 3, 1, 100], &[90, 1]]), eager);
                assert_broadcasts(&shapes([&[40_000, 1], &[3], &[]]), eager);
            }
        });
    }
}
