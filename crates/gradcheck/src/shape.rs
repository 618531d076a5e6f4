//! What must hold before derivatives can be compared: sizes that fit, values that are finite.

use crate::{Fault, Input};

/// Two evaluations at the same point may differ by this much, which a parallel sum's order explains.
const REPRODUCIBLE: f64 = 1e-12;

/// Inputs must fill their shapes with finite values.
pub(crate) fn valid(inputs: &[Input]) -> Result<(), Fault> {
    if inputs.is_empty() {
        return Err(Fault::NoInputs);
    }
    for input in inputs {
        let expected = input.shape.iter().fold(1_usize, |product, &size| product.saturating_mul(size));
        let found = input.data.len();
        if expected != found {
            let (input, shape) = (input.name.clone(), input.shape.clone());
            return Err(Fault::InputSize { input, shape, expected, found });
        }
        if let Some(element) = input.data.iter().position(|x| !x.is_finite()) {
            let (place, value) = (input.place(element), input.data[element]);
            return Err(Fault::InputNotFinite { input: input.name.clone(), place, value });
        }
    }
    Ok(())
}

/// Arrays from the analytic side must have the sizes of the inputs.
pub(crate) fn fit_inputs(what: &'static str, inputs: &[Input], arrays: &[Vec<f64>]) -> Result<(), Fault> {
    if arrays.len() != inputs.len() {
        return Err(Fault::ArrayCount { what, expected: inputs.len(), found: arrays.len() });
    }
    for (input, array) in inputs.iter().zip(arrays) {
        let (expected, found) = (input.data.len(), array.len());
        if expected != found {
            let (input, shape) = (input.name.clone(), input.shape.clone());
            return Err(Fault::ArraySize { what, input, shape, expected, found });
        }
    }
    Ok(())
}

pub(crate) fn fit_outputs(at_point: &[f64], nearby: &[f64]) -> Result<(), Fault> {
    let (expected, found) = (at_point.len(), nearby.len());
    if expected == found { Ok(()) } else { Err(Fault::OutputSize { expected, found }) }
}

/// The function must be finite at the point and give the same values again.
pub(crate) fn reproducible(outputs: &[f64], again: &[f64], name: &dyn Fn(usize) -> String) -> Result<(), Fault> {
    fit_outputs(outputs, again)?;
    for (i, (&first, &second)) in outputs.iter().zip(again).enumerate() {
        if !first.is_finite() {
            return Err(Fault::ValueNotFinite { output: name(i), value: first });
        }
        if !second.is_finite() || (first - second).abs() > REPRODUCIBLE * first.abs().max(1.0) {
            return Err(Fault::NotDeterministic { output: name(i), first, second });
        }
    }
    Ok(())
}
