//! Proximal gradient methods: smooth losses with penalties that have corners.

use std::ops::Range;

use super::line_search::dot;
use crate::error::{Error, Result};

/// A penalty added to a smooth loss, given by its value and its proximal operator (Parikh & Boyd 2014).
#[derive(Clone, Debug, PartialEq)]
pub enum Penalty {
    /// `weight` times the sum of absolute values: the lasso. Its proximal operator is soft thresholding.
    L1 {
        /// 0 or more.
        weight: f64,
    },
    /// `weight` times the sum over groups of their Euclidean norms: the group lasso (Yuan & Lin 2006). Coordinates
    /// outside of all groups are free.
    GroupL2 {
        /// 0 or more.
        weight: f64,
        /// The coordinates of each group; they do not overlap.
        groups: Vec<Range<usize>>,
    },
    /// `l1` times the sum of absolute values plus half of `l2` times the sum of squares (Zou & Hastie 2005).
    ElasticNet {
        /// 0 or more.
        l1: f64,
        /// 0 or more.
        l2: f64,
    },
    /// 0 where no coordinate is negative, infinite elsewhere.
    NonNegative,
}

impl Penalty {
    /// The penalty at a point.
    pub fn value(&self, x: &[f64]) -> f64 {
        let absolute = |x: &[f64]| x.iter().map(|x| x.abs()).sum::<f64>();
        match self {
            Self::L1 { weight } => weight * absolute(x),
            Self::GroupL2 { weight, groups } => weight * groups.iter().map(|g| norm(&x[g.clone()])).sum::<f64>(),
            Self::ElasticNet { l1, l2 } => l1 * absolute(x) + l2 / 2.0 * dot(x, x),
            Self::NonNegative if x.iter().any(|&x| x < 0.0) => f64::INFINITY,
            Self::NonNegative => 0.0,
        }
    }

    /// The proximal operator: the point z with the least `value(z) + |z - x|^2 / (2 step)`, in the place of x.
    pub fn shrink(&self, x: &mut [f64], step: f64) {
        let soft = |x: f64, threshold: f64| (x.abs() - threshold).max(0.0).copysign(x);
        match self {
            Self::L1 { weight } => x.iter_mut().for_each(|x| *x = soft(*x, step * weight)),
            Self::GroupL2 { weight, groups } => {
                for group in groups {
                    let x = &mut x[group.clone()];
                    let length = norm(x);
                    let factor = if length > step * weight { 1.0 - step * weight / length } else { 0.0 };
                    x.iter_mut().for_each(|x| *x *= factor);
                }
            }
            Self::ElasticNet { l1, l2 } => {
                x.iter_mut().for_each(|x| *x = soft(*x, step * l1) / (1.0 + step * l2));
            }
            Self::NonNegative => x.iter_mut().for_each(|x| *x = x.max(0.0)),
        }
    }

    fn validate(&self, size: usize) -> Result<()> {
        let weight = |field: &str, value: f64| match value {
            0.0..f64::INFINITY => Ok(()),
            _ => Err(Error::config(field, format!("{value} is not a number of 0 or more"))),
        };
        match self {
            Self::L1 { weight: value } => weight("weight", *value),
            Self::ElasticNet { l1, l2 } => weight("l1", *l1).and(weight("l2", *l2)),
            Self::NonNegative => Ok(()),
            Self::GroupL2 { weight: value, groups } => {
                let mut sorted: Vec<_> = groups.iter().filter(|group| !group.is_empty()).collect();
                sorted.sort_by_key(|group| group.start);
                if let Some(pair) = sorted.windows(2).find(|pair| pair[0].end > pair[1].start) {
                    return Err(Error::config("groups", format!("{:?} and {:?} overlap", pair[0], pair[1])));
                }
                match sorted.last() {
                    Some(last) if last.end > size => {
                        Err(Error::config("groups", format!("{last:?} goes beyond the {size} coordinates")))
                    }
                    _ => weight("weight", *value),
                }
            }
        }
    }
}

fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

/// Minimises a smooth function plus a [`Penalty`]: FISTA with backtracking (Beck & Teboulle 2009, section 4), or plain
/// proximal gradient descent (ISTA).
///
/// ```
/// use gradome_nn::optim::{Fista, Penalty};
///
/// // (x - 3)^2 / 2 + 2 |x| is least at 1
/// let mut x = [0.0];
/// let report = Fista::default().minimize(&mut x, &Penalty::L1 { weight: 2.0 }, |x, gradient| {
///     gradient[0] = x[0] - 3.0;
///     gradient[0] * gradient[0] / 2.0
/// })?;
/// assert!(report.converged && (x[0] - 1.0).abs() < 1e-8);
/// # Ok::<(), gradome_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fista {
    /// Whether to accelerate: FISTA, with an error of order 1 / k^2 after k iterations, else ISTA, of order 1 / k.
    /// Default true.
    pub accelerate: bool,
    /// Whether momentum starts anew when it points uphill (O'Donoghue & Candes 2015, gradient scheme): linear
    /// convergence where the function is strongly convex near its minimum. Default true.
    pub restart: bool,
    /// The first step length; it is halved while it is too long. Default 1.
    pub first_step: f64,
    /// Iterations at most. Default 10000.
    pub max_iterations: usize,
    /// The end is reached when no coordinate moves by more than this much times the step: the size of the gradient in
    /// smooth places. Default 1e-9.
    pub tolerance: f64,
}

