//! Elementwise ops against closed forms, at the ends of their range, and the gradients of hard decisions.

use gradome_tape::special::{erf, erfc};
use gradome_tape::{Gradient, Tape, Tensor, Var, registry};
use proptest::prelude::*;

/// Values and slopes of a function at some points.
fn at(points: &[f64], f: impl for<'t> Fn(Var<'t, f64>) -> Var<'t, f64>) -> (Vec<f64>, Vec<f64>) {
    let tape = Tape::new();
    let x = tape.variable(&Tensor::new([points.len()], points));
    let y = f(x);
    let slopes = y.sum().backward().of(x).map_or_else(|| vec![0.0; points.len()], Tensor::to_f64);
    (y.value().to_f64(), slopes)
}

fn assert_close(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance * e.abs().max(1.0), "{got:?} should be {expected:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn powi_is_repeated_multiplication_for_either_sign(x in -3.0..3.0f64, n in -40i32..=40) {
        prop_assume!(x.abs() > 0.1);
        let (value, slope) = at(&[x], |v| v.powi(n));
        prop_assert!((value[0] / x.powi(n) - 1.0).abs() < 1e-13);
        let expected = f64::from(n) * x.powi(n - 1);
        prop_assert!((slope[0] - expected).abs() <= 1e-12 * expected.abs());
    }

    #[test]
    fn soft_shrink_minimises_its_proximal_objective(x in -4.0..4.0f64, t in 0.01..2.0f64, step in 1e-3..1.0f64) {
        let y = at(&[x], |v| v.soft_shrink(t)).0[0];
        let objective = |y: f64| 0.5 * (y - x).powi(2) + t * y.abs();
        prop_assert!(objective(y) <= objective(y + step) && objective(y) <= objective(y - step));
    }
}

#[test]
fn powi_of_zero_is_one_at_exponent_zero_and_keeps_its_slope() {
    assert_eq!(at(&[0.0, -2.0, f64::NAN], |x| x.powi(0)).0, [1.0; 3]);
    assert_eq!(at(&[0.0, -2.0], |x| x.powi(0)).1, [0.0; 2]);
    assert_eq!(at(&[0.0, -2.0], |x| x.powi(1)), (vec![0.0, -2.0], vec![1.0; 2]));
    assert_eq!(at(&[0.0, -2.0], |x| x.powi(2)), (vec![0.0, 4.0], vec![0.0, -4.0]));
    assert_eq!(at(&[0.0, -2.0], |x| x.powi(-1)).0, [f64::INFINITY, -0.5]);
    assert_eq!(at(&[-1.0], |x| x.powi(255)).0, [-1.0]);
    assert!(at(&[1.0], |x| x.powi(256)).0[0].is_nan());
}

/// x, erf(x) and erfc(x), computed with 90 digits from the power series and the continued fraction.
const ERROR_FUNCTIONS: [(f64, f64, f64); 15] = [
    (0.001, 0.0011283787909692365, 0.9988716212090307),
    (0.3, 0.32862675945912745, 0.6713732405408726),
    (0.5, 0.5204998778130465, 0.4795001221869535),
    (0.9, 0.7969082124228322, 0.20309178757716786),
    (1.0, 0.8427007929497149, 0.15729920705028513),
    (1.1, 0.8802050695740817, 0.1197949304259183),
    (1.5, 0.9661051464753108, 0.033894853524689274),
    (2.0, 0.9953222650189527, 0.004677734981047266),
    (3.0, 0.9999779095030014, 2.209049699858544e-05),
    (4.0, 0.9999999845827421, 1.541725790028002e-08),
    (5.0, 0.9999999999984626, 1.537459794428035e-12),
    (6.5, 1.0, 3.8421483271206475e-20),
    (10.0, 1.0, 2.088487583762545e-45),
    (20.0, 1.0, 5.395865611607901e-176),
    (26.0, 1.0, 5.663192408856143e-296),
];

#[test]
fn error_functions_in_f64_are_exact_to_the_last_digits() {
    for (x, erf_x, erfc_x) in ERROR_FUNCTIONS {
        assert!((erf::<f64>(x) / erf_x - 1.0).abs() < 7e-16, "erf({x}) is {}, not {erf_x}", erf::<f64>(x));
        assert!((erfc::<f64>(x) / erfc_x - 1.0).abs() < 2e-15, "erfc({x}) is {}, not {erfc_x}", erfc::<f64>(x));
        assert_eq!(erf::<f64>(-x), -erf::<f64>(x));
        assert!((erfc::<f64>(-x) - (1.0 + erf_x)).abs() < 1e-15);
    }
    let ends = [0.0, f64::INFINITY, f64::NEG_INFINITY];
    assert_eq!(ends.map(erf::<f64>), [0.0, 1.0, -1.0]);
    assert_eq!(ends.map(erfc::<f64>), [1.0, 0.0, 2.0]);
    assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
}

