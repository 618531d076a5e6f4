//! `gradome fit contextual-epigenomics`: train on tracks, DNA and labelled windows.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use gradome::epigenome::contextual::{
    ContextualEpigenomicsConfig, ContextualWindows, Encoder, HeadConfig, HeadKind, HeadScores, Level, MARK_BIN,
    Pooling, Positions, Split, Strands, TrainedContextualEpigenomics, base_code, contact_maps, default_trainer,
    dinucleotide_shuffle, evaluate,
};
use gradome::io::genome::{BedRecord, PastEnd, Window, read_contacts, read_windows};
use gradome::io::write_atomic;
use gradome::nn::trainer::{End, FitOptions, StopFlag};
use gradome::nn::{Rng, TrainerConfig};
use rand::SeedableRng;

use super::apply::write_predictions;
use super::inputs::{Sources, WindowTable, window_names};
use super::page::page;
use crate::Global;
use crate::console::print;
use crate::error::{Failure, Result, wrong};
use crate::fit::shell_word;
use crate::run_dir::{MODEL_FILE, PREDICTIONS_FILE, REPORT_FILE, Reuse, RunDir, SETTINGS_FILE, SUMMARY_FILE};

/// Train a model that predicts along the genome from DNA, signal tracks, or both.
///
/// --predict names tracks to predict at each position from all the others; --label predicts the score column of
/// --windows once a window. Whole blocks of the genome are held out to decide when to stop and to say how good the model
/// is.
///
/// Leaves in --out: model.safetensors (the model), predictions.tsv (what it says of held-out windows), metrics.jsonl (one
/// line an epoch), report.html (curves of precision, recall and calibration), summary.json (the numbers behind them) and
/// run.toml (all settings; `--config run.toml` repeats the run).
///
/// Ctrl-C and SIGTERM leave a checkpoint; the same command with --resume goes on, to the same bits as without a stop.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome fit contextual-epigenomics --marks GM12878_chr11_binary.txt.gz --predict H3K27ac --out run
  gradome fit contextual-epigenomics --genome hg38.fa --windows ctcf.bed --label bound --length 200 \\
      --shuffled-negatives --out run
  gradome fit contextual-epigenomics --genome hg38.fa --track atac=atac.bw --track ctcf=ctcf.bedGraph \\
      --predict ctcf:regression --bin 100 --out run
  gradome fit contextual-epigenomics --out run --resume")]
pub struct FitContextual {
    /// Settings from a TOML file: a key for each long flag; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    tasks: Tasks,
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

/// What is predicted.
#[derive(Args, Clone)]
#[command(next_help_heading = "Tasks")]
struct Tasks {
    /// A track to predict at each position from all others, as binary, classes (whole numbers from 0), regression or
    /// counts; may be repeated [default kind: binary where all values are 0 and 1, else regression]
    #[arg(long, value_name = "TRACK[:KIND]")]
    predict: Vec<String>,
    /// Predict the score (column 5) of each of --windows under this name, as one of these kinds; with --labels that
    /// column of it, and may be repeated
    #[arg(long, value_name = "NAME[:KIND]")]
    label: Vec<String>,
    /// A table (.csv, .tsv) of what is known of each window, a row each that is named as the window (column 4 of
    /// --windows, or chr1:100-300); empty fields are not known
    #[arg(long, value_name = "FILE", requires = "label")]
    labels: Option<PathBuf>,
    /// Pairs of places that touch (BEDPE, score in column 8, or in column 7 of seven): embeddings of positions that touch
    /// learn to be alike; applying the model needs none
    #[arg(long, value_name = "FILE")]
    contacts: Option<PathBuf>,
    /// Weight of that in the loss
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0)]
    contact_weight: f64,
    /// Take all windows as ones, and their DNA in random order with the same pairs of neighbours as zeros
    #[arg(long, requires = "label", requires = "genome", requires = "windows")]
    shuffled_negatives: bool,
    /// Weigh several tasks by their learned noise
    #[arg(long)]
    uncertainty_weighting: bool,
}

