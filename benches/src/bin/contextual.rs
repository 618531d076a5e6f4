//! How well the contextual model predicts marks from other marks and binding from DNA, beside logistic regression and a
//! plain convolutional network on the same windows.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use gradome_epigenome::contextual::{
    ContextualEpigenomicsConfig, ContextualWindows, Encoder, HeadConfig, HeadKind, Level, Pooling, Split, Strands,
    TrainedContextualEpigenomics, base_code, dinucleotide_shuffle,
};
use gradome_io::genome::Window;
use gradome_io::genome::binarised::{Binarised, PRESENT};
use gradome_nn::losses::bce_with_logits;
use gradome_nn::metrics::{average_precision, roc_auc};
use gradome_nn::trainer::{FitOptions, Loss, Progress, Scores, Task};
use gradome_nn::{
    Activation, Conv1d, ConvConfig, Decay, Linear, ModelCard, ParamStore, Rng, Schedule, Step, Trainer, TrainerConfig,
};
use gradome_tape::{Tape, Tensor, Var};
use rand::SeedableRng;
use rand::seq::SliceRandom;

/// An error of any crate, with its own text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Figures of the contextual model, logistic regression and a plain CNN on two tasks")]
struct Arguments {
    /// The task.
    #[arg(value_enum)]
    task: Job,
    /// Marks to impute.
    #[arg(long, value_delimiter = ',', default_value = "H3K27ac,H3K4me1,CTCF")]
    marks: Vec<String>,
    /// Seeds of folds, shuffles and first weights.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// Scores on held-out parts of the training folds: for choosing settings.
    #[arg(long)]
    tune: bool,
    /// Models to train.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "regression,cnn,contextual")]
    models: Vec<Kind>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Epochs of the contextual model.
    #[arg(long)]
    epochs: Option<usize>,
    /// Features of the contextual model.
    #[arg(long)]
    hidden: Option<usize>,
    /// Layers of the contextual model.
    #[arg(long)]
    layers: Option<usize>,
    /// Dropout of the contextual model.
    #[arg(long)]
    dropout: Option<f64>,
    /// Learning rate of the contextual model.
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Job {
    /// One mark of GM12878 chr11 from the other nine, whole 1-Mb blocks held out: average precision.
    Imputation,
    /// CTCF windows against dinucleotide-shuffled ones, 5-fold: area under the ROC curve.
    Dna,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Regression,
    Cnn,
    Contextual,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Regression => "logistic regression",
            Self::Cnn => "plain CNN",
            Self::Contextual => "contextual",
        }
    }
}

/// Base pairs of a bin of the marks.
const BIN: i64 = 200;
/// Bins of a window: five windows make a block of 1 Mb.
const LENGTH: usize = 1000;
const BLOCK: u64 = 1_000_000;
/// The share of blocks that are held out, and then of the others for early stopping.
const TEST_SHARE: f64 = 0.2;
const STOP_SHARE: f64 = 0.15;
const FOLDS: usize = 5;
/// Bins to either side that logistic regression sees.
const NEIGHBOURS: usize = 5;
/// Base pairs in the words that logistic regression counts; both strands' words are one.
const WORD: usize = 6;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    gradome_nn::set_threads(arguments.threads)?;
    match arguments.task {
        Job::Imputation => imputation(&arguments),
        Job::Dna => dna(&arguments),
    }
}

