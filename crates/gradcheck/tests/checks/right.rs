//! Right gradients pass, with errors far below the tolerance, and every check can fail.

use crate::functions::*;
use gradome_gradcheck::{Check, Report};

/// The check passes, its largest relative error is below `bound`, and it fails when sabotaged.
#[track_caller]
fn assert_checks(bound: f64, run: impl FnMut(&Check) -> Report) {
    let report = Check::new().negative_control(run).unwrap();
    assert!(report.max_rel_error() < bound, "{report}");
    assert!(report.inputs.iter().all(|input| input.checked > 0), "{report}");
}

#[test]
fn quadratic_form_is_exact_to_ten_digits() {
    // f = x^T A x with a matrix that is not symmetric, gradient (A + A^T) x
    let a = [[2.0, 1.0, -3.0], [0.5, 4.0, 1.5], [-1.0, 0.0, 3.0]];
    assert_checks(1e-10, |check| {
        check.gradient(
            [("x", [0.7, -1.3, 2.1])],
            |v| (0..9).map(|n| v[0][n / 3] * a[n / 3][n % 3] * v[0][n % 3]).sum(),
            |v| vec![(0..3).map(|i| (0..3).map(|j| (a[i][j] + a[j][i]) * v[0][j]).sum()).collect()],
        )
    });
}

#[test]
fn rosenbrock_passes_in_first_and_second_order() {
    let x = [-1.2, 1.0, 0.4, 2.0, -0.7];
    assert_checks(1e-9, |check| {
        check.gradient([("x", x)], |v| rosenbrock(&v[0]), |v| vec![rosenbrock_gradient(&v[0])])
    });
    assert_checks(1e-9, |check| {
        check.second_order(
            [("x", x)],
            |v| vec![rosenbrock_gradient(&v[0])],
            |v, t| vec![rosenbrock_hessian_vector(&v[0], &t[0])],
        )
    });
}

#[test]
fn second_order_covers_the_blocks_between_inputs() {
    // f = a^2 b, gradient [2 a b, a^2], Hessian [[2 b, 2 a], [2 a, 0]]
    assert_checks(1e-9, |check| {
        check.second_order(
            [("a", 1.5), ("b", -0.8)],
            |v| vec![vec![2.0 * v[0][0] * v[1][0]], vec![v[0][0] * v[0][0]]],
            |v, t| {
                let [a, b, ta, tb] = [v[0][0], v[1][0], t[0][0], t[1][0]];
                vec![vec![2.0 * b * ta + 2.0 * a * tb], vec![2.0 * a * ta]]
            },
        )
    });
}

#[test]
fn logsumexp_passes_at_far_apart_arguments() {
    let value = |x: &[f64]| {
        let top = x.iter().copied().fold(f64::MIN, f64::max);
        top + x.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
    };
    assert_checks(1e-8, |check| {
        check.gradient([("x", [-8.0, 0.0, 3.0, 5.0])], |v| value(&v[0]), |v| vec![softmax(&v[0])])
    });
}

#[test]
fn softmax_passes_in_reverse_and_in_forward_mode() {
    let x = [0.2, -1.0, 3.0, 0.9];
    assert_checks(1e-8, |check| check.vjp([("x", x)], |v| softmax(&v[0]), |v, c| vec![softmax_vjp(&v[0], c)]));
    assert_checks(1e-8, |check| check.jvp([("x", x)], |v| softmax(&v[0]), |v, t| softmax_vjp(&v[0], &t[0])));
}

#[test]
fn matmul_passes_by_output_and_by_random_cotangents() {
    for cotangents in [16, 3] {
        assert_checks(1e-9, |check| {
            check.clone().cotangents(cotangents).vjp(
                factors(),
                |v| matmul(&v[0], &v[1]),
                |v, c| matmul_vjp(&v[0], &v[1], c),
            )
        });
    }
}

#[test]
fn large_inputs_pass_along_directions() {
    let x = scattered(20_000);
    assert_checks(1e-7, |check| {
        let report = check.gradient(
            [("x", x.as_slice())],
            |v| v[0].iter().map(|x| x.sin()).sum(),
            |v| vec![v[0].iter().map(|x| x.cos()).collect()],
        );
        assert_eq!(report.inputs[0].checked, 8);
        report
    });
}

#[test]
fn fast_mode_probes_small_inputs_too() {
    assert_checks(1e-8, |check| {
        let report = check.clone().fast().probes(2).jvp(
            factors(),
            |v| matmul(&v[0], &v[1]),
            |v, t| {
                let (left, right) = (matmul(&t[0], &v[1]), matmul(&v[0], &t[1]));
                left.iter().zip(&right).map(|(l, r)| l + r).collect()
            },
        );
        assert_eq!([report.inputs[0].checked, report.inputs[1].checked], [2, 2]);
        report
    });
}

#[test]
fn tiny_and_huge_scales_are_resolved() {
    // The step is relative to large x and shrinks for small x.
    assert_checks(1e-8, |check| {
        check.gradient(
            [("x", [1e-6, 1.0, 1e7])],
            |v| v[0].iter().map(|x| x.ln()).sum(),
            |v| vec![v[0].iter().map(|x| 1.0 / x).collect()],
        )
    });
    assert_checks(1e-8, |check| {
        check.gradient([("x", 0.37)], |v| (2000.0 * v[0][0]).sin(), |v| vec![vec![2000.0 * (2000.0 * v[0][0]).cos()]])
    });
}

#[test]
fn an_unused_input_has_a_zero_gradient_that_is_checked() {
    assert_checks(1e-9, |check| {
        check.gradient(
            [("used", 2.0), ("unused", 3.0)],
            |v| v[0][0].powi(3),
            |v| vec![vec![3.0 * v[0][0] * v[0][0]], vec![0.0]],
        )
    });
}

#[test]
fn a_small_gradient_beside_a_large_one_is_not_judged_on_its_noise() {
    // The values are about 1e6, so that the second slope carries noise of about 1e-6.
    assert_checks(1e-6, |check| {
        check.gradient(
            [("x", [0.9, 2.0])],
            |v| 1e6 * v[0][0].sin() + 0.05 * v[0][1].powi(2),
            |v| vec![vec![1e6 * v[0][0].cos(), 0.1 * v[0][1]]],
        )
    });
}

#[test]
fn steps_count_as_they_are_after_rounding() {
    // At 12345.678 doubles are 1.8e-12 apart, which is 6e-7 of the small steps this slope needs.
    let start = 12345.678;
    assert_checks(1e-8, |check| {
        check.gradient(
            [("x", start)],
            |v| (500.0 * (v[0][0] - start) + 0.3).sin(),
            |v| vec![vec![500.0 * (500.0 * (v[0][0] - start) + 0.3).cos()]],
        )
    });
}

#[test]
fn the_control_leaves_kinks_alone() {
    // The largest gradient is at a kink, where the check does not look.
    assert_checks(1e-9, |check| {
        check.gradient(
            [("x", [0.0, 1.0, 2.0, 3.0])],
            |v| 5.0 * v[0][0].abs() + v[0][1..].iter().sum::<f64>(),
            |_| vec![vec![5.0, 1.0, 1.0, 1.0]],
        )
    });
}
