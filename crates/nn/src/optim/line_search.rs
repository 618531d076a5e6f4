//! A step length that meets the strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5 and 3.6).

/// A function of a vector and its gradient: writes the gradient and returns the value.
pub(super) type Objective<'a> = dyn FnMut(&[f64], &mut [f64]) -> f64 + 'a;

/// Sufficient decrease (equation 3.7a).
const DECREASE: f64 = 1e-4;
/// Curvature (equation 3.7b), for quasi-Newton directions.
const CURVATURE: f64 = 0.9;
/// The step grows by at most this much from trial to trial.
const GROWTH: f64 = 4.0;
/// A trial keeps this share of the bracket away from both of its ends.
const MARGIN: f64 = 0.1;
/// Evaluations after which a search gives up.
const MAX_TRIALS: usize = 40;
/// A change of the value below this many roundings of it says nothing about decrease.
const ROUNDINGS: f64 = 8.0;

/// A point that was looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Point {
    pub x: Vec<f64>,
    pub gradient: Vec<f64>,
    pub value: f64,
}

impl Point {
    pub fn at(x: Vec<f64>, f: &mut Objective<'_>) -> Self {
        let mut gradient = vec![0.0; x.len()];
        let value = f(&x, &mut gradient);
        Self { x, gradient, value }
    }

    pub fn is_finite(&self) -> bool {
        self.value.is_finite() && self.gradient.iter().all(|g| g.is_finite())
    }
}

/// A step length with the value and the slope there.
#[derive(Clone, Copy)]
struct Trial {
    step: f64,
    value: f64,
    slope: f64,
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// One search along a direction.
pub(super) struct Search<'a, 'f> {
    f: &'a mut Objective<'f>,
    from: &'a Point,
    direction: &'a [f64],
    origin: Trial,
    pub evaluations: usize,
    last: Point,
}

impl<'a, 'f> Search<'a, 'f> {
    /// A search from a point along a direction of descent.
    pub fn new(f: &'a mut Objective<'f>, from: &'a Point, direction: &'a [f64]) -> Self {
        let origin = Trial { step: 0.0, value: from.value, slope: dot(&from.gradient, direction) };
        Self { f, from, direction, origin, evaluations: 0, last: Point::default() }
    }

    /// The point at a step that meets both conditions, starting from the guess `first`; none when there is no such step
    /// within the trials, as happens where rounding hides the decrease.
    ///
    /// A value that is not finite counts as too far.
    pub fn run(&mut self, first: f64) -> Option<Point> {
        let (mut before, mut step) = (self.origin, first);
        while self.evaluations < MAX_TRIALS {
            let here = self.look(step);
            let higher = self.evaluations > 1 && here.value >= before.value && !self.level(&here);
            if !self.decreases(&here) || higher {
                return self.zoom(before, here);
            }
            if self.is_flat(&here) {
                return Some(std::mem::take(&mut self.last));
            }
            if here.slope >= 0.0 {
                return self.zoom(here, before);
            }
            let limit = GROWTH * step;
            step = minimum_of_cubic(&before, &here).filter(|s| *s > step).map_or(limit, |s| s.clamp(1.1 * step, limit));
            before = here;
        }
        None
    }

    /// Narrows a bracket whose end `low` has the lower value (algorithm 3.6).
    fn zoom(&mut self, mut low: Trial, mut high: Trial) -> Option<Point> {
        while self.evaluations < MAX_TRIALS {
            let width = high.step - low.step;
            if width.abs() <= f64::EPSILON * low.step.abs().max(f64::MIN_POSITIVE) {
                return None;
            }
            let margin = MARGIN * width.abs();
            let (left, right) = (low.step.min(high.step) + margin, low.step.max(high.step) - margin);
            let step = minimum_of_cubic(&low, &high).map_or(low.step + width / 2.0, |s| s.clamp(left, right));
            let here = self.look(step);
            if !self.decreases(&here) || here.value >= low.value && !self.level(&here) {
                high = here;
                continue;
            }
            if self.is_flat(&here) {
                return Some(std::mem::take(&mut self.last));
            }
            if here.slope * width >= 0.0 {
                high = low;
            }
            low = here;
        }
        None
    }

