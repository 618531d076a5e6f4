//! The linear-Gaussian state space against the dense multivariate normal distribution.

use gradome_tape::check::{check_function, gradient_check};
use gradome_tape::{StateSpace, Tape, Tensor, Var};

fn wave(shape: &[usize], phase: f64, scale: f64) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| scale * (1.3 * i as f64 + phase).sin())
}

/// A positive definite matrix.
fn covariance(n: usize, phase: f64) -> Tensor<f64> {
    let root = wave(&[n, n], phase, 0.6);
    let dot = |i: usize, j: usize| (0..n).map(|k| root.at(&[i, k]) * root.at(&[j, k])).sum::<f64>();
    Tensor::from_fn([n, n], |i| dot(i / n, i % n) + if i / n == i % n { 0.4 } else { 0.0 })
}

/// The parameters in order, then the observations.
fn operands(d: usize, outputs: usize, steps: usize) -> Vec<(String, Tensor<f64>)> {
    let named = |name: &str, value| (name.to_owned(), value);
    vec![
        named("A", wave(&[d, d], 0.1, 0.7)),
        named("C", wave(&[outputs, d], 0.2, 1.0)),
        named("Q", covariance(d, 0.3)),
        named("R", covariance(outputs, 0.4)),
        named("m0", wave(&[d], 0.5, 1.0)),
        named("P0", covariance(d, 0.6)),
        named("y", wave(&[steps, outputs], 0.7, 1.5)),
    ]
}

fn value<'t>(v: &[Var<'t, f64>], lengths: &[usize], observed: &[bool]) -> Var<'t, f64> {
    let [a, c, q, r, mean, covariance, y] = *v else { panic!("seven operands") };
    y.linear_gaussian(StateSpace { a, c, q, r, mean, covariance }, lengths, observed)
}

fn matmul(a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    (0..m * n).map(|i| (0..k).map(|l| a[i / n * k + l] * b[l * n + i % n]).sum()).collect()
}

fn transpose(a: &[f64], (m, n): (usize, usize)) -> Vec<f64> {
    (0..m * n).map(|i| a[i % m * n + i / m]).collect()
}

/// The log-density of all observations together: mean and covariance of the whole series, Gaussian elimination.
fn dense(x: &[(String, Tensor<f64>)], observed: &[bool]) -> f64 {
    let [a, c, q, r, m0, p0, y] = [0, 1, 2, 3, 4, 5, 6].map(|i| x[i].1.data());
    let (d, outputs, steps) = (m0.len(), r.len().isqrt(), y.len() / r.len().isqrt());
    let (at, ct) = (transpose(a, (d, d)), transpose(c, (outputs, d)));
    let n = steps * outputs;
    let (mut mean, mut all) = (vec![0.0; n], vec![0.0; n * n]);
    let (mut m, mut p) = (m0.to_vec(), p0.to_vec());
    for t in 0..steps {
        mean[t * outputs..(t + 1) * outputs].copy_from_slice(&matmul(c, &m, (outputs, d, 1)));
        // cov(x(s), x(t)) = A^(s - t) P(t)
        let mut later = p.clone();
        for s in t..steps {
            let block = matmul(&matmul(c, &later, (outputs, d, d)), &ct, (outputs, d, outputs));
            for (i, value) in block.iter().enumerate() {
                let (row, column) = (s * outputs + i / outputs, t * outputs + i % outputs);
                all[row * n + column] = *value + if s == t { r[i] } else { 0.0 };
                all[column * n + row] = all[row * n + column];
            }
            later = matmul(a, &later, (d, d, d));
        }
        m = matmul(a, &m, (d, d, 1));
        p = matmul(&matmul(a, &p, (d, d, d)), &at, (d, d, d));
        p.iter_mut().zip(q).for_each(|(p, q)| *p += q);
    }
    let seen: Vec<usize> = (0..n).filter(|&i| observed.is_empty() || observed[i]).collect();
    let n_seen = seen.len();
    let mut s: Vec<f64> =
        seen.iter().flat_map(|&i| seen.iter().map(move |&j| (i, j))).map(|(i, j)| all[i * n + j]).collect();
    let off: Vec<f64> = seen.iter().map(|&i| y[i] - mean[i]).collect();
    let mut solved = off.clone();
    let mut log_determinant = 0.0;
    for i in 0..n_seen {
        let pivot = s[i * n_seen + i];
        log_determinant += pivot.ln();
        for k in i + 1..n_seen {
            let factor = s[k * n_seen + i] / pivot;
            (i..n_seen).for_each(|j| s[k * n_seen + j] -= factor * s[i * n_seen + j]);
            solved[k] -= factor * solved[i];
        }
    }
    for i in (0..n_seen).rev() {
        let rest: f64 = (i + 1..n_seen).map(|j| s[i * n_seen + j] * solved[j]).sum();
        solved[i] = (solved[i] - rest) / s[i * n_seen + i];
    }
    let distance: f64 = off.iter().zip(&solved).map(|(a, b)| a * b).sum();
    -0.5 * (n_seen as f64 * std::f64::consts::TAU.ln() + log_determinant + distance)
}

