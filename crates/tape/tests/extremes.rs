//! Zeros, empty arrays, infinities, huge counts: what the ops give at the ends of their range.

use gradome_tape::special::{digamma, lgamma};
use gradome_tape::{Float, Tape, Tensor, Var};

const INF: f64 = f64::INFINITY;

fn constant<'t, T: Float>(tape: &'t Tape<T>, values: &[f64]) -> Var<'t, T> {
    tape.constant(&Tensor::from_f64([values.len()], values))
}

fn variable<'t, T: Float>(tape: &'t Tape<T>, values: &[f64]) -> Var<'t, T> {
    tape.variable(&Tensor::from_f64([values.len()], values))
}

#[test]
fn log_sum_exp_of_minus_infinities_is_minus_infinity_with_slope_zero() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([3, 2], &[-INF, -INF, -INF, 1.0, INF, 1.0]));
    let y = x.log_sum_exp();
    assert_eq!(y.value().data(), &[-INF, 1.0, INF]);
    let slopes = y.narrow(0, 0, 2).sum().backward().of(x).unwrap().to_f64();
    assert_eq!(&slopes[..4], &[0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn softmax_gives_zero_to_minus_infinity_and_keeps_rows_apart() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([3, 3], &[-INF, 0.0, 0.0, -INF, -INF, -INF, 1e4, -1e4, 1e4]));
    let p = x.softmax().value();
    assert_eq!(&p.data()[..3], &[0.0, 0.5, 0.5]);
    // 0 / 0, as in other libraries: a row without any possible outcome has no distribution
    assert!(p.data()[3..6].iter().all(|p| p.is_nan()));
    assert_eq!(&p.data()[6..], &[0.5, 0.0, 0.5]);
    let ln_p = x.log_softmax().value();
    assert_eq!(ln_p.data()[0], -INF);
    assert!((ln_p.data()[1] + 2.0_f64.ln()).abs() < 1e-15);
    assert!((ln_p.data()[7] + 2e4 + 2.0_f64.ln()).abs() < 1e-10);
    let slopes = x.softmax().narrow(0, 0, 1).square().sum().backward().of(x).unwrap().to_f64();
    assert!(slopes[..3].iter().all(|s| s.is_finite()));
}

/// Values and slopes of softmax, log_softmax and log_sum_exp, in double precision and naively.
fn softmax_family(x: &[f64], g: &[f64]) -> [Vec<f64>; 6] {
    let largest = x.iter().copied().fold(-INF, f64::max);
    let total: f64 = x.iter().map(|x| (x - largest).exp()).sum();
    let p: Vec<f64> = x.iter().map(|x| (x - largest).exp() / total).collect();
    let ln_total = largest + total.ln();
    let ln_p = x.iter().map(|x| (x - largest) - total.ln()).collect();
    let along: f64 = p.iter().zip(g).map(|(p, g)| p * g).sum();
    let sum: f64 = g.iter().sum();
    let slopes = p.iter().zip(g).map(|(p, g)| p * (g - along)).collect();
    let ln_slopes = p.iter().zip(g).map(|(p, g)| g - p * sum).collect();
    let of_total = p.iter().map(|p| p * g[0]).collect();
    [p, ln_p, vec![ln_total], slopes, ln_slopes, of_total]
}

