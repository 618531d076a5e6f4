//! Fused evaluation gives the bits of eager evaluation, and gradients that agree with it.

use gradome_tape::{Gradients, Tape, Tensor, Var};
use proptest::prelude::*;

/// Gradients differ from eager ones in the order of sums alone; relative to the largest of an array, or to 1.
const GRADIENT: f64 = 1e-12;

/// One instruction of a random program: which op, and its operands by number.
type Instruction = (u8, u16, u16, u16);

/// Leaves that broadcast to [rows, width]: a matrix, a row, a column, a number and a mask.
fn leaves(rows: usize, width: usize) -> Vec<Tensor<f64>> {
    let wave = |shape: &[usize], phase: f64| Tensor::from_fn(shape, |i| (1.3 * i as f64 + phase).sin());
    vec![
        wave(&[rows, width], 0.1),
        wave(&[width], 0.7),
        wave(&[rows, 1], 1.9),
        wave(&[], 2.3),
        Tensor::from_fn([rows, width], |i| if i % 3 == 0 { 1.0 } else { 0.0 }),
    ]
}

/// Runs a program; every value stays of moderate size, so that both ways of evaluation can be compared closely.
fn run<'t>(tape: &'t Tape<f64>, program: &[Instruction], leaves: &[Var<'t, f64>]) -> (Vec<Var<'t, f64>>, Var<'t, f64>) {
    let mut values = leaves.to_vec();
    for &(op, a, b, c) in program {
        let pick = |at: u16| values[at as usize % values.len()];
        let (a, b, c) = (pick(a), pick(b), pick(c));
        let value = match op {
            0 => (a + b) * 0.5,
            1 => (a - b).tanh(),
            2 => (a * b).tanh(),
            3 => a / (b.square() + 1.0),
            4 => a.sigmoid(),
            5 => a.sin(),
            6 => a.softplus() - 0.7,
            7 => a.maximum(b),
            8 => a.times_plus(b, c).tanh(),
            9 => a.log_add_exp(b).tanh(),
            10 => leaves[4].choose(a, b),
            11 => (-a).exp().minimum(b + 1.0).tanh(),
            12 => a.mean(),
            13 => a.sum().tanh(),
            // a read in the middle ends a group
            14 => {
                a.value();
                a * 0.9
            }
            // functions of rows; a number has none
            15 if a.shape().rank() > 0 => a.softmax(),
            16 if a.shape().rank() > 0 => a.standardise(0.1).tanh(),
            17 if a.shape().rank() > 0 => (a.log_softmax() * 0.3).exp(),
            _ => (1.0 - a).clamp(-0.6, 0.8),
        };
        values.push(value);
    }
    let total = values.iter().rev().take(4).fold(tape.scalar(0.0), |sum, v| sum + v.sum());
    (values, total)
}

fn gradients_of(gradients: &Gradients<f64>, leaves: &[Var<'_, f64>]) -> Vec<Option<Tensor<f64>>> {
    leaves.iter().map(|&leaf| gradients.of(leaf).cloned()).collect()
}

/// Values (when `read`) and gradients of a program.
fn evaluate(
    program: &[Instruction],
    (rows, width): (usize, usize),
    eager: bool,
    read: bool,
) -> (Vec<Vec<u64>>, Vec<Option<Tensor<f64>>>) {
    let tape = Tape::new();
    tape.set_eager(eager);
    let vars: Vec<Var<'_, f64>> = leaves(rows, width).iter().map(|leaf| tape.variable(leaf)).collect();
    let (values, total) = run(&tape, program, &vars);
    let gradients = gradients_of(&total.backward(), &vars);
    let mut bits = vec![vec![total.item().to_bits()]];
    if read {
        // last first: earlier values are then computed again or taken from where they were kept
        bits.extend(values.iter().rev().map(|v| v.value().data().iter().map(|x| x.to_bits()).collect()));
    }
    (bits, gradients)
}

fn assert_same_gradients(fused: &[Option<Tensor<f64>>], eager: &[Option<Tensor<f64>>]) {
    for (leaf, (fused, eager)) in fused.iter().zip(eager).enumerate() {
        let (Some(fused), Some(eager)) = (fused, eager) else {
            assert_eq!(fused.is_some(), eager.is_some(), "leaf {leaf} has a gradient in one way of evaluation only");
            continue;
        };
        let largest = eager.data().iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        for (f, e) in fused.data().iter().zip(eager.data()) {
            assert!((f - e).abs() <= GRADIENT * largest, "leaf {leaf}: {f} fused, {e} eager");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_give_equal_bits_and_gradients(
        program in prop::collection::vec((0u8..19, any::<u16>(), any::<u16>(), any::<u16>()), 1..90),
        // sums of rows of 8 are taken block by block, those of 7 are not
        size in prop::sample::select(vec![(1, 7), (3, 8), (200, 7), (200, 8), (5, 1024)]),
        read in any::<bool>(),
    ) {
        let (fused, fused_gradients) = evaluate(&program, size, false, read);
        let (eager, eager_gradients) = evaluate(&program, size, true, read);
        prop_assert_eq!(fused, eager);
        assert_same_gradients(&fused_gradients, &eager_gradients);
    }
}

#[test]
fn a_chain_longer_than_a_group_has_the_product_of_all_slopes() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([3], &[0.5, -1.0, 2.0]));
    let mut y = x;
    for _ in 0..100 {
        y = y * 1.01 + 0.1;
    }
    let growth = 1.01_f64.powi(100);
    let gradients = y.sum().backward();
    for (value, (x, slope)) in y.value().data().iter().zip([0.5, -1.0, 2.0].iter().zip(gradients.of(x).unwrap().data()))
    {
        assert!((value - (growth * x + 0.1 * (growth - 1.0) / 0.01)).abs() < 1e-12);
        assert!((slope - growth).abs() < 1e-13 * 100.0);
    }
}

#[test]
fn an_op_absorbed_by_one_group_serves_a_later_one() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([2], &[0.3, -0.8]));
    let inner = x.exp();
    let first = inner + 1.0;
    // the group of `first` has absorbed `inner`, which has no array of its own
    let read = first.value();
    let second = inner * inner;
    let total = first.sum() + second.sum();
    let gradients = total.backward();
    for (i, x_i) in [0.3_f64, -0.8].iter().enumerate() {
        assert_eq!(read.data()[i], x_i.exp() + 1.0);
        assert!((gradients.of(x).unwrap().data()[i] - (x_i.exp() + 2.0 * (2.0 * x_i).exp())).abs() < 1e-14);
    }
}