/// The shape of the model.
#[derive(Args, Clone)]
#[command(next_help_heading = "Model")]
struct Model {
    /// Positions of a window [default: 1000; with --windows as long as the first]
    #[arg(long, value_name = "N")]
    length: Option<usize>,
    /// Base pairs of a position [default: 200 with --marks, else 1]
    #[arg(long, value_name = "BP")]
    bin: Option<usize>,
    /// How positions see each other
    #[arg(long, value_enum, default_value_t = Kind::Convolution)]
    encoder: Kind,
    /// Features of a position
    #[arg(long, value_name = "N", default_value_t = 32)]
    hidden: usize,
    /// Layers of the encoder
    #[arg(long, value_name = "N", default_value_t = 5)]
    layers: usize,
    /// Heads of attention
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: usize,
    /// Positions to either side that local attention sees
    #[arg(long, value_name = "N", default_value_t = 64)]
    reach: usize,
    /// How the model knows where in a window a position stands
    #[arg(long, value_enum, default_value_t = Place::None)]
    positions: Place,
    /// What is made of the two strands
    #[arg(long, value_enum, default_value_t = BothStrands::Average)]
    strands: BothStrands,
    /// See ln(1 + x) of the tracks
    #[arg(long)]
    log_tracks: bool,
    /// Share of features dropped in training
    #[arg(long, value_name = "SHARE", default_value_t = ContextualEpigenomicsConfig::default().dropout)]
    dropout: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Dilated convolutions; memory grows with the length
    Convolution,
    /// Each position sees all others
    Transformer,
    /// Each position sees those within --reach; memory grows with the length
    LocalAttention,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    /// It does not
    None,
    /// Sines and cosines
    Sinusoidal,
    /// A learned table
    Learned,
    /// Angles of queries and keys
    Rotary,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BothStrands {
    /// The forward strand as it is
    Forward,
    /// Half of the training windows are reversed
    Augment,
    /// The mean of both strands: the output of a reverse complement is the output in reverse
    Average,
}

/// How the model is trained.
#[derive(Args, Clone)]
#[command(next_help_heading = "Training")]
struct Training {
    /// Passes over the training windows, at most
    #[arg(long, value_name = "N", default_value_t = default_trainer(0).max_epochs)]
    epochs: usize,
    /// Windows a step
    #[arg(long, value_name = "N", default_value_t = default_trainer(0).batch_size)]
    batch_size: usize,
    /// Full learning rate
    #[arg(long, value_name = "RATE", default_value_t = default_trainer(0).learning_rate)]
    learning_rate: f64,
    /// Stop after this many epochs without a better held-out loss; 0 never stops early
    #[arg(long, value_name = "EPOCHS", default_value_t = default_trainer(0).patience)]
    patience: usize,
    /// Share of the blocks held out
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    validation_fraction: f64,
    /// Base pairs of a block, which is held out as a whole
    #[arg(long, value_name = "BP", default_value_t = 1_000_000)]
    block: u64,
}

impl Tasks {
    /// `NAME` or `NAME:KIND`.
    fn named(text: &str) -> Result<(&str, Option<HeadKind>)> {
        let Some((name, kind)) = text.rsplit_once(':') else { return Ok((text, None)) };
        let kind = match kind {
            "binary" => HeadKind::Binary,
            "regression" => HeadKind::Regression,
            "counts" => HeadKind::Counts,
            "classes" => HeadKind::MultiClass,
            other => {
                let kinds = "binary, classes, regression and counts";
                return Err(wrong(format!("'{other}' is no kind of task; there are {kinds}")));
            }
        };
        Ok((name, Some(kind)))
    }

