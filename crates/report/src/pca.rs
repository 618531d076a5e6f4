//! Principal components: fitted on some cells, applied to any.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use crate::Result;
use crate::error::{Error, check_size};
use crate::points::Points;

/// Variances below this part of the largest one are rounding noise of the Gram matrix.
const RANK_TOLERANCE: f64 = 1e-12;

/// The principal components of some cells.
///
/// Component i is a unit vector of loadings; its sign is chosen so that its largest loading is
/// positive, so a refit never mirrors a figure. Directions beyond the rank of the data (constant
/// columns, fewer cells than components) have variance 0 and zero loadings, hence zero scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    /// `[dims]` the mean that is subtracted before projecting.
    pub mean: Vec<f64>,
    /// `[components, dims]` unit-length loadings, row-major.
    pub loadings: Vec<f64>,
    /// `[components]` variance along each component, with cells - 1 below (0 for a single cell).
    pub variances: Vec<f64>,
    /// The variance of all columns together.
    pub total_variance: f64,
}

impl Pca {
    /// Finds the first `components` principal components.
    ///
    /// The eigenvectors come from the smaller of the two Gram matrices, `[cells, cells]` or
    /// `[dims, dims]`, on one thread.
    ///
    /// # Errors
    /// When `components` is 0 or above `min(cells, dims)`, or the decomposition does not converge.
    pub fn fit(points: &Points, components: usize) -> Result<Self> {
        let (cells, dims) = (points.cells(), points.dims());
        let most = cells.min(dims);
        if !(1..=most).contains(&components) {
            let range = format!("from 1 to min(cells, dimensions) = {most}");
            return Err(Error::setting("the number of components", components, range));
        }
        let mut mean = vec![0.0; dims];
        for row in points.rows() {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= cells as f64);
        let centred = centre(points, &mean);
        let scale = (cells.max(2) - 1) as f64;
        let total_variance = centred.iter().map(|value| value * value).sum::<f64>() / scale;

        let x = MatRef::from_row_major_slice(&centred, cells, dims);
        let wide = dims > cells;
        let gram = if wide { product(x, x.transpose()) } else { product(x.transpose(), x) };
        let (values, vectors) = eigen(&gram)?;
        // faer sorts from the smallest eigenvalue up
        let largest = values[most - 1].max(0.0);
        let mut loadings = vec![0.0; components * dims];
        let mut variances = vec![0.0; components];
        for (rank, loading) in loadings.chunks_exact_mut(dims).enumerate() {
            let column = most - 1 - rank;
            let value = values[column];
            if value <= largest * RANK_TOLERANCE {
                break;
            }
            let vector = vectors.as_ref().subcols(column, 1);
            if wide {
                // right singular vector = x' u / sigma
                let right = product(x.transpose(), vector);
                let sigma = value.sqrt();
                (0..dims).for_each(|dim| loading[dim] = right[(dim, 0)] / sigma);
            } else {
                (0..dims).for_each(|dim| loading[dim] = vector[(dim, 0)]);
            }
            fix_sign(loading);
            variances[rank] = value / scale;
        }
        Ok(Self { mean, loadings, variances, total_variance })
    }

    /// The number of components.
    pub fn components(&self) -> usize {
        self.variances.len()
    }

    /// The part of the whole variance that each component holds, `[components]`; 0 for constant data.
    pub fn explained(&self) -> Vec<f64> {
        let total = if self.total_variance > 0.0 { self.total_variance } else { 1.0 };
        self.variances.iter().map(|variance| variance / total).collect()
    }

    /// The scores of `points` along the components, `[cells, components]`.
    ///
    /// # Errors
    /// When `points` has other dimensions than the cells of the fit.
    pub fn project(&self, points: &Points) -> Result<Points> {
        let (cells, dims) = (points.cells(), self.mean.len());
        let why = format!("the components were fitted in {dims} dimensions");
        check_size("dimensions of the points to project", points.dims(), dims, why)?;
        let centred = centre(points, &self.mean);
        let loadings = MatRef::from_row_major_slice(&self.loadings, self.components(), dims);
        let scores = product(MatRef::from_row_major_slice(&centred, cells, dims), loadings.transpose());
        let row_major: Vec<f64> = (0..cells)
            .flat_map(|cell| (0..self.components()).map(move |component| (cell, component)))
            .map(|at| scores[at])
            .collect();
        Points::new(&row_major, [cells, self.components()])
    }
}

/// `[cells, dims]` the points without their mean.
fn centre(points: &Points, mean: &[f64]) -> Vec<f64> {
    points.rows().flat_map(|row| row.iter().zip(mean).map(|(value, mean)| value - mean)).collect()
}

