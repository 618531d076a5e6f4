//! Convolution by Fourier transforms against its definition.

use gradome_tape::{ConvEnds, Float, Tape, Tensor};
use proptest::prelude::*;

fn wave<T: Float>(shape: &[usize], phase: f64) -> Tensor<T> {
    Tensor::from_fn(shape, |i| T::of((1.3 * i as f64 + phase).sin()))
}

/// Output and both gradients by definition, for the cotangent `g`.
fn direct(x: &Tensor<f64>, w: &Tensor<f64>, left: usize, g: &Tensor<f64>) -> [Vec<f64>; 3] {
    let (batch, inputs, n) = (x.shape()[0], x.shape()[1], x.shape()[2]);
    let (outputs, group_inputs, kernel) = (w.shape()[0], w.shape()[1], w.shape()[2]);
    let (length, group_outputs) = (g.shape()[2], outputs / (inputs / group_inputs));
    let mut y = vec![0.0; batch * outputs * length];
    let (mut dx, mut dw) = (vec![0.0; x.data().len()], vec![0.0; w.data().len()]);
    for b in 0..batch {
        for o in 0..outputs {
            for i in 0..group_inputs {
                let input = o / group_outputs * group_inputs + i;
                for t in 0..length {
                    for j in 0..kernel {
                        if !(left..left + n).contains(&(t + j)) {
                            continue;
                        }
                        let at_x = (b * inputs + input) * n + t + j - left;
                        let at_w = (o * group_inputs + i) * kernel + j;
                        let at_y = (b * outputs + o) * length + t;
                        y[at_y] += w.data()[at_w] * x.data()[at_x];
                        dx[at_x] += w.data()[at_w] * g.data()[at_y];
                        dw[at_w] += g.data()[at_y] * x.data()[at_x];
                    }
                }
            }
        }
    }
    [y, dx, dw]
}

fn zeros(ends: ConvEnds, kernel: usize) -> usize {
    match ends {
        ConvEnds::Valid => 0,
        ConvEnds::Same => (kernel - 1) / 2,
        ConvEnds::Causal => kernel - 1,
        ConvEnds::Zeros(left, _) => left,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn convolutions_are_their_definition_in_value_and_gradient(
        batch in 1_usize..3, groups in 1_usize..3, ins in 1_usize..3, outs in 1_usize..3,
        n in 1_usize..50, kernel in 1_usize..50, ends in 0..4, left in 0_usize..60, right in 0_usize..60,
    ) {
        let ends = [ConvEnds::Valid, ConvEnds::Same, ConvEnds::Causal, ConvEnds::Zeros(left, right)][ends as usize];
        let fits = match ends {
            ConvEnds::Valid => n >= kernel,
            ConvEnds::Zeros(left, right) => n + left + right >= kernel,
            _ => true,
        };
        prop_assume!(fits);
        let x = wave::<f64>(&[batch, groups * ins, n], 0.2);
        let w = wave::<f64>(&[groups * outs, ins, kernel], 0.7);
        let tape = Tape::new();
        let (vx, vw) = (tape.variable(&x), tape.variable(&w));
        let y = vx.fft_conv1d(vw, ends);
        if matches!(ends, ConvEnds::Same | ConvEnds::Causal) {
            prop_assert_eq!(y.shape()[2], n);
        }
        let g = wave(&y.shape(), 1.1);
        let gradients = y.backward_with(&g);
        let found = [y.value(), gradients.of(vx).unwrap().clone(), gradients.of(vw).unwrap().clone()];
        for (found, expected) in found.iter().zip(direct(&x, &w, zeros(ends, kernel), &g)) {
            let close = found.data().iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-11);
            prop_assert!(close, "{:?}, {:?}", found, expected);
        }
    }
}

#[test]
fn two_axes_of_weight_are_depthwise() {
    let tape = Tape::<f64>::new();
    let (x, w) = (tape.constant(&wave(&[2, 3, 20], 0.1)), tape.constant(&wave(&[3, 5], 0.4)));
    let whole = x.fft_conv1d(w.reshape([3, 1, 5]), ConvEnds::Same).value();
    assert_eq!(x.fft_conv1d(w, ConvEnds::Same).value(), whole);
}

#[test]
fn a_causal_output_does_not_see_what_follows() {
    let tape = Tape::<f64>::new();
    let w = tape.constant(&wave(&[1, 64], 0.4));
    let mut late = wave::<f64>(&[1, 1, 100], 0.1);
    let before = tape.constant(&late).fft_conv1d(w, ConvEnds::Causal).value();
    late.data_mut()[60] += 1.0;
    let after = tape.constant(&late).fft_conv1d(w, ConvEnds::Causal).value();
    let changed =
        |range: std::ops::Range<usize>| range.map(|t| (before.data()[t] - after.data()[t]).abs()).fold(0.0, f64::max);
    assert!(changed(0..60) < 1e-13 && changed(60..100) > 0.1);
}

#[test]
fn bits_do_not_depend_on_threads() {
    let run = || {
        let tape = Tape::<f32>::new();
        let (x, w) = (tape.variable(&wave(&[3, 4, 5000], 0.1)), tape.variable(&wave(&[6, 2, 900], 0.4)));
        let y = x.fft_conv1d(w, ConvEnds::Same);
        let gradients = y.square().sum().backward();
        let all = [&y.value(), gradients.of(x).unwrap(), gradients.of(w).unwrap()].map(|t| t.data().to_vec());
        all.concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
    let one = with(1);
    assert!(one == with(2) && one == with(3));
}

#[test]
#[should_panic(expected = "fft_conv1d: [1, 3, 8] with weight [2, 2, 3]")]
fn channels_that_do_not_divide_are_named() {
    let tape = Tape::<f64>::new();
    tape.full([1, 3, 8], 1.0).fft_conv1d(tape.full([2, 2, 3], 1.0), ConvEnds::Valid);
}
