#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod compare;
mod control;
mod cotangent;
mod difference;
mod direction;
mod engine;
mod fault;
mod input;
mod random;
mod report;
mod shape;

use control::Sabotage;
use engine::Analytic;
pub use fault::{Error, Fault};
pub use input::{Input, Place};
pub use report::{Comparison, InputReport, Report};

/// How to check a gradient; `Check::new()` has defaults that suit most functions.
///
/// # What counts as equal
/// With `a` the analytic and `n` the numeric derivative, the relative error is
///
/// ```text
/// |a - n| / max(|a|, |n|, 1e-3 * largest |n| of the same input, atol / rtol)
/// ```
///
/// and a place is wrong if that is above `rtol`. The third term keeps elements that are tiny beside
/// their neighbours from being judged on their rounding noise; the last one makes `atol` the
/// absolute error that is always allowed. One number decides, and [`Report::max_rel_error`] shows it.
/// Random directions over a large input have derivatives of one size, some of which are small by
/// cancellation, so there the third term is the largest |n| itself.
///
/// # Cost
/// Usually four evaluations of the function for each element, more where it is steep, and one call of
/// the analytic side for each cotangent (reverse) or element (forward); inputs above
/// [`probe_above`](Self::probe_above) elements are probed along a few random directions instead, and
/// a wrong one is searched for by bisection until a single element can be named.
#[derive(Clone, Debug)]
pub struct Check {
    eps: f64,
    rtol: f64,
    atol: f64,
    probe_above: usize,
    probes: usize,
    cotangents: usize,
    max_kink_share: f64,
    seed: u64,
    sabotage: Option<Sabotage>,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            eps: 1.0 / 4096.0,
            rtol: 1e-6,
            atol: 1e-9,
            probe_above: 256,
            probes: 8,
            cotangents: 16,
            max_kink_share: 0.25,
            seed: 0,
            sabotage: None,
        }
    }
}

impl Check {
    /// The defaults named at each setting.
    pub fn new() -> Self {
        Self::default()
    }

    /// First step, as a share of max(1, |x|), above 1e-8 and at most 0.1 (default 1/4096).
    ///
    /// With the fourth-order formula used here it is far larger than the 1e-6 of two-point
    /// differences, and it shrinks by itself where the function is steep.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Relative tolerance (default 1e-6).
    pub fn rtol(mut self, rtol: f64) -> Self {
        self.rtol = rtol;
        self
    }

    /// Absolute tolerance (default 1e-9); it should lie far below the gradients that matter.
    pub fn atol(mut self, atol: f64) -> Self {
        self.atol = atol;
        self
    }

    /// Inputs with more elements than this are probed along random directions (default 256).
    pub fn probe_above(mut self, elements: usize) -> Self {
        self.probe_above = elements;
        self
    }

    /// How many random directions a large input gets (default 8, at least 1).
    pub fn probes(mut self, directions: usize) -> Self {
        self.probes = directions;
        self
    }

    /// Probes every input with more than one element, whatever its size (`fast_mode` in PyTorch).
    pub fn fast(self) -> Self {
        self.probe_above(1)
    }

    /// How many cotangents a tensor output gets (default 16, at least 1).
    ///
    /// A function with no more outputs than this is checked output by output, that is, its complete
    /// Jacobian; one with more through this many random combinations of all its outputs.
    pub fn cotangents(mut self, cotangents: usize) -> Self {
        self.cotangents = cotangents;
        self
    }

    /// Largest share of an input's places that may be kinks, from 0 to 1 (default 0.25).
    ///
    /// A place is a kink if step sizes, or the slopes on its two sides, disagree however small the
    /// step. It is listed in the report and not compared; above this share the input fails, so that
    /// no check passes by calling everything a kink.
    pub fn max_kink_share(mut self, share: f64) -> Self {
        self.max_kink_share = share;
        self
    }

