//! Kinks, jumps, values that are not finite, empty arrays and arrays of the wrong size.

use crate::functions::scattered;
use gradome_gradcheck::{Check, Fault, Input, Place, Report};

fn relu(x: Vec<f64>, share: f64) -> Report {
    Check::new().max_kink_share(share).gradient(
        [("x", x)],
        |v| v[0].iter().map(|x| x.max(0.0)).sum(),
        |v| vec![v[0].iter().map(|&x| if x > 0.0 { 1.0 } else { 0.0 }).collect()],
    )
}

#[test]
fn a_kink_is_listed_and_not_compared() {
    let report = relu(vec![1.0, -2.0, 0.0, 3.0, -0.5], 0.25);
    report.assert_passed();
    assert_eq!(report.inputs[0].kinks, [Place::Element(vec![2])]);
    assert_eq!(report.inputs[0].checked, 4);
    assert!(report.max_rel_error() < 1e-9);
}

#[test]
fn too_many_kinks_fail() {
    let report = relu(vec![0.0, -2.0, 0.0, 3.0, 1.0], 0.25);
    assert!(!report.passed());
    assert!(report.to_string().contains("2 of 5 places are kinks or jumps, first x[0]"), "{report}");
    assert!(!relu(vec![0.0], 0.9).passed());
    assert!(!relu(vec![1.0, 0.0], 0.0).passed());
}

#[test]
fn kinks_close_by_are_not_kinks() {
    let report = relu(vec![1e-4, -1e-5, 1e-6, -1e-7], 0.0);
    report.assert_passed();
    assert_eq!(report.inputs[0].checked, 4);
}

#[test]
fn the_absolute_value_has_a_kink_at_zero_only() {
    let report = Check::new().vjp(
        [("x", [-1.0, 0.0, 2.0, 1.0])],
        |v| v[0].iter().map(|x| x.abs()).collect(),
        |v, c| vec![v[0].iter().zip(c).map(|(x, c)| c * x.signum()).collect()],
    );
    report.assert_passed();
    assert_eq!(report.inputs[0].kinks, [Place::Element(vec![1])]);
}

#[test]
fn a_jump_counts_as_a_kink() {
    let run = |x: [f64; 2]| {
        Check::new().max_kink_share(0.5).gradient(
            [("x", x)],
            |v| v[0].iter().map(|x| x.floor()).sum(),
            |_| vec![vec![0.0, 0.0]],
        )
    };
    assert_eq!(run([3.0, 0.5]).inputs[0].kinks, [Place::Element(vec![0])]);
    assert!(run([3.0, 0.5]).passed() && run([3.4, 0.5]).passed() && !run([3.0, 2.0]).passed());
}

#[test]
fn smooth_functions_with_strong_curvature_have_no_kinks() {
    let x = scattered(64);
    let report = Check::new().max_kink_share(0.0).gradient(
        [("x", x)],
        |v| v[0].iter().map(|x| (30.0 * x).tanh() + (x * x + 1e-6).sqrt()).sum(),
        |v| {
            let slope = |x: &f64| 30.0 * (1.0 - (30.0 * x).tanh().powi(2)) + x / (x * x + 1e-6).sqrt();
            vec![v[0].iter().map(slope).collect()]
        },
    );
    report.assert_passed();
}

#[test]
fn a_value_that_is_nan_never_passes() {
    let report = Check::new().gradient([("x", -1.0)], |v| v[0][0].ln(), |v| vec![vec![1.0 / v[0][0]]]);
    assert!(matches!(report.fault, Some(Fault::ValueNotFinite { .. })));
    assert!(!report.passed() && report.max_rel_error() == f64::INFINITY);
    assert!(report.to_string().contains("not finite at the given inputs: the value is NaN"), "{report}");
}

#[test]
fn a_function_that_is_nan_on_one_side_never_passes() {
    let report =
        Check::new().gradient([("x", [4.0, 0.0])], |v| v[0].iter().map(|x| x.sqrt()).sum(), |_| vec![vec![0.25, 0.0]]);
    assert!(!report.passed());
    assert_eq!(report.worst().unwrap().1.place, Place::Element(vec![1]));
    assert!(report.to_string().contains("x[1]: the function is not finite near this point"), "{report}");
}

#[test]
fn an_output_that_is_nan_is_named() {
    let report = Check::new().vjp([("x", 1.0)], |v| vec![v[0][0], f64::NAN], |_, c| vec![vec![c[0]]]);
    assert!(matches!(report.fault, Some(Fault::ValueNotFinite { output, .. }) if output == "output[1]"));
}

