//! Group, instance and RMS normalisation against chains of small ops, at their extremes, and at any thread count.

use gradome_tape::{Tape, Tensor, Var};

const EPSILON: f64 = 1e-3;

fn wave(shape: &[usize], phase: f64) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| (1.7 * i as f64 + phase).sin() * 1.4 + 0.1)
}

type Build = for<'t> fn(&[Var<'t, f64>]) -> Var<'t, f64>;

/// Value and every gradient of two ways to compute one thing.
fn assert_same(shapes: &[&[usize]], whole: Build, composed: Build) {
    let inputs: Vec<_> = shapes.iter().enumerate().map(|(i, shape)| wave(shape, i as f64)).collect();
    let run = |build: Build| {
        let tape = Tape::new();
        let vars: Vec<_> = inputs.iter().map(|x| tape.variable(x)).collect();
        let y = build(&vars);
        let gradients = y.backward_with(&wave(&y.shape(), 0.4));
        let mut all = vec![y.value().to_f64()];
        all.extend(vars.iter().map(|v| gradients.of(*v).unwrap().to_f64()));
        all
    };
    for (found, expected) in run(whole).iter().zip(run(composed)) {
        let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-11 * largest), "{found:?}, {expected:?}");
    }
}

/// Rows of the last axis with mean 0 and variance 1.
fn standardised<'t>(x: Var<'t, f64>) -> Var<'t, f64> {
    let n = x.shape().last_size() as f64;
    let centred = x - (x.sum_axis(-1) / n).unsqueeze(-1);
    let variance = (centred.square().sum_axis(-1) / n).unsqueeze(-1);
    centred / (variance + EPSILON).sqrt()
}

#[test]
fn group_norm_is_standardised_groups_scaled_and_shifted() {
    assert_same(
        &[&[3, 6, 7], &[6], &[6]],
        |v| v[0].group_norm(2, v[1], v[2], EPSILON),
        |v| {
            let normal = standardised(v[0].reshape([3, 2, 21])).reshape([3, 6, 7]);
            normal * v[1].reshape([6, 1]) + v[2].reshape([6, 1])
        },
    );
}

#[test]
fn instance_norm_standardises_each_channel() {
    assert_same(
        &[&[2, 3, 50], &[3], &[3]],
        |v| v[0].instance_norm(v[1], v[2], EPSILON),
        |v| standardised(v[0]) * v[1].reshape([3, 1]) + v[2].reshape([3, 1]),
    );
}

#[test]
fn rms_norm_divides_by_the_root_mean_square() {
    assert_same(
        &[&[5, 9], &[9]],
        |v| v[0].rms_norm(v[1], EPSILON),
        |v| v[0] / ((v[0].square().sum_axis(-1) / 9.0).unsqueeze(-1) + EPSILON).sqrt() * v[1],
    );
}

#[test]
fn groups_and_rows_without_variance_give_the_shift_and_finite_gradients() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::full([2, 4, 5], 3.0));
    let (scale, shift) = (tape.full([4], 2.0), tape.full([4], 0.5));
    let y = x.group_norm(2, scale, shift, EPSILON);
    assert!(y.value().data().iter().all(|v| (v - 0.5).abs() < 1e-12));
    let zeros = tape.variable(&Tensor::zeros([3, 4]));
    let z = zeros.rms_norm(scale, EPSILON);
    assert!(z.value().data().iter().all(|v| *v == 0.0));
    let gradients = (y.square().sum() + (z + 1.0).square().sum()).backward();
    for v in [x, zeros] {
        assert!(gradients.of(v).unwrap().data().iter().all(|g| g.is_finite()));
    }
}

fn bits() -> Vec<u32> {
    let wave = |shape: &[usize], phase: f64| wave(shape, phase).cast::<f32>();
    let tape = Tape::new();
    let x = tape.variable(&wave(&[4, 6, 9000], 0.1));
    let [scale, shift] = [0.2, 0.3].map(|phase| tape.variable(&wave(&[6], phase)));
    let weights = tape.variable(&wave(&[9000], 0.5));
    let y = x.group_norm(3, scale, shift, EPSILON).rms_norm(weights, EPSILON);
    let gradients = y.square().sum().backward();
    let mut all: Vec<u32> = y.value().data().iter().map(|v| v.to_bits()).collect();
    for v in [x, scale, shift, weights] {
        all.extend(gradients.of(v).unwrap().data().iter().map(|g| g.to_bits()));
    }
    all
}

#[test]
fn bits_do_not_depend_on_threads() {
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(bits);
    let one = with(1);
    assert!(one == with(2) && one == with(3));
}

#[test]
#[should_panic(expected = "group_norm: [2, 5, 3] in 2 groups")]
fn groups_that_do_not_divide_the_channels_are_named() {
    let tape = Tape::<f64>::new();
    let scale = tape.full([5], 1.0);
    tape.full([2, 5, 3], 1.0).group_norm(2, scale, scale, EPSILON);
}
