//! The tape as its users meet it: scopes, ops of their own, anomalies, and errors that say what does not fit.

use std::cell::Cell;

use gradome_tape::{Array, At, Grads, Op, Saved, Shape, Shapes, Tape, Tensor, Var};

fn zeros<'t>(tape: &'t Tape<f64>, shape: &[usize]) -> Var<'t, f64> {
    tape.variable(&Tensor::zeros(shape))
}

#[test]
fn no_grad_returns_values_without_a_past() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([2], &[3.0, 4.0]));
    let (norm, kept) = tape.no_grad(|| (x.square().sum().sqrt(), vec![x * 2.0]));
    assert!(!norm.needs_grad() && !kept[0].needs_grad() && x.needs_grad());
    assert_eq!(norm.item(), 5.0);
    assert_eq!(kept[0].value().data(), &[6.0, 8.0]);
    // recording goes on afterwards, and the norm is a constant of it
    let gradients = (x.sum() * norm).backward();
    assert_eq!(gradients.of(x).unwrap().data(), &[5.0, 5.0]);
}

#[test]
fn no_grad_gives_its_memory_back() {
    let tape = Tape::<f64>::new();
    let w = tape.constant(&Tensor::full([64, 64], 0.01));
    let pass = || {
        tape.no_grad(|| {
            let mut x = w;
            for _ in 0..10 {
                x = x.matmul(w);
            }
            x.sum()
        })
    };
    pass();
    let buffers = tape.buffers_created();
    for _ in 0..5 {
        pass();
    }
    // each pass keeps the one number it returns
    assert!(tape.buffers_created() - buffers <= 5, "{} new buffers", tape.buffers_created() - buffers);
}

#[test]
#[should_panic(expected = "was dropped at the end of its scope; return it from the scope to keep it")]
fn a_value_that_left_its_scope_cannot_be_read() {
    let tape = Tape::<f64>::new();
    let x = zeros(&tape, &[2, 2]);
    let escaped = Cell::new(x);
    tape.no_grad(|| {
        escaped.set(x.matmul(x));
        x
    });
    escaped.get().value();
}

/// (sin x, cos x).
struct SinCos;

impl Op<f64> for SinCos {
    fn name(&self) -> &'static str {
        "sin_cos"
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(inputs[0], 2)
    }
    fn forward(&self, x: &[Array<'_, f64>], y: &mut [&mut [f64]], _: &mut Saved<f64>) {
        for (i, x) in x[0].data.iter().enumerate() {
            (y[0][i], y[1][i]) = x.sin_cos();
        }
    }
    fn backward(&self, at: &At<'_, f64>, grads: &mut Grads<'_, f64>) {
        if let Some(g) = at.grad_if_any(0) {
            grads.add(0, |i| g[i] * at.y[1].data[i]);
        }
        if let Some(g) = at.grad_if_any(1) {
            grads.add(0, |i| -g[i] * at.y[0].data[i]);
        }
    }
}

#[test]
fn an_op_of_ones_own_may_have_several_outputs_of_which_some_matter() {
    let slope = |pick: fn(&[Var<'_, f64>]) -> f64| {
        let tape = Tape::new();
        let x = tape.variable(&Tensor::new([2], &[0.4, -1.1]));
        let outputs = tape.custom(SinCos, &[x]);
        pick(&[x, outputs[0], outputs[1]])
    };
    // both: d (sin + 2 cos) = cos - 2 sin
    let both = slope(|v| (v[1].sum() + v[2].sum() * 2.0).backward().of(v[0]).unwrap().data()[0]);
    assert!((both - (0.4_f64.cos() - 2.0 * 0.4_f64.sin())).abs() < 1e-15);
    let second = slope(|v| v[2].sum().backward().of(v[0]).unwrap().data()[1]);
    assert!((second + (-1.1_f64).sin()).abs() < 1e-15);
}

#[test]
fn anomaly_detection_names_the_first_op_that_broke() {
    let tape = Tape::<f64>::new();
    tape.detect_anomaly(true);
    let x = tape.variable(&Tensor::new([3], &[1.0, 2.0, -1.0]));
    let y = (x + 0.5).ln().exp();
    (y * 3.0).sum();
    assert_eq!(tape.anomaly().as_deref(), Some("ln of shape [3] made NaN at element 2"));
}

#[test]
fn anomaly_detection_also_watches_whole_array_ops_and_forgets_at_reset() {
    let mut tape = Tape::<f32>::new();
    tape.detect_anomaly(true);
    let huge = tape.constant(&Tensor::full([2, 2], 3e38));
    huge.matmul(huge);
    assert_eq!(tape.anomaly().as_deref(), Some("matmul of shape [2, 2] made inf at element 0"));
    tape.reset();
    assert_eq!(tape.anomaly(), None);
}

/// The panic's text of a computation that does not fit.
fn failure(f: impl for<'t> Fn(&'t Tape<f64>) -> Var<'t, f64>) -> String {
    let run = || {
        f(&Tape::new());
    };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("it does not fit");
    let text = caught.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| (*caught.downcast_ref::<&str>().expect("panics carry text")).to_owned())
}

