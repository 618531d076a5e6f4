//! L-BFGS for deterministic fits (Nocedal & Wright 2006, algorithms 7.4 and 7.5).

use std::collections::VecDeque;

use gradome_tape::{Float, Gradients};

use super::line_search::{Objective, Point, Search, dot};
use crate::error::{Error, Result};
use crate::store::ParamStore;

/// Minimises a smooth function whose value and gradient are exact: no noise, no batches.
///
/// SciPy: `minimize(method="L-BFGS-B")` without bounds; PyTorch: `optim.LBFGS(line_search_fn="strong_wolfe")`.
///
/// ```
/// use gradome_nn::optim::{Lbfgs, LbfgsStop};
///
/// // Rosenbrock's function
/// let mut x = vec![-1.2, 1.0];
/// let report = Lbfgs::default().minimize(&mut x, |x, gradient| {
///     let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
///     gradient.copy_from_slice(&[-2.0 * a - 400.0 * x[0] * b, 200.0 * b]);
///     a * a + 100.0 * b * b
/// })?;
/// assert_eq!(report.stop, LbfgsStop::SmallGradient);
/// assert!((x[0] - 1.0).abs() < 1e-8 && (x[1] - 1.0).abs() < 1e-8);
/// # Ok::<(), gradome_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lbfgs {
    /// How many pairs of steps and gradient changes are remembered. Default 10.
    pub memory: usize,
    /// Iterations at most. Default 1000.
    pub max_iterations: usize,
    /// The end is reached when no element of the gradient is larger than this. Default 1e-9.
    pub gradient_tolerance: f64,
    /// The end is reached when an iteration lowers the value by no more than this share of max(1, |value|); 0 asks for
    /// a gradient below its tolerance. Default 0.
    pub value_tolerance: f64,
}

impl Default for Lbfgs {
    fn default() -> Self {
        Self { memory: 10, max_iterations: 1000, gradient_tolerance: 1e-9, value_tolerance: 0.0 }
    }
}

/// How a fit went.
#[derive(Clone, Debug, PartialEq)]
pub struct LbfgsReport {
    /// Steps that were taken.
    pub iterations: usize,
    /// How often value and gradient were computed.
    pub evaluations: usize,
    /// The value at the end, which is never above the first.
    pub value: f64,
    /// The largest element of the gradient at the end, without its sign.
    pub gradient_norm: f64,
    /// Why it stopped.
    pub stop: LbfgsStop,
}

/// Why a fit stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LbfgsStop {
    /// The gradient is below its tolerance: a stationary point.
    SmallGradient,
    /// The value hardly falls any more.
    SmallDecrease,
    /// All iterations were used; the end may be far.
    IterationsUsed,
    /// No step lowers the value: rounding hides the decrease, or the gradient is not that of the function.
    NoDescent,
}

impl Lbfgs {
    /// Brings `x` to a local minimum of `f`, which writes the gradient at a point and returns the value there.
    ///
    /// A value or gradient that is not finite makes the search step back, so that `f` may have an edge.
    ///
    /// # Errors
    /// When value or gradient is not finite at the first point, or a setting makes no sense.
    pub fn minimize(&self, x: &mut [f64], mut f: impl FnMut(&[f64], &mut [f64]) -> f64) -> Result<LbfgsReport> {
        if self.memory == 0 {
            return Err(Error::config("memory", "0 pairs hold no curvature; give 1 or more"));
        }
        let f: &mut Objective<'_> = &mut f;
        let mut at = Point::at(x.to_vec(), f);
        if !at.is_finite() {
            let problem = format!("the value is {} or its gradient is not finite; start elsewhere", at.value);
            return Err(Error::data("first point", problem));
        }
        let mut pairs = Pairs { memory: self.memory, kept: VecDeque::new() };
        let (mut iterations, mut evaluations) = (0, 1);
        let stop = loop {
            if largest(&at.gradient) <= self.gradient_tolerance {
                break LbfgsStop::SmallGradient;
            }
            if iterations == self.max_iterations {
                break LbfgsStop::IterationsUsed;
            }
            let mut direction = pairs.direction(&at.gradient);
            if dot(&direction, &at.gradient) >= 0.0 {
                pairs.kept.clear();
                direction = pairs.direction(&at.gradient);
            }
            // the first direction has no scale: its first trial moves by at most 1
            let norm = dot(&direction, &direction).sqrt();
            let first = if pairs.kept.is_empty() { (1.0 / norm).min(1.0) } else { 1.0 };
            let mut search = Search::new(f, &at, &direction);
            let found = search.run(first);
            evaluations += search.evaluations;
            let Some(next) = found else {
                if pairs.kept.is_empty() {
                    break LbfgsStop::NoDescent;
                }
                // once more along the gradient itself
                pairs.kept.clear();
                continue;
            };
            iterations += 1;
            pairs.remember(&at, &next);
            let decrease = at.value - next.value;
            at = next;
            if self.value_tolerance > 0.0 && decrease <= self.value_tolerance * at.value.abs().max(1.0) {
                break LbfgsStop::SmallDecrease;
            }
        };
        x.copy_from_slice(&at.x);
        Ok(LbfgsReport { iterations, evaluations, value: at.value, gradient_norm: largest(&at.gradient), stop })
    }

