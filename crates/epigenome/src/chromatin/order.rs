//! Orders of states and marks in which neighbours are alike.

use super::model::{ChromHmmModel, StateOrder};

impl ChromHmmModel {
    /// The states in an order in which neighbours emit similar marks; old numbers.
    pub fn emission_order(&self) -> Vec<usize> {
        let present = |state: usize| self.emissions_of(state).iter().map(|p| p[1]).collect::<Vec<f64>>();
        correlation_order(&(0..self.states()).map(present).collect::<Vec<_>>())
    }

    /// The marks in an order in which neighbours are emitted by the same states.
    pub fn mark_order(&self) -> Vec<usize> {
        let present = |mark: usize| (0..self.states()).map(|s| self.emissions_of(s)[mark][1]).collect::<Vec<f64>>();
        correlation_order(&(0..self.marks.len()).map(present).collect::<Vec<_>>())
    }

    /// The states in an order in which neighbours follow each other often; old numbers.
    pub fn transition_order(&self) -> Vec<usize> {
        let states = self.states();
        let p = |from: usize, to: usize| self.transitions[from * states + to];
        greedy_order(states, |a, b| 2.0 - (p(a, b) + p(b, a)))
    }

    /// The same model in one of the two orders; in any other it stays as it is, under that name.
    pub fn sorted(&self, order: StateOrder) -> Self {
        let states = match order {
            StateOrder::Emission => self.emission_order(),
            StateOrder::Transition => self.transition_order(),
            StateOrder::User | StateOrder::Fixed => (0..self.states()).collect(),
        };
        self.reordered(&states, order)
    }
}

/// An order of rows in which neighbours correlate.
pub(super) fn correlation_order(rows: &[Vec<f64>]) -> Vec<usize> {
    greedy_order(rows.len(), |a, b| (1.0 - correlation(&rows[a], &rows[b])).sqrt())
}

/// Pearson's correlation; 0 when a vector is constant.
fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let variance = |v: &[f64]| product(v, v) - sum(v) * sum(v) / n;
    let both = variance(x) * variance(y);
    if x.is_empty() || both <= 0.0 { 0.0 } else { (product(x, y) - sum(x) * sum(y) / n) / both.sqrt() }
}

/// Starting from each item in turn, goes on to the nearest that is left; keeps the shortest way, the first of equals.
fn greedy_order(items: usize, distance: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    let mut best = (f64::INFINITY, (0..items).collect::<Vec<usize>>());
    for first in 0..items {
        let (mut order, mut left) = (vec![first], (0..items).filter(|&i| i != first).collect::<Vec<usize>>());
        let mut length = 0.0;
        while let Some(&last) = order.last().filter(|_| !left.is_empty()) {
            let mut nearest = (f64::INFINITY, 0);
            for (place, &item) in left.iter().enumerate() {
                let distance = distance(item, last);
                if distance < nearest.0 {
                    nearest = (distance, place);
                }
            }
            // rounding may make a distance the root of a negative number: such an item stands very near
            length += if nearest.0.is_finite() { nearest.0 } else { 0.0 };
            order.push(left.remove(nearest.1));
        }
        if length < best.0 {
            best = (length, order);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_greedy_way_is_taken() {
        let places = [5.0f64, 1.0, 9.0, 2.0];
        let order = greedy_order(4, |a, b| (places[a] - places[b]).abs());
        assert_eq!(order, [1, 3, 0, 2]);
    }

    #[test]
    fn correlation_is_one_of_parallel_vectors_and_zero_of_constant_ones() {
        assert!((correlation(&[1.0, 2.0, 4.0], &[3.0, 5.0, 9.0]) - 1.0).abs() < 1e-15);
        assert_eq!(correlation(&[1.0, 1.0], &[0.0, 3.0]), 0.0);
    }
}