#[test]
fn a_pending_op_may_be_used_by_two_groups() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::from_fn([1000], |i| (i as f64).cos()));
    let shared = x.square() + 1.0;
    let (left, right) = (shared.ln(), shared.sqrt());
    let gradients = (left.sum() + (right * 2.0).sum()).backward();
    for (x, g) in x.value().data().iter().zip(gradients.of(x).unwrap().data()) {
        let inner = x * x + 1.0;
        assert!((g - (2.0 * x / inner + 2.0 * x / inner.sqrt())).abs() < 1e-13);
    }
}

#[test]
fn a_sum_that_was_read_and_one_that_was_not_have_equal_gradients() {
    let x_values = Tensor::from_fn([70_000], |i| (0.01 * i as f64).sin());
    let gradient = |read: bool| {
        let tape = Tape::<f64>::new();
        let x = tape.variable(&x_values);
        let chain = (x.tanh() * 3.0).exp();
        if read {
            chain.value();
        }
        let mean = chain.mean();
        if read {
            mean.item();
        }
        let gradients = (mean * 2.0 + 1.0).backward();
        (mean.item(), gradients.of(x).unwrap().clone())
    };
    let ((pending, pending_gradient), (read, read_gradient)) = (gradient(false), gradient(true));
    assert_eq!(pending.to_bits(), read.to_bits());
    let direct: f64 = x_values.data().iter().map(|x| (3.0 * x.tanh()).exp()).sum::<f64>() / 70_000.0;
    assert!((pending - direct).abs() < 1e-12 * direct);
    assert_same_gradients(&[Some(pending_gradient)], &[Some(read_gradient)]);
}

#[test]
fn backward_may_run_twice_and_from_two_results() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::scalar(0.7));
    let inner = x.sin();
    let (first, second) = (inner.square(), inner.exp());
    let once = first.backward();
    let again = first.backward();
    assert_eq!(once.of(x), again.of(x));
    assert!((once.of(x).unwrap().item() - 2.0 * 0.7_f64.sin() * 0.7_f64.cos()).abs() < 1e-15);
    let other = second.backward().of(x).unwrap().item();
    assert!((other - 0.7_f64.sin().exp() * 0.7_f64.cos()).abs() < 1e-15);
}

#[test]
fn a_variable_used_twice_and_a_parameter_bound_twice_add_up() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::scalar(3.0));
    assert_eq!((x * x + x).backward().of(x).unwrap().item(), 7.0);
    let w = Tensor::scalar(2.0);
    let (first, second) = (tape.parameter(5, &w), tape.parameter(5, &w));
    let gradients = (first * 10.0 + second.square()).backward();
    assert_eq!(gradients.get(5).unwrap().item(), 14.0);
    assert_eq!(gradients.keys(), [5]);
}

#[test]
fn what_does_not_matter_has_no_gradient() {
    let tape = Tape::<f64>::new();
    let (x, unused) = (tape.variable(&Tensor::scalar(1.0)), tape.variable(&Tensor::scalar(2.0)));
    let idle = tape.parameter(9, &Tensor::scalar(1.0));
    let _ = unused * idle;
    let constant = tape.scalar(4.0);
    let gradients = (x * constant * x.detach()).backward();
    assert_eq!(gradients.of(x).unwrap().item(), 4.0);
    assert!(gradients.of(unused).is_none() && gradients.of(constant).is_none() && gradients.get(9).is_none());
}
