//! From what was read to what is trained on: likelihoods, cells and features that can be used, checked counts.

use clap::Args;
use gradome::io::{
    CsrMatrix, Dataset, Kind, Matrix, Modality, VARIANCE_TREND_SPAN, check_counts, check_finite, variable_features,
};
use gradome::multiomics::Likelihood;

use crate::error::{Result, wrong};
use crate::inputs::{Inputs, Loaded, batches};

/// Which values are used, and how each modality's values arise.
#[derive(Args, Clone)]
#[command(next_help_heading = "Preparation")]
pub struct Preparation {
    /// Train on the N most variable genes (rule of Seurat v3, within batches); 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    n_top_genes: usize,
    /// Leave out cells with fewer counts in any modality that is measured in them
    #[arg(long, value_name = "N", default_value_t = 1)]
    min_counts: u32,
    /// Leave out features that are found in fewer cells
    #[arg(long, value_name = "N", default_value_t = 1)]
    min_cells: usize,
    /// How RNA values arise: negative-binomial (nb), zero-inflated-negative-binomial (zinb), poisson or gaussian
    #[arg(long, value_name = "LIKELIHOOD", default_value = "negative-binomial")]
    rna_likelihood: Likelihood,
    /// How protein values arise: negative-binomial-mixture (nb-mixture) of background and foreground, or as above
    #[arg(long, value_name = "LIKELIHOOD", default_value = "negative-binomial-mixture")]
    protein_likelihood: Likelihood,
    /// How chromatin values arise: bernoulli (counts are made 0 and 1), or as above
    #[arg(long, value_name = "LIKELIHOOD", default_value = "bernoulli")]
    atac_likelihood: Likelihood,
}

/// Data that a model can be made for.
pub struct Prepared {
    pub data: Dataset,
    /// For each modality.
    pub likelihoods: Vec<Likelihood>,
    /// Names of the batches, and the number of each cell's; empty without batches.
    pub batch_names: Vec<String>,
    pub batch: Vec<u32>,
}

/// More genes than this train slowly for little.
const MANY_GENES: usize = 8000;

impl Preparation {
    pub fn prepare(&self, inputs: &Inputs) -> Result<Prepared> {
        let Loaded { mut data, likelihoods } = inputs.load()?;
        let likelihoods = data.modalities.iter().zip(likelihoods).map(|(modality, given)| match modality.kind {
            Kind::Rna => Ok(self.rna_likelihood),
            Kind::Protein => Ok(self.protein_likelihood),
            Kind::Atac => Ok(self.atac_likelihood),
            _ => given.ok_or_else(|| {
                let name = &modality.name;
                wrong(format!("--modality {name}: give a likelihood, as in {name}=FILE:gaussian"))
            }),
        });
        let likelihoods: Vec<Likelihood> = likelihoods.collect::<Result<_>>()?;
        for (modality, likelihood) in data.modalities.iter_mut().zip(&likelihoods) {
            check(modality, &data.cells, *likelihood)?;
            binarise(modality, *likelihood);
        }
        let data = self.enough_counts(data, &likelihoods)?;
        let (batch_names, batch) = match &inputs.batch {
            Some(column) => batches(&data, column)?,
            None => (Vec::new(), Vec::new()),
        };
        if batch_names.len() == 1 {
            log::warn!("all cells are of batch '{}': there is no batch effect to take out", batch_names[0]);
        }
        let data = self.useful_features(data, &batch)?;
        Ok(Prepared { data, likelihoods, batch_names, batch })
    }

    /// Leaves out cells with too few counts.
    fn enough_counts(&self, data: Dataset, likelihoods: &[Likelihood]) -> Result<Dataset> {
        let mut enough = vec![true; data.cells.len()];
        for (modality, _) in data.modalities.iter().zip(likelihoods).filter(|(_, likelihood)| likelihood.has_depth()) {
            let measured = |cell| modality.measured.as_ref().is_none_or(|m| m.cell(cell).contains(&true));
            let mut out = 0;
            for (cell, depth) in modality.matrix.row_sums().into_iter().enumerate() {
                if depth < f64::from(self.min_counts) && measured(cell) {
                    enough[cell] = false;
                    out += 1;
                }
            }
            if out > 0 {
                let (name, least) = (&modality.name, self.min_counts);
                log::warn!("{name}: {out} cells have fewer than {least} counts and are left out (--min-counts)");
            }
        }
        let kept: Vec<usize> = (0..enough.len()).filter(|&cell| enough[cell]).collect();
        match kept.len() {
            0 => Err(wrong("no cell has enough counts in every modality; lower --min-counts or look at the files")),
            all if all == enough.len() => Ok(data),
            _ => Ok(data.select_cells(&kept)),
        }
    }

    /// Leaves out features seen in too few cells, and genes that do not vary.
    fn useful_features(&self, mut data: Dataset, batch: &[u32]) -> Result<Dataset> {
        for modality in &mut data.modalities {
            let mut cells_with = vec![0_usize; modality.features.len()];
            for cell in 0..modality.matrix.rows() {
                modality.matrix.row_entries(cell).for_each(|(feature, _)| cells_with[feature] += 1);
            }
            let seen: Vec<usize> = (0..cells_with.len()).filter(|&f| cells_with[f] >= self.min_cells).collect();
            let (before, name) = (modality.features.len(), modality.name.clone());
            if seen.is_empty() {
                let least = self.min_cells;
                return Err(wrong(format!(
                    "{name}: none of {before} features is found in {least} cells (--min-cells)"
                )));
            }
            if seen.len() < before {
                log::info!("{name}: {} of {before} features are found in too few cells", before - seen.len());
                *modality = modality.select_features(&seen);
            }
            if modality.kind != Kind::Rna {
                continue;
            }
            let genes = modality.features.len();
            if self.n_top_genes > 0 && self.n_top_genes < genes {
                let by_batch = (!batch.is_empty()).then_some(batch);
                let variable = variable_features(&modality.matrix, by_batch, self.n_top_genes, VARIANCE_TREND_SPAN)?;
                *modality = modality.select_features(&variable.chosen);
                log::info!("{name}: the {} most variable of {genes} genes", variable.chosen.len());
            } else if genes > MANY_GENES {
                log::info!("{name}: {genes} genes; --n-top-genes 2000 trains faster and often as well");
            }
        }
        Ok(data)
    }
}

/// Counts must be counts, and numbers numbers; what is wrong is named with its cell and feature.
pub fn check(modality: &Modality, cells: &[String], likelihood: Likelihood) -> Result<()> {
    Ok(if likelihood.has_depth() { check_counts(modality, cells) } else { check_finite(modality, cells) }?)
}

/// Makes counts 0 and 1 where the likelihood wants that.
pub fn binarise(modality: &mut Modality, likelihood: Likelihood) {
    if likelihood != Likelihood::Bernoulli {
        return;
    }
    let matrix = std::mem::replace(&mut modality.matrix, Matrix::dense(0, 0, Vec::new())).into_sparse();
    let above = matrix.data().iter().filter(|&&value| value > 1.0).count();
    if above > 0 {
        log::info!("{}: {above} values above 1 count as 1 (likelihood bernoulli)", modality.name);
    }
    let (rows, columns) = matrix.shape();
    let ones = vec![1.0; matrix.nnz()];
    let binary = CsrMatrix::new(rows, columns, matrix.indptr().to_vec(), matrix.indices().to_vec(), ones);
    modality.matrix = Matrix::Sparse(binary.expect("the same places hold other values"));
}
