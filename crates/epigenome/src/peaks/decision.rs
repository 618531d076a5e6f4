//! From scores to decisions: probability, summit, start and end of a peak at each position.

use gradome_nn::{Error, ParamId, ParamStore, Result, Step};
use gradome_tape::{Float, Padding, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::window_share::window_share;

/// Keeps a learned temperature from 0, as the reference does.
const TEMPERATURE_FLOOR: f64 = 1e-6;
/// Ties are no decision, as the reference has it.
const TIE: f64 = 1e-10;
/// The sharpness of the reference's boundaries, as a difference of probabilities.
const BOUNDARY_SHARPNESS: f64 = 0.1;

/// How summits, starts and ends are said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Indicators {
    /// A start is the rise of the probability from the position before, an end its fall to the next one; a summit is
    /// the probability times how far its share in the window exceeds an even one. All are 0 on a flat track, and the
    /// starts of a peak that rises to certainty add up to 1.
    #[default]
    Relative,
    /// DiffBio's sigmoids of the change of probability, which are 1/2 on a flat track, and the plain share in the
    /// window.
    Sigmoid,
}

/// How scores become decisions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionConfig {
    /// The score of a position that is as likely in a peak as not, at the start of training. Default 0.5.
    pub threshold: f64,
    /// The change of score that multiplies the odds by e, at the start of training. Default 1.
    pub temperature: f64,
    /// Whether the temperature is learned; the threshold always is. Default true.
    pub learnable_temperature: bool,
    /// Positions among which a summit stands out. Default 50.
    pub summit_window: usize,
    /// How summits, starts and ends are said. Default relative.
    pub indicators: Indicators,
}

impl Default for DecisionConfig {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            temperature: 1.0,
            learnable_temperature: true,
            summit_window: 50,
            indicators: Indicators::Relative,
        }
    }
}

impl DecisionConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// When one is out of its range; the error names it.
    pub fn validate(&self) -> Result<()> {
        if !self.threshold.is_finite() {
            return Err(Error::config("decision.threshold", format!("{} is not a finite number", self.threshold)));
        }
        if !(self.temperature.is_finite() && self.temperature != 0.0) {
            let problem = format!("{} is not a finite number other than 0", self.temperature);
            return Err(Error::config("decision.temperature", problem));
        }
        if self.summit_window == 0 {
            return Err(Error::config("decision.summit_window", "0 is too small; give 1 or more positions"));
        }
        Ok(())
    }
}

/// The threshold and temperature of a peak caller.
pub(crate) struct Decision {
    config: DecisionConfig,
    threshold: ParamId,
    temperature: Option<ParamId>,
}

/// What is said of every position.
#[derive(Clone, Copy)]
pub struct Decisions<'t, T: Float> {
    /// `[batch, length]` log-odds that a position lies in a peak.
    pub logits: Var<'t, T>,
    /// `[batch, length]` the probability that a position lies in a peak.
    pub probabilities: Var<'t, T>,
    temperature: Var<'t, T>,
    scores: Var<'t, T>,
    summit_window: usize,
    indicators: Indicators,
}

impl Decision {
    pub fn new<T: Float>(config: &DecisionConfig, store: &mut ParamStore<T>) -> Self {
        let mut scope = store.scope("decision");
        let mut number = |name, value| scope.parameter_from(name, Tensor::full([], T::of(value)));
        Self {
            config: *config,
            threshold: number("threshold", config.threshold),
            temperature: config.learnable_temperature.then(|| number("temperature", config.temperature)),
        }
    }

    /// Decides on scores `[batch, length]`.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, scores: Var<'t, T>) -> Decisions<'t, T> {
        let temperature = match self.temperature {
            Some(learned) => step.param(learned).abs() + TEMPERATURE_FLOOR,
            None => step.tape.scalar(self.config.temperature),
        };
        let logits = (scores - step.param(self.threshold) - TIE) / temperature;
        let Self { config: DecisionConfig { summit_window, indicators, .. }, .. } = *self;
        Decisions { logits, probabilities: logits.sigmoid(), temperature, scores, summit_window, indicators }
    }
}

impl<'t, T: Float> Decisions<'t, T> {
    /// `[batch, length]` how much a position is the summit of a peak, 0 to 1.
    pub fn summits(&self) -> Var<'t, T> {
        let share = window_share(self.scores * self.probabilities / self.temperature, self.summit_window);
        match self.indicators {
            Indicators::Sigmoid => share,
            Indicators::Relative => {
                let even = 1.0 / self.summit_window as f64;
                let excess = (share - even).relu() * (1.0 / (1.0 - even).max(T::EPSILON));
                excess * self.probabilities
            }
        }
    }

    /// `[batch, length]` how much a peak starts at a position, 0 to 1.
    pub fn starts(&self) -> Var<'t, T> {
        let p = self.probabilities;
        match self.indicators {
            Indicators::Sigmoid => ((p - shifted(p, 1, Padding::Edge) - TIE) * (1.0 / BOUNDARY_SHARPNESS)).sigmoid(),
            Indicators::Relative => (p - shifted(p, 1, Padding::Constant(0.0))).relu(),
        }
    }

    /// `[batch, length]` how much a peak ends at a position, 0 to 1. A relative end is the peak's last position; a
    /// sigmoid one, as the reference has it, the first after it.
    pub fn ends(&self) -> Var<'t, T> {
        let p = self.probabilities;
        match self.indicators {
            Indicators::Sigmoid => ((shifted(p, 1, Padding::Edge) - p - TIE) * (1.0 / BOUNDARY_SHARPNESS)).sigmoid(),
            Indicators::Relative => (p - shifted(p, -1, Padding::Constant(0.0))).relu(),
        }
    }
}

/// Rows moved by one position: to the right, or to the left when `by` is negative.
fn shifted<T: Float>(p: Var<'_, T>, by: isize, border: Padding) -> Var<'_, T> {
    let length = p.shape().last_size();
    match (length, by > 0) {
        (0, _) => p,
        (_, true) => p.pad(&[(0, 0), (1, 0)], border).narrow(1, 0, length),
        (_, false) => p.pad(&[(0, 0), (0, 1)], border).narrow(1, 1, length),
    }
}
