//! Exact nearest neighbours by Euclidean distance, and the guess they make.

use rayon::prelude::*;

use crate::Result;
use crate::error::{Error, check_size};
use crate::points::{Points, squared_distance};

/// The nearest neighbours of some cells, nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// How many neighbours each cell has.
    pub k: usize,
    /// `[cells, k]` row numbers of the neighbours in the reference.
    pub indices: Vec<usize>,
    /// `[cells, k]` Euclidean distances to them.
    pub distances: Vec<f64>,
}

/// Finds the `k` nearest neighbours of each cell among the others; a cell is not its own neighbour.
///
/// Every pair is looked at, so the answer is exact; equal distances go to the smaller row number.
///
/// # Errors
/// When `k` is 0 or there are not `k` other cells.
pub fn neighbours(points: &Points, k: usize) -> Result<Neighbours> {
    check_k(k, points.cells() - 1, "other cells")?;
    Ok(search(points, points, k, true))
}

/// Finds the `k` nearest cells of `reference` for each cell of `queries`.
///
/// Every pair is looked at, so the answer is exact; equal distances go to the smaller row number.
///
/// # Errors
/// When the two differ in dimensions, `k` is 0, or `reference` has fewer than `k` cells.
pub fn nearest(queries: &Points, reference: &Points, k: usize) -> Result<Neighbours> {
    let why = || format!("the reference has {} dimensions", reference.dims());
    check_size("dimensions of the queries", queries.dims(), reference.dims(), why())?;
    check_k(k, reference.cells(), "reference cells")?;
    Ok(search(queries, reference, k, false))
}

fn check_k(k: usize, available: usize, of: &str) -> Result<()> {
    if (1..=available).contains(&k) {
        Ok(())
    } else {
        let range = format!("from 1 to the number of {of}, {available}");
        Err(Error::setting("the number of neighbours", k, range))
    }
}

fn search(queries: &Points, reference: &Points, k: usize, skip_self: bool) -> Neighbours {
    let rows: Vec<Vec<(f64, usize)>> = (0..queries.cells())
        .into_par_iter()
        .map(|query| {
            let from = queries.row(query);
            let mut candidates: Vec<(f64, usize)> = reference
                .rows()
                .enumerate()
                .filter(|&(row, _)| !(skip_self && row == query))
                .map(|(row, to)| (squared_distance(from, to), row))
                .collect();
            let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            candidates.select_nth_unstable_by(k - 1, order);
            candidates.truncate(k);
            candidates.sort_unstable_by(order);
            candidates
        })
        .collect();
    Neighbours {
        k,
        indices: rows.iter().flatten().map(|&(_, row)| row).collect(),
        distances: rows.iter().flatten().map(|&(squared, _)| squared.sqrt()).collect(),
    }
}

impl Neighbours {
    /// The neighbours of one cell, `[k]`, nearest first.
    ///
    /// # Panics
    /// When there is no such cell.
    pub fn of(&self, cell: usize) -> &[usize] {
        &self.indices[cell * self.k..][..self.k]
    }

    /// The mean of `values` over each cell's neighbours: the k-nearest-neighbour guess.
    ///
    /// `values` holds one row per reference cell, `[reference cells, features]`; the answer is
    /// `[cells, features]`.
    ///
    /// # Errors
    /// When a neighbour has no row in `values`.
    pub fn mean_of(&self, values: &Points) -> Result<Points> {
        let rows = self.indices.iter().max().map_or(0, |last| last + 1);
        if values.cells() < rows {
            let why = format!("row {} is somebody's neighbour", rows - 1);
            check_size("rows of the values to average", values.cells(), rows, why)?;
        }
        let features = values.dims();
        let mut means = vec![0.0; self.indices.len() / self.k * features];
        for (mean, near) in means.chunks_exact_mut(features).zip(self.indices.chunks_exact(self.k)) {
            for &row in near {
                mean.iter_mut().zip(values.row(row)).for_each(|(sum, value)| *sum += value);
            }
            mean.iter_mut().for_each(|sum| *sum /= self.k as f64);
        }
        Points::new(&means, [means.len() / features, features])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(positions: &[f64]) -> Points {
        Points::new(positions, [positions.len(), 1]).unwrap()
    }

    #[test]
    fn neighbours_come_nearest_first_without_the_cell_itself() {
        let found = neighbours(&line(&[0.0, 1.0, 3.0, 7.0]), 2).unwrap();
        assert_eq!(found.indices, [1, 2, 0, 2, 1, 0, 2, 1]);
        assert_eq!(found.distances, [1.0, 3.0, 1.0, 2.0, 2.0, 3.0, 4.0, 6.0]);
    }

    #[test]
    fn equal_distances_go_to_the_smaller_row() {
        let found = neighbours(&line(&[0.0, 1.0, -1.0, 1.0, 0.0]), 3).unwrap();
        assert_eq!(found.of(0), [4, 1, 2]);
        let query = nearest(&line(&[0.0]), &line(&[2.0, -2.0, 2.0, 1.0]), 3).unwrap();
        assert_eq!(query.of(0), [3, 0, 1]);
    }

    #[test]
    fn duplicates_are_neighbours_at_distance_zero() {
        let found = neighbours(&line(&[5.0, 5.0]), 1).unwrap();
        assert_eq!((found.indices, found.distances), (vec![1, 0], vec![0.0, 0.0]));
    }

    #[test]
    fn the_guess_is_the_mean_of_the_neighbours_rows() {
        let near = nearest(&line(&[0.2]), &line(&[0.0, 1.0, 9.0]), 2).unwrap();
        let values = Points::new(&[1.0, 10.0, 3.0, 20.0, 100.0, 100.0], [3, 2]).unwrap();
        assert_eq!(near.mean_of(&values).unwrap().values(), [2.0, 15.0]);
        let error = near.mean_of(&line(&[1.0])).unwrap_err().to_string();
        assert!(error.contains("row 1 is somebody's neighbour"), "{error}");
    }

    #[test]
    fn more_neighbours_than_cells_is_an_error() {
        for (cells, k) in [(1, 1), (2, 2), (2, 0)] {
            let error = neighbours(&line(&vec![0.0; cells]), k).unwrap_err().to_string();
            assert!(error.contains("number of neighbours"), "{error}");
        }
        assert!(nearest(&line(&[0.0]), &line(&[0.0]), 2).is_err());
        let plane = Points::new(&[0.0, 0.0], [1, 2]).unwrap();
        assert!(nearest(&line(&[0.0]), &plane, 1).is_err());
    }
}
