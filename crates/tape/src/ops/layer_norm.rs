//! Layer normalisation (Ba, Kiros & Hinton 2016): rows brought to mean 0 and variance 1, then scaled and shifted.

use std::ops::Range;

use crate::elementwise::MAX_PARAMETERS;
use crate::float::Float;
use crate::kernels::{simd_kernel, sum_of};
use crate::rows::RowFunction;
use crate::var::Var;

/// Rows with their mean taken off, over their standard deviation.
pub struct Standardise;

simd_kernel! {
    fn standardise_rows [T, L](x: &[T], y: &mut [T], width: usize, epsilon: T) {
        let n = L::of(width as f64);
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let mean = sum_of([x], |[x]: [L; 1]| x) / n;
            let variance = sum_of([x], |[x]: [L; 1]| (x - mean).square()) / n;
            let scale = (variance + L::new(epsilon)).sqrt().recip();
            for (x, y) in x.iter().zip(y) {
                *y = ((L::new(*x) - mean) * scale).get();
            }
        }
    }
}

simd_kernel! {
    /// out += (g - mean(g) - y mean(g y)) / sd, by rows.
    fn standardise_back [T, L](x: &[T], y: &[T], g: &[T], out: &mut [T], width: usize, epsilon: T) {
        let n = L::of(width as f64);
        let rows = x.chunks_exact(width).zip(y.chunks_exact(width)).zip(g.chunks_exact(width));
        for (((x, y), g), out) in rows.zip(out.chunks_exact_mut(width)) {
            let mean = sum_of([x], |[x]: [L; 1]| x) / n;
            let variance = sum_of([x], |[x]: [L; 1]| (x - mean).square()) / n;
            let scale = (variance + L::new(epsilon)).sqrt().recip();
            let mean = sum_of([g], |[g]: [L; 1]| g) / n;
            let along = sum_of([g, y], |[g, y]: [L; 2]| g * y) / n;
            for i in 0..width {
                let centred = L::new(g[i]) - mean - L::new(y[i]) * along;
                out[i] = centred.mul_add(scale, L::new(out[i])).get();
            }
        }
    }
}

impl RowFunction for Standardise {
    const NAME: &'static str = "standardise";
    const DOC: &'static str = "Rows of the last axis brought to mean 0 and variance 1; a row of equal values becomes 0. \
                               PyTorch: `F.layer_norm` without weight and bias.";
    const RANGE: Range<f64> = -2.0..2.0;
    const PARAMETERS: [f64; MAX_PARAMETERS] = [1e-5, 0.0];

    fn forward<T: Float>(x: &[T], p: &[T; MAX_PARAMETERS], width: usize, y: &mut [T]) {
        standardise_rows(x, y, width, p[0]);
    }

    fn backward<T: Float>(x: &[T], y: &[T], g: &[T], p: &[T; MAX_PARAMETERS], width: usize, out: &mut [T]) {
        standardise_back(x, y, g, out, width, p[0]);
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Each row of the last axis minus its mean, over sqrt(variance + `epsilon`); a row of equal values becomes 0.
    ///
    /// # Panics
    /// When there is no last axis or it is empty.
    pub fn standardise(self, epsilon: f64) -> Self {
        self.rows::<Standardise>([epsilon, 0.0])
    }

    /// Layer normalisation over the last axis, then times `scale` plus `shift` (both of the last axis' size).
    /// PyTorch: `F.layer_norm`.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn layer_norm(self, scale: Self, shift: Self, epsilon: f64) -> Self {
        let (x, a, b) = (self.shape(), scale.shape(), shift.shape());
        assert!(
            x.rank() > 0 && *a == [x.last_size()] && a == b,
            "layer_norm: {x} with scale {a} and shift {b}: expected [.., n], [n], [n]"
        );
        self.standardise(epsilon).times_plus(scale, shift)
    }
}
