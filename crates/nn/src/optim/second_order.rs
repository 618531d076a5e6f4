//! Curvature from gradients.

/// The product of the Hessian at `x` with a vector `v`, from two gradients on either side of `x` along `v`.
///
/// (g(x + h v) - g(x - h v)) / (2 h) with h |v| = cbrt(machine epsilon) max(1, |x|), about 6e-6 (Nocedal & Wright 2006,
/// equation 8.20). The truncation error is h^2 / 6 times the third derivative along v, twice, and the rounding error
/// that of the gradient over h: relative to |g| and |H v| of similar size about 1e-10. It is exact up to rounding for
/// quadratic functions. A `v` of zeros gives zeros. JAX: `jvp(grad(f), (x,), (v,))`, which is exact.
///
/// ```
/// use gradome_nn::optim::hessian_vector;
///
/// // the Hessian of x0^2 x1 at (1, 2) is [[4, 2], [2, 0]]
/// let product = hessian_vector(|x| vec![2.0 * x[0] * x[1], x[0] * x[0]], &[1.0, 2.0], &[1.0, -1.0]);
/// assert!((product[0] - 2.0).abs() < 1e-8 && (product[1] - 2.0).abs() < 1e-8);
/// ```
///
/// # Panics
/// When `x`, `v` and the gradient differ in length.
pub fn hessian_vector(mut gradient: impl FnMut(&[f64]) -> Vec<f64>, x: &[f64], v: &[f64]) -> Vec<f64> {
    assert_eq!(x.len(), v.len(), "hessian_vector: {} coordinates and a vector of {}", x.len(), v.len());
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let length = norm(v);
    if length == 0.0 {
        return vec![0.0; x.len()];
    }
    let h = f64::EPSILON.cbrt() * norm(x).max(1.0) / length;
    let mut at = |h: f64| {
        let moved: Vec<f64> = x.iter().zip(v).map(|(x, v)| x + h * v).collect();
        let g = gradient(&moved);
        assert_eq!(g.len(), x.len(), "hessian_vector: {} coordinates and a gradient of {}", x.len(), g.len());
        g
    };
    let (ahead, behind) = (at(h), at(-h));
    ahead.iter().zip(behind).map(|(a, b)| (a - b) / (2.0 * h)).collect()
}