fn data(part: &str) -> PathBuf {
    std::env::var_os("GRADOME_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from).join(part)
}

fn imputation(arguments: &Arguments) -> Result<()> {
    let file = data("hmm_dmfa/chromhmm_GM12878_10/GM12878_chr11_binary.txt.gz");
    let marks = Binarised::read(&[file])?;
    println!("| mark | {} |", arguments.models.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" | "));
    for name in &arguments.marks {
        let target = marks.marks.iter().position(|mark| mark == name).ok_or(format!("there is no mark {name}"))?;
        let mut scores = vec![Vec::new(); arguments.models.len()];
        for &seed in &arguments.seeds {
            let (windows, regions) = mark_windows(&marks, target);
            let outer = Split::by_blocks(&regions, BLOCK, TEST_SHARE, seed);
            let of_train: Vec<Window> = outer.train.iter().map(|&w| regions[w].clone()).collect();
            let inner = Split::by_blocks(&of_train, BLOCK, STOP_SHARE, seed + 1);
            let number = |rows: &[usize]| rows.iter().map(|&row| outer.train[row]).collect::<Vec<_>>();
            let split = Split { train: number(&inner.train), validation: number(&inner.validation) };
            let test = if arguments.tune { &split.validation } else { &outer.validation };
            for (kind, scores) in arguments.models.iter().zip(&mut scores) {
                let start = Instant::now();
                let found = predict(*kind, &windows, &split, test, seed, arguments)?;
                let (truth, found) = inside(&windows.select(test), &found);
                let score = average_precision(&truth, &found);
                eprintln!("{name} seed {seed} {}: {score:.4}, {:.0} s", kind.name(), start.elapsed().as_secs_f64());
                scores.push(score);
            }
        }
        println!("| {name} | {} |", row(&scores));
    }
    Ok(())
}

/// Truth and prediction of every bin that is not padding.
fn inside(windows: &ContextualWindows, found: &[f32]) -> (Vec<bool>, Vec<f64>) {
    let known = |i: &usize| !windows.targets[0][*i].is_nan();
    let (truth, all) = (&windows.targets[0], 0..found.len());
    (
        all.clone().filter(known).map(|i| truth[i] > 0.5).collect(),
        all.filter(known).map(|i| f64::from(found[i])).collect(),
    )
}

fn row(scores: &[Vec<f64>]) -> String {
    let cell = |scores: &Vec<f64>| {
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let sd = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)).sqrt();
        if scores.len() > 1 { format!("{mean:.4} ± {sd:.4}") } else { format!("{mean:.4}") }
    };
    scores.iter().map(cell).collect::<Vec<_>>().join(" | ")
}

fn mark_windows(marks: &Binarised, target: usize) -> (ContextualWindows, Vec<Window>) {
    let sequence = &marks.sequences[0];
    let bins = sequence.patterns.len();
    let count = bins.div_ceil(LENGTH);
    let mut windows =
        ContextualWindows { windows: count, length: LENGTH, targets: vec![Vec::new()], ..Default::default() };
    for bin in 0..count * LENGTH {
        let calls = (bin < bins).then(|| marks.calls(0, bin));
        for mark in (0..marks.marks.len()).filter(|&mark| mark != target) {
            windows.tracks.push(f32::from(u8::from(calls.is_some_and(|calls| calls[mark] == PRESENT))));
        }
        windows.mask.push(f32::from(u8::from(calls.is_some())));
        windows.targets[0].push(calls.map_or(f32::NAN, |calls| f32::from(u8::from(calls[target] == PRESENT))));
    }
    let region = |window: usize| {
        let start = (window * LENGTH) as i64 * BIN;
        Window { chromosome: sequence.chromosome.clone(), start, end: start + LENGTH as i64 * BIN }
    };
    (windows, (0..count).map(region).collect())
}

