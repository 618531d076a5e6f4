//! L-BFGS on functions whose minima are known.

use gradome_nn::optim::{Lbfgs, LbfgsStop, hessian_vector};
use gradome_nn::{Error, ParamStore, Step};
use gradome_tape::{Tape, Tensor};

/// Rosenbrock's function in any even number of dimensions (More, Garbow & Hillstrom 1981, problem 21).
fn rosenbrock(x: &[f64], gradient: &mut [f64]) -> f64 {
    let mut sum = 0.0;
    for (x, g) in x.chunks_exact(2).zip(gradient.chunks_exact_mut(2)) {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        sum += a * a + 100.0 * b * b;
        g[0] = -2.0 * a - 400.0 * x[0] * b;
        g[1] = 200.0 * b;
    }
    sum
}

#[test]
fn rosenbrocks_minimum_is_found() {
    for size in [2, 20] {
        let mut x: Vec<f64> = (0..size).map(|i| if i % 2 == 0 { -1.2 } else { 1.0 }).collect();
        let report = Lbfgs::default().minimize(&mut x, rosenbrock).unwrap();
        assert_eq!(report.stop, LbfgsStop::SmallGradient, "{report:?}");
        assert!(report.iterations < 100 && report.evaluations < 150, "{report:?}");
        assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-8), "{x:?}");
        assert!(report.value < 1e-16 && report.gradient_norm <= 1e-9);
    }
}

/// Curvatures from 1 to 56 000; SciPy's L-BFGS-B with the same memory takes 512 iterations to the same gradient.
#[test]
fn an_ill_conditioned_quadratic_is_solved() {
    let curvature = |i: usize| 10f64.powf(i as f64 / 4.0);
    let mut x = vec![1.0; 20];
    let report = Lbfgs { memory: 20, ..Lbfgs::default() }.minimize(&mut x, |x, g| {
        let mut sum = 0.0;
        for (i, (x, g)) in x.iter().zip(g).enumerate() {
            *g = curvature(i) * (x - i as f64);
            sum += curvature(i) / 2.0 * (x - i as f64).powi(2);
        }
        sum
    });
    let report = report.unwrap();
    assert!(report.iterations < 600, "{report:?}");
    assert!(x.iter().enumerate().all(|(i, x)| (x - i as f64).abs() < 1e-8), "{x:?} {report:?}");
}

const ROWS: usize = 60;

fn logistic_regression(store: &mut ParamStore<f64>) -> gradome_nn::Result<gradome_nn::optim::LbfgsReport> {
    let x = Tensor::from_fn([ROWS, 3], |i| (i as f64 * 1.3).sin() * 2.0);
    let y = Tensor::from_fn([ROWS, 1], |i| f64::from((i as f64 * 3.9).sin() + (i as f64 * 1.7).cos() > 0.0));
    let (w, b) = (store.find("w").unwrap(), store.find("b").unwrap());
    let mut tape = Tape::new();
    Lbfgs::default().fit(store, |store| {
        let result = {
            let bound = store.bind(&tape);
            let step = Step::eval(&tape, &bound);
            let logits = tape.constant(&x).matmul(step.param(w)) + step.param(b);
            let loss = (logits.softplus() - logits * tape.constant(&y)).sum() + step.param(w).square().sum() * 0.05;
            (loss.item(), loss.backward())
        };
        tape.reset();
        Ok(result)
    })
}

#[test]
fn a_logistic_regression_ends_where_its_gradient_is_zero() {
    let mut store = ParamStore::new(0);
    let w = store.add("w", Tensor::zeros([3, 1]), true);
    let constant = store.add("constant", Tensor::full([2], 9.0), false);
    let b = store.add("b", Tensor::zeros([1]), true);
    let report = logistic_regression(&mut store).unwrap();
    assert_eq!(report.stop, LbfgsStop::SmallGradient, "{report:?}");
    assert!(report.gradient_norm < 1e-8 && report.iterations < 40, "{report:?}");
    assert_eq!(store.get(constant).data(), [9.0, 9.0]);
    // the gradient written out, without a tape
    let (w, b) = (store.get(w).data(), store.get(b).item());
    let mut gradient = [0.1 * w[0], 0.1 * w[1], 0.1 * w[2], 0.0];
    for i in 0..ROWS {
        let x: Vec<f64> = (0..3).map(|j| ((i * 3 + j) as f64 * 1.3).sin() * 2.0).collect();
        let y = f64::from((i as f64 * 3.9).sin() + (i as f64 * 1.7).cos() > 0.0);
        let logit = x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + b;
        let residual = 1.0 / (1.0 + (-logit).exp()) - y;
        (0..3).for_each(|j| gradient[j] += residual * x[j]);
        gradient[3] += residual;
    }
    assert!(gradient.iter().all(|g| g.abs() < 1e-8), "{gradient:?}");
}

