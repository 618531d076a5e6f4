//! Every layer passes its finite-difference check; recomputed ones behave as others.

use gradome_nn::{BatchNorm, Dropout, Linear, ParamStore, Rng, Step};
use gradome_tape::{Tape, Tensor};
use rand::SeedableRng;

#[test]
fn every_layer_passes_its_check() {
    for layer in gradome_nn::check::layers() {
        let outcome = (layer.check)();
        assert!(outcome.passed(), "{}: {}", layer.name, outcome.failure.unwrap_or_default());
    }
}

#[test]
fn a_recomputed_layer_sees_the_same_noise_and_leaves_its_running_averages() {
    let mut store = ParamStore::<f64>::new(3);
    let linear = Linear::new(&mut store.scope("linear"), 4, 6);
    let norm = BatchNorm::new(&mut store.scope("norm"), 6, 1e-5, 0.1);
    let dropout = Dropout { rate: 0.5 };
    let x = Tensor::from_fn([5, 4], |i| (i as f64).sin());
    let run = |again: bool| {
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let step = Step::train(&tape, &bound, Rng::seed_from_u64(9));
        let (linear, norm, dropout) = (linear.clone(), norm.clone(), dropout.clone());
        let weight = linear.weight.key();
        let x = tape.constant(&x);
        let hidden = if again {
            step.recompute(&[x], move |step, x| dropout.forward(step, norm.forward(step, linear.forward(step, x[0]))))
        } else {
            dropout.forward(step, norm.forward(step, linear.forward(step, x)))
        };
        // noise that is drawn afterwards is the same, too
        let y = (hidden * step.normal(hidden.shape())).square().sum();
        let gradient = y.backward().get(weight).unwrap().clone();
        let value = y.item();
        let mut after = store.clone();
        after.apply(bound.into_updates());
        (value, gradient, after.entries().map(|(_, e)| e.value.clone()).collect::<Vec<_>>())
    };
    let (kept, again) = (run(false), run(true));
    assert_eq!(kept.0, again.0);
    assert_eq!(kept.2, again.2);
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12;
    assert!(kept.1.data().iter().zip(again.1.data()).all(close));
}
