//! The directions along which derivatives are compared.

use crate::Input;
use crate::difference::Change;
use crate::random::SplitMix64;

/// A direction within one input: a single element, or all of them by weights of about 1.
///
/// Weights of about 1 move each element as far as it moves alone, so that the change of the function
/// stands out from its rounding noise however many elements there are.
pub(crate) struct Direction {
    pub(crate) input: usize,
    weights: Weights,
}

enum Weights {
    Element(usize),
    Dense(Vec<f64>),
}

impl Direction {
    pub(crate) fn element(input: usize, element: usize) -> Self {
        Self { input, weights: Weights::Element(element) }
    }

    pub(crate) fn random(input: usize, len: usize, random: &mut SplitMix64) -> Self {
        Self { input, weights: Weights::Dense(random.weights(len)) }
    }

    /// This direction with only the elements from `start` up to `end`.
    pub(crate) fn part(&self, start: usize, end: usize) -> Self {
        let weights = match &self.weights {
            Weights::Element(element) => return Self::element(self.input, *element),
            Weights::Dense(weights) => weights,
        };
        let mut part = vec![0.0; weights.len()];
        part[start..end].copy_from_slice(&weights[start..end]);
        Self { input: self.input, weights: Weights::Dense(part) }
    }

    /// The weight of one element of the input.
    pub(crate) fn weight(&self, element: usize) -> f64 {
        match &self.weights {
            Weights::Element(own) if *own == element => 1.0,
            Weights::Element(_) => 0.0,
            Weights::Dense(weights) => weights[element],
        }
    }

    pub(crate) fn dot(&self, gradient: &[f64]) -> f64 {
        match &self.weights {
            Weights::Element(element) => gradient[*element],
            Weights::Dense(weights) => dot(weights, gradient),
        }
    }

    /// Arrays of the inputs' sizes that hold `scale` times this direction.
    pub(crate) fn tangents(&self, inputs: &[Input], scale: f64) -> Vec<Vec<f64>> {
        let mut tangents: Vec<Vec<f64>> = inputs.iter().map(|input| vec![0.0; input.data.len()]).collect();
        match &self.weights {
            Weights::Element(element) => tangents[self.input][*element] = scale,
            Weights::Dense(weights) => {
                tangents[self.input] = weights.iter().map(|weight| scale * weight).collect();
            }
        }
        tangents
    }

    /// The size of the values it moves, at least 1; steps are relative to it.
    pub(crate) fn size(&self, inputs: &[Input]) -> f64 {
        let data = &inputs[self.input].data;
        let size = match &self.weights {
            Weights::Element(element) => data[*element].abs(),
            Weights::Dense(_) => (dot(data, data) / data.len() as f64).sqrt(),
        };
        size.max(1.0)
    }

    /// Moves `point` from the inputs by `step`, evaluates there, and moves it back.
    ///
    /// For a single element the step is the one that was really made after rounding.
    pub(crate) fn change<E>(
        &self,
        inputs: &[Input],
        point: &mut [Vec<f64>],
        step: f64,
        evaluate: impl FnOnce(&[Vec<f64>]) -> Result<Vec<f64>, E>,
    ) -> Result<Change, E> {
        let start = &inputs[self.input].data;
        let moved = &mut point[self.input];
        let step = match &self.weights {
            Weights::Element(element) => {
                moved[*element] += step;
                moved[*element] - start[*element]
            }
            Weights::Dense(weights) => {
                for (x, weight) in moved.iter_mut().zip(weights) {
                    *x += step * weight;
                }
                step
            }
        };
        let of = evaluate(point)?;
        match &self.weights {
            Weights::Element(element) => point[self.input][*element] = start[*element],
            Weights::Dense(_) => point[self.input].copy_from_slice(start),
        }
        Ok(Change { step, of })
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