#[test]
fn empty_inputs_and_outputs_pass_beside_others() {
    let inputs = [Input::new("empty", [0, 3], []), Input::new("x", [2], [1.0, 2.0])];
    let report = Check::new().gradient(&inputs, |v| v[1][0] * v[1][1], |v| vec![vec![], vec![v[1][1], v[1][0]]]);
    report.assert_passed();
    assert_eq!((report.inputs[0].checked, report.inputs[1].checked), (0, 2));
    let nothing = |wrong: f64| Check::new().vjp([("x", 1.0)], |_| vec![], |_, _| vec![vec![wrong]]);
    assert!(nothing(0.0).passed() && !nothing(1.0).passed());
}

#[test]
fn arrays_of_the_wrong_size_are_described() {
    let run = |gradient: Vec<Vec<f64>>| {
        let x = Input::new("weights", [2, 1], [1.0, 2.0]);
        Check::new().gradient([x], |v| v[0][0] + v[0][1], |_| gradient.clone())
    };
    run(vec![vec![1.0, 1.0]]).assert_passed();
    let short = run(vec![vec![1.0]]).into_result().unwrap_err().to_string();
    assert!(
        short.ends_with("gradient returned 1 values for input `weights`, which has shape [2, 1] and 2 values"),
        "{short}"
    );
    let count = run(vec![]).into_result().unwrap_err().to_string();
    assert!(count.ends_with("gradient returned 0 arrays, expected one for each of the 1 inputs"), "{count}");
}

#[test]
fn faults_name_what_is_wrong() {
    let fault = |check: Check, inputs: Vec<Input>| {
        let report = check.gradient(inputs, |v| v[0][0], |_| vec![vec![1.0]]);
        assert!(!report.passed());
        report.fault.expect("a fault")
    };
    let x = || vec![Input::from(("x", 1.0))];
    assert_eq!(fault(Check::new(), vec![]), Fault::NoInputs);
    let sized = fault(Check::new(), vec![Input::new("x", [3], [1.0])]);
    assert!(matches!(sized, Fault::InputSize { expected: 3, found: 1, .. }));
    let infinite = fault(Check::new(), vec![Input::new("x", [2], [1.0, f64::INFINITY])]);
    assert!(infinite.to_string().starts_with("input `x[1]` is inf"));
    for check in [
        Check::new().rtol(0.0),
        Check::new().atol(f64::NAN),
        Check::new().eps(1.0),
        Check::new().probes(0),
        Check::new().cotangents(0),
        Check::new().max_kink_share(1.5),
    ] {
        assert!(matches!(fault(check, x()), Fault::Setting { .. }));
    }
    let tangent = Check::new().jvp(x(), |v| v[0].clone(), |_, _| vec![]);
    assert_eq!(tangent.fault, Some(Fault::TangentSize { expected: 1, found: 0 }));
}

#[test]
fn rounding_noise_is_named_as_such() {
    let run =
        |offset: f64| Check::new().gradient([("x", 0.7)], |v| offset + v[0][0].sin(), |v| vec![vec![v[0][0].cos()]]);
    run(1e4).assert_passed();
    let noisy = run(1e10);
    assert!(!noisy.passed());
    assert!(noisy.to_string().contains("which rounding may explain"), "{noisy}");
}

#[test]
fn functions_that_change_are_told_apart_from_wrong_gradients() {
    let mut calls = 0.0;
    let random = Check::new().gradient(
        [("x", 1.0)],
        |v| {
            calls += 1.0;
            v[0][0] + calls
        },
        |_| vec![vec![1.0]],
    );
    assert!(matches!(random.fault, Some(Fault::NotDeterministic { first: 2.0, second: 3.0, .. })));
    let ragged =
        Check::new().vjp([("x", 1.0)], |v| vec![1.0; if v[0][0] > 1.0 { 2 } else { 1 }], |_, _| vec![vec![0.0]]);
    assert_eq!(ragged.fault, Some(Fault::OutputSize { expected: 1, found: 2 }));
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let run = |seed: u64| {
        Check::new().seed(seed).fast().vjp(
            [("x", scattered(40))],
            |v| v[0].iter().map(|x| x.exp()).collect(),
            |v, c| vec![v[0].iter().zip(c).map(|(x, c)| c * x.exp()).collect()],
        )
    };
    assert_eq!(run(5).to_string(), run(5).to_string());
    assert_ne!(run(5).to_string(), run(6).to_string());
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_views_keep_their_logical_order() {
    let w = ndarray::arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let input = Input::from(("w", w.t()));
    assert_eq!((input.shape, input.data), (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
}
