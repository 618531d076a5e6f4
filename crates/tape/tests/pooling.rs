//! Pooling against its definition.

use gradome_tape::{Pool1d, Tape, Tensor};
use proptest::prelude::*;

fn wave(shape: &[usize]) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| (1.3 * i as f64).sin())
}

/// The positions on the axis of every window, which may reach beyond it by the padding.
fn positions(n: usize, p: Pool1d) -> Vec<Vec<usize>> {
    let reach = p.dilation * (p.kernel - 1) + 1;
    let windows = (n + 2 * p.padding - reach) / p.stride + 1;
    let inside = |at: usize| (p.padding..n + p.padding).contains(&at).then(|| at - p.padding);
    (0..windows).map(|i| (0..p.kernel).filter_map(|j| inside(i * p.stride + j * p.dilation)).collect()).collect()
}

proptest! {
    #[test]
    fn pools_are_their_definition_in_value_and_gradient(
        n in 1_usize..40, kernel in 1_usize..6, stride in 1_usize..5, half in 0_usize..3, dilation in 1_usize..4,
    ) {
        let p = Pool1d { kernel, stride, padding: half.min(kernel / 2), dilation };
        prop_assume!(n + 2 * p.padding > p.dilation * (p.kernel - 1));
        let windows = positions(n, p);
        prop_assume!(windows.iter().all(|w| !w.is_empty()));
        let x = wave(&[2, 3, n]);
        let run = |largest: bool, count_padding: bool| {
            let tape = Tape::new();
            let v = tape.variable(&x);
            let y = if largest { v.max_pool1d(p) } else { v.avg_pool1d(p, count_padding) };
            let g = wave(&y.shape());
            (y.value(), y.backward_with(&g).of(v).unwrap().clone(), g)
        };
        let mut kinds = vec![(true, false)];
        if dilation == 1 {
            kinds.extend([(false, false), (false, true)]);
        }
        for (is_max, count_padding) in kinds {
            let (y, gradient, g) = run(is_max, count_padding);
            let mut expected = vec![0.0; x.data().len()];
            for row in 0..6 {
                for (i, window) in windows.iter().enumerate() {
                    let at = |t: &usize| x.data()[row * n + t];
                    let g = g.data()[row * windows.len() + i];
                    let value = if is_max {
                        let best = window.iter().copied().reduce(|a, b| if at(&b) > at(&a) { b } else { a }).unwrap();
                        expected[row * n + best] += g;
                        at(&best)
                    } else {
                        let size = if count_padding { kernel } else { window.len() } as f64;
                        window.iter().for_each(|t| expected[row * n + t] += g / size);
                        window.iter().map(at).sum::<f64>() / size
                    };
                    prop_assert!((y.data()[row * windows.len() + i] - value).abs() < 1e-14);
                }
            }
            prop_assert!(gradient.data().iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-13));
        }
    }

    #[test]
    fn adaptive_windows_cover_the_axis_as_pytorch_cuts_it(n in 1_usize..30, count in 1_usize..12) {
        let x = wave(&[2, n]);
        let tape = Tape::new();
        let v = tape.constant(&x);
        let (mean, max) = (v.adaptive_avg_pool1d(count).value(), v.adaptive_max_pool1d(count).value());
        for row in 0..2 {
            for i in 0..count {
                let window = &x.data()[row * n + i * n / count..row * n + ((i + 1) * n).div_ceil(count)];
                let expected = window.iter().sum::<f64>() / window.len() as f64;
                prop_assert!((mean.at(&[row, i]) - expected).abs() < 1e-14);
                prop_assert_eq!(max.at(&[row, i]), window.iter().copied().fold(f64::MIN, f64::max));
            }
        }
    }
}

#[test]
fn the_first_of_equal_elements_gets_the_gradient() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([4], &[2.0, 2.0, 1.0, 1.0]));
    let gradients = x.max_pool1d(Pool1d::new(2)).sum().backward();
    assert_eq!(gradients.of(x).unwrap().data(), &[1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn nan_is_the_largest_and_infinities_are_kept() {
    let tape = Tape::<f64>::new();
    let x = [f64::NAN, 1.0, 2.0, f64::NAN, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY, 0.0];
    let v = tape.variable(&Tensor::new([8], &x));
    let y = v.max_pool1d(Pool1d::new(2));
    let found = y.value();
    assert!(found.data()[0].is_nan() && found.data()[1].is_nan());
    assert_eq!(found.data()[2..], [f64::NEG_INFINITY, f64::INFINITY]);
    let gradients = y.backward_with(&Tensor::full([4], 1.0));
    assert_eq!(gradients.of(v).unwrap().data(), &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
}

#[test]
#[should_panic(expected = "max_pool1d: [2, 3] is shorter than a window of 5")]
fn an_axis_shorter_than_a_window_is_named() {
    Tape::<f64>::new().full([2, 3], 0.0).max_pool1d(Pool1d::new(5));
}