    fn heads(&self) -> Result<Vec<(HeadConfig, bool)>> {
        let mut heads = Vec::new();
        let given = self.predict.iter().map(|text| (text, Level::Position));
        for (text, level) in given.chain(self.label.iter().map(|text| (text, Level::Window))) {
            let (name, kind) = Self::named(text)?;
            // how many classes there are shows when the values are there
            if kind == Some(HeadKind::MultiClass) {
                heads.push((HeadConfig { outputs: 2, ..HeadConfig::new(name, HeadKind::MultiClass, level) }, false));
                continue;
            }
            // a number fits anything; what it is shows when the values are there
            heads.push((HeadConfig::new(name, kind.unwrap_or(HeadKind::Regression), level), kind.is_none()));
        }
        if heads.is_empty() {
            return Err(wrong("nothing to predict; give --predict TRACK, or --label NAME with --windows"));
        }
        Ok(heads)
    }
}

impl Model {
    fn config(&self) -> ContextualEpigenomicsConfig {
        let transformer = |window| Encoder::Transformer {
            layers: self.layers,
            heads: self.heads,
            feed_forward: 4 * self.hidden,
            window,
            even_padding: false,
        };
        ContextualEpigenomicsConfig {
            hidden_dim: self.hidden,
            encoder: match self.encoder {
                Kind::Convolution => {
                    Encoder::Convolution { layers: self.layers, kernel: 5, growth: 2, max_dilation: 512 }
                }
                Kind::Transformer => transformer(None),
                Kind::LocalAttention => transformer(Some(self.reach)),
            },
            positions: match self.positions {
                Place::None => Positions::None,
                Place::Sinusoidal => Positions::Sinusoidal,
                Place::Learned => Positions::Learned,
                Place::Rotary => Positions::Rotary,
            },
            strands: match self.strands {
                BothStrands::Forward => Strands::Forward,
                BothStrands::Augment => Strands::Augment,
                BothStrands::Average => Strands::Average,
            },
            pooling: Pooling::Attention,
            track_kernel: 5,
            log_tracks: self.log_tracks,
            dropout: self.dropout,
            ..ContextualEpigenomicsConfig::default()
        }
    }
}

/// Windows with what is known of them.
struct Data {
    config: ContextualEpigenomicsConfig,
    regions: Vec<Window>,
    windows: ContextualWindows,
}

impl FitContextual {
    pub fn run(&self, global: &Global, settings: &str) -> Result<()> {
        let Some(out) = &self.out else {
            return Err(wrong("no --out; give the folder to write to (or `out` in the --config file)"));
        };
        let share = self.training.validation_fraction;
        if !(share > 0.0 && share < 1.0) {
            return Err(wrong(format!("--validation-fraction {share}: must be above 0 and below 1")));
        }
        let dir = RunDir::new(out, self.reuse)?;
        let Data { config, regions, windows } = self.data(global.seed)?;
        let split = Split::by_blocks(&regions, self.training.block, share, global.seed);
        if split.validation.is_empty() {
            return Err(wrong(format!(
                "all windows lie in one block of {} bp; give a smaller --block",
                self.training.block
            )));
        }
        dir.start()?;
        write_atomic(&dir.file(SETTINGS_FILE), |to| std::io::Write::write_all(to, settings.as_bytes()))?;
        log::info!(
            "training on {} windows of {} x {} bp, {} held out",
            split.train.len(),
            windows.length,
            config.bin_size,
            split.validation.len()
        );
        let stop = StopFlag::new();
        stop.install_signal_handlers()?;
        let trainer = TrainerConfig {
            max_epochs: self.training.epochs,
            batch_size: self.training.batch_size,
            learning_rate: self.training.learning_rate,
            patience: self.training.patience,
            checkpoint_every: 1,
            ..default_trainer(global.seed)
        };
        let options = FitOptions {
            trainer,
            folder: Some(dir.folder().to_owned()),
            resume: dir.resume(),
            quiet: global.quiet,
            stop,
        };
        let start = Instant::now();
        let fit = TrainedContextualEpigenomics::fit(&config, &windows, &split, &options)?;
        if let End::Interrupted { signal, .. } = fit.end {
            let again = format!("gradome fit contextual-epigenomics --out {} --resume", shell_word(out));
            let text = format!("stopped by signal {signal}; the state is saved. Go on with\n  {again}");
            return Err(Failure::Interrupted(signal, text));
        }
        let held_out = windows.select(&split.validation);
        let found = fit.trained.predict(&held_out)?;
        let heads = config.heads.iter().zip(&found.heads).zip(&held_out.targets);
        let scores: Vec<HeadScores> = heads.flat_map(|((head, found), known)| evaluate(head, found, known)).collect();
        // tables hold tasks of one level: those at positions, or those on windows where there are no others
        let level = config.heads[0].level;
        let chosen: Vec<usize> = (0..config.heads.len()).filter(|&head| config.heads[head].level == level).collect();
        let held_regions: Vec<Window> = split.validation.iter().map(|&window| regions[window].clone()).collect();
        let (mask, known) = (&held_out.mask, Some(&held_out.targets[..]));
        write_predictions(&dir.file(PREDICTIONS_FILE), &config, &chosen, &held_regions, &found, mask, known)?;
        let summary = serde_json::json!({
            "operator": "contextual-epigenomics",
            "version": env!("CARGO_PKG_VERSION"),
            "seed": global.seed,
            "parameters": fit.trained.store().parameter_count(),
            "training_windows": split.train.len(),
            "held_out_windows": split.validation.len(),
            "best_epoch": fit.history.best_epoch,
            "seconds": start.elapsed().as_secs_f64(),
            "held_out": scores,
        });
        write_atomic(&dir.file(SUMMARY_FILE), |to| std::io::Write::write_all(to, summary.to_string().as_bytes()))?;
        page(&config, &fit.history, &scores, &split, global.seed)?.write(&dir.file(REPORT_FILE))?;
        log::info!("trained in {:.0} s; look at", start.elapsed().as_secs_f64());
        for (file, what) in [
            (REPORT_FILE, "open it in a browser"),
            (PREDICTIONS_FILE, "held-out windows"),
            (MODEL_FILE, "for `gradome apply`"),
        ] {
            print(format_args!("{}  {what}\n", dir.file(file).display()));
        }
        Ok(())
    }