fn narrow_rows<T: Float>(tolerance: f64) {
    const ROWS: usize = 5;
    let family: [for<'t> fn(Var<'t, T>) -> Var<'t, T>; 3] = [|x| x.softmax(), |x| x.log_softmax(), |x| x.log_sum_exp()];
    // single-precision numbers in either precision
    let number = |i: usize, k: f64| f64::from((3.0 * (k * i as f64).sin()) as f32);
    for (width, k) in (1..=40).flat_map(|width| (0..3).map(move |k| (width, k))) {
        let mut x: Vec<f64> = (0..ROWS * width).map(|i| number(i + width, 1.7)).collect();
        let g: Vec<f64> = (0..ROWS * width).map(|i| number(i, 0.9)).collect();
        // the first row has entries far away and impossible ones
        let far = 1e6;
        x[0] = far;
        if width > 2 {
            (x[1], x[2]) = (far - 1.0, -INF);
        }
        let tape = Tape::<T>::new();
        let v = tape.variable(&Tensor::from_f64([ROWS, width], &x));
        let y = family[k](v);
        // of log_sum_exp one number a row
        let each = if k == 2 { 1 } else { width };
        let cotangent: Vec<f64> = g.chunks(width).flat_map(|g| g[..each].to_vec()).collect();
        let slopes = y.backward_with(&Tensor::from_f64(&*y.shape(), &cotangent)).of(v).unwrap().to_f64();
        let y = y.value().to_f64();
        for (row, (x, g)) in x.chunks(width).zip(g.chunks(width)).enumerate() {
            let expected = softmax_family(x, g);
            let values = y[row * each..][..each].iter().zip(&expected[k]);
            for (found, expected) in values.chain(slopes[row * width..][..width].iter().zip(&expected[k + 3])) {
                let near = (found - expected).abs() <= tolerance * expected.abs().max(width as f64);
                assert!(near || found == expected, "op {k}, width {width}, row {row}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn rows_of_any_width_have_the_softmax_family_of_a_naive_loop() {
    narrow_rows::<f32>(1e-6);
    narrow_rows::<f64>(1e-14);
}

#[test]
fn a_row_of_one_has_probability_one() {
    let tape = Tape::<f32>::new();
    let x = tape.variable(&Tensor::new([2, 1], &[1e4, -1e4]));
    assert_eq!(x.softmax().value().data(), &[1.0, 1.0]);
    assert_eq!(x.log_softmax().value().data(), &[0.0, 0.0]);
    assert_eq!(x.log_softmax().sum().backward().of(x).unwrap().data(), &[0.0, 0.0]);
}

fn softplus_family_at_the_ends<T: Float>() {
    let tape = Tape::<T>::new();
    let x = variable(&tape, &[-1e4, 1e4, 0.0]);
    let ln_2 = 2.0_f64.ln();
    let check = |y: Var<'_, T>, values: [f64; 3], slopes: [f64; 3]| {
        let gradients = y.sum().backward();
        for i in 0..3 {
            assert!((y.value().data()[i].to_f64() - values[i]).abs() <= 2.0 * T::EPSILON * values[i].abs());
            assert!((gradients.of(x).unwrap().data()[i].to_f64() - slopes[i]).abs() <= T::EPSILON);
        }
    };
    check(x.softplus(), [0.0, 1e4, ln_2], [0.0, 1.0, 0.5]);
    check(x.log_sigmoid(), [-1e4, 0.0, -ln_2], [1.0, 0.0, 0.5]);
    check(x.sigmoid(), [0.0, 1.0, 0.5], [0.0, 0.0, 0.25]);
    check(x.log_add_exp(tape.scalar(0.0)), [0.0, 1e4, ln_2], [0.0, 1.0, 0.5]);
    let far = variable(&tape, &[1e4]);
    let y = far.log_add_exp(far - 2e4);
    assert_eq!(y.item().to_f64(), 1e4);
    assert_eq!(y.backward().of(far).unwrap().item().to_f64(), 1.0);
}

#[test]
fn softplus_and_its_family_are_exact_at_ten_thousand_in_f32_and_f64() {
    softplus_family_at_the_ends::<f32>();
    softplus_family_at_the_ends::<f64>();
}

#[test]
fn small_arguments_keep_their_relative_precision() {
    let tape = Tape::<f32>::new();
    let x = variable(&tape, &[1e-30, -1e-12, 1e-6]);
    for (name, y) in [("ln_1p", x.ln_1p()), ("exp_m1", x.exp_m1()), ("tanh", x.tanh()), ("sin", x.sin())] {
        for (x, y) in x.value().data().iter().zip(y.value().data()) {
            assert!((y - x).abs() <= 2e-6 * x.abs(), "{name}({x}) is {y}");
        }
    }
    // ln(1 + e^-50) = e^-50
    assert!((constant::<f32>(&tape, &[-50.0]).softplus().item() / (-50.0_f32).exp() - 1.0).abs() < 1e-5);
}

#[test]
fn nan_passes_through_and_is_never_hidden() {
    let tape = Tape::<f64>::new();
    let x = constant(&tape, &[f64::NAN, 1.0]);
    for y in [x.relu(), x.sigmoid(), x.softplus(), x.tanh(), x.exp(), x.ln(), x.abs(), x.clamp(0.0, 1.0), x.gelu()] {
        assert!(y.value().data()[0].is_nan() && !y.value().data()[1].is_nan(), "{y:?}");
    }
    for y in [x.sum(), x.mean(), x.max_axis(0), x.min_axis(0), x.log_sum_exp(), x.maximum(tape.scalar(0.0)).sum()] {
        assert!(y.item().is_nan(), "{y:?}");
    }
    assert_eq!(x.argmax(), [0]);
}

#[test]
fn empty_arrays_have_empty_values_and_gradients() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::zeros([0, 3]));
    let y = (x.exp() + 1.0).softmax().linear(tape.full([3, 2], 1.0), tape.full([2], 1.0));
    assert_eq!(&*y.shape(), &[0, 2]);
    assert_eq!(y.sum().item(), 0.0);
    assert_eq!(&*y.sum().backward().of(x).unwrap().shape(), &[0, 3]);
    assert!(y.mean().item().is_nan());
    assert_eq!(x.sum_axis(0).value().data(), &[0.0; 3]);
    assert_eq!(&*tape.concat(&[x, tape.full([2, 3], 1.0)], 0).shape(), &[2, 3]);
}

#[test]
fn layer_norm_of_a_constant_row_is_its_shift() {
    let tape = Tape::<f32>::new();
    let x = tape.variable(&Tensor::full([2, 5], 1e6));
    let shift = tape.variable(&Tensor::new([5], &[1.0, 2.0, 3.0, 4.0, 5.0]));
    let y = x.layer_norm(tape.full([5], 2.0), shift, 1e-5);
    assert_eq!(&y.value().data()[5..], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let gradients = y.square().sum().backward();
    assert!(gradients.of(x).unwrap().data().iter().all(|g| g.is_finite()));
}

#[test]
fn batch_norm_of_a_constant_feature_is_its_shift() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::full([4, 2], 7.0));
    let [y, mean, variance] = x.batch_norm(tape.full([2], 3.0), tape.full([2], -1.0), 1e-3);
    assert_eq!(y.value().data(), &[-1.0; 8]);
    assert_eq!((mean.value().data(), variance.value().data()), (&[7.0; 2][..], &[0.0; 2][..]));
    assert_eq!(y.sum().backward().of(x).unwrap().data(), &[0.0; 8]);
}

