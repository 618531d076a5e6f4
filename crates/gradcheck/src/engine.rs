//! Runs a check: asks both sides for derivatives along the same directions.
//!
//! Every kind of check is the comparison of one linear map, the Jacobian, seen through two sets of
//! vectors: cotangents on the outputs and directions on the inputs. Reverse mode is asked once for
//! each cotangent, forward mode once for each direction.

use crate::compare::{Pair, Places, judge};
use crate::control::Change;
use crate::cotangent::{Cotangent, cotangents};
use crate::difference::{Estimate, Precision, differentiate};
use crate::direction::{Direction, dot};
use crate::random::SplitMix64;
use crate::shape::{fit_inputs, fit_outputs, reproducible, valid};
use crate::{Check, Fault, Input, InputReport, Place, Report};

/// Analytic sides are asked for this multiple of a vector and their answer is divided by it, so that
/// one that forgets to multiply by its cotangent or tangent is found out.
const VECTOR_SCALE: f64 = -2.0;

/// The function under check.
pub(crate) type Function<'a> = &'a mut dyn FnMut(&[Vec<f64>]) -> Result<Vec<f64>, Fault>;

type PullBack<'a> = &'a mut dyn FnMut(&[Vec<f64>], &[f64]) -> Vec<Vec<f64>>;
type PushForward<'a> = &'a mut dyn FnMut(&[Vec<f64>], &[Vec<f64>]) -> Result<Vec<f64>, Fault>;

/// The derivative under check.
pub(crate) enum Analytic<'a> {
    Reverse { what: &'static str, pull_back: PullBack<'a> },
    Forward { push_forward: PushForward<'a> },
}

pub(crate) struct Engine<'a> {
    check: &'a Check,
    inputs: &'a [Input],
    point: Vec<Vec<f64>>,
    outputs: Vec<f64>,
    cotangents: Vec<Cotangent>,
    function: Function<'a>,
    analytic: Analytic<'a>,
    /// What the negative control adds to the analytic side.
    change: Option<Change>,
}

/// Runs a check; `name` tells what the output of a number is called.
pub(crate) fn run<'a>(
    check: &'a Check,
    kind: &'static str,
    inputs: &'a [Input],
    function: Function<'a>,
    name: &dyn Fn(usize) -> String,
    analytic: Analytic<'a>,
) -> Report {
    let mut report = Report {
        kind,
        rtol: check.rtol,
        atol: check.atol,
        max_kink_share: check.max_kink_share,
        fault: None,
        inputs: Vec::new(),
        sabotaged: None,
    };
    let compared = Engine::new(check, inputs, function, name, analytic).and_then(|mut engine| {
        report.sabotaged = engine.sabotage()?;
        (0..inputs.len()).map(|input| engine.check_input(input)).collect()
    });
    match compared {
        Ok(inputs) => report.inputs = inputs,
        Err(fault) => report.fault = Some(fault),
    }
    report
}

impl<'a> Engine<'a> {
    fn new(
        check: &'a Check,
        inputs: &'a [Input],
        function: Function<'a>,
        name: &dyn Fn(usize) -> String,
        mut analytic: Analytic<'a>,
    ) -> Result<Self, Fault> {
        check.validate()?;
        valid(inputs)?;
        let point: Vec<Vec<f64>> = inputs.iter().map(|input| input.data.clone()).collect();
        let outputs = function(&point)?;
        let again = function(&point)?;
        reproducible(&outputs, &again, name)?;
        let mut cotangents = cotangents(check, &outputs, name);
        if let Analytic::Reverse { what, pull_back } = &mut analytic {
            for cotangent in &mut cotangents {
                let scaled: Vec<f64> = cotangent.weights.iter().map(|w| VECTOR_SCALE * w).collect();
                let mut gradient = pull_back(&point, &scaled);
                fit_inputs(what, inputs, &gradient)?;
                gradient.iter_mut().flatten().for_each(|g| *g /= VECTOR_SCALE);
                cotangent.gradient = gradient;
            }
        }
        Ok(Self { check, inputs, point, outputs, cotangents, function, analytic, change: None })
    }

    /// Lets the negative control, if it asked for that, change one element of the analytic gradient.
    fn sabotage(&mut self) -> Result<Option<Place>, Fault> {
        let Some(sabotage) = &self.check.sabotage else {
            return Ok(None);
        };
        let change = sabotage.choose(self)?;
        let place = change.as_ref().map(|change| self.inputs[change.input].place(change.element));
        self.change = change;
        Ok(place)
    }

    fn check_input(&mut self, number: usize) -> Result<InputReport, Fault> {
        let len = self.inputs[number].data.len();
        if len > self.check.probe_above {
            return self.probe_input(number, len);
        }
        let mut pairs = Vec::new();
        for element in 0..len {
            pairs.extend(self.compare(&Direction::element(number, element), element)?);
        }
        Ok(self.judge(number, &pairs, Places::Elements))
    }

