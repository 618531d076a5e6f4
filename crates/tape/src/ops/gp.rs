//! Marginal log-likelihoods of Gaussian processes (Rasmussen & Williams 2006, eq. 2.30 and 5.9).

use std::f64::consts::PI;

use crate::float::Float;
use crate::kernels::dense::{add_symmetric_part, cholesky_inverse, cholesky_log_det, cholesky_solve, symmetric_part};
use crate::kernels::gemm::{MatrixRef, gemm};
use crate::kernels::reduce::sum_middle;
use crate::kernels::{for_each_chunk, rows_per_chunk, simd_kernel};
use crate::op::{Array, At, Draw, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::cholesky::square;
use crate::shape::Shape;
use crate::var::Var;

/// ln p of responses with covariance K + noise I, through its Cholesky factor.
pub struct GpLogLikelihood;
/// ln p of many responses that share K, each with covariance variance (K + ratio I), through the eigenvectors of K.
pub struct GpLogLikelihoodShared;

impl<T: Float> Op<T> for GpLogLikelihood {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (kernel, y, noise) = (&inputs[0], &inputs[1], &inputs[2]);
        assert!(
            kernel.rank() == 2
                && square(kernel, Self::NAME) == kernel[0]
                && y.rank() == 2
                && y[0] == kernel[0]
                && (noise.rank() == 0 || **noise == [kernel[0]]),
            "gp_log_likelihood: kernel {kernel}, responses {y}, noise {noise}: expected [n, n], [n, k] and [] or [n]"
        );
        Shapes::from_elem(Shape::new(&[y[1]]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let (n, k) = (x[1].shape[0], x[1].shape[1]);
        let pool = saved.pool.clone();
        let factor = saved.keep(n * n);
        symmetric_part(x[0].data, n, factor);
        let noise = x[2].data;
        (0..n).for_each(|i| factor[i * n + i] += noise[if noise.len() == 1 { 0 } else { i }]);
        if !T::cholesky(factor, n, &pool) {
            factor.fill(T::of(f64::NAN));
        }
        let log_det = cholesky_log_det(factor, n).to_f64();
        let mut solved = pool.take(n * k);
        solved.copy_from_slice(x[1].data);
        cholesky_solve(factor, n, &mut solved, k);
        for (column, y) in y[0].iter_mut().enumerate() {
            let quadratic: f64 =
                (0..n).map(|i| x[1].data[i * k + column].to_f64() * solved[i * k + column].to_f64()).sum();
            *y = T::of(-0.5 * (quadratic + log_det + n as f64 * (2.0 * PI).ln()));
        }
        saved.keep(n * k).copy_from_slice(&solved);
    }

    /// With a = A^-1 y: K: (a diag(g) a' - sum(g) A^-1) / 2; noise: the diagonal of that; y: -a g.
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (n, k) = (at.x[1].shape[0], at.x[1].shape[1]);
        let (factor, solved, g) = (&at.saved[0], &at.saved[1], at.grad(0));
        let mut weighted = at.scratch(n * k);
        if k > 0 {
            for (weighted, solved) in weighted.chunks_exact_mut(k).zip(solved.chunks_exact(k)) {
                (0..k).for_each(|j| weighted[j] = solved[j] * g[j]);
            }
        }
        grads.add(1, |i| -weighted[i]);
        if !grads.wanted(0) && !grads.wanted(2) {
            return;
        }
        let (mut inner, mut outer) = (at.scratch(n * n), at.scratch(n * n));
        cholesky_inverse(factor, n, &mut inner);
        gemm(
            (n, k, n),
            MatrixRef::row_major(&weighted, k),
            MatrixRef::row_major(solved, k).transposed(),
            &mut outer,
            false,
        );
        let total: T = g.iter().copied().sum();
        for (inner, outer) in inner.iter_mut().zip(outer.iter()) {
            *inner = T::of(0.5) * (*outer - total * *inner);
        }
        if let Some(grad) = grads.sum(0) {
            add_symmetric_part(&inner, n, T::ONE, grad);
        }
        if let Some(grad) = grads.sum(2) {
            let one = grad.len() == 1;
            (0..n).for_each(|i| grad[if one { 0 } else { i }] += inner[i * n + i]);
        }
    }
}

simd_kernel! {
    /// Rows of ln(v (w + ratio)) + r^2 / (v (w + ratio)), with w one number a row, ratio and v one a column.
    fn shared_terms [T, L](values: &[T], rotated: &[T], ratio: &[T], variance: &[T], out: &mut [T]) {
        let width = ratio.len();
        for ((w, rotated), out) in values.iter().zip(rotated.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
            for i in 0..width {
                let spread = L::new(variance[i]) * (L::new(*w) + L::new(ratio[i]));
                out[i] = (spread.ln() + L::new(rotated[i]).square() / spread).get();
            }
        }
    }
}

simd_kernel! {
    /// With u = w + ratio and half = g / 2, rows of half (r^2 / (v u) - 1) / u; the slope by ratio before its sum.
    fn shared_slopes [T, L](values: &[T], rotated: &[T], ratio: &[T], variance: &[T], g: &[T], out: &mut [T]) {
        let width = ratio.len();
        for ((w, rotated), out) in values.iter().zip(rotated.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
            for i in 0..width {
                let u = L::new(*w) + L::new(ratio[i]);
                let quadratic = L::new(rotated[i]).square() / (L::new(variance[i]) * u);
                out[i] = (L::of(0.5) * L::new(g[i]) * (quadratic - L::of(1.0)) / u).get();
            }
        }
    }
}

simd_kernel! {
    /// Rows of r / u with u = w + ratio, and of g / u.
    fn shared_weights [T, L](values: &[T], rotated: &[T], ratio: &[T], g: &[T], scaled: &mut [T], inverse: &mut [T]) {
        let width = ratio.len();
        let outputs = scaled.chunks_exact_mut(width).zip(inverse.chunks_exact_mut(width));
        for ((w, rotated), (scaled, inverse)) in values.iter().zip(rotated.chunks_exact(width)).zip(outputs) {
            for i in 0..width {
                let u = L::new(*w) + L::new(ratio[i]);
                scaled[i] = (L::new(rotated[i]) / u).get();
                inverse[i] = (L::new(g[i]) / u).get();
            }
        }
    }
}

impl<T: Float> Op<T> for GpLogLikelihoodShared {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (kernel, y, ratio, variance) = (&inputs[0], &inputs[1], &inputs[2], &inputs[3]);
        assert!(
            kernel.rank() == 2
                && square(kernel, Self::NAME) == kernel[0]
                && y.rank() == 2
                && y[0] == kernel[0]
                && **ratio == [y[1]]
                && ratio == variance,
            "gp_log_likelihood_shared: kernel {kernel}, responses {y}, ratio {ratio}, variance {variance}: expected \
             [n, n], [n, genes], [genes], [genes]"
        );
        Shapes::from_elem(*ratio, 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let (n, genes) = (x[1].shape[0], x[1].shape[1]);
        let pool = saved.pool.clone();
        let (mut values, mut vectors, mut symmetric) = (pool.take(n), pool.take(n * n), pool.take(n * n));
        symmetric_part(x[0].data, n, &mut symmetric);
        if n > 0 && !T::eigh(&symmetric, n, &mut values, &mut vectors, &pool) {
            values.fill(T::of(f64::NAN));
            vectors.fill(T::of(f64::NAN));
        }
        let rotated = saved.keep(n * genes);
        let left = MatrixRef::row_major(&vectors, n).transposed();
        gemm((n, n, genes), left, MatrixRef::row_major(x[1].data, genes), rotated, false);
        let mut terms = pool.take(n * genes);
        let rows = rows_per_chunk(genes);
        if genes > 0 {
            for_each_chunk(&mut terms, rows * genes, |i, terms| {
                let rotated = &rotated[i * rows * genes..][..terms.len()];
                shared_terms(&values[i * rows..], rotated, x[2].data, x[3].data, terms);
            });
        }
        sum_middle(&terms, (1, n, genes), y[0], &pool);
        let constant = T::of(n as f64 * (2.0 * PI).ln());
        y[0].iter_mut().for_each(|y| *y = T::of(-0.5) * (*y + constant));
        saved.keep(n).copy_from_slice(&values);
        saved.keep(n * n).copy_from_slice(&vectors);
    }

    /// With u = w + ratio, r = V' y and a = r / u: K: V (a diag(g / v) a' - diag(sum(g / u))) V' / 2; y: -V (a g / v);
    /// ratio: g sum(r^2 / (v u^2) - 1 / u) / 2; variance: g (sum(r^2 / (v u)) - n) / (2 v).
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (n, genes) = (at.x[1].shape[0], at.x[1].shape[1]);
        let (rotated, values, vectors) = (&at.saved[0], &at.saved[1], &at.saved[2]);
        let (ratio, variance, g) = (at.x[2].data, at.x[3].data, at.grad(0));
        if n * genes == 0 {
            (0..4).for_each(|operand| grads.add(operand, |_| T::ZERO));
            return;
        }
        let vectors = MatrixRef::row_major(vectors, n);
        let (mut scaled, mut inverse) = (at.scratch(n * genes), at.scratch(n * genes));
        shared_weights(values, rotated, ratio, g, &mut scaled, &mut inverse);
        let mut summed = at.scratch(genes);
        if grads.wanted(2) {
            let mut slopes = at.scratch(n * genes);
            shared_slopes(values, rotated, ratio, variance, g, &mut slopes);
            sum_middle(&slopes, (1, n, genes), &mut summed, at.pool);
            grads.add_slice(2, &summed);
        }
        if grads.wanted(3) {
            let mut quadratic = at.scratch(n * genes);
            for (i, quadratic) in quadratic.iter_mut().enumerate() {
                *quadratic = rotated[i] * scaled[i];
            }
            sum_middle(&quadratic, (1, n, genes), &mut summed, at.pool);
            let half = |i: usize| T::of(0.5) * g[i] / variance[i];
            grads.add(3, |i| half(i) * (summed[i] / variance[i] - T::of(n as f64)));
        }
        let mut weighted = at.scratch(n * genes);
        for (weighted, scaled) in weighted.chunks_exact_mut(genes).zip(scaled.chunks_exact(genes)) {
            (0..genes).for_each(|i| weighted[i] = -scaled[i] * g[i] / variance[i]);
        }
        if let Some((grad, accumulate)) = grads.write(1) {
            gemm((n, n, genes), vectors, MatrixRef::row_major(&weighted, genes), grad, accumulate);
        }
        if let Some(grad) = grads.sum(0) {
            let (mut inner, mut left, mut diagonal) = (at.scratch(n * n), at.scratch(n * n), at.scratch(n));
            let right = MatrixRef::row_major(&scaled, genes).transposed();
            gemm((n, genes, n), MatrixRef::row_major(&weighted, genes), right, &mut inner, false);
            sum_middle(&inverse, (n, genes, 1), &mut diagonal, at.pool);
            (0..n).for_each(|i| inner[i * n + i] += diagonal[i]);
            gemm((n, n, n), vectors, MatrixRef::row_major(&inner, n), &mut left, false);
            gemm((n, n, n), MatrixRef::row_major(&left, n), vectors.transposed(), &mut inner, false);
            add_symmetric_part(&inner, n, T::of(-0.5), grad);
        }
    }
}

