//! Numerical derivatives along one direction, with an honest estimate of their error.
//!
//! Central differences at steps h and h/2 and their Richardson extrapolation (error of order h^4)
//! start at a generous step. Where the two steps disagree, or the slopes on the two sides do, the
//! step shrinks and the estimate with the smallest error wins (after Ridders, "Accurate computation
//! of F'(x) and F'(x) F''(x)", Advances in Engineering Software 4, 1982). Functions that are steep,
//! that stop being finite near the point, or that have a kink nearby but not here are resolved in
//! this way; a kink at the point itself keeps a large uncertainty at every step.

/// How often the step may shrink: from 2e-4 down to 2e-10 with the default first step.
const LEVELS: usize = 6;

/// Factor between two levels: truncation error falls by 256 a level, rounding grows by 16.
const SHRINK: f64 = 16.0;

/// The difference between the slopes on the two sides halves with the step where the function is
/// smooth (it is h f'') and stays, or grows, across a kink or a jump.
const KINK_RATIO: f64 = 0.75;

/// Disagreements below this multiple of the rounding noise are noise.
pub(crate) const NOISE_MARGIN: f64 = 16.0;

/// A derivative from finite differences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    /// NaN if the function was not finite at any step.
    pub(crate) numeric: f64,
    /// What the disagreement of steps and of sides leaves open.
    pub(crate) uncertainty: f64,
    /// What the rounding of the function's values leaves open.
    pub(crate) noise: f64,
}

impl Estimate {
    const UNKNOWN: Self = Self { numeric: f64::NAN, uncertainty: f64::INFINITY, noise: 0.0 };

    fn error(&self) -> f64 {
        self.uncertainty + self.noise
    }
}

/// What is small enough to stop shrinking the step.
pub(crate) struct Precision {
    pub(crate) relative: f64,
    pub(crate) absolute: f64,
}

/// The changes of some quantities over one step, and the step as it was after rounding.
pub(crate) struct Change {
    pub(crate) step: f64,
    pub(crate) of: Vec<f64>,
}

/// Differentiates several quantities at zero at once, starting with the step `first`.
///
/// `change(t)` tells how far the quantities are from their values at zero; `magnitudes` are those
/// values' sizes, which set the rounding noise.
pub(crate) fn differentiate<E>(
    first: f64,
    magnitudes: &[f64],
    precision: &Precision,
    mut change: impl FnMut(f64) -> Result<Change, E>,
) -> Result<Vec<Estimate>, E> {
    let mut best = vec![Estimate::UNKNOWN; magnitudes.len()];
    let mut settled = vec![false; magnitudes.len()];
    let mut step = first;
    for _ in 0..LEVELS {
        let coarse = [change(-step)?, change(step)?];
        let fine = [change(-0.5 * step)?, change(0.5 * step)?];
        for (i, &magnitude) in magnitudes.iter().enumerate() {
            let noise = 2.0 * f64::EPSILON * magnitude / step;
            let estimate = extrapolate(Slopes::new(&coarse, i), Slopes::new(&fine, i), noise);
            let enough = (precision.relative * estimate.numeric.abs()).max(precision.absolute).max(4.0 * noise);
            if !settled[i] && estimate.numeric.is_finite() {
                settled[i] = estimate.uncertainty <= enough;
                if settled[i] || estimate.error() < best[i].error() {
                    best[i] = estimate;
                }
            }
        }
        if settled.iter().all(|&done| done) {
            break;
        }
        step /= SHRINK;
    }
    Ok(best)
}

/// The slope across a step, and how much the slopes on its two sides differ.
struct Slopes {
    central: f64,
    sides: f64,
}

impl Slopes {
    fn new([before, after]: &[Change; 2], i: usize) -> Self {
        let central = (after.of[i] - before.of[i]) / (after.step - before.step);
        let sides = (after.of[i] / after.step - before.of[i] / before.step).abs();
        Self { central, sides }
    }
}

fn extrapolate(coarse: Slopes, fine: Slopes, noise: f64) -> Estimate {
    let kink = fine.sides > KINK_RATIO * coarse.sides && fine.sides > NOISE_MARGIN * noise;
    let disagreement = (fine.central - coarse.central).abs() / 3.0;
    Estimate {
        numeric: (4.0 * fine.central - coarse.central) / 3.0,
        uncertainty: disagreement + if kink { 0.5 * fine.sides } else { 0.0 },
        noise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derivative(f: impl Fn(f64) -> f64, x: f64) -> Estimate {
        let precision = Precision { relative: 1e-7, absolute: 1e-10 };
        let first = x.abs().max(1.0) / 4096.0;
        let change = |t: f64| {
            let moved = x + t;
            Ok::<_, ()>(Change { step: moved - x, of: vec![f(moved) - f(x)] })
        };
        differentiate(first, &[f(x).abs()], &precision, change).unwrap()[0]
    }

    fn assert_close(estimate: Estimate, exact: f64, relative: f64) {
        let error = (estimate.numeric - exact).abs() / exact.abs();
        assert!(error < relative, "{estimate:?}, exact {exact}, relative error {error:e}");
    }

    #[test]
    fn smooth_functions_reach_ten_digits() {
        assert_close(derivative(f64::exp, 1.0), 1_f64.exp(), 1e-10);
        assert_close(derivative(f64::sin, 2.0), 2_f64.cos(), 1e-10);
        assert_close(derivative(|x| x.powi(5), -3.0), 405.0, 1e-10);
        assert_close(derivative(f64::tanh, 0.3), 1.0 - 0.3_f64.tanh().powi(2), 1e-10);
    }

    #[test]
    fn steep_functions_make_the_step_shrink() {
        assert_close(derivative(|x| (1000.0 * x).sin(), 0.1), 1000.0 * 100_f64.cos(), 1e-8);
        assert_close(derivative(|x| (-300.0 * x * x).exp(), 0.2), -120.0 * (-12_f64).exp(), 1e-8);
    }

    #[test]
    fn the_edge_of_the_domain_makes_the_step_shrink() {
        assert_close(derivative(f64::ln, 1e-6), 1e6, 1e-8);
        assert_close(derivative(f64::sqrt, 1e-5), 0.5 / 1e-5_f64.sqrt(), 1e-8);
    }

    #[test]
    fn a_kink_nearby_is_stepped_around() {
        assert_close(derivative(|x| x.max(0.0), 1e-5), 1.0, 1e-10);
        let beside = derivative(|x| x.abs(), -1e-7);
        assert_close(beside, -1.0, 1e-7);
        assert!(beside.uncertainty < 1e-7);
    }

    #[test]
    fn a_kink_here_stays_uncertain() {
        assert!(derivative(f64::abs, 0.0).uncertainty >= 0.5);
        assert!(derivative(|x| x.max(0.0), 0.0).uncertainty >= 0.25);
        assert!(derivative(f64::signum, 0.0).uncertainty > 1.0);
        assert!(derivative(f64::floor, 3.0).uncertainty > 1.0);
    }

    #[test]
    fn nothing_finite_gives_nan() {
        assert!(derivative(f64::sqrt, 0.0).numeric.is_nan());
    }
}