#[test]
fn the_filter_gives_the_density_of_the_whole_series() {
    for (d, outputs, steps) in [(1, 1, 1), (2, 1, 5), (1, 3, 4), (3, 2, 6)] {
        let x = operands(d, outputs, steps);
        let masks = [vec![], (0..steps * outputs).map(|i| i % 3 != 1).collect::<Vec<bool>>()];
        for observed in masks {
            let tape = Tape::new();
            let vars: Vec<Var<'_, f64>> = x.iter().map(|(_, x)| tape.variable(x)).collect();
            let found = value(&vars, &[steps], &observed).value().data()[0];
            let expected = dense(&x, &observed);
            assert!((found - expected).abs() < 1e-10 * expected.abs().max(1.0), "{found}, dense {expected}");
        }
    }
}

#[test]
fn gradients_of_all_parameters_and_observations_are_right() {
    let (lengths, outputs) = ([3, 0, 1, 2], 2);
    let x = operands(3, outputs, 6);
    let mask: Vec<bool> = (0..12).map(|i| i % 4 != 1 && i / 2 != 4).collect();
    for observed in [vec![], mask] {
        let report = check_function(&gradient_check(), &x, |_, v| value(v, &lengths, &observed));
        assert!(report.passed(), "{report}");
    }
}

#[test]
fn sequences_do_not_see_each_other() {
    let x = operands(2, 2, 5);
    let tape = Tape::new();
    let vars: Vec<Var<'_, f64>> = x.iter().map(|(_, x)| tape.variable(x)).collect();
    let both = value(&vars, &[3, 2], &[]).value();
    let mut second = vars.clone();
    second[6] = vars[6].narrow(0, 3, 2);
    assert_eq!(both.data()[1], value(&second, &[2], &[]).value().data()[0]);
}

#[test]
fn nothing_observed_has_likelihood_one_and_no_gradient() {
    let x = operands(2, 1, 3);
    let tape = Tape::new();
    let vars: Vec<Var<'_, f64>> = x.iter().map(|(_, x)| tape.variable(x)).collect();
    let y = value(&vars, &[3], &[false; 3]).sum();
    assert_eq!(y.item(), 0.0);
    let gradients = y.backward();
    assert!(vars.iter().all(|v| gradients.of(*v).unwrap().data().iter().all(|g| *g == 0.0)));
}

#[test]
fn a_negative_variance_gives_nan() {
    let mut x = operands(1, 1, 2);
    x[3].1 = Tensor::new([1, 1], &[-100.0]);
    let tape = Tape::new();
    let vars: Vec<Var<'_, f64>> = x.iter().map(|(_, x)| tape.variable(x)).collect();
    assert!(value(&vars, &[2], &[]).sum().item().is_nan());
}

fn bits() -> Vec<u64> {
    let lengths = [1500, 7, 900, 1100];
    let x = operands(2, 1, 3507);
    let tape = Tape::new();
    let vars: Vec<Var<'_, f64>> = x.iter().map(|(_, x)| tape.variable(x)).collect();
    let y = value(&vars, &lengths, &[]);
    let gradients = y.sum().backward();
    let all = vars.iter().map(|v| gradients.of(*v).unwrap().to_f64()).chain([y.value().to_f64()]);
    all.flatten().map(f64::to_bits).collect()
}

#[test]
fn bits_are_the_same_at_any_number_of_threads() {
    let with = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(bits);
    assert!(with(1) == with(3));
}
