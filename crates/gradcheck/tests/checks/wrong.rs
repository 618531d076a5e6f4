//! Wrong gradients of all sorts fail, and the report names the element.

use crate::functions::*;
use gradome_gradcheck::{Check, Error, Input, Place, Report};

/// The check fails and its worst comparison is `input` at `index`, with these two derivatives.
#[track_caller]
fn assert_names(report: &Report, input: &str, index: &[usize], analytic: f64, numeric: f64) {
    assert!(!report.passed(), "{report}");
    let (found, worst) = report.worst().unwrap();
    assert_eq!((found.name.as_str(), &worst.place), (input, &Place::Element(index.into())), "{report}");
    assert!((worst.analytic - analytic).abs() <= 1e-9 * analytic.abs(), "{report}");
    assert!((worst.numeric - numeric).abs() <= 1e-7 * numeric.abs(), "{report}");
    let name = format!("{input}{}", worst.place);
    assert!(report.to_string().lines().last().unwrap().starts_with(&name), "{report}");
}

fn squares(gradient: impl Fn(usize, f64) -> f64) -> Report {
    let x = [("x", [2, 2], [1.0, 2.0, 3.0, 4.0])];
    Check::new().gradient(
        x,
        |v| v[0].iter().map(|x| x * x).sum(),
        |v| vec![v[0].iter().enumerate().map(|(i, &x)| gradient(i, x)).collect()],
    )
}

#[test]
fn the_right_gradient_of_squares_passes() {
    squares(|_, x| 2.0 * x).assert_passed();
}

#[test]
fn a_wrong_sign_is_caught() {
    let report = squares(|i, x| if i == 2 { -2.0 * x } else { 2.0 * x });
    assert_names(&report, "x", &[1, 0], -6.0, 6.0);
    assert!((report.max_rel_error() - 2.0).abs() < 1e-9);
    assert!((report.max_abs_error() - 12.0).abs() < 1e-7);
    assert_eq!((report.inputs[0].wrong, report.inputs[0].checked), (1, 4));
}

#[test]
fn a_missing_factor_is_caught_everywhere() {
    let report = squares(|_, x| x);
    assert_eq!(report.inputs[0].wrong, 4);
    assert!((report.max_rel_error() - 0.5).abs() < 1e-9);
    assert!(report.to_string().contains("analytic / numeric = 0.5"), "{report}");
}

#[test]
fn an_error_just_above_the_tolerance_is_caught_and_one_below_passes() {
    let with_error = |error: f64| squares(|i, x| 2.0 * x * if i == 1 { 1.0 + error } else { 1.0 });
    assert_names(&with_error(2e-6), "x", &[0, 1], 4.0 * (1.0 + 2e-6), 4.0);
    with_error(5e-7).assert_passed();
}

#[test]
fn nan_and_infinite_gradients_are_caught() {
    for bad in [f64::NAN, f64::INFINITY] {
        let report = squares(|i, x| if i == 3 { bad } else { 2.0 * x });
        assert!(!report.passed());
        assert_eq!(report.worst().unwrap().1.place, Place::Element(vec![1, 1]));
        assert_eq!(report.max_rel_error(), f64::INFINITY);
    }
}

#[test]
fn a_transposed_gradient_is_caught() {
    // f = sum of w_ij i_j, with w [2, 2] and fixed weights [[1, 5], [2, 4]]; 5 and 2 exchanged
    let w = Input::new("w", [2, 2], [0.1, 0.2, 0.3, 0.4]);
    let report = Check::new().gradient(
        [w],
        |v| v[0].iter().zip([1.0, 5.0, 2.0, 4.0]).map(|(w, c)| w * c).sum(),
        |_| vec![vec![1.0, 2.0, 5.0, 4.0]],
    );
    assert_eq!(report.inputs[0].wrong, 2);
    assert!(matches!(&report.worst().unwrap().1.place, Place::Element(i) if i[0] != i[1]));
}

#[test]
fn the_wrong_factor_of_a_matmul_is_named_with_its_output() {
    let report = Check::new().vjp(
        factors(),
        |v| matmul(&v[0], &v[1]),
        |v, c| {
            let mut cotangents = matmul_vjp(&v[0], &v[1], c);
            cotangents[1][6] += 0.25 * c[2];
            cotangents
        },
    );
    let a = scattered(6);
    // b[1, 2] reaches output [0, 2], the third, through a[0, 1].
    assert_names(&report, "b", &[1, 2], a[1] + 0.25, a[1]);
    assert_eq!(report.worst().unwrap().1.output.as_deref(), Some("output[2]"));
    assert!(report.inputs[0].passed && !report.inputs[1].passed);
}

#[test]
fn a_vjp_that_ignores_its_cotangent_is_caught() {
    let report = Check::new().vjp([("x", 3.0)], |v| vec![v[0][0] * v[0][0]], |v, _| vec![vec![2.0 * v[0][0]]]);
    assert!(!report.passed());
}