/// The matrix product on one thread, whatever features of faer the build switched on.
fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut c = Mat::zeros(a.nrows(), b.ncols());
    matmul(&mut c, Accum::Replace, a, b, 1.0, Par::Seq);
    c
}

/// Eigenvalues (smallest first) and eigenvectors (columns) of a symmetric matrix, on one thread.
fn eigen(symmetric: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let size = symmetric.nrows();
    let mut values = Diag::<f64>::zeros(size);
    let mut vectors = Mat::zeros(size, size);
    let scratch = self_adjoint_evd_scratch::<f64>(size, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    self_adjoint_evd(
        symmetric.as_ref(),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Error::Eigen { size })?;
    Ok((values.column_vector().iter().copied().collect(), vectors))
}

/// Turns a vector so that its loading of largest size is positive (the first of equal ones).
fn fix_sign(loading: &mut [f64]) {
    let largest =
        loading.iter().copied().fold(0.0_f64, |best, value| if value.abs() > best.abs() { value } else { best });
    if largest < 0.0 {
        loading.iter_mut().for_each(|value| *value = -*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-12), "{a:?} is not {b:?}");
    }

    /// Cells at (+-3, +-1) turned by 30 degrees: the axes and variances are known.
    fn turned_rectangle() -> (Points, f64, f64) {
        let (sin, cos) = (30.0_f64.to_radians().sin(), 30.0_f64.to_radians().cos());
        let corners = [(3.0, 1.0), (3.0, -1.0), (-3.0, 1.0), (-3.0, -1.0)];
        let values: Vec<f64> =
            corners.iter().flat_map(|(u, v)| [10.0 + u * cos - v * sin, 20.0 + u * sin + v * cos]).collect();
        (Points::new(&values, [4, 2]).unwrap(), sin, cos)
    }

    #[test]
    fn a_turned_rectangle_gives_its_axes_and_variances() {
        let (points, sin, cos) = turned_rectangle();
        let pca = Pca::fit(&points, 2).unwrap();
        close(&pca.mean, &[10.0, 20.0]);
        close(&pca.loadings, &[cos, sin, -sin, cos]);
        close(&pca.variances, &[12.0, 4.0 / 3.0]);
        close(&pca.explained(), &[0.9, 0.1]);
        close(pca.project(&points).unwrap().values(), &[3.0, 1.0, 3.0, -1.0, -3.0, 1.0, -3.0, -1.0]);
    }

    #[test]
    fn more_dimensions_than_cells_gives_the_same_answer_as_fewer() {
        // the rectangle in the first two of five columns: Gram matrix of cells, not of columns
        let (flat, sin, cos) = turned_rectangle();
        let values: Vec<f64> = flat.rows().flat_map(|row| [row[0], row[1], 7.0, 0.0, -1.0]).collect();
        let pca = Pca::fit(&Points::new(&values, [4, 5]).unwrap(), 3).unwrap();
        close(&pca.loadings[..5], &[cos, sin, 0.0, 0.0, 0.0]);
        close(&pca.loadings[5..10], &[-sin, cos, 0.0, 0.0, 0.0]);
        close(&pca.variances, &[12.0, 4.0 / 3.0, 0.0]);
    }

    #[test]
    fn other_cells_are_projected_with_the_mean_of_the_fit() {
        let (points, sin, cos) = turned_rectangle();
        let pca = Pca::fit(&points, 1).unwrap();
        let other = Points::new(&[10.0 + 2.0 * cos, 20.0 + 2.0 * sin], [1, 2]).unwrap();
        close(pca.project(&other).unwrap().values(), &[2.0]);
        let wrong = Points::new(&[1.0], [1, 1]).unwrap();
        assert!(pca.project(&wrong).unwrap_err().to_string().contains("2 dimensions"));
    }

    #[test]
    fn one_cell_and_constant_columns_have_no_variance_and_zero_scores() {
        for cells in [1, 2, 5] {
            let points = Points::new(&vec![4.0; cells * 3], [cells, 3]).unwrap();
            let pca = Pca::fit(&points, 1).unwrap();
            assert_eq!((pca.variances[0], pca.explained()[0]), (0.0, 0.0));
            assert!(pca.project(&points).unwrap().values().iter().all(|&score| score == 0.0));
        }
    }

    #[test]
    fn too_many_components_is_an_error() {
        let points = Points::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]).unwrap();
        for components in [0, 3] {
            let error = Pca::fit(&points, components).unwrap_err().to_string();
            assert!(error.contains("from 1 to min(cells, dimensions) = 2"), "{error}");
        }
    }
}