    fn probe_input(&mut self, number: usize, len: usize) -> Result<InputReport, Fault> {
        let mut random = SplitMix64::new(self.check.seed ^ (number as u64 + 1));
        let probes: Vec<Direction> =
            (0..self.check.probes).map(|_| Direction::random(number, len, &mut random)).collect();
        let mut pairs = Vec::new();
        for (probe, direction) in probes.iter().enumerate() {
            pairs.extend(self.compare(direction, probe)?);
        }
        let mut report = self.judge(number, &pairs, Places::Probes);
        if let (Some(worst), true) = (&report.worst, report.wrong > 0)
            && let Place::Probe(probe) = worst.place
        {
            let element = self.search(&probes[probe], len)?;
            let pairs = self.compare(&Direction::element(number, element), element)?;
            let found = self.judge(number, &pairs, Places::Elements);
            // An error that is spread thinly over many elements stays with its direction.
            if found.wrong > 0 {
                report.worst = found.worst;
            }
        }
        Ok(report)
    }

    fn judge(&self, number: usize, pairs: &[Pair], kind: Places) -> InputReport {
        let output = |cotangent: usize| self.cotangents[cotangent].output.clone();
        judge(self.check, &self.inputs[number], pairs, kind, output)
    }

    /// Halves a direction along which the derivatives differ until one element is left.
    fn search(&mut self, direction: &Direction, len: usize) -> Result<usize, Fault> {
        let (mut start, mut end) = (0, len);
        while end - start > 1 {
            let middle = start + (end - start) / 2;
            if self.difference(direction, start, middle)? >= self.difference(direction, middle, end)? {
                end = middle;
            } else {
                start = middle;
            }
        }
        Ok(start)
    }

    /// The largest absolute difference of the two sides along a part of a direction.
    fn difference(&mut self, whole: &Direction, start: usize, end: usize) -> Result<f64, Fault> {
        let difference = |pair: &Pair| {
            let difference = (pair.analytic - pair.estimate.numeric).abs();
            if difference.is_nan() { f64::INFINITY } else { difference }
        };
        let pairs = self.compare(&whole.part(start, end), 0)?;
        Ok(pairs.iter().map(difference).fold(0.0, f64::max))
    }

    fn compare(&mut self, direction: &Direction, place: usize) -> Result<Vec<Pair>, Fault> {
        let analytic = self.analytic(direction)?;
        let estimates = self.numeric(direction)?;
        let pairs = analytic.into_iter().zip(estimates).enumerate();
        Ok(pairs.map(|(cotangent, (analytic, estimate))| Pair { place, cotangent, analytic, estimate }).collect())
    }

    /// The analytic derivative of every cotangent's combination.
    pub(crate) fn analytic(&mut self, direction: &Direction) -> Result<Vec<f64>, Fault> {
        let mut slopes: Vec<f64> = match &mut self.analytic {
            Analytic::Reverse { .. } => {
                self.cotangents.iter().map(|cotangent| direction.dot(&cotangent.gradient[direction.input])).collect()
            }
            Analytic::Forward { push_forward } => {
                let tangents = direction.tangents(self.inputs, VECTOR_SCALE);
                let outputs = push_forward(&self.point, &tangents)?;
                let (expected, found) = (self.outputs.len(), outputs.len());
                if expected != found {
                    return Err(Fault::TangentSize { expected, found });
                }
                self.cotangents.iter().map(|cotangent| dot(&cotangent.weights, &outputs) / VECTOR_SCALE).collect()
            }
        };
        if let Some(change) = &self.change
            && change.input == direction.input
        {
            let weight = direction.weight(change.element);
            for (slope, change) in slopes.iter_mut().zip(&change.slopes) {
                *slope += weight * change;
            }
        }
        Ok(slopes)
    }

    fn numeric(&mut self, direction: &Direction) -> Result<Vec<Estimate>, Fault> {
        let Self { check, inputs, point, outputs, cotangents, function, .. } = self;
        let magnitudes: Vec<f64> = cotangents.iter().map(|c| c.magnitude).collect();
        // A tenth of the tolerances, so that the numeric side uses up little of them.
        let precision = Precision { relative: 0.1 * check.rtol, absolute: 0.1 * check.atol };
        differentiate(check.eps * direction.size(inputs), &magnitudes, &precision, |step| {
            direction.change(inputs, point, step, |point| {
                let mut moved = function(point)?;
                fit_outputs(outputs, &moved)?;
                moved.iter_mut().zip(&*outputs).for_each(|(moved, start)| *moved -= start);
                Ok(cotangents.iter().map(|c| dot(&c.weights, &moved)).collect())
            })
        })
    }

    pub(crate) fn inputs(&self) -> &'a [Input] {
        self.inputs
    }

    /// Whether an analytic derivative costs a call of the user's closure.
    pub(crate) fn is_forward(&self) -> bool {
        matches!(self.analytic, Analytic::Forward { .. })
    }
}
