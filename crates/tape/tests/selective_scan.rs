//! The selective scan against reference numbers, and against the chain of small ops that it replaces.

use gradome_goldens::{assert_close, goldens};
use gradome_tape::{Float, SelectiveScan, Tape, Tensor, Var};

fn wave<T: Float>(shape: &[usize], phase: f64, scale: f64) -> Tensor<T> {
    Tensor::from_fn(shape, |i| T::of(scale * (1.3 * i as f64 + phase).sin()))
}

/// The operands in order, all options included, with A negative.
fn operands<T: Float>(batch: usize, length: usize, channels: usize, states: usize) -> Vec<Tensor<T>> {
    let (rows, weights) = ([batch, length, channels], [batch, length, states]);
    vec![
        wave(&rows, 0.1, 1.0),
        wave(&rows, 0.2, 1.5),
        Tensor::from_fn([channels, states], |i| T::of(-0.2 - (0.7 * i as f64).sin().abs())),
        wave(&weights, 0.3, 1.0),
        wave(&weights, 0.4, 1.0),
        wave(&[channels], 0.5, 1.0),
        wave(&rows, 0.6, 2.0),
        wave(&[channels], 0.7, 1.0),
    ]
}

const ALL: SelectiveScan = SelectiveScan { skip: true, gate: true, bias: true, softplus: true, reverse: false };

fn scan<'t, T: Float>(v: &[Var<'t, T>], options: SelectiveScan) -> [Var<'t, T>; 2] {
    v[0].selective_scan(v[1], v[2], [v[3], v[4]], &v[5..], options)
}

/// Step by step on the tape.
fn composed<'t>(tape: &'t Tape<f64>, v: &[Var<'t, f64>], reverse: bool) -> [Var<'t, f64>; 2] {
    let [batch, length, channels] = *v[0].shape() else { panic!("[batch, length, channels]") };
    let states = v[2].shape()[1];
    let delta = (v[1] + v[7]).softplus();
    let mut h = tape.full([batch, channels, states], 0.0);
    let mut rows = vec![None; length];
    for step in 0..length {
        let t = if reverse { length - 1 - step } else { step };
        let row = |x: Var<'t, f64>| x.narrow(1, t, 1);
        let column = |x: Var<'t, f64>| row(x).reshape([batch, channels, 1]);
        h = (column(delta) * v[2]).exp() * h + column(delta * v[0]) * row(v[3]);
        rows[t] = Some((h * row(v[4])).sum_axis(-1).reshape([batch, 1, channels]));
    }
    let rows: Vec<Var<'t, f64>> = rows.into_iter().flatten().collect();
    [(tape.concat(&rows, 1) + v[5] * v[0]) * v[6].silu(), h]
}

#[test]
fn the_op_is_a_chain_of_products_and_sums() {
    // one step, a chunk, more than one; a block of channels, more than one, more than a group
    for (batch, length, channels, states) in [(2, 1, 1, 1), (1, 16, 16, 3), (2, 35, 17, 2), (1, 18, 70, 4)] {
        for reverse in [false, true] {
            let inputs = operands::<f64>(batch, length, channels, states);
            let run = |whole: bool| {
                let tape = Tape::new();
                let vars: Vec<Var<'_, f64>> = inputs.iter().map(|x| tape.variable(x)).collect();
                let [y, last] =
                    if whole { scan(&vars, SelectiveScan { reverse, ..ALL }) } else { composed(&tape, &vars, reverse) };
                let loss = (y * tape.constant(&wave(&y.shape(), 0.9, 1.0))).sum() + last.square().sum();
                let gradients = loss.backward();
                let mut all = vec![y.value().to_f64(), last.value().to_f64()];
                all.extend(vars.iter().map(|&v| gradients.of(v).unwrap().to_f64()));
                all
            };
            for (i, (found, expected)) in run(true).iter().zip(&run(false)).enumerate() {
                assert_close(
                    &format!("[{batch}, {length}, {channels}, {states}] array {i} element"),
                    found,
                    expected,
                    1e-12,
                );
            }
        }
    }
}

#[test]
fn outputs_and_gradients_match_the_reference() {
    for golden in goldens("selective-scan") {
        let tape = Tape::new();
        let given = |name: &str| {
            let name = format!("in_{name}");
            golden.has(&name).then(|| tape.variable(&Tensor::new(golden.shape(&name), golden.get(&name))))
        };
        let names = ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"];
        let leaves = names.map(given);
        // the reference has channels before length
        let operands: Vec<Var<'_, f64>> =
            leaves.iter().flatten().map(|v| if v.shape().rank() == 3 { v.permute(&[0, 2, 1]) } else { *v }).collect();
        let options = SelectiveScan {
            skip: leaves[5].is_some(),
            gate: leaves[6].is_some(),
            bias: leaves[7].is_some(),
            softplus: golden.get("delta_softplus")[0] != 0.0,
            reverse: false,
        };
        let [y, last] = scan(&operands, options);
        let y = y.permute(&[0, 2, 1]);
        golden.assert_close("y", &y.value().to_f64(), 1e-9, 0.0);
        golden.assert_close("last_state", &last.value().to_f64(), 1e-9, 0.0);
        let gradients = y.backward_with(&Tensor::new(golden.shape("dy"), golden.get("dy")));
        for (name, leaf) in names.iter().zip(leaves) {
            if let Some(leaf) = leaf {
                golden.assert_close(&format!("grad_{name}"), gradients.of(leaf).unwrap().data(), 1e-8, 0.0);
            }
        }
    }
}

fn bits<T: Float>() -> Vec<u64> {
    let tape = Tape::<T>::new();
    let vars: Vec<Var<'_, T>> = operands(2, 40, 130, 3).iter().map(|x| tape.variable(x)).collect();
    let [y, last] = scan(&vars, ALL);
    let gradients = (y.square().mean() + last.sum()).backward();
    let all =
        vars.iter().map(|&v| gradients.of(v).unwrap().to_f64()).chain([y.value().to_f64(), last.value().to_f64()]);
    all.flatten().map(f64::to_bits).collect()
}

#[test]
fn bits_are_the_same_at_any_number_of_threads() {
    let with = |threads: usize, run: fn() -> Vec<u64>| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    };
    assert!(with(1, bits::<f32>) == with(3, bits::<f32>));
    assert!(with(1, bits::<f64>) == with(3, bits::<f64>));
}

#[test]
fn a_state_that_does_not_decay_sums_its_input() {
    let tape = Tape::<f64>::new();
    let (u, one) = (tape.constant(&wave(&[1, 20, 1], 0.0, 1.0)), tape.full([1, 20, 1], 1.0));
    let [y, _] = u.selective_scan(one, tape.full([1, 1], 0.0), [one, one], &[], SelectiveScan::default());
    let mut sum = 0.0;
    for (u, y) in u.value().data().iter().zip(y.value().data()) {
        sum += u;
        assert!((y - sum).abs() < 1e-13);
    }
}

#[test]
fn no_steps_give_no_output_and_a_state_of_zero() {
    let tape = Tape::<f64>::new();
    let vars: Vec<Var<'_, f64>> = operands(1, 0, 3, 2).iter().map(|x| tape.variable(x)).collect();
    let [y, last] = scan(&vars, ALL);
    assert!(y.value().data().is_empty() && last.value().data().iter().all(|h| *h == 0.0));
    let gradients = last.sum().backward();
    assert!(gradients.of(vars[2]).unwrap().data().iter().all(|g| *g == 0.0));
}