/// Counts, log means and log dispersions over the whole range that training can meet.
fn count_grid() -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mut x, mut ln_mean, mut ln_theta) = (Vec::new(), Vec::new(), Vec::new());
    for count in [0.0, 1.0, 2.0, 7.0, 31.0, 32.0, 33.0, 200.0, 5000.0, 1e6] {
        for m in [-30.0, -20.0, -8.0, -2.0, -0.3, 0.0, 0.9, 3.0, 6.0, 10.0, 14.0] {
            for t in [-10.0, -6.0, -2.0, 0.0, 1.5, 4.0, 8.0, 12.0] {
                x.push(count);
                ln_mean.push(m);
                ln_theta.push(t);
            }
        }
    }
    (x, ln_mean, ln_theta)
}

/// ln p and its slopes with respect to ln mean and ln dispersion.
fn negative_binomial<T: Float>(x: &[f64], ln_mean: &[f64], ln_theta: &[f64], epsilon: f64) -> [Vec<f64>; 3] {
    let tape = Tape::<T>::new();
    let (mean, theta) = (variable(&tape, ln_mean), variable(&tape, ln_theta));
    let ln_p = constant(&tape, x).negative_binomial(mean, theta, epsilon);
    let gradients = ln_p.sum().backward();
    [ln_p.value().to_f64(), gradients.of(mean).unwrap().to_f64(), gradients.of(theta).unwrap().to_f64()]
}

