//! What the model is trained on and applied to.

use gradome_io::Modality;
use gradome_nn::{Error, Result};
use gradome_tape::{Float, Tensor};

use crate::config::{Likelihood, MultiOmicsVaeConfig};

/// Several modalities of the same cells.
///
/// Cells stand in the same order in every modality; what was not measured is marked in
/// [`Modality::measured`](gradome_io::Modality).
#[derive(Clone, Debug)]
pub struct MultiOmicsData {
    /// The modalities in the order of the configuration.
    pub modalities: Vec<Modality>,
    /// `[cells]` the number of each cell's batch; empty when there are no batches.
    pub batch: Vec<u32>,
}

impl MultiOmicsData {
    /// How many cells there are.
    pub fn cells(&self) -> usize {
        self.modalities.first().map_or(0, |m| m.matrix.rows())
    }

    /// The given cells in the given order.
    pub fn select(&self, cells: &[usize]) -> Self {
        Self {
            modalities: self.modalities.iter().map(|m| m.select_cells(cells)).collect(),
            batch: if self.batch.is_empty() { Vec::new() } else { cells.iter().map(|&c| self.batch[c]).collect() },
        }
    }

    /// Looks for data that the configured model cannot take.
    ///
    /// # Errors
    /// When sizes differ from the configuration, a count is negative or not whole, or a value is not finite; the error
    /// names modality, cell and feature.
    pub fn validate(&self, config: &MultiOmicsVaeConfig) -> Result<()> {
        if self.modalities.len() != config.modalities.len() {
            let problem =
                format!("the model has {} modalities, the data {}", config.modalities.len(), self.modalities.len());
            return Err(Error::data("modalities", problem));
        }
        let cells = self.cells();
        for (modality, config) in self.modalities.iter().zip(&config.modalities) {
            let (rows, columns) = modality.matrix.shape();
            if rows != cells {
                let problem =
                    format!("{rows} cells, but '{}' has {cells}; align them by barcode", self.modalities[0].name);
                return Err(Error::data(&modality.name, problem));
            }
            if columns != config.features {
                let problem = format!("{columns} features, but the model was made for {}", config.features);
                return Err(Error::data(&modality.name, problem));
            }
            for cell in 0..rows {
                for (feature, value) in modality.matrix.row_entries(cell) {
                    check_value(f64::from(value), config.likelihood).map_err(|problem| {
                        let name = &modality.features[feature].name;
                        Error::data(
                            &modality.name,
                            format!("cell {} feature '{name}' holds {value}: {problem}", cell + 1),
                        )
                    })?;
                }
            }
        }
        check_batches(&self.batch, cells, config)
    }

    /// The values of some cells of one modality `[cells, features]`, and which were measured where some were not.
    pub(crate) fn tensors<T: Float>(&self, modality: usize, cells: &[usize]) -> (Tensor<T>, Option<Tensor<T>>) {
        let Modality { matrix, measured, .. } = &self.modalities[modality];
        let features = matrix.columns();
        let mut values = Tensor::<T>::zeros([cells.len(), features]);
        for (row, &cell) in values.data_mut().chunks_exact_mut(features.max(1)).zip(cells) {
            for (feature, value) in matrix.row_entries(cell) {
                row[feature] = T::of(f64::from(value));
            }
        }
        let measured = measured.as_ref().map(|measured| {
            let mut mask = Tensor::<T>::zeros([cells.len(), features]);
            for (row, &cell) in mask.data_mut().chunks_exact_mut(features.max(1)).zip(cells) {
                for (slot, &known) in row.iter_mut().zip(measured.cell(cell)) {
                    *slot = if known { T::ONE } else { T::ZERO };
                }
            }
            mask
        });
        (values, measured)
    }
}

pub(crate) fn check_batches(batch: &[u32], cells: usize, config: &MultiOmicsVaeConfig) -> Result<()> {
    let count = config.batch_count();
    if count == 0 {
        return Ok(());
    }
    if batch.len() != cells {
        let problem = format!("the model distinguishes {count} batches, but {} of {cells} cells have one", batch.len());
        return Err(Error::data("batch", problem));
    }
    match batch.iter().position(|&b| b as usize >= count) {
        Some(cell) => {
            let problem = format!("cell {} is of batch number {}, but there are {count}", cell + 1, batch[cell]);
            Err(Error::data("batch", problem))
        }
        None => Ok(()),
    }
}

/// Why a value cannot be used with a likelihood, if so.
pub(crate) fn check_value(value: f64, likelihood: Likelihood) -> Result<(), &'static str> {
    if !value.is_finite() {
        Err("values must be finite; mark what was not measured as missing instead")
    } else if likelihood.counts() && value < 0.0 {
        Err("counts cannot be negative; give raw counts, or choose the gaussian likelihood")
    } else if likelihood.counts() && value.fract() != 0.0 {
        Err("counts must be whole numbers; give raw counts (a layer, raw/X), or choose the gaussian likelihood")
    } else if likelihood == Likelihood::Bernoulli && value != 0.0 && value != 1.0 {
        Err("the bernoulli likelihood takes 0 and 1; binarise the matrix or choose another likelihood")
    } else {
        Ok(())
    }
}

/// One modality of a [`MultiOmicsBatch`].
#[derive(Clone, Debug)]
pub struct ModalityValues {
    /// `[cells, features]` values, row-major; NaN where a value was not measured.
    pub values: Vec<f64>,
}

/// A few cells as plain arrays: what [`Operator::input`](gradome_nn::Operator::input) takes.
#[derive(Clone, Debug)]
pub struct MultiOmicsBatch {
    /// How many cells.
    pub cells: usize,
    /// The modalities in the order of the configuration.
    pub modalities: Vec<ModalityValues>,
    /// `[cells]` the number of each cell's batch; empty when there are no batches.
    pub batch: Vec<u32>,
    /// `[cells, latent]` standard normal noise for the joint latent state; drawn by the step when absent.
    pub noise: Option<Vec<f64>>,
}
