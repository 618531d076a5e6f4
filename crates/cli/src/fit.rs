//! `gradome fit`: train a model on your files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use gradome::io::write_atomic;
use gradome::multiomics::{
    ModalityConfig, MultiOmicsData, MultiOmicsVaeConfig, Split, TrainedMultiOmicsVae, default_trainer,
};
use gradome::nn::TrainerConfig;
use gradome::nn::trainer::{End, FitOptions, History, StopFlag};

use crate::Global;
use crate::chromatin::FitChromatin;
use crate::console::print;
use crate::contextual::FitContextual;
use crate::error::{Failure, Result, wrong};
use crate::inputs::Inputs;
use crate::peaks::{FitFnoPeakCaller, FitPeakCaller};
use crate::prepare::{Preparation, Prepared};
use crate::run_dir::{LATENT_FILE, MODEL_FILE, REPORT_FILE, Reuse, RunDir, SETTINGS_FILE, SUMMARY_FILE};
use crate::scale::FitScale;
use crate::summary::Summary;

/// Train a model on your files.
#[derive(Args)]
pub struct Fit {
    #[command(subcommand)]
    operator: Operator,
}

#[derive(Subcommand)]
enum Operator {
    MultiomicsVae(Box<FitVae>),
    ContextualEpigenomics(Box<FitContextual>),
    PeakCaller(Box<FitPeakCaller>),
    FnoPeakCaller(Box<FitFnoPeakCaller>),
    Scale(Box<FitScale>),
    ChromatinStates(Box<FitChromatin>),
}

impl Fit {
    pub fn run(&self, global: &Global, settings: &str) -> Result<()> {
        match &self.operator {
            Operator::MultiomicsVae(vae) => vae.run(global, settings),
            Operator::ContextualEpigenomics(contextual) => contextual.run(global, settings),
            Operator::PeakCaller(caller) => caller.run(global, settings),
            Operator::FnoPeakCaller(caller) => caller.run(global, settings),
            Operator::Scale(scale) => scale.run(global, settings),
            Operator::ChromatinStates(states) => states.run(global, settings),
        }
    }
}

/// Train a joint model of several omics measured in the same cells.
///
/// A variational autoencoder with an encoder and decoder for each modality. Their views of a cell meet in a product of
/// experts, so cells may lack modalities or features: what is missing is filled in. Batch effects are taken out when
/// --batch names them.
///
/// Leaves in --out: model.safetensors (the model), latent.csv (latent state, cluster and batch of each cell),
/// metrics.jsonl (one line an epoch), report.html (figures and words), summary.json (the numbers behind them) and
/// run.toml (all settings; `--config run.toml` repeats the run).
///
/// Ctrl-C and SIGTERM leave a checkpoint; the same command with --resume goes on, to the same bits as without a stop.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome fit multiomics-vae --rna rna.h5ad --protein adt.csv --out run
  gradome fit multiomics-vae --h5ad cite.h5ad --protein obsm/protein_expression --batch donor --out run
  gradome fit multiomics-vae --rna 10x/ --atac peaks.mtx.gz --n-top-genes 2000 --out run
  gradome fit multiomics-vae --rna rna.h5ad --modality lipids=lipids.csv:gaussian --out run
  gradome fit multiomics-vae --config run/run.toml --latent 20 --out run20
  gradome fit multiomics-vae --out run --resume")]
pub struct FitVae {
    /// Settings from a TOML file: a key for each long flag; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    preparation: Preparation,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    training: Training,
    /// The folder to write to; made when it is missing
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    #[command(flatten)]
    reuse: Reuse,
}

/// The shape of the model.
#[derive(Args, Clone)]
#[command(next_help_heading = "Model")]
pub struct Model {
    /// Dimensions of the latent state
    #[arg(long, value_name = "N", default_value_t = MultiOmicsVaeConfig::default().latent_dim)]
    latent: usize,
    /// Widths of the hidden layers of each encoder and decoder, with commas [default: by likelihood, mostly 128]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    hidden: Vec<usize>,
    /// Share of hidden units dropped in training [default: by likelihood, 0.3 to 0.5]
    #[arg(long, value_name = "SHARE")]
    dropout: Option<f64>,
    /// Weight of the Kullback-Leibler term; 1 is the evidence lower bound
    #[arg(long, value_name = "WEIGHT", default_value_t = MultiOmicsVaeConfig::default().kl_weight)]
    kl_weight: f64,
    /// Epochs over which that weight rises from 0
    #[arg(long, value_name = "EPOCHS", default_value_t = MultiOmicsVaeConfig::default().kl_warmup_epochs)]
    kl_warmup: f64,
}

/// How the model is trained.
#[derive(Args, Clone)]
#[command(next_help_heading = "Training")]
pub struct Training {
    /// Passes over the training cells, at most
    #[arg(long, value_name = "N", default_value_t = default_trainer(0).max_epochs)]
    epochs: usize,
    /// Cells a step
    #[arg(long, value_name = "N", default_value_t = default_trainer(0).batch_size)]
    batch_size: usize,
    /// Full learning rate of Adam
    #[arg(long, value_name = "RATE", default_value_t = default_trainer(0).learning_rate)]
    learning_rate: f64,
    /// Share of the cells held out to decide when to stop
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    validation_fraction: f64,
    /// Stop after this many epochs without a better held-out score; 0 never stops early
    #[arg(long, value_name = "EPOCHS", default_value_t = default_trainer(0).patience)]
    patience: usize,
    /// Clusters of cells (k-means in the latent space) in latent.csv and the report
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Output")]
    clusters: usize,
}