    fn look(&mut self, step: f64) -> Trial {
        self.evaluations += 1;
        let x = self.from.x.iter().zip(self.direction).map(|(x, d)| x + step * d).collect();
        self.last = Point::at(x, self.f);
        if !self.last.is_finite() {
            return Trial { step, value: f64::INFINITY, slope: f64::INFINITY };
        }
        Trial { step, value: self.last.value, slope: dot(&self.last.gradient, self.direction) }
    }

    /// Whether the value differs from that at the origin by rounding alone; then slopes decide (Hager & Zhang 2005,
    /// section 4.1, approximate Wolfe conditions).
    fn level(&self, here: &Trial) -> bool {
        (here.value - self.origin.value).abs() <= ROUNDINGS * f64::EPSILON * self.origin.value.abs()
    }

    fn decreases(&self, here: &Trial) -> bool {
        let approximately = self.level(here) && here.slope <= (2.0 * DECREASE - 1.0) * self.origin.slope;
        here.value <= self.origin.value + DECREASE * here.step * self.origin.slope || approximately
    }

    fn is_flat(&self, here: &Trial) -> bool {
        here.slope.abs() <= -CURVATURE * self.origin.slope
    }
}

/// The minimiser of the cubic through the values and slopes at two steps (equation 3.59); none where it has none.
fn minimum_of_cubic(a: &Trial, b: &Trial) -> Option<f64> {
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step);
    let d2 = (d1 * d1 - a.slope * b.slope).sqrt().copysign(b.step - a.step);
    let step = b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
    step.is_finite().then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_of_a_cubic_is_found_from_values_and_slopes() {
        // s^3 - 3 s has its minimum at 1
        let trial = |step: f64| Trial { step, value: step.powi(3) - 3.0 * step, slope: 3.0 * step * step - 3.0 };
        for (a, b) in [(0.0, 2.0), (2.0, 0.0), (0.5, 5.0), (0.0, 0.3)] {
            let found = minimum_of_cubic(&trial(a), &trial(b)).unwrap();
            assert!((found - 1.0).abs() < 1e-12, "from {a} and {b}: {found}");
        }
        let infinite = Trial { step: 3.0, value: f64::INFINITY, slope: f64::INFINITY };
        assert_eq!(minimum_of_cubic(&trial(0.0), &infinite), None);
    }

    /// Both conditions hold at the step that is found, from guesses far too short and far too long.
    #[test]
    fn steps_meet_the_strong_wolfe_conditions() {
        // More & Thuente 1994, equations 5.1 and 5.3, and a function that ends at 1
        type Pair = (fn(f64) -> f64, fn(f64) -> f64);
        let functions: [Pair; 3] = [
            (|x| -x / (x * x + 2.0), |x| (x * x - 2.0) / (x * x + 2.0).powi(2)),
            (
                |x| (x + 0.004).powi(5) - 2.0 * (x + 0.004).powi(4),
                |x| 5.0 * (x + 0.004).powi(4) - 8.0 * (x + 0.004).powi(3),
            ),
            (|x| -(1.0 - x).ln() - 3.0 * x, |x| 1.0 / (1.0 - x) - 3.0),
        ];
        for (f, slope) in functions {
            for first in [1e-3, 0.1, 1.0, 10.0, 1000.0] {
                let mut objective = |x: &[f64], g: &mut [f64]| {
                    g[0] = slope(x[0]);
                    f(x[0])
                };
                let from = Point::at(vec![0.0], &mut objective);
                let direction = [1.0];
                let mut search = Search::new(&mut objective, &from, &direction);
                let found = search.run(first).expect("there is such a step");
                let step = found.x[0];
                assert!(found.value <= from.value + DECREASE * step * from.gradient[0], "from {first}: {step}");
                assert!(found.gradient[0].abs() <= CURVATURE * from.gradient[0].abs(), "from {first}: {step}");
                assert!(search.evaluations < 30, "from {first}: {} evaluations", search.evaluations);
            }
        }
    }
}
