//! `gradome fit scale`: train on a matrix of cells x peaks.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use gradome::epigenome::scale::{ClusterCount, ScaleConfig, ScaleFitOptions, TrainedScale, default_scale_trainer};
use gradome::io::{Dataset, write_atomic};
use gradome::nn::metrics::{adjusted_rand_index, normalized_mutual_information};
use gradome::nn::trainer::{End, StopFlag};

use super::page::{Run, page};
use super::{Cells, table};
use crate::Global;
use crate::console::print;
use crate::error::{Failure, Result, wrong};
use crate::prepare::check;
use crate::run_dir::{LATENT_FILE, MODEL_FILE, NewRun, REPORT_FILE, RunDir, SETTINGS_FILE, SUMMARY_FILE};
use crate::table::write_table;

/// Train SCALE on single-cell ATAC-seq: an embedding, clusters and denoised peaks from one model.
///
/// A variational autoencoder of binarised peaks whose prior is a mixture of normal distributions, one for each cluster
/// (Xiong et al. 2019). The autoencoder is trained alone first; a mixture fitted to its embedding then takes the prior's
/// place and both are trained together. Embedding and clusters come from posterior means, so they are the same every
/// time.
///
/// Leaves in --out: model.safetensors (the model), latent.csv (embedding, cluster and its probabilities for each cell),
/// metrics.jsonl (one line an epoch), report.html (figures and words), summary.json (the numbers behind them) and
/// run.toml (all settings; `--config run.toml` repeats the run).
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome fit scale --atac filtered_peak_bc_matrix/ --out run
  gradome fit scale --atac peaks.mtx.gz --clusters 8 --min-cells 10 --out run
  gradome fit scale --atac atac.h5ad --place layers/counts --labels cell_type --out run")]
pub struct FitScale {
    /// Settings from a TOML file: a key for each long flag; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    cells: Cells,
    /// A column of cell annotations (obs) to compare the clusters with; training does not see it
    #[arg(long, value_name = "COLUMN", help_heading = "Input")]
    labels: Option<String>,
    /// Leave out cells with fewer open peaks
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Preparation")]
    min_peaks: usize,
    /// Leave out peaks that are open in fewer cells
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Preparation")]
    min_cells: usize,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    output: NewRun,
}

/// The shape of the model.
#[derive(Args, Clone)]
#[command(next_help_heading = "Model")]
struct Model {
    /// Clusters [default: as many as the Bayesian information criterion finds in the pre-trained embedding]
    #[arg(long, value_name = "N")]
    clusters: Option<usize>,
    /// The most clusters to look for without --clusters
    #[arg(long, value_name = "N", default_value_t = 20)]
    max_clusters: usize,
    /// Dimensions of the embedding
    #[arg(long, value_name = "N", default_value_t = ScaleConfig::default().latent_dim)]
    latent: usize,
    /// Widths of the encoder's layers, with commas
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = ScaleConfig::default().hidden)]
    hidden: Vec<usize>,
}

/// How the model is trained.
#[derive(Args, Clone)]
#[command(next_help_heading = "Training")]
struct Training {
    /// Passes over the cells before the mixture is added, at most
    #[arg(long, value_name = "N", default_value_t = ScaleFitOptions::quiet(0).pretraining_epochs)]
    pretraining_epochs: usize,
    /// Passes over the cells with the mixture, at most
    #[arg(long, value_name = "N", default_value_t = default_scale_trainer(0).max_epochs)]
    epochs: usize,
    /// Cells a step
    #[arg(long, value_name = "N", default_value_t = default_scale_trainer(0).batch_size)]
    batch_size: usize,
    /// Full learning rate of Adam
    #[arg(long, value_name = "RATE", default_value_t = default_scale_trainer(0).learning_rate)]
    learning_rate: f64,
    /// Share of the cells held out to decide when to stop
    #[arg(long, value_name = "SHARE", default_value_t = ScaleFitOptions::quiet(0).validation_fraction)]
    validation_fraction: f64,
    /// Stop after this many epochs without a better held-out bound; 0 never stops early
    #[arg(long, value_name = "EPOCHS", default_value_t = default_scale_trainer(0).patience)]
    patience: usize,
}