    /// Reads all files.
    fn data(&self, seed: u64) -> Result<Data> {
        let tracks = self.sources.tracks()?;
        let records = self.sources.records()?;
        let mut config = self.model.config();
        let heads = self.tasks.heads()?;
        let predicted = |name: &str| heads.iter().any(|(head, _)| head.level == Level::Position && head.name == name);
        config.tracks = tracks.names().filter(|name| !predicted(name)).map(str::to_owned).collect();
        config.dna = self.sources.genome.is_some();
        config.bin_size = self.model.bin.unwrap_or(if self.sources.marks.is_empty() { 1 } else { MARK_BIN });
        config.uncertainty_weighting = self.tasks.uncertainty_weighting;
        config.heads = heads.iter().map(|(head, _)| head.clone()).collect();
        let first =
            records.as_ref().map(|records| (records[0].end - records[0].start) as usize / config.bin_size.max(1));
        let length = self.model.length.or(first).unwrap_or(1000);
        if length == 0 {
            return Err(wrong("windows of 0 positions; give --length"));
        }
        config.max_length = length;
        config.validate()?;
        match (&self.tasks.labels, &self.tasks.label[..]) {
            (None, [_, ..]) if records.is_none() => {
                return Err(wrong("--label needs --windows, whose scores it predicts, or --labels"));
            }
            (None, [_, _, ..]) => return Err(wrong("several --label need --labels: --windows has one score")),
            _ => {}
        }
        let align = if self.sources.marks.is_empty() { 1 } else { config.bin_size };
        let mut regions = self.sources.cut(&tracks, records.as_deref(), length * config.bin_size, align)?;
        let mut windows = tracks.windows(&config, &regions, self.sources.genome.as_deref(), true)?;
        let names = window_names(records.as_deref(), &regions);
        (windows.context, config.context_names) = self.sources.context(&names, None)?;
        config.context_features = config.context_names.len();
        if let Some(file) = &self.tasks.contacts {
            config.contact_weight = self.tasks.contact_weight;
            config.validate()?;
            windows.contacts = contact_maps(&read_contacts(file)?, &regions, length, config.bin_size)?;
        }
        if let Some(file) = &self.tasks.labels {
            label_from(&WindowTable::read(file)?, &config, &names, &mut windows)?;
        } else if let Some(records) = &records {
            self.label(&config, records, &mut windows)?;
        }
        for (head, values) in
            config.heads.iter_mut().zip(&windows.targets).filter(|(h, _)| h.kind == HeadKind::MultiClass)
        {
            head.outputs = classes(&head.name, values)?;
        }
        for ((head, open), values) in heads.iter().zip(&windows.targets) {
            let binary = values.iter().all(|value| value.is_nan() || *value == 0.0 || *value == 1.0);
            if *open && binary {
                let at = config.heads.iter().position(|other| other.name == head.name).unwrap_or_default();
                config.heads[at].kind = HeadKind::Binary;
            }
        }
        if self.tasks.shuffled_negatives {
            self.add_shuffled(&mut config, &mut regions, &mut windows, seed)?;
        }
        Ok(Data { config, regions, windows })
    }