impl Samples for GpLogLikelihood {
    const NAME: &'static str = "gp_log_likelihood";
    const DOC: &'static str = "Log-density of responses under a Gaussian process with noise, through the Cholesky \
        factor. GPyTorch: `ExactMarginalLogLikelihood` (Rasmussen & Williams 2006, eq. 2.30).";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |n: usize, k: usize, noise: &[usize]| {
            let (real, positive) = (Draw::Real(-1.0..1.0), Draw::Real(0.2..1.0));
            Sample::drawn(Self, &[(&[n, n], Draw::PositiveDefinite), (&[n, k], real), (noise, positive)])
        };
        vec![sample(5, 3, &[]), sample(4, 1, &[4]), sample(1, 2, &[1]), sample(3, 0, &[]), sample(0, 2, &[])]
    }
}

impl Samples for GpLogLikelihoodShared {
    const NAME: &'static str = "gp_log_likelihood_shared";
    const DOC: &'static str = "Log-density of many responses with one kernel matrix and a noise ratio and variance each, \
        through one eigendecomposition (Svensson, Teichmann & Stegle 2018, SpatialDE).";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |n: usize, genes: usize| {
            let (real, positive) = (Draw::Real(-1.0..1.0), Draw::Real(0.2..1.5));
            let kernel = (&[n, n][..], Draw::PositiveDefinite);
            Sample::drawn(Self, &[kernel, (&[n, genes], real), (&[genes], positive.clone()), (&[genes], positive)])
        };
        vec![sample(5, 3), sample(4, 17), sample(1, 1), sample(3, 0), sample(0, 2)]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// ln N(y; 0, K + noise I) for each column of the responses `[n, k]`, of shape `[k]`, for a kernel matrix K
    /// `[n, n]` (`self`) and a noise variance `[]`, or one for each observation, `[n]`.
    ///
    /// Gradients reach K, y and the noise. The symmetric part of K is read, and its gradient is symmetric; NaN where
    /// K + noise I is not positive definite. Source: Rasmussen & Williams (2006), eq. 2.30 and 5.9.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn gp_log_likelihood(self, y: Self, noise: Self) -> Self {
        self.tape.record(GpLogLikelihood, &[self, y, noise])[0]
    }

    /// ln N(y; 0, variance (K + ratio I)) for each column of the responses `[n, genes]`, of shape `[genes]`, for a
    /// kernel matrix K `[n, n]` (`self`) that all share, and a noise ratio and a variance `[genes]`.
    ///
    /// One eigendecomposition serves all genes. Gradients reach all four; that of K needs no gaps between eigenvalues,
    /// so that equal ones do no harm. NaN where K + ratio I is not positive definite. If K stays the same from step to
    /// step decompose it once and use [`Var::gp_log_likelihood_spectral`]. Source: Svensson, Teichmann & Stegle (2018),
    /// SpatialDE; Lippert et al. (2011), FaST linear mixed models.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn gp_log_likelihood_shared(self, y: Self, ratio: Self, variance: Self) -> Self {
        self.tape.record(GpLogLikelihoodShared, &[self, y, ratio, variance])[0]
    }

    /// [`Var::gp_log_likelihood_shared`] for a kernel matrix V diag(w) V' that was decomposed before: eigenvalues w
    /// `[n]` (`self`) and rotated responses V' y `[n, genes]`. A step costs O(n) a gene.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn gp_log_likelihood_spectral(self, rotated: Self, ratio: Self, variance: Self) -> Self {
        let (values, shape) = (self.shape(), rotated.shape());
        assert!(
            values.rank() == 1 && shape.rank() == 2 && shape[0] == values[0] && *ratio.shape() == [shape[1]],
            "gp_log_likelihood_spectral: eigenvalues {values}, rotated responses {shape}, ratio {}: expected [n], \
             [n, genes], [genes]",
            ratio.shape()
        );
        let spread = (self.unsqueeze(-1) + ratio) * variance;
        let terms = spread.ln() + rotated.square() / spread;
        (terms.sum_axis(0) + values[0] as f64 * (2.0 * PI).ln()) * -0.5
    }
}
