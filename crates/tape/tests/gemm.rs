//! Matrix products through the public API: shapes, stacks and transposes against the definition.

use gradome_tape::{Activation, Float, Tape, Tensor};
use proptest::prelude::*;

/// Small whole numbers: their sums are exact, in whatever order.
fn numbers<T: Float>(shape: &[usize], salt: usize) -> Tensor<T> {
    Tensor::from_fn(shape, |i| T::of(((i * 7 + salt * 5) % 11) as f64 - 5.0))
}

fn check<T: Float>((stack, m, k, n): (usize, usize, usize, usize), shared: bool, turned: [bool; 2]) {
    let tape = Tape::<T>::new();
    let a_shape = if turned[0] { [stack, k, m] } else { [stack, m, k] };
    let b_stack = if shared { 1 } else { stack };
    let b_shape = if turned[1] { [b_stack, n, k] } else { [b_stack, k, n] };
    let (a, b) = (numbers::<T>(&a_shape, 1), numbers::<T>(&b_shape, 2));
    let (left, right) = (tape.variable(&a), tape.variable(&b));
    let y = match turned {
        [false, false] => left.matmul(right),
        [true, false] => left.transposed_matmul(right),
        [false, true] => left.matmul_transposed(right),
        [true, true] => left.transpose().matmul_transposed(right),
    };
    let g = numbers::<T>(&[stack, m, n], 3);
    let (mut value, mut to_a, mut to_b) =
        (vec![0.0; stack * m * n], vec![0.0; a.shape().len()], vec![0.0; b.shape().len()]);
    for s in 0..stack {
        for (i, j, l) in (0..m).flat_map(|i| (0..n).flat_map(move |j| (0..k).map(move |l| (i, j, l)))) {
            let at_y = (s * m + i) * n + j;
            let at_a = s * m * k + if turned[0] { l * m + i } else { i * k + l };
            let at_b = if shared { 0 } else { s * k * n } + if turned[1] { j * k + l } else { l * n + j };
            let (a, b, g) = (a.data()[at_a].to_f64(), b.data()[at_b].to_f64(), g.data()[at_y].to_f64());
            value[at_y] += a * b;
            to_a[at_a] += g * b;
            to_b[at_b] += g * a;
        }
    }
    assert_eq!(y.value().to_f64(), value);
    let gradients = y.backward_with(&g);
    assert_eq!(gradients.of(left).unwrap().to_f64(), to_a);
    assert_eq!(gradients.of(right).unwrap().to_f64(), to_b);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn stacks_of_products_and_their_gradients_match_the_definition(
        stack in 1_usize..4, m in 0_usize..40, k in 0_usize..67, n in 0_usize..67,
        shared in any::<bool>(), turned in any::<[bool; 2]>(),
    ) {
        check::<f32>((stack, m, k, n), shared, turned);
        check::<f64>((stack, m, k, n), shared, turned);
    }
}

#[test]
fn a_fused_affine_layer_gives_what_separate_ops_give() {
    for activation in [Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        let run = |fused: bool| {
            let tape = Tape::<f64>::new();
            let x = tape.variable(&Tensor::from_fn([7, 13], |i| (i as f64).sin()));
            let w = tape.variable(&Tensor::from_fn([13, 51], |i| (1.3 * i as f64).cos()));
            let b = tape.variable(&Tensor::from_fn([51], |i| (2.1 * i as f64).sin()));
            let y = if fused {
                x.linear_with(w, b, activation)
            } else {
                let y = x.matmul(w) + b;
                match activation {
                    Activation::Identity => y,
                    Activation::Relu => y.relu(),
                    Activation::Tanh => y.tanh(),
                    Activation::Sigmoid => y.sigmoid(),
                }
            };
            let gradients = y.square().sum().backward();
            [Some(&y.value()), gradients.of(x), gradients.of(w), gradients.of(b)].map(|t| t.unwrap().to_f64())
        };
        for (fused, apart) in run(true).iter().flatten().zip(run(false).iter().flatten()) {
            assert!((fused - apart).abs() < 1e-12 * apart.abs().max(1.0), "{activation:?}: {fused} {apart}");
        }
    }
}

#[test]
fn infinities_and_nan_reach_the_elements_they_belong_to() {
    let tape = Tape::<f32>::new();
    let mut a = Tensor::full([50, 50], 1.0);
    a.data_mut()[3 * 50 + 7] = f32::INFINITY;
    a.data_mut()[5 * 50 + 9] = f32::NAN;
    let y = tape.constant(&a).matmul(tape.constant(&Tensor::full([50, 50], 1.0))).value();
    for i in 0..50 {
        for j in 0..50 {
            let y = y.at(&[i, j]);
            assert!(if i == 3 {
                y == f32::INFINITY
            } else if i == 5 {
                y.is_nan()
            } else {
                y == 50.0
            });
        }
    }
}
