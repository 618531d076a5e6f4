//! Functions whose derivatives are known, shared by the tests.

use gradome_gradcheck::Input;

/// Numbers without pattern in [-1, 1): the fractional parts of multiples of the golden ratio.
pub fn scattered(len: usize) -> Vec<f64> {
    let golden = 0.5 * (1.0 + 5_f64.sqrt());
    (1..=len).map(|i| 2.0 * (i as f64 * golden).fract() - 1.0).collect()
}

/// f = sum of (1 - x_i)^2 + 100 (x_{i+1} - x_i^2)^2.
pub fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2).map(|w| (1.0 - w[0]).powi(2) + 100.0 * (w[1] - w[0] * w[0]).powi(2)).sum()
}

pub fn rosenbrock_gradient(x: &[f64]) -> Vec<f64> {
    let mut gradient = vec![0.0; x.len()];
    for i in 0..x.len() - 1 {
        let valley = x[i + 1] - x[i] * x[i];
        gradient[i] += -2.0 * (1.0 - x[i]) - 400.0 * x[i] * valley;
        gradient[i + 1] += 200.0 * valley;
    }
    gradient
}

/// The Hessian of [`rosenbrock`] times `t`.
pub fn rosenbrock_hessian_vector(x: &[f64], t: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; x.len()];
    for i in 0..x.len() - 1 {
        let own = 2.0 - 400.0 * (x[i + 1] - 3.0 * x[i] * x[i]);
        let cross = -400.0 * x[i];
        product[i] += own * t[i] + cross * t[i + 1];
        product[i + 1] += cross * t[i] + 200.0 * t[i + 1];
    }
    product
}

pub fn softmax(x: &[f64]) -> Vec<f64> {
    let total: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / total).collect()
}

/// J^T c of softmax, which is J c as well: J is symmetric.
pub fn softmax_vjp(x: &[f64], c: &[f64]) -> Vec<f64> {
    let y = softmax(x);
    let mean: f64 = y.iter().zip(c).map(|(y, c)| y * c).sum();
    y.iter().zip(c).map(|(y, c)| y * (c - mean)).collect()
}

/// a [2, 3] times b [3, 4].
pub fn matmul(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; 8];
    for (i, j, k) in indices() {
        product[4 * i + j] += a[3 * i + k] * b[4 * k + j];
    }
    product
}

/// The cotangents of both factors of [`matmul`]: c b^T and a^T c.
pub fn matmul_vjp(a: &[f64], b: &[f64], c: &[f64]) -> Vec<Vec<f64>> {
    let (mut of_a, mut of_b) = (vec![0.0; 6], vec![0.0; 12]);
    for (i, j, k) in indices() {
        of_a[3 * i + k] += c[4 * i + j] * b[4 * k + j];
        of_b[4 * k + j] += a[3 * i + k] * c[4 * i + j];
    }
    vec![of_a, of_b]
}

fn indices() -> impl Iterator<Item = (usize, usize, usize)> {
    (0..2).flat_map(|i| (0..4).flat_map(move |j| (0..3).map(move |k| (i, j, k))))
}

pub fn factors() -> [Input; 2] {
    let values = scattered(18);
    [Input::new("a", [2, 3], &values[..6]), Input::new("b", [3, 4], &values[6..])]
}
