//! Conditional random fields against the enumeration of all paths.

use gradome_tape::{Tape, Tensor};

fn wave(shape: &[usize], phase: f64) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| 1.5 * (1.3 * i as f64 + phase).sin())
}

#[test]
fn probabilities_of_all_paths_add_up_to_one() {
    let tape = Tape::new();
    let (unary, transition) = (tape.constant(&wave(&[4, 3], 0.1)), tape.constant(&wave(&[3, 3], 0.2)));
    let ends = [tape.constant(&wave(&[3], 0.3)), tape.constant(&wave(&[3], 0.4))];
    for ends in [None, Some(ends)] {
        let total: f64 = (0..81_u32)
            .map(|code| [code % 3, code / 3 % 3, code / 9 % 3, code / 27])
            .map(|path| unary.crf_log_likelihood(transition, ends, &path, &[4]).value().data()[0].exp())
            .sum();
        assert!((total - 1.0).abs() < 1e-12);
    }
}

#[test]
fn the_weight_of_a_path_is_the_sum_of_its_potentials() {
    let tape = Tape::new();
    let (unary, transition) = (tape.variable(&wave(&[3, 2], 0.1)), tape.variable(&wave(&[2, 2], 0.2)));
    let ends = [tape.variable(&wave(&[2], 0.3)), tape.variable(&wave(&[2], 0.4))];
    let lengths = [2, 0, 1];
    let difference = unary.crf_log_likelihood(transition, Some(ends), &[1, 0, 1], &lengths)
        + unary.crf_log_partition(transition, Some(ends), &lengths);
    let at = |x: &Tensor<f64>, index: &[usize]| x.at(index);
    let (u, t, [first, last]) = (unary.value(), transition.value(), ends.map(|e| e.value()));
    let expected = [
        at(&first, &[1]) + at(&u, &[0, 1]) + at(&t, &[1, 0]) + at(&u, &[1, 0]) + at(&last, &[0]),
        0.0,
        at(&first, &[1]) + at(&u, &[2, 1]) + at(&last, &[1]),
    ];
    for (found, expected) in difference.value().data().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12);
    }
}

#[test]
fn the_gradient_is_the_path_less_the_marginals() {
    let tape = Tape::new();
    let (unary, transition) = (tape.variable(&wave(&[5, 3], 0.1)), tape.constant(&wave(&[3, 3], 0.2)));
    let marginals = unary.hmm_posteriors(tape.full([3], 0.0), transition, &[5]).value().to_f64();
    let path = [0, 2, 1, 1, 0];
    let gradient = unary.crf_log_likelihood(transition, None, &path, &[5]).sum().backward().of(unary).unwrap().to_f64();
    for (i, (slope, marginal)) in gradient.iter().zip(marginals).enumerate() {
        let taken = if path[i / 3] as usize == i % 3 { 1.0 } else { 0.0 };
        assert!((slope - (taken - marginal)).abs() < 1e-12);
    }
}

#[test]
#[should_panic(expected = "path_log_weight: state 3 of 3")]
fn states_outside_are_named() {
    let tape = Tape::<f64>::new();
    tape.full([2, 3], 0.0).crf_log_likelihood(tape.full([3, 3], 0.0), None, &[0, 3], &[2]);
}