#[test]
fn a_function_with_an_edge_is_minimised_inside_of_it() {
    // x - ln x, which is NaN below 0; the search for a long enough step goes over the edge
    let mut x = [30.0];
    let report = Lbfgs::default().minimize(&mut x, |x, g| {
        g[0] = 1.0 - 1.0 / x[0];
        x[0] - x[0].ln()
    });
    assert_eq!(report.unwrap().stop, LbfgsStop::SmallGradient);
    assert!((x[0] - 1.0).abs() < 1e-8);
}

#[test]
fn why_a_fit_stopped_is_told() {
    let mut x = [-1.2, 1.0];
    let report = Lbfgs { max_iterations: 3, ..Lbfgs::default() }.minimize(&mut x, rosenbrock).unwrap();
    assert_eq!((report.stop, report.iterations), (LbfgsStop::IterationsUsed, 3));
    let report = Lbfgs { value_tolerance: 0.5, ..Lbfgs::default() }.minimize(&mut x, rosenbrock).unwrap();
    assert_eq!(report.stop, LbfgsStop::SmallDecrease);
    // a gradient of the wrong sign
    let uphill = |x: &[f64], g: &mut [f64]| {
        g[0] = -2.0 * x[0];
        x[0] * x[0]
    };
    let mut x = [1.0];
    let report = Lbfgs::default().minimize(&mut x, uphill).unwrap();
    assert_eq!((report.stop, x[0]), (LbfgsStop::NoDescent, 1.0));
    // nothing to do
    let report = Lbfgs::default()
        .minimize(&mut [0.0, 0.0], |_, g| {
            g.fill(0.0);
            3.0
        })
        .unwrap();
    assert_eq!((report.stop, report.evaluations, report.value), (LbfgsStop::SmallGradient, 1, 3.0));
    assert_eq!(Lbfgs::default().minimize(&mut [], |_, _| 1.0).unwrap().stop, LbfgsStop::SmallGradient);
}

#[test]
fn wrong_starts_and_failures_are_errors() {
    let error = Lbfgs::default().minimize(&mut [1.0], |_, _| f64::INFINITY).unwrap_err().to_string();
    assert!(error.contains("first point") && error.contains("inf"), "{error}");
    assert!(Lbfgs { memory: 0, ..Lbfgs::default() }.minimize(&mut [1.0], |_, _| 0.0).is_err());
    let mut store = ParamStore::<f64>::new(0);
    store.add("w", Tensor::scalar(1.0), true);
    let error = Lbfgs::default().fit(&mut store, |_| Err(Error::data("counts", "are negative"))).unwrap_err();
    assert_eq!(error.to_string(), "counts: are negative");
}

/// The Hessian of Rosenbrock's function is [[2 - 400 (x1 - 3 x0^2), -400 x0], [-400 x0, 200]].
#[test]
fn hessian_products_agree_with_the_hessian() {
    let gradient = |x: &[f64]| {
        let mut g = vec![0.0; x.len()];
        rosenbrock(x, &mut g);
        g
    };
    for (x, v) in [([-1.2, 1.0], [1.0, 0.0]), ([0.3, 2.0], [-4.0, 700.0]), ([1.0, 1.0], [1e-5, 1e-5])] {
        let product = hessian_vector(gradient, &x, &v);
        let expected = [
            (2.0 - 400.0 * (x[1] - 3.0 * x[0] * x[0])) * v[0] - 400.0 * x[0] * v[1],
            -400.0 * x[0] * v[0] + 200.0 * v[1],
        ];
        let size = expected[0].abs().max(expected[1].abs());
        for (p, e) in product.iter().zip(expected) {
            assert!((p - e).abs() < 1e-7 * size, "{product:?} is not {expected:?}");
        }
    }
    assert_eq!(hessian_vector(gradient, &[1.0, 3.0], &[0.0, 0.0]), [0.0, 0.0]);
}
