//! Mixtures of normal distributions fitted to points by expectation-maximisation.

use gradome_report::cluster::KMeans;
use gradome_report::points::Points;
use rayon::prelude::*;

use crate::{Error, Result};

/// Added to every variance, as scikit-learn's `reg_covar`: a cluster of equal points keeps a width.
const SMALLEST_VARIANCE: f64 = 1e-6;
/// A start has settled when a round adds less to the mean log-likelihood; scikit-learn's `tol` is 1e-3.
const TOLERANCE: f64 = 1e-5;
/// Rounds of a start, at most.
const MAX_ROUNDS: usize = 300;
/// Points whose sums are taken together, in order: the same sums at any number of threads.
const CHUNK: usize = 2048;
/// ln(2 pi).
const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// A mixture of normal distributions with diagonal covariances, fitted to points.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianMixture {
    /// Dimensions of a point.
    pub dims: usize,
    /// `[components]` weights, largest first.
    pub weights: Vec<f64>,
    /// `[components, dims]` means, row-major.
    pub means: Vec<f64>,
    /// `[components, dims]` variances, row-major.
    pub variances: Vec<f64>,
    /// The mean over points of ln p, in nats.
    pub ln_likelihood: f64,
}

/// Sums over points, weighted by the probability of a component.
#[derive(Clone)]
struct Sums {
    ln_p: f64,
    /// `[components]`
    weight: Vec<f64>,
    /// `[components, dims]`
    x: Vec<f64>,
    /// `[components, dims]` of squares.
    xx: Vec<f64>,
}

impl Sums {
    fn zero(components: usize, dims: usize) -> Self {
        let zeros = || vec![0.0; components * dims];
        Self { ln_p: 0.0, weight: vec![0.0; components], x: zeros(), xx: zeros() }
    }

    fn add(&mut self, other: &Self) {
        let join = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        self.ln_p += other.ln_p;
        join(&mut self.weight, &other.weight);
        join(&mut self.x, &other.x);
        join(&mut self.xx, &other.xx);
    }

    fn point(&mut self, x: &[f64], probabilities: &[f64]) {
        let dims = x.len();
        for (c, &p) in probabilities.iter().enumerate() {
            self.weight[c] += p;
            for (d, &x) in x.iter().enumerate() {
                self.x[c * dims + d] += p * x;
                self.xx[c * dims + d] += p * x * x;
            }
        }
    }

    /// The mixture of highest expected likelihood (the M step).
    fn mixture(&self, points: usize, dims: usize) -> GaussianMixture {
        // a component that lost its points keeps a trace of weight, so that no mean is 0 / 0
        let least = f64::EPSILON * 10.0;
        let weight = |c: usize| self.weight[c].max(least);
        let all = self.weight.len() * dims;
        let means: Vec<f64> = (0..all).map(|i| self.x[i] / weight(i / dims)).collect();
        let variances = (0..all).map(|i| (self.xx[i] / weight(i / dims) - means[i] * means[i]).max(0.0));
        GaussianMixture {
            dims,
            variances: variances.map(|v| v + SMALLEST_VARIANCE).collect(),
            means,
            weights: (0..self.weight.len()).map(|c| weight(c) / points as f64).collect(),
            ln_likelihood: self.ln_p / points as f64,
        }
    }
}

impl GaussianMixture {
    /// Fits a mixture by expectation-maximisation, the best of several starts, each from its own k-means.
    ///
    /// There may be fewer components than asked for when there are fewer distinct points.
    ///
    /// # Errors
    /// When the number of components is 0 or above the number of points, or there are no starts.
    pub fn fit(points: &Points, components: usize, starts: usize, seed: u64) -> Result<Self> {
        let mut best: Option<Self> = None;
        for start in 0..starts {
            let k_means =
                KMeans { clusters: components, starts: 1, seed: seed.wrapping_add(start as u64), ..KMeans::default() };
            let clusters = k_means.fit(points).map_err(|error| Error::Data(error.to_string()))?;
            let found = Self::from_labels(points, &clusters.labels, clusters.sizes.len()).settled(points);
            if best.as_ref().is_none_or(|best| found.ln_likelihood > best.ln_likelihood) {
                best = Some(found);
            }
        }
        best.map(Self::largest_first).ok_or_else(|| Error::Data("a mixture needs at least one start".into()))
    }

    /// Fits mixtures of 1 to `most` components and keeps the one with the lowest Bayesian information criterion
    /// (Schwarz 1978).
    ///
    /// # Errors
    /// As [`GaussianMixture::fit`].
    pub fn fit_any(points: &Points, most: usize, starts: usize, seed: u64) -> Result<Self> {
        let mut best: Option<(f64, Self)> = None;
        for components in 1..=most.clamp(1, points.cells()) {
            let found = Self::fit(points, components, starts, seed)?;
            let bic = found.bic(points.cells());
            if best.as_ref().is_none_or(|(least, _)| bic < *least) {
                best = Some((bic, found));
            }
        }
        best.map(|(_, found)| found).ok_or_else(|| Error::Data("there are no points to fit a mixture to".into()))
    }

    /// The Bayesian information criterion of a mixture that was fitted to so many points, lower is better.
    pub fn bic(&self, points: usize) -> f64 {
        let parameters = self.weights.len() - 1 + 2 * self.means.len();
        parameters as f64 * (points as f64).ln() - 2.0 * points as f64 * self.ln_likelihood
    }