    /// Seed of the random directions and cotangents (default 0).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the gradient of a scalar function.
    ///
    /// `gradient` returns one array for each input, of that input's size.
    ///
    /// ```
    /// use gradome_gradcheck::Check;
    ///
    /// let report = Check::new().gradient(
    ///     [("x", [1.0, -2.0, 0.5])],
    ///     |v| v[0].iter().map(|x| x * x).sum(),
    ///     |v| vec![v[0].iter().map(|x| 2.0 * x).collect()],
    /// );
    /// assert!(report.passed());
    /// ```
    #[must_use = "a report proves nothing until it is read: `assert_passed`, `into_result` or `passed`"]
    pub fn gradient(
        &self,
        inputs: impl IntoIterator<Item = impl Into<Input>>,
        mut value: impl FnMut(&[Vec<f64>]) -> f64,
        mut gradient: impl FnMut(&[Vec<f64>]) -> Vec<Vec<f64>>,
    ) -> Report {
        let mut gradients = |x: &[Vec<f64>], cotangent: &[f64]| {
            let mut arrays = gradient(x);
            arrays.iter_mut().flatten().for_each(|g| *g *= cotangent[0]);
            arrays
        };
        let analytic = Analytic::Reverse { what: "gradient", pull_back: &mut gradients };
        let value = &mut |x: &[Vec<f64>]| Ok(vec![value(x)]);
        engine::run(self, "gradient", &collect(inputs), value, &|_| "the value".into(), analytic)
    }

    /// Checks the vector-Jacobian product (reverse mode) of a function with any number of outputs.
    ///
    /// `vjp(inputs, cotangent)` returns, for each input, the sum over the outputs of the cotangent
    /// times that output's gradient. See [`cotangents`](Self::cotangents) for those that are tried.
    ///
    /// ```
    /// use gradome_gradcheck::Check;
    ///
    /// // y = [x0 x1, x0 + x1]
    /// let report = Check::new().vjp(
    ///     [("x", [3.0, -2.0])],
    ///     |v| vec![v[0][0] * v[0][1], v[0][0] + v[0][1]],
    ///     |v, c| vec![vec![c[0] * v[0][1] + c[1], c[0] * v[0][0] + c[1]]],
    /// );
    /// assert!(report.passed());
    /// ```
    #[must_use = "a report proves nothing until it is read: `assert_passed`, `into_result` or `passed`"]
    pub fn vjp(
        &self,
        inputs: impl IntoIterator<Item = impl Into<Input>>,
        mut function: impl FnMut(&[Vec<f64>]) -> Vec<f64>,
        mut vjp: impl FnMut(&[Vec<f64>], &[f64]) -> Vec<Vec<f64>>,
    ) -> Report {
        let analytic = Analytic::Reverse { what: "vjp", pull_back: &mut vjp };
        let function = &mut |x: &[Vec<f64>]| Ok(function(x));
        engine::run(self, "vjp", &collect(inputs), function, &numbered, analytic)
    }

    /// Checks the Jacobian-vector product (forward mode) of a function with any number of outputs.
    ///
    /// `jvp(inputs, tangents)` returns the derivative of every output along the tangents, which have
    /// the sizes of the inputs.
    ///
    /// ```
    /// use gradome_gradcheck::Check;
    ///
    /// let report = Check::new().jvp(
    ///     [("x", [0.3, -1.2])],
    ///     |v| v[0].iter().map(|x| x.sin()).collect(),
    ///     |v, t| v[0].iter().zip(&t[0]).map(|(x, t)| x.cos() * t).collect(),
    /// );
    /// assert!(report.passed());
    /// ```
    #[must_use = "a report proves nothing until it is read: `assert_passed`, `into_result` or `passed`"]
    pub fn jvp(
        &self,
        inputs: impl IntoIterator<Item = impl Into<Input>>,
        mut function: impl FnMut(&[Vec<f64>]) -> Vec<f64>,
        mut jvp: impl FnMut(&[Vec<f64>], &[Vec<f64>]) -> Vec<f64>,
    ) -> Report {
        let mut push_forward = |x: &[Vec<f64>], tangents: &[Vec<f64>]| Ok(jvp(x, tangents));
        let analytic = Analytic::Forward { push_forward: &mut push_forward };
        let function = &mut |x: &[Vec<f64>]| Ok(function(x));
        engine::run(self, "jvp", &collect(inputs), function, &numbered, analytic)
    }

