//! A model with its parameters: what it says of cells.

use std::collections::HashMap;

use gradome_io::{CsrMatrix, Feature, Kind, Matrix, Modality};
use gradome_nn::{Error, Operator, ParamStore, Result, Step};
use gradome_tape::Tape;

use super::model::{OpenChromatin, Scale, ScaleConfig, ScaleOutput};

/// Cells that are looked at together: enough for the kernels, little memory.
pub(super) const CHUNK: usize = 256;

/// A trained SCALE model with the names of its peaks.
pub struct TrainedScale {
    pub(super) model: Scale,
    pub(super) store: ParamStore<f32>,
    pub(super) features: Vec<Feature>,
}

/// What a model says of each cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleCells {
    /// Dimensions of the embedding.
    pub dimensions: usize,
    /// Components of the mixture, and so the most clusters there can be.
    pub components: usize,
    /// `[cells, dimensions]` the embedding: posterior means, row-major.
    pub embedding: Vec<f32>,
    /// `[cells, components]` the probability of each component, row-major.
    pub probabilities: Vec<f32>,
}

impl ScaleCells {
    /// `[cells]` the most probable component of each cell.
    pub fn clusters(&self) -> Vec<usize> {
        let most = |p: &[f32]| (0..p.len()).fold(0, |best, c| if p[c] > p[best] { c } else { best });
        self.probabilities.chunks_exact(self.components).map(most).collect()
    }
}

/// What denoised values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denoised {
    /// The probability that the peak is open.
    Probability,
    /// 1.
    Binary,
}

impl OpenChromatin {
    /// Some cells of a matrix; what is not 0 is open.
    pub fn of(peaks: &Modality, cells: &[usize]) -> Self {
        let columns = peaks.matrix.columns();
        let mut open = vec![false; cells.len() * columns];
        for (row, &cell) in cells.iter().enumerate() {
            peaks.matrix.row_entries(cell).for_each(|(peak, _)| open[row * columns + peak] = true);
        }
        Self { cells: cells.len(), open, noise: None }
    }
}

impl TrainedScale {
    /// The configuration.
    pub fn config(&self) -> &ScaleConfig {
        self.model.config()
    }

    /// The peaks in the order of the columns.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// All parameters.
    pub fn store(&self) -> &ParamStore<f32> {
        &self.store
    }

    /// Brings peaks into the model's order by their names; gives also how many of the model's peaks were found.
    ///
    /// Peaks of the model that are absent count as closed, peaks that the model does not know are left out.
    ///
    /// # Errors
    /// When none of the peaks is known to the model.
    pub fn arrange(&self, peaks: &Modality) -> Result<(Modality, usize)> {
        let places: HashMap<&str, usize> =
            self.features.iter().enumerate().map(|(i, f)| (f.name.as_str(), i)).collect();
        let place: Vec<Option<usize>> = peaks.feature_names().map(|name| places.get(name).copied()).collect();
        let found = place.iter().flatten().count();
        if found == 0 {
            let problem = format!(
                "none of its {} peaks is known to the model, whose first is '{}'; are they of another peak set?",
                place.len(),
                self.features.first().map_or("", |f| &f.name)
            );
            return Err(Error::data(&peaks.name, problem));
        }
        let (mut indptr, mut indices) = (vec![0], Vec::new());
        for cell in 0..peaks.matrix.rows() {
            indices.extend(peaks.matrix.row_entries(cell).filter_map(|(peak, _)| Some(place[peak]? as u32)));
            indptr.push(indices.len());
        }
        let ones = vec![1.0; indices.len()];
        let matrix = CsrMatrix::new(peaks.matrix.rows(), self.features.len(), indptr, indices, ones)
            .map_err(|problem| Error::data(&peaks.name, problem))?;
        let (kind, features) = (Kind::Atac, self.features.clone());
        Ok((
            Modality { name: peaks.name.clone(), kind, features, matrix: Matrix::Sparse(matrix), measured: None },
            found,
        ))
    }

    /// The embedding of cells and their clusters, from posterior means: the same cells give the same numbers.
    ///
    /// # Errors
    /// When the columns are not the model's peaks; see [`TrainedScale::arrange`].
    pub fn cells(&self, peaks: &Modality) -> Result<ScaleCells> {
        let ScaleConfig { latent_dim, components, .. } = *self.config();
        let (mut embedding, mut probabilities) = (Vec::new(), Vec::new());
        self.for_each_chunk(peaks, |_, output| {
            embedding.extend_from_slice(output.posterior.mean.value().data());
            probabilities.extend_from_slice(output.responsibilities.value().data());
            Ok(())
        })?;
        Ok(ScaleCells { dimensions: latent_dim, components, embedding, probabilities })
    }

    /// Denoised cells: peaks that are open with a probability above both the share of the cell's peaks and the share of
    /// the peak's cells that are open in the data (the rule of the reference); all others are 0.
    ///
    /// A few cells are decoded at a time and what is 0 is not stored, so memory follows the result.
    ///
    /// # Errors
    /// As [`TrainedScale::cells`].
    pub fn denoised(&self, peaks: &Modality, values: Denoised) -> Result<Matrix> {
        let (rows, columns) = peaks.matrix.shape();
        let share = |sum: f64, of: usize| sum / of.max(1) as f64;
        let all: Vec<usize> = (0..rows).collect();
        let of_peak: Vec<f64> = open_cells(peaks, &all).into_iter().map(|open| share(open, rows)).collect();
        let (mut indptr, mut indices, mut data) = (vec![0], Vec::new(), Vec::new());
        self.for_each_chunk(peaks, |cells, output| {
            let open = output.logits.sigmoid().value();
            for (row, &cell) in open.data().chunks_exact(columns.max(1)).zip(cells) {
                let of_cell = share(peaks.matrix.row_entries(cell).count() as f64, columns);
                for (peak, &p) in row.iter().enumerate() {
                    if f64::from(p) > of_cell && f64::from(p) > of_peak[peak] {
                        indices.push(peak as u32);
                        data.push(if values == Denoised::Binary { 1.0 } else { p });
                    }
                }
                indptr.push(indices.len());
            }
            Ok(())
        })?;
        let matrix = CsrMatrix::new(rows, columns, indptr, indices, data);
        matrix.map(Matrix::Sparse).map_err(|problem| Error::data("denoised cells", problem))
    }

    /// Looks at all cells, a few at a time.
    pub(super) fn for_each_chunk(
        &self,
        peaks: &Modality,
        mut look: impl FnMut(&[usize], &ScaleOutput<'_, f32>) -> Result<()>,
    ) -> Result<()> {
        let cells: Vec<usize> = (0..peaks.matrix.rows()).collect();
        let mut tape = Tape::new();
        for chunk in cells.chunks(CHUNK) {
            {
                let bound = self.store.bind(&tape);
                let input = self.model.input(&tape, &OpenChromatin::of(peaks, chunk))?;
                look(chunk, &self.model.forward(Step::eval(&tape, &bound), &input)?)?;
            }
            tape.reset();
        }
        Ok(())
    }
}

/// `[peaks]` in how many of some cells each peak is open.
pub(super) fn open_cells(peaks: &Modality, cells: &[usize]) -> Vec<f64> {
    let mut open = vec![0.0; peaks.matrix.columns()];
    for &cell in cells {
        peaks.matrix.row_entries(cell).for_each(|(peak, _)| open[peak] += 1.0);
    }
    open
}