    /// Brings the trained parameters of a store to a local minimum of `f`, which returns the loss and its gradients.
    ///
    /// Steps are computed in f64; a store in f32 rounds them, and its fits end with [`LbfgsStop::NoDescent`] or
    /// [`LbfgsStop::SmallDecrease`] where f32 ends.
    ///
    /// # Errors
    /// When `f` fails (the store then holds the last point it was given), or the loss is not finite at the start.
    pub fn fit<T: Float>(
        &self,
        store: &mut ParamStore<T>,
        mut f: impl FnMut(&ParamStore<T>) -> Result<(f64, Gradients<T>)>,
    ) -> Result<LbfgsReport> {
        let mut x = store.flatten();
        let mut failure = None;
        let report = self.minimize(&mut x, |x, gradient| {
            if failure.is_some() {
                return f64::NAN;
            }
            store.unflatten(x);
            match f(store) {
                Ok((loss, gradients)) => {
                    store.flatten_gradients(&gradients, gradient);
                    loss
                }
                Err(error) => {
                    failure = Some(error);
                    f64::NAN
                }
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        store.unflatten(&x);
        report
    }
}

fn largest(gradient: &[f64]) -> f64 {
    gradient.iter().fold(0.0, |most, g| g.abs().max(most))
}

/// The last steps and the changes of the gradient over them.
struct Pairs {
    memory: usize,
    kept: VecDeque<Pair>,
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// 1 / (step . change)
    rho: f64,
}

impl Pairs {
    /// Minus the approximate inverse Hessian times the gradient: the two-loop recursion (algorithm 7.4).
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let add = |q: &mut [f64], factor: f64, v: &[f64]| q.iter_mut().zip(v).for_each(|(q, v)| *q += factor * v);
        let mut alphas = Vec::with_capacity(self.kept.len());
        for pair in self.kept.iter().rev() {
            let alpha = pair.rho * dot(&pair.step, &q);
            add(&mut q, -alpha, &pair.change);
            alphas.push(alpha);
        }
        if let Some(newest) = self.kept.back() {
            // equation 7.20
            let scale = 1.0 / (newest.rho * dot(&newest.change, &newest.change));
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for (pair, alpha) in self.kept.iter().zip(alphas.into_iter().rev()) {
            let beta = pair.rho * dot(&pair.change, &q);
            add(&mut q, alpha - beta, &pair.step);
        }
        q
    }

    /// Keeps the pair of two points when the curvature between them is positive beyond rounding.
    fn remember(&mut self, from: &Point, to: &Point) {
        let difference = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| b - a).collect() };
        let (step, change) = (difference(&from.x, &to.x), difference(&from.gradient, &to.gradient));
        let curvature = dot(&step, &change);
        if curvature > f64::EPSILON * dot(&change, &change) {
            if self.kept.len() == self.memory {
                self.kept.pop_front();
            }
            self.kept.push_back(Pair { step, change, rho: 1.0 / curvature });
        }
    }
}
