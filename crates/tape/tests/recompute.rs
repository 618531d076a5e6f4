//! Recomputing in the backward pass gives the same gradients from less memory.

use allocation_counter::measure;
use gradome_tape::{Gradients, Tape, Tensor, Var};

/// The widest array of a block, in elements.
const WIDE: usize = 64 * 1024;

/// A block whose intermediate arrays are many times the size of its result.
fn block<'t>(x: Var<'t, f64>, w: Var<'t, f64>) -> Var<'t, f64> {
    let wide = x.reshape([64, 1]).broadcast_to([64, WIDE / 64]);
    let hidden = (wide * w).cumsum(1).tanh().cumsum(1).sin().cumsum(1);
    hidden.mean_axis(1).tanh()
}

fn run(blocks: usize, recompute: bool) -> (f64, Vec<Vec<f64>>) {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::from_fn([64], |i| (i as f64).sin()));
    let w = tape.variable(&Tensor::from_fn([WIDE / 64], |i| 0.01 * (i as f64).cos()));
    let mut y = x;
    for _ in 0..blocks {
        y = if recompute { tape.recompute(&[y, w], |_, v| block(v[0], v[1])) } else { block(y, w) };
    }
    let y = y.square().sum();
    let gradients: Gradients<f64> = y.backward();
    (y.item(), [x, w].iter().map(|v| gradients.of(*v).unwrap().to_f64()).collect())
}

#[test]
fn values_are_equal_and_gradients_agree() {
    let (kept, again) = (run(3, false), run(3, true));
    assert_eq!(kept.0.to_bits(), again.0.to_bits());
    for (kept, again) in kept.1.iter().zip(&again.1) {
        let largest = kept.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        assert!(kept.iter().zip(again).all(|(k, a)| (k - a).abs() <= 1e-12 * largest));
    }
}

#[test]
fn memory_does_not_grow_with_the_number_of_blocks() {
    let bytes = |blocks, recompute| {
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        one_thread.install(|| measure(|| drop(run(blocks, recompute))).bytes_max)
    };
    let (two, eight) = (bytes(2, true), bytes(8, true));
    assert!(eight < two + (WIDE * 8) as u64, "{two} bytes for 2 blocks, {eight} for 8");
    assert!(bytes(8, false) > 2 * eight);
}

#[test]
fn an_anomaly_within_is_named() {
    let tape = Tape::<f64>::new();
    tape.detect_anomaly(true);
    let x = tape.variable(&Tensor::new([1], &[-1.0]));
    tape.recompute(&[x], |_, x| x[0].ln() + 1.0);
    let anomaly = tape.anomaly().unwrap();
    assert!(anomaly.starts_with("ln "), "{anomaly}");
}