fn dna(arguments: &Arguments) -> Result<()> {
    let bound = sequences(&data("regulatory/motif/CTCF_GM12878_top500_w200.fa.gz"))?;
    println!("| windows | {} |", arguments.models.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" | "));
    let mut scores = vec![Vec::new(); arguments.models.len()];
    for &seed in &arguments.seeds {
        let mut rng = Rng::seed_from_u64(seed);
        // a window and its shuffled twin stand together, and share a fold
        let mut windows = ContextualWindows { windows: 2 * bound.len(), length: bound[0].len(), ..Default::default() };
        for sequence in &bound {
            let shuffled = dinucleotide_shuffle(sequence, &mut rng);
            windows.dna.extend(sequence.iter().chain(&shuffled).map(|&base| base_code(base)));
        }
        windows.targets = vec![(0..windows.windows).map(|w| if w % 2 == 0 { 1.0 } else { 0.0 }).collect()];
        let mut order: Vec<usize> = (0..bound.len()).collect();
        order.shuffle(&mut rng);
        let both = |pairs: &[usize]| pairs.iter().flat_map(|&pair| [2 * pair, 2 * pair + 1]).collect::<Vec<_>>();
        for fold in 0..FOLDS {
            let (mut test, mut others) = (Vec::new(), Vec::new());
            for (place, &pair) in order.iter().enumerate() {
                if place % FOLDS == fold { test.push(pair) } else { others.push(pair) }
            }
            let stop = (others.len() as f64 * STOP_SHARE) as usize;
            let split = Split { validation: both(&others[..stop]), train: both(&others[stop..]) };
            let test = if arguments.tune { split.validation.clone() } else { both(&test) };
            for (kind, scores) in arguments.models.iter().zip(&mut scores) {
                let start = Instant::now();
                let found = predict(*kind, &windows, &split, &test, seed, arguments)?;
                let (truth, found) = inside(&windows.select(&test), &found);
                let score = roc_auc(&truth, &found);
                eprintln!("fold {fold} {}: {score:.4}, {:.0} s", kind.name(), start.elapsed().as_secs_f64());
                scores.push(score);
            }
        }
    }
    println!("| CTCF | {} |", row(&scores));
    Ok(())
}

/// The sequences of a FASTA file, in capitals.
fn sequences(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path)?).read_to_string(&mut text)?;
    let records = text.split('>').skip(1);
    Ok(records.map(|record| record.lines().skip(1).collect::<String>().to_uppercase().into_bytes()).collect())
}

/// Trains a model and predicts the test windows: a number a position or a window.
fn predict(
    kind: Kind,
    windows: &ContextualWindows,
    split: &Split,
    test: &[usize],
    seed: u64,
    arguments: &Arguments,
) -> Result<Vec<f32>> {
    match kind {
        Kind::Contextual => {
            let (config, trainer) = contextual(windows, seed, arguments);
            let options = FitOptions::quiet(trainer);
            let fit = TrainedContextualEpigenomics::fit(&config, windows, split, &options)?;
            eprintln!("  {} epochs, {} parameters", fit.history.epochs.len(), fit.trained.store().parameter_count());
            let mut asked = windows.select(test);
            asked.targets.clear();
            Ok(fit.trained.predict(&asked)?.heads.swap_remove(0))
        }
        Kind::Regression | Kind::Cnn => {
            let mut store = ParamStore::new(seed);
            let baseline = Baseline::new(kind, windows, &mut store);
            let trainer = TrainerConfig {
                max_epochs: if windows.dna.is_empty() { 20 } else { 80 },
                batch_size: if windows.dna.is_empty() { 8 } else { 32 },
                learning_rate: if kind == Kind::Regression { 1e-2 } else { 2e-3 },
                schedule: Schedule { warmup_epochs: 0.0, decay: Decay::Cosine { final_factor: 0.05 } },
                patience: 20,
                seed,
                ..TrainerConfig::default()
            };
            let card =
                ModelCard { operator: "baseline".into(), config: Default::default(), metadata: Default::default() };
            Trainer::new(trainer, card)?
                .quiet(true)
                .train(&Training { baseline: &baseline, windows, split }, &mut store)?;
            Ok(baseline.logits(&store, windows, test))
        }
    }
}

