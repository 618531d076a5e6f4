//! Cells in a space: the checked input of clusters, layouts and neighbours.

use crate::Result;
use crate::error::{Error, check_finite, check_size};

/// Finite coordinates of at least one cell in at least one dimension.
///
/// Every number was checked when the value was made, so nothing that takes `Points` meets NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// `[cells, dims]`, row-major
    values: Vec<f64>,
    dims: usize,
}

impl Points {
    /// Takes `values` as `[cells, dims]` row-major coordinates, in `f32` or `f64`.
    ///
    /// # Errors
    /// When there are no cells or no dimensions, when the sizes do not agree, or when a value is
    /// not finite (the error names row and column).
    pub fn new<T: Copy + Into<f64>>(values: &[T], [cells, dims]: [usize; 2]) -> Result<Self> {
        for (size, of) in [(cells, "cells"), (dims, "dimensions")] {
            if size == 0 {
                return Err(Error::Empty { what: "points", of });
            }
        }
        let why = || format!("{cells} cells x {dims} dimensions");
        let expected =
            cells.checked_mul(dims).ok_or_else(|| Error::setting("the number of coordinates", why(), "addressable"))?;
        check_size("points", values.len(), expected, why())?;
        let values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
        check_finite("points", values.iter().copied(), dims)?;
        Ok(Self { values, dims })
    }

    /// The number of cells.
    pub fn cells(&self) -> usize {
        self.values.len() / self.dims
    }

    /// The number of dimensions.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// The coordinates of one cell, `[dims]`.
    ///
    /// # Panics
    /// When there is no such cell.
    pub fn row(&self, cell: usize) -> &[f64] {
        &self.values[cell * self.dims..][..self.dims]
    }

    /// The coordinates of each cell in turn.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.dims)
    }

    /// All coordinates, `[cells, dims]` row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The named cells alone, in the order given.
    ///
    /// # Errors
    /// When `cells` is empty.
    ///
    /// # Panics
    /// When there is no such cell.
    pub fn select(&self, cells: &[usize]) -> Result<Self> {
        let values: Vec<f64> = cells.iter().flat_map(|&cell| self.row(cell)).copied().collect();
        Self::new(&values, [cells.len(), self.dims])
    }
}

/// Squared Euclidean distance of two cells.
///
/// Sums in eight lanes, in an order that the length alone decides.
pub(crate) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let tail: f64 = rest.map(|(x, y)| (x - y) * (x - y)).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for lane in 0..8 {
            let difference = x[lane] - y[lane];
            lanes[lane] += difference * difference;
        }
    }
    lanes.iter().sum::<f64>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_and_f64_give_the_same_points() {
        let single = Points::new(&[1.0_f32, 2.0, 3.0, 4.0], [2, 2]).unwrap();
        let double = Points::new(&[1.0_f64, 2.0, 3.0, 4.0], [2, 2]).unwrap();
        assert_eq!(single, double);
        assert_eq!(single.row(1), [3.0, 4.0]);
    }

    #[test]
    fn sizes_and_values_are_checked_at_the_door() {
        let none: [f64; 0] = [];
        let message = |values: &[f64], shape| Points::new(values, shape).unwrap_err().to_string();
        assert!(message(&none, [0, 3]).contains("no cells"));
        assert!(message(&none, [3, 0]).contains("no dimensions"));
        assert!(message(&[1.0; 5], [2, 3]).contains("5 values, but 6"));
        assert!(message(&[1.0], [usize::MAX, 2]).contains("addressable"));
        let nan = message(&[1.0, 2.0, 3.0, f64::NAN], [2, 2]);
        assert!(nan.contains("row 1, column 1 is NaN"), "{nan}");
        assert!(message(&[f64::INFINITY], [1, 1]).contains("inf"));
    }

    #[test]
    fn squared_distance_is_the_sum_of_squared_differences() {
        for dims in [1, 7, 8, 9, 20] {
            let a: Vec<f64> = (0..dims).map(f64::from).collect();
            let b = vec![0.0; dims as usize];
            // 0 + 1 + 4 + ... + (d-1)^2 = (d-1) d (2d-1) / 6
            let d = f64::from(dims);
            assert_eq!(squared_distance(&a, &b), (d - 1.0) * d * (2.0 * d - 1.0) / 6.0);
        }
    }
}