    fn from_labels(points: &Points, labels: &[usize], components: usize) -> Self {
        let mut sums = Sums::zero(components, points.dims());
        let mut one = vec![0.0; components];
        for (x, &label) in points.rows().zip(labels) {
            one.fill(0.0);
            one[label] = 1.0;
            sums.point(x, &one);
        }
        sums.mixture(points.cells(), points.dims())
    }

    /// Rounds of expectation and maximisation until the likelihood stands still.
    fn settled(mut self, points: &Points) -> Self {
        let mut last = f64::NEG_INFINITY;
        for _ in 0..MAX_ROUNDS {
            let sums = self.expected(points);
            let ln_likelihood = sums.ln_p / points.cells() as f64;
            self.ln_likelihood = ln_likelihood;
            if ln_likelihood - last < TOLERANCE {
                break;
            }
            last = ln_likelihood;
            self = sums.mixture(points.cells(), points.dims());
        }
        self
    }

    /// Sums over all points (the E step).
    fn expected(&self, points: &Points) -> Sums {
        let (components, dims) = (self.weights.len(), self.dims);
        let parts: Vec<Sums> = points
            .values()
            .par_chunks(CHUNK * dims)
            .map(|chunk| {
                let mut sums = Sums::zero(components, dims);
                let mut p = vec![0.0; components];
                for x in chunk.chunks_exact(dims) {
                    sums.ln_p += self.probabilities(x, &mut p);
                    sums.point(x, &p);
                }
                sums
            })
            .collect();
        parts.iter().fold(Sums::zero(components, dims), |mut all, part| {
            all.add(part);
            all
        })
    }

    /// Fills in the probability of each component given a point; gives ln p of the point.
    fn probabilities(&self, x: &[f64], out: &mut [f64]) -> f64 {
        for (c, slot) in out.iter_mut().enumerate() {
            let at = c * self.dims..(c + 1) * self.dims;
            let terms = x.iter().zip(&self.means[at.clone()]).zip(&self.variances[at]);
            let sum: f64 =
                terms.map(|((x, mean), variance)| (x - mean).powi(2) / variance + variance.ln() + LN_TWO_PI).sum();
            *slot = self.weights[c].ln() - 0.5 * sum;
        }
        let highest = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = out.iter().map(|ln_p| (ln_p - highest).exp()).sum();
        let ln_p = highest + total.ln();
        out.iter_mut().for_each(|slot| *slot = (*slot - ln_p).exp());
        ln_p
    }

    fn largest_first(self) -> Self {
        let mut order: Vec<usize> = (0..self.weights.len()).collect();
        order.sort_by(|&a, &b| self.weights[b].total_cmp(&self.weights[a]));
        let rows = |of: &[f64]| order.iter().flat_map(|&c| of[c * self.dims..(c + 1) * self.dims].to_vec()).collect();
        Self {
            weights: order.iter().map(|&c| self.weights[c]).collect(),
            means: rows(&self.means),
            variances: rows(&self.variances),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gradome_nn::Rng;
    use rand::{RngExt, SeedableRng};

    /// 600 points around (0, 0), of widths 1 and 0.5, and 300 around (6, 2), of widths 0.3 and 2.
    fn two() -> Points {
        let mut rng = Rng::seed_from_u64(5);
        // a sum of twelve uniform numbers is nearly normal, with variance 1
        let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let mut values = Vec::new();
        for i in 0..900 {
            let (a, b) = (normal(), normal());
            values.extend(if i % 3 < 2 { [a, b * 0.5] } else { [6.0 + 0.3 * a, 2.0 + 2.0 * b] });
        }
        Points::new(&values, [900, 2]).unwrap()
    }

    #[test]
    fn weights_means_and_variances_of_planted_components_are_found() {
        let found = GaussianMixture::fit(&two(), 2, 3, 0).unwrap();
        let expected = ([2.0 / 3.0, 1.0 / 3.0], [0.0, 0.0, 6.0, 2.0], [1.0, 0.25, 0.09, 4.0]);
        let close =
            |a: &[f64], b: &[f64], by: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= by * b.abs().max(0.5));
        assert!(close(&found.weights, &expected.0, 0.01), "{found:?}");
        assert!(close(&found.means, &expected.1, 0.15), "{found:?}");
        assert!(close(&found.variances, &expected.2, 0.15), "{found:?}");
    }

    #[test]
    fn the_information_criterion_finds_the_number_of_components() {
        assert_eq!(GaussianMixture::fit_any(&two(), 6, 2, 0).unwrap().weights.len(), 2);
    }

    #[test]
    fn one_component_has_the_moments_and_the_entropy_of_the_points() {
        let points = Points::new(&[1.0, 3.0, 5.0, 7.0], [4, 1]).unwrap();
        let found = GaussianMixture::fit(&points, 1, 1, 0).unwrap();
        // variance 5 and so a mean ln p of -(1 + ln(2 pi 5)) / 2
        assert!((found.means[0] - 4.0).abs() < 1e-12 && (found.variances[0] - 5.0).abs() < 1e-5);
        let ln_p = -0.5 * (1.0 + (2.0 * std::f64::consts::PI * 5.0).ln());
        assert!((found.ln_likelihood - ln_p).abs() < 1e-6, "{} {ln_p}", found.ln_likelihood);
    }

    #[test]
    fn equal_points_and_too_many_components_are_no_trouble() {
        let same = Points::new(&[2.0; 6], [6, 1]).unwrap();
        let found = GaussianMixture::fit(&same, 3, 2, 0).unwrap();
        assert_eq!((found.weights.len(), found.means[0]), (1, 2.0));
        assert!(GaussianMixture::fit(&same, 7, 1, 0).is_err());
    }
}