    /// Checks second derivatives: a Hessian-vector product against differences of the gradient.
    ///
    /// Both closures return one array for each input. The gradient is taken as true; check it with
    /// [`gradient`](Self::gradient) first. As the Hessian is symmetric, a gradient of a gradient
    /// (reverse over reverse) serves as `hessian_vector` just as well.
    ///
    /// ```
    /// use gradome_gradcheck::Check;
    ///
    /// // f = x^3, so f' = 3 x^2 and f'' t = 6 x t
    /// let report = Check::new().second_order(
    ///     [("x", [1.0, -2.0])],
    ///     |v| vec![v[0].iter().map(|x| 3.0 * x * x).collect()],
    ///     |v, t| vec![v[0].iter().zip(&t[0]).map(|(x, t)| 6.0 * x * t).collect()],
    /// );
    /// assert!(report.passed());
    /// ```
    #[must_use = "a report proves nothing until it is read: `assert_passed`, `into_result` or `passed`"]
    pub fn second_order(
        &self,
        inputs: impl IntoIterator<Item = impl Into<Input>>,
        mut gradient: impl FnMut(&[Vec<f64>]) -> Vec<Vec<f64>>,
        mut hessian_vector: impl FnMut(&[Vec<f64>], &[Vec<f64>]) -> Vec<Vec<f64>>,
    ) -> Report {
        let inputs = collect(inputs);
        let mut slopes = |x: &[Vec<f64>]| {
            let arrays = gradient(x);
            shape::fit_inputs("gradient", &inputs, &arrays)?;
            Ok(arrays.concat())
        };
        let mut push_forward = |x: &[Vec<f64>], tangents: &[Vec<f64>]| {
            let arrays = hessian_vector(x, tangents);
            shape::fit_inputs("hessian_vector", &inputs, &arrays)?;
            Ok(arrays.concat())
        };
        let analytic = Analytic::Forward { push_forward: &mut push_forward };
        let name = |i| gradient_at(&inputs, i);
        engine::run(self, "second order", &inputs, &mut slopes, &name, analytic)
    }

    fn validate(&self) -> Result<(), Fault> {
        let settings = [
            ("eps", self.eps, self.eps > 1e-8 && self.eps <= 0.1, "above 1e-8 and at most 0.1"),
            ("rtol", self.rtol, self.rtol > 0.0 && self.rtol < 1.0, "between 0 and 1"),
            ("atol", self.atol, self.atol >= 0.0 && self.atol.is_finite(), "finite and not negative"),
            ("probes", self.probes as f64, self.probes > 0, "at least 1"),
            ("cotangents", self.cotangents as f64, self.cotangents > 0, "at least 1"),
            ("max_kink_share", self.max_kink_share, (0.0..=1.0).contains(&self.max_kink_share), "from 0 to 1"),
        ];
        match settings.into_iter().find(|&(_, _, valid, _)| !valid) {
            Some((setting, value, _, expected)) => Err(Fault::Setting { setting, value, expected }),
            None => Ok(()),
        }
    }
}

fn numbered(output: usize) -> String {
    format!("output[{output}]")
}

/// The name of one element of the gradient, which is an output of second-order checks.
fn gradient_at(inputs: &[Input], mut element: usize) -> String {
    for input in inputs {
        if element < input.data.len() {
            return format!("the gradient at {}{}", input.name, input.place(element));
        }
        element -= input.data.len();
    }
    numbered(element)
}

fn collect(inputs: impl IntoIterator<Item = impl Into<Input>>) -> Vec<Input> {
    inputs.into_iter().map(Into::into).collect()
}
