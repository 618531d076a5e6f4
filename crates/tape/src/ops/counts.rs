//! Log-likelihoods of counts: negative binomial and Poisson, from log means.
//!
//! Most counts in omics are zero, where the Gamma functions cancel; small counts need a product of a few factors.
//! Larger counts are computed in double precision throughout, because terms of 1e7 cancel there.

use std::sync::OnceLock;

use crate::float::Float;
use crate::kernels::operand::Operand;
use crate::kernels::reduce::add_summed_to;
use crate::kernels::{CHUNK, for_each_chunk, for_each_chunk2, simd_kernel};
use crate::lane::Lane;
use crate::op::{Array, At, Draw, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::special::{digamma, lgamma};
use crate::var::Var;

/// Up to here Gamma(x + theta) / Gamma(theta) is taken as a product of x factors.
const PRODUCT_UP_TO: f64 = 32.0;
/// A product is turned into a logarithm before it can overflow.
const PRODUCT_LIMIT: f64 = 1e250;
/// How many log factorials are kept in a table.
const TABLE: usize = 4096;

/// ln x!, from a table for the counts that occur most.
fn ln_factorial(x: f64) -> f64 {
    static LN_FACTORIALS: OnceLock<Vec<f64>> = OnceLock::new();
    let table = LN_FACTORIALS.get_or_init(|| (0..TABLE).map(|n| lgamma(n as f64 + 1.0)).collect());
    if x < TABLE as f64 && x == f64::from(x as u32) { table[x as usize] } else { lgamma(x + 1.0) }
}

/// Whether a count is small enough for a product (and is a whole number at all).
fn few(x: f64) -> bool {
    x <= PRODUCT_UP_TO && x == f64::from(x as u32)
}

/// ln Gamma(x + theta) - ln Gamma(theta) and its derivative with respect to theta.
fn ln_rising(x: f64, theta: f64) -> (f64, f64) {
    if !few(x) {
        return (lgamma(x + theta) - lgamma(theta), digamma(x + theta) - digamma(theta));
    }
    let (mut value, mut product, mut slope) = (0.0, 1.0, 0.0);
    let mut factor = theta;
    for _ in 0..x as usize {
        product *= factor;
        if product > PRODUCT_LIMIT {
            value += product.ln();
            product = 1.0;
        }
        slope += 1.0 / factor;
        factor += 1.0;
    }
    (value + product.ln(), slope)
}

/// sigmoid(d) and 1 - sigmoid(d), both to full relative precision: a mean far above the dispersion leaves few digits in
/// a difference.
#[inline(always)]
fn shares<L: Lane>(d: L) -> (L, L) {
    let tail = (-d.abs()).exp();
    let large = (L::of(1.0) + tail).recip();
    let small = tail * large;
    let below = d < L::of(0.0);
    (L::select(below, small, large), L::select(below, large, small))
}

/// The log-probability and its slopes with respect to ln mean and ln dispersion, in double precision.
fn exact(x: f64, ln_mean: f64, ln_theta: f64) -> [f64; 3] {
    let theta = ln_theta.exp();
    // softplus(d) = ln(1 + mean / theta)
    let d = ln_mean - ln_theta;
    let (ln_failure, ln_success) = (-d.softplus(), -(-d).softplus());
    let (rising, rising_slope) = ln_rising(x, theta);
    let hits = if x == 0.0 { 0.0 } else { x * ln_success };
    let (success, failure) = shares(d);
    [
        theta * ln_failure + hits + rising - ln_factorial(x),
        x * failure - theta * success,
        theta * (ln_failure + rising_slope) + theta * success - x * failure,
    ]
}

/// The same with `epsilon` added to mean and dispersion inside the logarithms, as scvi-tools does.
fn with_epsilon(x: f64, ln_mean: f64, ln_theta: f64, epsilon: f64) -> [f64; 3] {
    let (mean, theta) = (ln_mean.exp(), ln_theta.exp());
    let total = theta + mean + epsilon;
    let ln_total = total.ln();
    let (rising, rising_slope) = ln_rising(x, theta);
    // ln((theta + epsilon) / total), which a difference of logarithms would lose for large theta
    let ln_failure = -(mean / (theta + epsilon)).ln_1p();
    let ln_mean_e = (mean + epsilon).ln();
    [
        theta * ln_failure + x * (ln_mean_e - ln_total) + rising - ln_factorial(x),
        mean * (x / (mean + epsilon) - (x + theta) / total),
        theta * (ln_failure + theta / (theta + epsilon) - (x + theta) / total + rising_slope),
    ]
}

simd_kernel! {
    /// What the formulas have at every count; the Gamma terms of counts above zero are added elsewhere.
    fn base_values [T, L](x: &[T], ln_mean: &[T], ln_theta: &[T], y: &mut [T]) {
        for i in 0..y.len() {
            let (x, ln_theta) = (L::new(x[i]), L::new(ln_theta[i]));
            let d = L::new(ln_mean[i]) - ln_theta;
            let hits = L::select(x == L::of(0.0), L::of(0.0), x * (-d).softplus());
            y[i] = (-(ln_theta.exp() * d.softplus()) - hits).get();
        }
    }
}

simd_kernel! {
    fn base_slopes [T, L](x: &[T], ln_mean: &[T], ln_theta: &[T], by_mean: &mut [T], by_theta: &mut [T]) {
        for i in 0..by_mean.len() {
            let (x, ln_theta) = (L::new(x[i]), L::new(ln_theta[i]));
            let d = L::new(ln_mean[i]) - ln_theta;
            let (theta, (success, failure)) = (ln_theta.exp(), shares(d));
            let residual = x * failure - theta * success;
            by_mean[i] = residual.get();
            by_theta[i] = (-(theta * d.softplus()) - residual).get();
        }
    }
}

/// Log-probability of counts under a negative binomial, from the log mean and the log inverse dispersion.
pub struct NegativeBinomial {
    /// Added to mean and dispersion inside logarithms; 0 is the exact density, 1e-8 the form of scvi-tools.
    pub epsilon: f64,
}

impl NegativeBinomial {
    /// Corrects base values (or slopes) where the count is not zero; everything when there is an epsilon.
    fn patch<T: Float>(&self, x: &[T], ln_mean: &[T], ln_theta: &[T], write: impl FnMut(usize, Patch)) {
        let mut write = write;
        for (i, &count) in x.iter().enumerate() {
            let count = count.to_f64();
            if self.epsilon != 0.0 {
                write(i, Patch::All(with_epsilon(count, ln_mean[i].to_f64(), ln_theta[i].to_f64(), self.epsilon)));
            } else if count == 0.0 {
                // the base values are complete
            } else if !few(count) {
                write(i, Patch::All(exact(count, ln_mean[i].to_f64(), ln_theta[i].to_f64())));
            } else {
                let theta = ln_theta[i].to_f64().exp();
                let (rising, slope) = ln_rising(count, theta);
                write(i, Patch::Gamma(rising - ln_factorial(count), theta * slope));
            }
        }
    }
}

enum Patch {
    /// Value and both slopes.
    All([f64; 3]),
    /// To be added to the value and to the slope by ln dispersion.
    Gamma(f64, f64),
}

impl<T: Float> Op<T> for NegativeBinomial {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, mean, theta) = (&inputs[0], &inputs[1], &inputs[2]);
        assert!(
            x == mean && x.broadcast(theta, Self::NAME) == *x,
            "negative_binomial: counts {x}, log means {mean}, log dispersions {theta}: \
             the first two must be equal, the third broadcast to them"
        );
        Shapes::from_elem(*x, 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let (counts, means) = (x[0].data, x[1].data);
        for_each_chunk(y[0], CHUNK, |chunk, y| {
            let start = chunk * CHUNK;
            let range = start..start + y.len();
            let (counts, means) = (&counts[range.clone()], &means[range]);
            let mut scratch = saved.scratch(y.len());
            let dispersions = Operand::new(x[2].data, &x[2].shape, &x[0].shape);
            let theta = dispersions.load(start, &mut scratch);
            base_values(counts, means, theta, y);
            self.patch(counts, means, theta, |i, patch| match patch {
                Patch::All([value, ..]) => y[i] = T::of(value),
                Patch::Gamma(value, _) => y[i] = T::of(y[i].to_f64() + value),
            });
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (counts, means, g) = (at.x[0].data, at.x[1].data, at.grad(0));
        let full = at.x[0].shape;
        let mut by_mean = at.scratch(full.len());
        let mut by_theta = at.scratch(full.len());
        for_each_chunk2(&mut by_mean, CHUNK, &mut by_theta, CHUNK, |chunk, by_mean, by_theta| {
            let start = chunk * CHUNK;
            let range = start..start + by_mean.len();
            let (counts, means, g) = (&counts[range.clone()], &means[range.clone()], &g[range]);
            let mut scratch = at.scratch(by_mean.len());
            let dispersions = Operand::new(at.x[2].data, &at.x[2].shape, &full);
            let theta = dispersions.load(start, &mut scratch);
            base_slopes(counts, means, theta, by_mean, by_theta);
            self.patch(counts, means, theta, |i, patch| match patch {
                Patch::All([_, mean, theta]) => (by_mean[i], by_theta[i]) = (T::of(mean), T::of(theta)),
                Patch::Gamma(_, theta) => by_theta[i] = T::of(by_theta[i].to_f64() + theta),
            });
            by_mean.iter_mut().zip(g).for_each(|(slope, g)| *slope *= *g);
            by_theta.iter_mut().zip(g).for_each(|(slope, g)| *slope *= *g);
        });
        grads.add_slice(1, &by_mean);
        if let Some(grad) = grads.sum(2) {
            add_summed_to(&by_theta, &full, grad, &at.x[2].shape, at.pool);
        }
    }
}

/// Log-probability of counts under a Poisson distribution, from the log mean.
pub struct Poisson;

impl<T: Float> Op<T> for Poisson {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        assert!(inputs[0] == inputs[1], "poisson: counts {} and log means {} differ", inputs[0], inputs[1]);
        Shapes::from_elem(inputs[0], 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        for_each_chunk(y[0], CHUNK, |chunk, y| {
            for (i, y) in y.iter_mut().enumerate() {
                let (count, ln_mean) = (x[0].data[chunk * CHUNK + i].to_f64(), x[1].data[chunk * CHUNK + i].to_f64());
                let hits = if count == 0.0 { 0.0 } else { count * ln_mean - ln_factorial(count) };
                *y = T::of(hits - ln_mean.exp());
            }
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (counts, means) = (at.x[0].data, at.x[1].data);
        grads.add(1, |i| T::of(at.grad(0)[i].to_f64() * (counts[i].to_f64() - means[i].to_f64().exp())));
    }
}

impl Samples for NegativeBinomial {
    const NAME: &'static str = "negative_binomial";
    const DOC: &'static str = "Log-probability of counts under a negative binomial from log mean and log inverse dispersion (McCullagh & Nelder 1989).";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |epsilon, max, theta: &[usize]| Sample {
            op: Self { epsilon },
            inputs: vec![
                (Shape::new(&[5, 4]), Draw::Counts(max)),
                (Shape::new(&[5, 4]), Draw::Real(-2.0..2.5)),
                (Shape::new(theta), Draw::Real(-1.5..3.0)),
            ],
        };
        vec![
            sample(0.0, 3, &[4]),
            sample(0.0, 200, &[5, 4]),
            sample(0.0, 40, &[]),
            sample(1e-8, 60, &[4]),
            sample(0.0, 2, &[5, 1]),
        ]
    }
}

impl Samples for Poisson {
    const NAME: &'static str = "poisson";
    const DOC: &'static str = "Log-probability of counts under a Poisson distribution from the log mean.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |max, shape: &[usize]| Sample {
            op: Self,
            inputs: vec![(Shape::new(shape), Draw::Counts(max)), (Shape::new(shape), Draw::Real(-2.0..2.5))],
        };
        vec![sample(3, &[4, 5]), sample(500, &[7]), sample(1, &[0])]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// ln p of the counts `self` under a negative binomial with mean exp(`ln_mean`) and variance
    /// mean + mean^2 / exp(`ln_dispersion`), element by element.
    ///
    /// `ln_dispersion` may have one value a feature. With `epsilon` 0 the density is exact; scvi-tools adds 1e-8 to mean
    /// and dispersion inside the logarithms. No gradient flows to the counts.
    ///
    /// # Panics
    /// When the shapes do not fit or the counts want a gradient.
    pub fn negative_binomial(self, ln_mean: Self, ln_dispersion: Self, epsilon: f64) -> Self {
        assert!(!self.needs_grad(), "negative_binomial: counts have no gradient");
        self.tape.record(NegativeBinomial { epsilon }, &[self, ln_mean, ln_dispersion])[0]
    }

    /// ln p of the counts `self` under a Poisson distribution with mean exp(`ln_mean`), element by element.
    ///
    /// # Panics
    /// When the shapes differ or the counts want a gradient.
    pub fn poisson(self, ln_mean: Self) -> Self {
        assert!(!self.needs_grad(), "poisson: counts have no gradient");
        self.tape.record(Poisson, &[self, ln_mean])[0]
    }
}
