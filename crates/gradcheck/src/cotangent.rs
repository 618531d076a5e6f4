//! The combinations of outputs whose derivatives are compared.

use crate::Check;
use crate::random::SplitMix64;

/// A combination of outputs whose derivatives are compared.
pub(crate) struct Cotangent {
    pub(crate) weights: Vec<f64>,
    /// None for the only output of a scalar function.
    pub(crate) output: Option<String>,
    /// Bound on the size of the combination at the point, which sets its rounding noise.
    pub(crate) magnitude: f64,
    /// In reverse mode, the analytic gradient of the combination: one array for each input.
    pub(crate) gradient: Vec<Vec<f64>>,
}

/// One cotangent for each output if they are few, else random combinations of all outputs.
pub(crate) fn cotangents(check: &Check, outputs: &[f64], name: &dyn Fn(usize) -> String) -> Vec<Cotangent> {
    let len = outputs.len();
    let new = |weights: Vec<f64>, output| {
        let magnitude = weights.iter().zip(outputs).map(|(w, y)| (w * y).abs()).sum();
        Cotangent { weights, output, magnitude, gradient: Vec::new() }
    };
    if len == 0 {
        // Nothing depends on the inputs, and the analytic side must say so.
        return vec![new(Vec::new(), Some("the empty output".into()))];
    }
    if len <= check.cotangents {
        let unit = |i: usize| (0..len).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
        return (0..len).map(|i| new(unit(i), (len > 1).then(|| name(i)))).collect();
    }
    let mut random = SplitMix64::new(check.seed);
    (0..check.cotangents).map(|i| new(random.weights(len), Some(format!("random cotangent {i}")))).collect()
}