impl FitScale {
    pub fn run(&self, global: &Global, settings: &str) -> Result<()> {
        let dir = self.output.dir()?;
        let data = self.prepared()?;
        let labels =
            self.labels.as_ref().map(|column| data.column(column).map(|labels| labels.labels())).transpose()?;
        let peaks = &data.modalities[0];
        let config =
            ScaleConfig { latent_dim: self.model.latent, hidden: self.model.hidden.clone(), ..Default::default() };
        let options = self.options(global, &dir)?;
        dir.start()?;
        write_atomic(&dir.file(SETTINGS_FILE), |to| to.write_all(settings.as_bytes()))?;
        log::info!("training on {} cells and {} peaks", data.cells.len(), peaks.features.len());
        let start = Instant::now();
        let fit = TrainedScale::fit(&config, peaks, &options)?;
        if let End::Interrupted { signal, .. } = fit.end {
            let text = format!(
                "stopped by signal {signal}; a run of two phases cannot go on: start it again with --overwrite"
            );
            return Err(Failure::Interrupted(signal, text));
        }
        let cells = fit.trained.cells(peaks)?;
        let clusters = cells.clusters();
        let (header, rows) = table(&cells);
        write_table(&dir.file(LATENT_FILE), &header, &data.cells, rows)?;
        // cells without a label are left out of the comparison
        let agreement = labels.as_ref().map(|(_, codes)| {
            let (known, found): (Vec<u32>, Vec<usize>) =
                codes.iter().zip(&clusters).filter_map(|(code, cluster)| Some(((*code)?, *cluster))).unzip();
            (adjusted_rand_index(&known, &found), normalized_mutual_information(&known, &found))
        });
        let run =
            Run { fit: &fit, cells: &cells, names: &data.cells, labels: labels.as_ref(), agreement, seed: global.seed };
        page(&run)?.write(&dir.file(REPORT_FILE))?;
        let summary = serde_json::json!({
            "operator": "scale",
            "version": env!("CARGO_PKG_VERSION"),
            "seed": global.seed,
            "cells": data.cells.len(),
            "peaks": peaks.features.len(),
            "components": cells.components,
            "parameters": fit.trained.store().parameter_count(),
            "best_epoch": fit.history.best_epoch,
            "seconds": start.elapsed().as_secs_f64(),
            "adjusted_rand_index": agreement.map(|found| found.0),
            "normalized_mutual_information": agreement.map(|found| found.1),
        });
        write_atomic(&dir.file(SUMMARY_FILE), |to| to.write_all(summary.to_string().as_bytes()))?;
        if let (Some((ari, nmi)), Some(column)) = (agreement, &self.labels) {
            log::info!(
                "clusters against {column}: adjusted Rand index {ari:.3}, normalised mutual information {nmi:.3}"
            );
        }
        log::info!("trained in {:.0} s; look at", start.elapsed().as_secs_f64());
        for (file, what) in
            [(REPORT_FILE, "open it in a browser"), (LATENT_FILE, "the cells"), (MODEL_FILE, "for `gradome apply`")]
        {
            print(format_args!("{}  {what}\n", dir.file(file).display()));
        }
        Ok(())
    }

    fn options(&self, global: &Global, dir: &RunDir) -> Result<ScaleFitOptions> {
        let stop = StopFlag::new();
        stop.install_signal_handlers()?;
        let mut options = ScaleFitOptions {
            pretraining_epochs: self.training.pretraining_epochs,
            clusters: self.model.clusters.map_or(ClusterCount::UpTo(self.model.max_clusters), ClusterCount::Fixed),
            validation_fraction: self.training.validation_fraction,
            ..ScaleFitOptions::quiet(global.seed)
        };
        let trainer = &mut options.fit.trainer;
        trainer.max_epochs = self.training.epochs;
        trainer.batch_size = self.training.batch_size;
        trainer.learning_rate = self.training.learning_rate;
        trainer.patience = self.training.patience;
        options.fit.folder = Some(dir.folder().to_owned());
        options.fit.quiet = global.quiet;
        options.fit.stop = stop;
        Ok(options)
    }

    /// Cells and peaks that have enough.
    fn prepared(&self) -> Result<Dataset> {
        let mut data = self.cells.read()?;
        check(&data.modalities[0], &data.cells, gradome::multiomics::Likelihood::Poisson)?;
        let open = |data: &Dataset, cell: usize| data.modalities[0].matrix.row_entries(cell).count();
        let kept: Vec<usize> = (0..data.cells.len()).filter(|&cell| open(&data, cell) >= self.min_peaks).collect();
        if kept.is_empty() {
            return Err(wrong(format!("no cell has {} open peaks; lower --min-peaks", self.min_peaks)));
        }
        if kept.len() < data.cells.len() {
            log::warn!(
                "{} cells have fewer than {} open peaks and are left out",
                data.cells.len() - kept.len(),
                self.min_peaks
            );
            data = data.select_cells(&kept);
        }
        let peaks = &mut data.modalities[0];
        let mut cells_with = vec![0_usize; peaks.features.len()];
        for cell in 0..peaks.matrix.rows() {
            peaks.matrix.row_entries(cell).for_each(|(peak, _)| cells_with[peak] += 1);
        }
        let seen: Vec<usize> = (0..cells_with.len()).filter(|&peak| cells_with[peak] >= self.min_cells).collect();
        if seen.is_empty() {
            return Err(wrong(format!("no peak is open in {} cells; lower --min-cells", self.min_cells)));
        }
        if seen.len() < cells_with.len() {
            log::info!("{} of {} peaks are open in too few cells", cells_with.len() - seen.len(), cells_with.len());
            *peaks = peaks.select_features(&seen);
        }
        Ok(data)
    }
}