#[test]
fn negative_binomial_in_f64_equals_its_textbook_formula_where_that_is_accurate() {
    let (x, ln_mean, ln_theta) = count_grid();
    let [ln_p, by_mean, by_theta] = negative_binomial::<f64>(&x, &ln_mean, &ln_theta, 0.0);
    for i in 0..x.len() {
        let (x, mean, theta) = (x[i], ln_mean[i].exp(), ln_theta[i].exp());
        let gammas = [lgamma(x + theta), -lgamma(theta), -lgamma(x + 1.0)];
        let others = [-theta * (mean / theta).ln_1p(), x * (mean / (mean + theta)).ln()];
        let textbook: f64 = gammas.iter().chain(&others).sum();
        // the formula's own rounding: each term's, the argument of lgamma rounded, and that of its inputs' logarithms
        let size: f64 = gammas.iter().chain(&others).map(|t| t.abs()).sum();
        let allowed = 16.0 * f64::EPSILON * (size + (x + theta) * (1.0 + ln_mean[i].abs() + ln_theta[i].abs()));
        let case = format!("x {x} ln mean {} ln theta {}", ln_mean[i], ln_theta[i]);
        assert!((ln_p[i] - textbook).abs() <= allowed, "{case}: {} but {textbook}, allowed {allowed:.1e}", ln_p[i]);

        let slope = x - mean * (x + theta) / (mean + theta);
        let allowed = 16.0 * f64::EPSILON * (x + theta.min(mean)) * (1.0 + (ln_mean[i] - ln_theta[i]).abs());
        assert!((by_mean[i] - slope).abs() <= allowed, "{case}: slope by mean {} but {slope}", by_mean[i]);
        let parts = [
            theta * digamma(x + theta),
            -theta * digamma(theta),
            -theta * (mean / theta).ln_1p(),
            theta * mean / (mean + theta),
            -x * theta / (mean + theta),
        ];
        let slope: f64 = parts.iter().sum();
        let size: f64 = parts.iter().map(|p| p.abs()).sum();
        let allowed = 32.0 * f64::EPSILON * (size + 1.0 + theta) * (1.0 + ln_mean[i].abs() + ln_theta[i].abs());
        assert!((by_theta[i] - slope).abs() <= allowed, "{case}: slope by dispersion {} but {slope}", by_theta[i]);
    }
}

#[test]
fn negative_binomial_in_f32_is_as_accurate_as_its_inputs_allow() {
    let (x, ln_mean, ln_theta) = count_grid();
    let round = |values: &[f64]| -> Vec<f64> { values.iter().map(|&v| f64::from(v as f32)).collect() };
    let (ln_mean, ln_theta) = (round(&ln_mean), round(&ln_theta));
    let [single, single_by_mean, single_by_theta] = negative_binomial::<f32>(&x, &ln_mean, &ln_theta, 0.0);
    let [double, double_by_mean, double_by_theta] = negative_binomial::<f64>(&x, &ln_mean, &ln_theta, 0.0);
    for i in 0..x.len() {
        let theta = ln_theta[i].exp();
        let d = ln_mean[i] - ln_theta[i];
        let share = 1.0 / (1.0 + (-d).exp());
        let (failure, hits) = (theta * d.exp().ln_1p(), x[i] * (-d).exp().ln_1p());
        // terms are rounded, and d is: its rounding moves the terms by their slopes theta share and x (1 - share)
        let by_d = theta * share + x[i] * (1.0 - share);
        let rounding = 8.0 * f64::from(f32::EPSILON);
        let allowed = rounding * (failure + hits + by_d * (1.0 + d.abs()) + double[i].abs()) + 1e-37;
        let case = format!("x {} ln mean {} ln theta {}", x[i], ln_mean[i], ln_theta[i]);
        assert!((single[i] - double[i]).abs() <= allowed, "{case}: {} in f32, {}", single[i], double[i]);
        // the slopes have the same terms once more
        let allowed = rounding * by_d * (1.0 + d.abs()) + 1e-37;
        assert!((single_by_mean[i] - double_by_mean[i]).abs() <= allowed, "{case}: slope by mean");
        let rising = (double_by_theta[i] + failure - theta * share + x[i] * (1.0 - share)).abs();
        let allowed = allowed + rounding * (failure * (1.0 + d.abs()) + rising) + 1e-37;
        let (s, d) = (single_by_theta[i], double_by_theta[i]);
        assert!((s - d).abs() <= allowed, "{case}: slope by dispersion {s} in f32, {d}");
    }
}