impl Model {
    /// The configuration for prepared data.
    pub fn config(&self, prepared: &Prepared) -> Result<MultiOmicsVaeConfig> {
        let given = prepared.data.modalities.iter().zip(&prepared.likelihoods);
        let mut modalities =
            ModalityConfig::together(given.map(|(m, likelihood)| (m.name.clone(), m.features.len(), *likelihood)));
        for modality in &mut modalities {
            for mlp in [&mut modality.encoder, &mut modality.decoder] {
                if !self.hidden.is_empty() {
                    mlp.hidden.clone_from(&self.hidden);
                }
                mlp.dropout = self.dropout.unwrap_or(mlp.dropout);
            }
        }
        let config = MultiOmicsVaeConfig {
            batches: prepared.batch_names.clone(),
            latent_dim: self.latent,
            kl_weight: self.kl_weight,
            kl_warmup_epochs: self.kl_warmup,
            ..MultiOmicsVaeConfig::of(modalities)
        };
        config.validate()?;
        Ok(config)
    }
}

impl FitVae {
    fn run(&self, global: &Global, settings: &str) -> Result<()> {
        let Some(out) = &self.out else {
            return Err(wrong("no --out; give the folder to write to (or `out` in the --config file)"));
        };
        let dir = RunDir::new(out, self.reuse)?;
        let prepared = self.preparation.prepare(&self.inputs)?;
        let config = self.model.config(&prepared)?;
        let job = Job::new(prepared, config, &self.training, global.seed)?;
        dir.start()?;
        write_atomic(&dir.file(SETTINGS_FILE), |to| std::io::Write::write_all(to, settings.as_bytes()))?;
        let again = format!("gradome fit multiomics-vae --out {} --resume", shell_word(out));
        let trained = job.train(&dir, global, &again)?;
        let summary = job.summarise(&trained, &dir, "Multi-omics model".into())?;
        finish(&dir, &summary)
    }
}

/// A path as a shell reads it back.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A training run: data, model and how to train it.
pub struct Job {
    pub cells: Vec<String>,
    pub data: MultiOmicsData,
    pub batch_names: Vec<String>,
    pub config: MultiOmicsVaeConfig,
    pub trainer: TrainerConfig,
    pub split: Split,
    pub clusters: usize,
}

/// What training gave.
pub struct Trained {
    pub model: TrainedMultiOmicsVae,
    pub history: History,
    pub stopped_early: bool,
    pub seconds: f64,
}

impl Job {
    pub fn new(prepared: Prepared, config: MultiOmicsVaeConfig, training: &Training, seed: u64) -> Result<Self> {
        let share = training.validation_fraction;
        if !(0.0..1.0).contains(&share) {
            return Err(wrong(format!("--validation-fraction {share}: must be 0 or more and below 1")));
        }
        if training.clusters == 0 {
            return Err(wrong("--clusters 0: give 1 or more"));
        }
        let trainer = TrainerConfig {
            max_epochs: training.epochs,
            batch_size: training.batch_size,
            learning_rate: training.learning_rate,
            patience: training.patience,
            ..default_trainer(seed)
        };
        trainer.validate()?;
        let data = MultiOmicsData { modalities: prepared.data.modalities, batch: prepared.batch };
        let split = Split::random(&data, share, seed);
        Ok(Self {
            cells: prepared.data.cells,
            data,
            batch_names: prepared.batch_names,
            config,
            trainer,
            split,
            clusters: training.clusters,
        })
    }

    /// Trains the model; `again` is the command that goes on after an interruption.
    pub fn train(&self, dir: &RunDir, global: &Global, again: &str) -> Result<Trained> {
        let modalities =
            self.config.modalities.iter().map(|m| format!("{} {} ({})", m.features, m.name, m.likelihood.name()));
        log::info!(
            "training on {} cells, {} held out: {}",
            self.split.train.len(),
            self.split.validation.len(),
            modalities.collect::<Vec<_>>().join(", ")
        );
        let stop = StopFlag::new();
        stop.install_signal_handlers()?;
        let options = FitOptions {
            trainer: self.trainer.clone(),
            folder: Some(dir.folder().to_owned()),
            resume: dir.resume(),
            quiet: global.quiet,
            stop,
        };
        let start = Instant::now();
        let fit = TrainedMultiOmicsVae::fit(&self.config, &self.data, &self.split, &options)?;
        if let End::Interrupted { signal, .. } = fit.end {
            let text = format!("stopped by signal {signal}; the state is saved. Go on with\n  {again}");
            return Err(Failure::Interrupted(signal, text));
        }
        Ok(Trained {
            model: fit.trained,
            stopped_early: fit.end == End::StoppedEarly,
            // a run that was resumed was longer than this process
            seconds: fit
                .history
                .epochs
                .iter()
                .map(|epoch| epoch.seconds)
                .sum::<f64>()
                .max(start.elapsed().as_secs_f64()),
            history: fit.history,
        })
    }
}

/// Writes summary and report, and says where to look.
pub fn finish(dir: &RunDir, summary: &Summary) -> Result<()> {
    summary.write(&dir.file(SUMMARY_FILE))?;
    crate::report::write(dir.folder())?;
    let files =
        [(REPORT_FILE, "open it in a browser"), (LATENT_FILE, "the cells"), (MODEL_FILE, "for `gradome apply`")];
    log::info!("trained in {:.0} s; look at", summary.seconds);
    for (file, what) in files {
        print(format_args!("{}  {what}\n", dir.file(file).display()));
    }
    Ok(())
}