/// The settings of the contextual model; chosen with `--tune`, that is on parts of the training folds.
fn contextual(
    windows: &ContextualWindows,
    seed: u64,
    arguments: &Arguments,
) -> (ContextualEpigenomicsConfig, TrainerConfig) {
    let trainer = gradome_epigenome::contextual::default_trainer(seed);
    let (mut config, mut trainer) = if windows.dna.is_empty() {
        let tracks = windows.tracks.len() / windows.mask.len();
        let config = ContextualEpigenomicsConfig {
            dna: false,
            tracks: (0..tracks).map(|track| format!("mark{track}")).collect(),
            track_kernel: 5,
            hidden_dim: 32,
            encoder: Encoder::Convolution { layers: 5, kernel: 5, growth: 2, max_dilation: 64 },
            strands: Strands::Augment,
            dropout: 0.0,
            pooling: Pooling::Mean,
            heads: vec![HeadConfig::new("mark", HeadKind::Binary, Level::Position)],
            ..Default::default()
        };
        (config, TrainerConfig { max_epochs: 16, batch_size: 8, learning_rate: 6e-3, ..trainer })
    } else {
        let config = ContextualEpigenomicsConfig {
            hidden_dim: 48,
            dropout: 0.3,
            encoder: Encoder::Convolution { layers: 1, kernel: 5, growth: 2, max_dilation: 8 },
            heads: vec![HeadConfig::new("bound", HeadKind::Binary, Level::Window)],
            ..Default::default()
        };
        (config, TrainerConfig { max_epochs: 20, batch_size: 32, patience: 15, ..trainer })
    };
    config.hidden_dim = arguments.hidden.unwrap_or(config.hidden_dim);
    config.dropout = arguments.dropout.unwrap_or(config.dropout);
    if let (Encoder::Convolution { layers, .. }, Some(given)) = (&mut config.encoder, arguments.layers) {
        *layers = given;
    }
    trainer.max_epochs = arguments.epochs.unwrap_or(trainer.max_epochs);
    trainer.learning_rate = arguments.rate.unwrap_or(trainer.learning_rate);
    (config, trainer)
}

/// Logistic regression on neighbouring bins or on counts of words; a CNN of two layers on tracks, of one layer and a
/// maximum over positions on DNA.
struct Baseline {
    convolutions: Vec<Conv1d>,
    last: Option<Linear>,
    words: bool,
}

impl Baseline {
    fn new(kind: Kind, windows: &ContextualWindows, store: &mut ParamStore<f32>) -> Self {
        let same = ConvConfig::new().same_padding();
        let relu = same.activation(Activation::Relu);
        let mut conv = |name: &str, inputs, outputs, kernel, config| {
            Conv1d::new(&mut store.scope(name), inputs, outputs, kernel, config)
        };
        let on_dna = !windows.dna.is_empty();
        let tracks = if on_dna { 0 } else { windows.tracks.len() / windows.mask.len() };
        let (convolutions, last) = match (kind, on_dna) {
            (Kind::Regression, true) => (Vec::new(), Some(1 << (2 * WORD))),
            (_, true) => (vec![conv("0", 4, 48, 19, relu)], Some(48)),
            (Kind::Regression, false) => (vec![conv("0", tracks, 1, 2 * NEIGHBOURS + 1, same)], None),
            (_, false) => {
                let layers =
                    vec![conv("0", tracks, 32, 9, relu), conv("1", 32, 32, 9, relu), conv("2", 32, 1, 1, same)];
                (layers, None)
            }
        };
        let words = convolutions.is_empty();
        let last = last.map(|inputs| Linear::new(&mut store.scope("last"), inputs, 1));
        Self { convolutions, last, words }
    }

    /// A logit a position or a window, row-major.
    fn forward<'t>(&self, step: Step<'_, 't, f32>, batch: &ContextualWindows) -> Var<'t, f32> {
        if self.words {
            let last = self.last.as_ref().expect("words are summed up by a layer");
            return last.forward(step, step.tape.constant(&words(batch))).reshape([batch.windows]);
        }
        let (rows, inputs) = (batch.windows * batch.length, self.inputs(batch));
        let x = if batch.dna.is_empty() {
            Tensor::from_fn([batch.windows, batch.length, inputs], |i| batch.tracks[i])
        } else {
            let hot = |i: usize| if usize::from(batch.dna[i / 4]) == i % 4 { 1.0 } else { 0.0 };
            Tensor::from_fn([batch.windows, batch.length, inputs], hot)
        };
        let x = step.tape.constant(&x).permute(&[0, 2, 1]);
        let h = self.convolutions.iter().fold(x, |h, layer| layer.forward(step, h));
        match &self.last {
            Some(last) => last.forward(step, h.max_axis(-1)).reshape([batch.windows]),
            None => h.reshape([rows]),
        }
    }