impl Default for Fista {
    fn default() -> Self {
        Self { accelerate: true, restart: true, first_step: 1.0, max_iterations: 10_000, tolerance: 1e-9 }
    }
}

/// How a fit with a penalty went.
#[derive(Clone, Debug, PartialEq)]
pub struct FistaReport {
    /// Steps that were taken.
    pub iterations: usize,
    /// How often value and gradient of the smooth part were computed.
    pub evaluations: usize,
    /// Loss and penalty at the end.
    pub value: f64,
    /// The largest move of a coordinate in the last step over its length: 0 at a minimum.
    pub residual: f64,
    /// The last step length.
    pub step: f64,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
}

/// The step is halved at most this often in one iteration.
const MAX_HALVINGS: usize = 100;
/// An increase of the value by this many roundings of it is none.
const ROUNDINGS: f64 = 8.0;

impl Fista {
    /// Brings `x` to a minimum of `f` plus the penalty; `f` writes its gradient at a point and returns its value there.
    ///
    /// # Errors
    /// When a setting or the penalty makes no sense, or `f` or its gradient is not finite where it should be.
    pub fn minimize(
        &self,
        x: &mut [f64],
        penalty: &Penalty,
        mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
    ) -> Result<FistaReport> {
        penalty.validate(x.len())?;
        if !(self.first_step > 0.0 && self.first_step.is_finite()) {
            return Err(Error::config("first_step", format!("{} is not a positive number", self.first_step)));
        }
        let size = x.len();
        let (mut gradient, mut unused) = (vec![0.0; size], vec![0.0; size]);
        // the point at which the gradient is taken, ahead of x by the momentum
        let mut ahead = x.to_vec();
        let mut momentum: f64 = 1.0;
        let mut report = FistaReport {
            iterations: 0,
            evaluations: 0,
            value: f64::NAN,
            residual: f64::INFINITY,
            step: self.first_step,
            converged: false,
        };
        while report.iterations < self.max_iterations && !report.converged {
            let value = f(&ahead, &mut gradient);
            report.evaluations += 1;
            if !value.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
                let problem = format!("the value is {value} or its gradient is not finite; start elsewhere");
                return Err(Error::data("smooth part", problem));
            }
            let mut halvings = 0;
            let next = loop {
                let mut next: Vec<f64> = ahead.iter().zip(&gradient).map(|(y, g)| y - report.step * g).collect();
                penalty.shrink(&mut next, report.step);
                let moved: Vec<f64> = next.iter().zip(&ahead).map(|(x, y)| x - y).collect();
                let smooth = f(&next, &mut unused);
                report.evaluations += 1;
                // equation 2.6 of Beck & Teboulle: the quadratic model lies above the function
                let model = value + dot(&gradient, &moved) + dot(&moved, &moved) / (2.0 * report.step);
                if smooth <= model + ROUNDINGS * f64::EPSILON * value.abs() {
                    report.residual = moved.iter().fold(0.0, |most: f64, m| most.max(m.abs())) / report.step;
                    report.value = smooth + penalty.value(&next);
                    break next;
                }
                halvings += 1;
                if halvings > MAX_HALVINGS {
                    return Err(Error::data("smooth part", "no step fits; its gradient is not that of its value"));
                }
                report.step /= 2.0;
            };
            report.iterations += 1;
            report.converged = report.residual <= self.tolerance;
            let uphill: f64 =
                ahead.iter().zip(&next).zip(x.iter()).map(|((ahead, next), x)| (ahead - next) * (next - x)).sum();
            let mut carried = 0.0;
            if self.accelerate {
                if self.restart && uphill > 0.0 {
                    momentum = 1.0;
                } else {
                    let larger = (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0;
                    carried = (momentum - 1.0) / larger;
                    momentum = larger;
                }
            }
            for ((ahead, next), x) in ahead.iter_mut().zip(next).zip(x.iter_mut()) {
                *ahead = next + carried * (next - *x);
                *x = next;
            }
        }
        Ok(report)
    }
}