#[test]
fn a_softmax_without_its_cross_terms_is_caught_in_every_mode() {
    let x = [("x", [0.2, -1.0, 3.0])];
    let diagonal =
        |x: &[f64], c: &[f64]| -> Vec<f64> { softmax(x).iter().zip(c).map(|(y, c)| y * (1.0 - y) * c).collect() };
    for check in [Check::new(), Check::new().cotangents(1), Check::new().fast()] {
        let reverse = check.vjp(x, |v| softmax(&v[0]), |v, c| vec![diagonal(&v[0], c)]);
        let forward = check.jvp(x, |v| softmax(&v[0]), |v, t| diagonal(&v[0], &t[0]));
        assert!(!reverse.passed() && !forward.passed(), "{reverse}\n{forward}");
    }
}

#[test]
fn a_hessian_without_its_cross_terms_is_caught_and_named() {
    let report = Check::new().second_order(
        [("a", 1.5), ("b", -0.8)],
        |v| vec![vec![2.0 * v[0][0] * v[1][0]], vec![v[0][0] * v[0][0]]],
        |v, t| vec![vec![2.0 * v[1][0] * t[0][0]], vec![2.0 * v[0][0] * t[0][0]]],
    );
    assert_names(&report, "b", &[], 0.0, 3.0);
    assert_eq!(report.worst().unwrap().1.output.as_deref(), Some("the gradient at a"));
}

#[test]
fn one_wrong_element_of_a_large_input_is_found_by_bisection() {
    let x = Input::new("x", [100, 100], scattered(10_000));
    let run = |check: Check, wrong: f64| {
        check.gradient(
            [&x],
            |v| v[0].iter().map(|x| x.exp()).sum(),
            |v| {
                let mut gradient: Vec<f64> = v[0].iter().map(|x| x.exp()).collect();
                gradient[4321] *= wrong;
                vec![gradient]
            },
        )
    };
    let exact = x.data[4321].exp();
    run(Check::new(), 1.0).assert_passed();
    assert_names(&run(Check::new(), 1.05), "x", &[43, 21], 1.05 * exact, exact);
    assert_names(&run(Check::new().seed(7), -1.0), "x", &[43, 21], -exact, exact);
}

#[test]
fn one_wrong_element_of_a_large_input_is_found_in_forward_mode() {
    let x = Input::from(("x", scattered(1000)));
    let report = Check::new().jvp(
        [x],
        |v| vec![v[0].iter().map(|x| x * x).sum(), 1.0],
        |v, t| {
            let sum: f64 = v[0].iter().zip(&t[0]).map(|(x, t)| 2.0 * x * t).sum();
            vec![sum + 0.5 * t[0][77], 0.0]
        },
    );
    let exact = 2.0 * scattered(78)[77];
    assert_names(&report, "x", &[77], exact + 0.5, exact);
}

#[test]
fn the_error_and_its_debug_form_are_the_report() {
    let report = squares(|_, x| x);
    let text = report.to_string();
    let error = report.into_result().unwrap_err();
    assert_eq!((error.to_string(), format!("{error:?}")), (text.clone(), text));
    assert!(matches!(error, Error::Failed(report) if !report.passed()));
}

#[test]
#[should_panic(expected = "x[1, 1]: analytic 4, finite differences 8")]
fn assert_passed_panics_with_the_element() {
    squares(|i, x| if i == 3 { x } else { 2.0 * x }).assert_passed();
}

#[test]
fn the_control_tells_when_atol_hides_every_error() {
    let tiny =
        |check: &Check| check.gradient([("x", 1.0)], |v| 1e-12 * v[0][0].powi(2), |v| vec![vec![2e-12 * v[0][0]]]);
    let error = Check::new().negative_control(tiny).unwrap_err();
    assert!(matches!(&error, Error::Uncaught { input, .. } if input == "x"), "{error}");
    let report = tiny(&Check::new());
    assert_eq!((report.passed(), report.inputs[0].tiny), (true, 1));
    assert!(report.to_string().ends_with("zero would pass: lower atol or scale the function"), "{report}");
    let visible = Check::new().atol(1e-20).negative_control(tiny).unwrap();
    assert!(visible.max_rel_error() < 1e-9, "{visible}");
}

#[test]
fn the_control_wants_a_check_that_passes_first_and_its_own_check() {
    let wrong = |check: &Check| check.gradient([("x", 1.0)], |v| v[0][0], |_| vec![vec![2.0]]);
    assert!(matches!(Check::new().negative_control(wrong), Err(Error::Failed(_))));
    let other = |_: &Check| Check::new().gradient([("x", 1.0)], |v| v[0][0], |_| vec![vec![1.0]]);
    assert!(matches!(Check::new().negative_control(other), Err(Error::ControlUnused)));
}