    fn inputs(&self, batch: &ContextualWindows) -> usize {
        if batch.dna.is_empty() { batch.tracks.len() / (batch.windows * batch.length) } else { 4 }
    }

    fn loss<'t>(&self, step: Step<'_, 't, f32>, batch: &ContextualWindows) -> Var<'t, f32> {
        let logits = self.forward(step, batch);
        let targets = &batch.targets[0];
        let known = Tensor::from_fn([targets.len()], |i| if targets[i].is_nan() { 0.0 } else { 1.0 });
        let truth = Tensor::from_fn([targets.len()], |i| if targets[i].is_nan() { 0.0 } else { targets[i] });
        let count: f32 = known.data().iter().sum();
        let loss = bce_with_logits(logits, step.tape.constant(&truth)) * step.tape.constant(&known);
        loss.sum() / f64::from(count.max(1.0))
    }

    fn logits(&self, store: &ParamStore<f32>, windows: &ContextualWindows, chosen: &[usize]) -> Vec<f32> {
        let mut found = Vec::new();
        for chunk in chosen.chunks(16) {
            let tape = Tape::new();
            let bound = store.bind(&tape);
            let logits = self.forward(Step::eval(&tape, &bound), &windows.select(chunk));
            found.extend_from_slice(logits.value().data());
        }
        found
    }
}

/// `[windows, 4^WORD]` how often each word stands in a window, a word and its reverse complement counted together, as
/// square roots, which even out their spread.
fn words(batch: &ContextualWindows) -> Tensor<f32> {
    let size = 1 << (2 * WORD);
    let mut counts = Tensor::<f32>::zeros([batch.windows, size]);
    for (row, dna) in counts.data_mut().chunks_exact_mut(size).zip(batch.dna.chunks_exact(batch.length)) {
        for word in dna.windows(WORD).filter(|word| word.iter().all(|&base| base < 4)) {
            let forward = word.iter().fold(0, |code, &base| code * 4 + usize::from(base));
            let reverse = word.iter().rev().fold(0, |code, &base| code * 4 + usize::from(3 - base));
            row[forward.min(reverse)] += 1.0;
        }
        row.iter_mut().for_each(|count| *count = count.sqrt());
    }
    counts
}

/// A baseline and its windows as the trainer sees them.
struct Training<'a> {
    baseline: &'a Baseline,
    windows: &'a ContextualWindows,
    split: &'a Split,
}

impl Task<f32> for Training<'_> {
    fn rows(&self) -> usize {
        self.split.train.len()
    }

    fn loss<'t>(&self, step: Step<'_, 't, f32>, rows: &[usize], _: &Progress) -> gradome_nn::Result<Loss<'t, f32>> {
        let chosen: Vec<usize> = rows.iter().map(|&row| self.split.train[row]).collect();
        Ok(Loss::new(self.baseline.loss(step, &self.windows.select(&chosen))))
    }

    fn validate(&self, store: &ParamStore<f32>) -> gradome_nn::Result<Option<Scores>> {
        let mut sum = 0.0;
        for chunk in self.split.validation.chunks(16) {
            let tape = Tape::new();
            let bound = store.bind(&tape);
            let loss = self.baseline.loss(Step::eval(&tape, &bound), &self.windows.select(chunk));
            sum += f64::from(loss.item()) * chunk.len() as f64;
        }
        Ok(Some(vec![("loss".into(), sum / self.split.validation.len() as f64)]))
    }
}