    /// Fills in the scores of the windows.
    fn label(
        &self,
        config: &ContextualEpigenomicsConfig,
        records: &[BedRecord],
        windows: &mut ContextualWindows,
    ) -> Result<()> {
        let Some(at) = config.heads.iter().position(|head| head.level == Level::Window) else { return Ok(()) };
        if self.tasks.shuffled_negatives {
            windows.targets[at].fill(1.0);
            return Ok(());
        }
        windows.targets[at] =
            records.iter().map(|record| record.score.map_or(f32::NAN, |score| score as f32)).collect();
        if windows.targets[at].iter().all(|value| value.is_nan()) {
            return Err(wrong("no window has a score (column 5) to predict; give scores, or --shuffled-negatives"));
        }
        Ok(())
    }

    /// Adds each window once more with its DNA in random order, as a zero.
    fn add_shuffled(
        &self,
        config: &mut ContextualEpigenomicsConfig,
        regions: &mut Vec<Window>,
        windows: &mut ContextualWindows,
        seed: u64,
    ) -> Result<()> {
        let Some(genome) = &self.sources.genome else { return Err(wrong("--shuffled-negatives needs --genome")) };
        if !config.tracks.is_empty() || config.heads.len() > 1 || config.has_contacts() {
            return Err(wrong("--shuffled-negatives has no tracks, contacts or other tasks: shuffled DNA has none"));
        }
        let mut rng = Rng::seed_from_u64(seed);
        for sequence in read_windows(genome, regions, PastEnd::Pad)? {
            windows
                .dna
                .extend(dinucleotide_shuffle(&sequence.to_ascii_uppercase(), &mut rng).into_iter().map(base_code));
        }
        let twins: Vec<usize> = (0..windows.windows).collect();
        windows.mask = windows.mask.repeat(2);
        windows.context = windows.context.repeat(2);
        windows.targets[0].extend(twins.iter().map(|_| 0.0));
        windows.windows *= 2;
        config.heads[0].kind = HeadKind::Binary;
        regions.extend(regions.clone());
        Ok(())
    }
}

/// Fills in what a table knows of the windows.
fn label_from(
    table: &WindowTable,
    config: &ContextualEpigenomicsConfig,
    names: &[String],
    windows: &mut ContextualWindows,
) -> Result<()> {
    let rows = table.rows(names)?;
    let heads = config.heads.iter().zip(&mut windows.targets).filter(|(head, _)| head.level == Level::Window);
    for (head, values) in heads {
        let column = table.column(&head.name)?;
        *values = rows.iter().map(|&row| table.value((row, column))).collect();
    }
    Ok(())
}

/// How many classes there are, numbered from 0.
fn classes(name: &str, values: &[f32]) -> Result<usize> {
    const MOST: f32 = 1000.0;
    if let Some(odd) = values.iter().find(|v| !v.is_nan() && (v.fract() != 0.0 || !(0.0..MOST).contains(*v))) {
        return Err(wrong(format!("{name}: {odd} is no class; classes are whole numbers from 0 to {}", MOST - 1.0)));
    }
    let highest = values.iter().copied().filter(|v| !v.is_nan()).fold(0.0, f32::max);
    Ok((highest as usize + 1).max(2))
}