#[test]
fn count_likelihoods_are_finite_over_the_whole_range() {
    let (x, ln_mean, ln_theta) = count_grid();
    for epsilon in [0.0, 1e-8] {
        for all in [
            negative_binomial::<f32>(&x, &ln_mean, &ln_theta, epsilon),
            negative_binomial::<f64>(&x, &ln_mean, &ln_theta, epsilon),
        ] {
            assert!(all.iter().flatten().all(|v| v.is_finite()), "epsilon {epsilon}");
            assert!(all[0].iter().all(|ln_p| *ln_p <= 1e-6), "probabilities of counts do not exceed 1");
        }
    }
    let tape = Tape::<f32>::new();
    let mean = variable(&tape, &ln_mean);
    let ln_p = constant(&tape, &x).poisson(mean);
    assert!(ln_p.value().data().iter().all(|v| v.is_finite()));
    assert!(ln_p.sum().backward().of(mean).unwrap().data().iter().all(|v| v.is_finite()));
}

#[test]
fn negative_binomial_tends_to_poisson_as_its_dispersion_grows() {
    for (x, mean) in [(0.0, 0.5), (3.0, 2.0), (10.0, 14.0), (60.0, 50.0)] {
        let tape = Tape::<f64>::new();
        let ln_mean = tape.full([1], f64::ln(mean));
        let poisson = constant(&tape, &[x]).poisson(ln_mean).item();
        for theta in [1e5, 1e6] {
            let ln_p = constant(&tape, &[x]).negative_binomial(ln_mean, tape.scalar(f64::ln(theta)), 0.0).item();
            // the first term of the expansion in 1 / theta; the next is of order (x + mean)^3 / theta^2
            let first = ((x - mean).powi(2) - x) / (2.0 * theta);
            let allowed = (x + mean + 1.0).powi(3) / theta.powi(2) + 1e-13 * (theta * theta.ln()).max(1.0) * 1e-2;
            assert!((ln_p - poisson - first).abs() <= allowed, "x {x} mean {mean} theta {theta}: {}", ln_p - poisson);
        }
    }
}

#[test]
fn probabilities_of_all_counts_add_up_to_one() {
    const COUNTS: usize = 4000;
    let tape = Tape::<f64>::new();
    let x = tape.constant(&Tensor::from_fn([COUNTS], |i| i as f64));
    for (mean, theta) in [(0.1, 0.5), (5.0, 0.7), (40.0, 3.0), (30.0, 1e6)] {
        let ln_mean = tape.full([COUNTS], f64::ln(mean));
        for (name, ln_p) in [
            ("negative binomial", x.negative_binomial(ln_mean, tape.scalar(f64::ln(theta)), 0.0)),
            ("poisson", x.poisson(ln_mean)),
        ] {
            let total = ln_p.exp().sum().item();
            assert!((total - 1.0).abs() < 1e-9, "{name} {mean} {theta}: {total}");
            let expected = (ln_p.exp() * x).sum().item();
            assert!((expected - mean).abs() < 1e-8 * mean.max(1.0), "{name} {mean} {theta}: mean {expected}");
        }
    }
}
