//! The negative control: proof that a check can fail.

use crate::direction::Direction;
use crate::engine::Engine;
use crate::random::SplitMix64;
use crate::{Check, Error, Fault, Place, Report};

/// The control changes an element by this many times the relative tolerance: enough to show beside
/// larger elements of the same input, and small enough to prove something.
const CHANGE: f64 = 100.0;

/// Where every candidate costs a call of the analytic side, this many are tried.
const CANDIDATES: usize = 64;

/// The order to change one element of an input's analytic gradient.
#[derive(Clone, Debug)]
pub(crate) struct Sabotage {
    input: usize,
    relative: f64,
    /// Kinks, where the check does not look.
    avoid: Vec<Place>,
}

/// What is added to the analytic derivatives by one element, for each cotangent.
pub(crate) struct Change {
    pub(crate) input: usize,
    pub(crate) element: usize,
    pub(crate) slopes: Vec<f64>,
}

impl Sabotage {
    /// Chooses the element with the largest gradient among the candidates; none if the input has no
    /// elements. A gradient that is zero throughout is changed by the amount itself.
    pub(crate) fn choose(&self, engine: &mut Engine<'_>) -> Result<Option<Change>, Fault> {
        let input = &engine.inputs()[self.input];
        let len = input.data.len();
        let mut candidates: Vec<usize> = (0..len).collect();
        if engine.is_forward() && len > CANDIDATES {
            let mut random = SplitMix64::new(0);
            candidates = (0..CANDIDATES).map(|_| random.index(len)).collect();
        }
        candidates.retain(|&element| !self.avoid.contains(&input.place(element)));
        let mut chosen: Option<(f64, Change)> = None;
        for element in candidates {
            let slopes = engine.analytic(&Direction::element(self.input, element))?;
            let size = slopes.iter().fold(0.0, |size: f64, slope| size.max(slope.abs()));
            if chosen.as_ref().is_none_or(|(largest, _)| size > *largest) {
                chosen = Some((size, Change { input: self.input, element, slopes }));
            }
        }
        Ok(chosen.map(|(size, mut change)| {
            for slope in &mut change.slopes {
                *slope = self.relative * if size == 0.0 { 1.0 } else { *slope };
            }
            change
        }))
    }
}

impl Check {
    /// Proves that a check can fail: it must pass as it stands, and fail when one element of the
    /// analytic gradient of an input is wrong by a hundred times `rtol`, for each input in turn (and
    /// sqrt(n) times as much where the n elements of an input are probed along directions).
    ///
    /// `run` runs the check it is given, of any kind. The element changed is one with a large
    /// gradient; where a gradient is zero throughout, the change is 100 `rtol` itself.
    ///
    /// ```
    /// use gradome_gradcheck::{Check, Error};
    ///
    /// # fn main() -> Result<(), Error> {
    /// Check::new().negative_control(|check| {
    ///     check.gradient([("x", [1.0, 2.0])], |v| v[0][0] * v[0][1], |v| vec![vec![v[0][1], v[0][0]]])
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Failed`] if the check does not pass as it stands, [`Error::Uncaught`] if it passes
    /// with a changed gradient (for instance because all gradients are below `atol`), and
    /// [`Error::ControlUnused`] if `run` uses another `Check` than the one it is given.
    pub fn negative_control(&self, mut run: impl FnMut(&Self) -> Report) -> Result<Report, Error> {
        let honest = run(self).into_result()?;
        for (number, input) in honest.inputs.iter().enumerate() {
            if input.checked == 0 {
                continue;
            }
            let len: usize = input.shape.iter().product();
            // Along a direction over n elements one of them makes up about 1 / sqrt(n).
            let probed = if len > self.probe_above { (len as f64).sqrt() } else { 1.0 };
            let relative = CHANGE * self.rtol * probed;
            let sabotage = Sabotage { input: number, relative, avoid: input.kinks.clone() };
            let changed = run(&Self { sabotage: Some(sabotage), ..self.clone() });
            if changed.fault.is_some() {
                return Err(Error::Failed(Box::new(changed)));
            }
            let place = changed.sabotaged.ok_or(Error::ControlUnused)?;
            let caught = changed.inputs.get(number).is_some_and(|input| !input.passed);
            if !caught {
                return Err(Error::Uncaught { input: input.name.clone(), place, relative });
            }
        }
        Ok(honest)
    }
}