#[test]
fn exact_gelu_keeps_its_relative_precision_in_the_left_tail() {
    // x Phi(x) with Phi(-10) = erfc(10 / sqrt 2) / 2 = 7.619853024160527e-24
    let (value, _) = at(&[-10.0, 0.0, 10.0], |x| x.gelu_erf());
    assert!((value[0] / -7.619853024160527e-23 - 1.0).abs() < 1e-13, "{value:?}");
    assert_eq!(&value[1..], &[0.0, 10.0]);
}

#[test]
fn soft_shrink_is_zero_with_slope_zero_inside_its_threshold() {
    let (value, slope) = at(&[-2.0, -0.5, 0.0, 0.5, 2.0], |x| x.soft_shrink(0.5));
    assert_eq!((value, slope), (vec![-1.5, 0.0, 0.0, 0.0, 1.5], vec![1.0, 0.0, 0.0, 0.0, 1.0]));
    assert!(at(&[f64::NAN], |x| x.soft_shrink(0.5)).0[0].is_nan());
}

#[test]
fn a_hard_step_has_the_slope_of_the_soft_one() {
    let points = [-5.0, 0.2, 0.3, 0.4, 5.0];
    let (hard, hard_slope) = at(&points, |x| x.hard_step(0.3, 0.1));
    let (soft, soft_slope) = at(&points, |x| x.soft_step(0.3, 0.1));
    assert_eq!(hard, [0.0, 0.0, 0.0, 1.0, 1.0]);
    assert_close(&hard_slope, &soft_slope, 1e-15);
    assert!(hard_slope[2] > hard_slope[1] && soft[1] > 0.2);
    // the soft step tends to the hard one
    assert_close(&at(&[0.2, 0.4], |x| x.soft_step(0.3, 1e-3)).0, &[0.0, 1.0], 1e-15);
    assert!(at(&[f64::NAN], |x| x.hard_step(0.3, 0.1)).0[0].is_nan());
}

#[test]
fn rounding_passes_its_gradient_through() {
    let (value, slope) = at(&[-1.5, -0.4, 0.5, 1.5, 2.6], |x| x.round_through() * 3.0);
    assert_eq!((value, slope), (vec![-6.0, 0.0, 0.0, 6.0, 9.0], vec![3.0; 5]));
}

#[test]
fn a_relaxed_draw_tends_to_the_hard_one_whose_gradient_it_lends() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([2, 3], &[0.1, 0.7, 0.2, 1.0, -1.0, 0.0]));
    let noise = tape.constant(&Tensor::new([2, 3], &[0.5, 0.3, -0.2, 0.1, 2.5, 0.4]));
    let hard = x.gumbel_softmax_hard(noise, 0.7);
    // x + noise is [0.6, 1.0, 0.0] and [1.1, 1.5, 0.4]
    assert_eq!(hard.value().data(), &[0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
    assert_close(&x.gumbel_softmax(noise, 1e-3).value().to_f64(), &hard.value().to_f64(), 1e-15);
    let cotangent = Tensor::new([2, 3], &[1.0, -2.0, 0.5, 0.3, 0.9, -1.0]);
    let own = hard.backward_with(&cotangent).of(x).unwrap().to_f64();
    let soft = x.gumbel_softmax(noise, 0.7).backward_with(&cotangent).of(x).unwrap().to_f64();
    assert_eq!(own, soft);
    assert!(soft.iter().all(|g| g.abs() > 1e-3));
    let nan = tape.constant(&Tensor::new([2], &[1.0, f64::NAN])).one_hot_through();
    assert!(nan.value().data().iter().all(|v| v.is_nan()));
}

#[test]
fn ops_without_a_gradient_and_surrogates_are_listed_as_such() {
    let kinds: Vec<(&str, Gradient)> = registry().iter().map(|row| (row.name, row.gradient)).collect();
    let kind = |name: &str| kinds.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name} is missing")).1;
    assert_eq!(kind("argmax_axis"), Gradient::None);
    assert_eq!(kind("argsort"), Gradient::None);
    assert_eq!(kind("one_hot_through"), Gradient::Surrogate("x"));
    assert!(matches!(kind("hard_step"), Gradient::Surrogate(name) if name.contains("sigmoid")));
    assert_eq!(kind("soft_step"), Gradient::Exact);
}