#[test]
fn shape_errors_name_the_op_and_every_shape() {
    for (found, words) in [
        (failure(|t| zeros(t, &[3, 4]).matmul(zeros(t, &[5, 6]))), &["matmul", "[3, 4]", "[5, 6]", "inner"][..]),
        (failure(|t| zeros(t, &[3]).matmul(zeros(t, &[3, 6]))), &["matmul", "[3]", "[3, 6]", "two axes"]),
        (failure(|t| zeros(t, &[3]) + zeros(t, &[4])), &["plus", "[3]", "[4]"]),
        (failure(|t| zeros(t, &[2, 3]).log_add_exp(zeros(t, &[2, 4]))), &["log_add_exp", "[2, 3]", "[2, 4]"]),
        (
            failure(|t| zeros(t, &[2, 3]).linear(zeros(t, &[4, 5]), zeros(t, &[5]))),
            &["linear", "[2, 3]", "[4, 5]", "[5]"],
        ),
        (
            failure(|t| zeros(t, &[2, 3]).layer_norm(zeros(t, &[4]), zeros(t, &[4]), 1e-5)),
            &["layer_norm", "[2, 3]", "[4]"],
        ),
        (
            failure(|t| zeros(t, &[0, 3]).batch_norm(zeros(t, &[3]), zeros(t, &[3]), 1e-5)[0]),
            &["batch_norm", "[0, 3]", "empty"],
        ),
        (failure(|t| zeros(t, &[2, 0]).softmax()), &["softmax", "[2, 0]"]),
        (failure(|t| zeros(t, &[2, 3]).reshape([4])), &["reshape", "[2, 3]", "[4]"]),
        (failure(|t| t.concat(&[zeros(t, &[2, 3]), zeros(t, &[3, 3])], 1)), &["concat", "[2, 3]", "[3, 3]"]),
        (failure(|t| zeros(t, &[2, 3]).narrow(1, 2, 2)), &["slice", "2..4", "[2, 3]"]),
        (failure(|t| zeros(t, &[2, 3]).sum_axis(2)), &["sum_axis", "[2, 3]"]),
        (failure(|t| zeros(t, &[2, 0]).max_axis(1)), &["max_axis", "[2, 0]"]),
        (failure(|t| zeros(t, &[2]).index_select(0, &[2].into())), &["index_select", "index 2", "axis 0", "[2]"]),
        (failure(|t| zeros(t, &[2, 2]).permute(&[0, 0])), &["permute", "[0, 0]", "[2, 2]"]),
        (failure(|t| zeros(t, &[2, 2]).broadcast_to([3, 2])), &["broadcast_to", "[2, 2]", "[3, 2]"]),
        (failure(|t| zeros(t, &[2]).poisson(zeros(t, &[2]))), &["poisson", "counts have no gradient"]),
        (
            failure(|t| t.full([2, 3], 1.0).negative_binomial(zeros(t, &[2, 3]), zeros(t, &[2]), 0.0)),
            &["negative_binomial", "[2, 3]", "[2]"],
        ),
        (
            failure(|t| {
                let x = zeros(t, &[2]);
                x.backward();
                x
            }),
            &["backward", "[2]", "backward_with"],
        ),
    ] {
        for word in words {
            assert!(found.contains(word), "'{found}' does not say '{word}'");
        }
    }
}

#[test]
#[should_panic(expected = "operands come from different tapes")]
fn operands_of_two_tapes_do_not_mix() {
    let (a, b) = (Tape::<f64>::new(), Tape::<f64>::new());
    let _ = a.scalar(1.0) + b.scalar(2.0);
}
