//! Trains learned peak callers on the CTCF reads of chromosome 22 and prints how well they find, in a quarter of the
//! reads, the peaks that MACS3 calls in all of them.
//!
//! Training sees the blocks `train*` of `ctcf_chr22_raster25.npz` only; threshold and calibration come from what members
//! of the ensemble say of training blocks that they have not seen. Figures are those of the blocks `valid*` with the
//! quarter of the reads that the file holds.

use std::path::Path;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use gradome_benches::npz::Npz;
use gradome_epigenome::peaks::{
    Caller, FnoPeakCaller, FnoPeakCallerConfig, PeakCaller, PeakCallerConfig, PeakFitOptions, PeakLabels, ReadLibrary,
    Stretch, TRACKS, TrainedPeakCaller, background_tracks,
};
use gradome_io::genome::{PeakFormat, ReadFormat, ReadsOptions, Tags, read_peaks};
use gradome_nn::metrics;

/// An error of any crate, with its own text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The fragment size that MACS3 finds in these reads, in base pairs.
const FRAGMENT_SIZE: u32 = 228;

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// Convolutions of three widths, 16 filters each, and no more.
    Plain,
    /// The convolutional caller's default form.
    Cnn,
    /// The Fourier caller's default form.
    Fno,
}

#[derive(Parser)]
#[command(about = "Accuracy of learned peak callers on a quarter of the reads")]
struct Arguments {
    /// Folder of the reads, peaks and rasters.
    data: std::path::PathBuf,
    /// Which network.
    #[arg(long, value_enum, default_value = "cnn")]
    model: Model,
    /// Seeds to average over.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    seeds: Vec<u64>,
    /// Passes over the training blocks; the default of `gradome fit` when absent.
    #[arg(long)]
    epochs: Option<usize>,
    /// Passes before them in which the network predicts the pileup of all reads, without labels.
    #[arg(long, default_value_t = 0)]
    pretraining_epochs: usize,
    /// Learn from the labels of this many training blocks only.
    #[arg(long)]
    blocks: Option<usize>,
    /// Filters, or channels of the Fourier caller.
    #[arg(long)]
    filters: Option<usize>,
    /// Networks in an ensemble.
    #[arg(long)]
    members: Option<usize>,
    /// Other bin sizes to apply the caller at, in base pairs.
    #[arg(long, value_delimiter = ',')]
    bins: Vec<u32>,
    /// Threads.
    #[arg(long)]
    threads: Option<usize>,
    /// Print the progress of training.
    #[arg(long)]
    verbose: bool,
}

/// A block of the raster with a quarter of the reads.
struct Block {
    stretch: Stretch,
    tracks: Vec<f32>,
    truth: Vec<bool>,
}

fn block(raster: &mut Npz, name: &str) -> Result<Block> {
    let mut get = |array: &str| Ok::<_, Box<dyn std::error::Error>>(raster.get(&format!("{name}_{array}"))?.1);
    let start = get("start")?[0] as u32;
    let truth: Vec<bool> = get("label")?.iter().map(|v| *v > 0.0).collect();
    let bins = truth.len();
    let mut tracks: Vec<f32> = Vec::with_capacity(TRACKS.len() * bins);
    for array in ["ds_treat_pileup", "ds_control_pileup", "ds_fwd5", "ds_rev5"] {
        tracks.extend(get(array)?.iter().map(|v| *v as f32));
    }
    let background = background_tracks(&tracks[bins..2 * bins], 25);
    tracks.extend(background);
    Ok(Block { stretch: Stretch { chromosome: "chr22".into(), start, bins }, tracks, truth })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    gradome_nn::set_threads(arguments.threads.map_or_else(gradome_nn::available_threads, Ok)?)?;
    match arguments.model {
        Model::Plain => {
            let config = PeakCallerConfig {
                tracks: TRACKS.len(),
                filters: arguments.filters.unwrap_or(16),
                dilations: Vec::new(),
                dropout: 0.0,
                ..PeakCallerConfig::default()
            };
            run::<PeakCaller>(&arguments, &config)
        }
        Model::Cnn => {
            let default = PeakCallerConfig::default();
            let filters = arguments.filters.unwrap_or(default.filters);
            run::<PeakCaller>(&arguments, &PeakCallerConfig { tracks: TRACKS.len(), filters, ..default })
        }
        Model::Fno => {
            let default = FnoPeakCallerConfig::default();
            let hidden = arguments.filters.unwrap_or(default.hidden);
            run::<FnoPeakCaller>(&arguments, &FnoPeakCallerConfig { tracks: TRACKS.len(), hidden, ..default })
        }
    }
}

fn tags(path: &Path) -> Result<Tags> {
    Ok(Tags::read(path, ReadFormat::Bed, &ReadsOptions::default())?)
}

fn run<C: Caller>(arguments: &Arguments, config: &C::Config) -> Result<()> {
    let folder = &arguments.data;
    let mut raster = Npz::open(&folder.join("ctcf_chr22_raster25.npz"))?;
    let names: Vec<String> = raster.names().filter_map(|name| name.strip_suffix("_start")).map(str::to_owned).collect();
    let (mut train, mut valid) = (Vec::new(), Vec::new());
    for name in &names {
        let block = block(&mut raster, name)?;
        if name.starts_with("train") { train.push(block) } else { valid.push(block) }
    }
    train.sort_by_key(|block| block.stretch.start);
    let treatment = tags(&folder.join("CTCF_SE_ChIP_chr22_50k.bed.gz"))?;
    let control = tags(&folder.join("CTCF_SE_CTRL_chr22_50k.bed.gz"))?;
    let library = ReadLibrary::new(treatment, Some(control), FRAGMENT_SIZE)?;
    let peaks = read_peaks(&folder.join("macs3_narrow0_peaks.narrowPeak.gz"), PeakFormat::Narrow, None)?;
    let labels = PeakLabels::of_peaks(&peaks);
    let blocks = arguments.blocks.unwrap_or(train.len());
    let stretches: Vec<Stretch> = train.iter().take(blocks).map(|block| block.stretch.clone()).collect();

    let truth: Vec<bool> = valid.iter().flat_map(|block| block.truth.iter().copied()).collect();
    println!("bins: {}, in peaks: {}", truth.len(), truth.iter().filter(|t| **t).count());
    let mut figures = Vec::new();
    for &seed in &arguments.seeds {
        let mut options = PeakFitOptions::quiet(seed);
        options.fit.quiet = !arguments.verbose;
        options.fit.trainer.max_epochs = arguments.epochs.unwrap_or(options.fit.trainer.max_epochs);
        options.pretraining_epochs = arguments.pretraining_epochs;
        options.members = arguments.members.unwrap_or(options.members);
        let start = Instant::now();
        let fit = TrainedPeakCaller::<C>::fit(config, &library, &stretches, &labels, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        let mut probabilities = Vec::new();
        for block in &valid {
            probabilities.extend(fit.trained.probabilities(&block.tracks, block.stretch.bins, 25)?);
        }
        let called: Vec<bool> = probabilities.iter().map(|p| *p >= fit.trained.threshold()).collect();
        let row = [
            metrics::average_precision(&truth, &probabilities),
            metrics::roc_auc(&truth, &probabilities),
            metrics::f1(&truth, &called),
            metrics::brier_score(&truth, &probabilities) * 1000.0,
            grouped_calibration_error(&truth, &probabilities),
            fit.held_out.average_precision(),
            seconds,
        ];
        println!(
            "seed {seed}: AUPRC {:.4}, AUROC {:.4}, F1 {:.4} at p >= {:.3}, Brier {:.4}e-3, ECE {:.4}; unseen training \
             blocks AUPRC {:.4}; {:.0} s",
            row[0],
            row[1],
            row[2],
            fit.trained.threshold(),
            row[3],
            row[4],
            row[5],
            row[6]
        );
        figures.push(row);
        for &bin in &arguments.bins {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            for block in &valid {
                let bins = block.stretch.bins * 25 / bin as usize;
                let stretch = Stretch { bins, ..block.stretch.clone() };
                let thinning = gradome_epigenome::peaks::Thinning { keep: 0.25, seed: 20_240_601 };
                found.extend(fit.trained.probabilities(&library.tracks(&stretch, bin, Some(thinning)), bins, bin)?);
                expected.extend(labels.bins(&stretch, bin));
            }
            println!(
                "  at {bin} bp, another quarter of the reads: AUPRC {:.4}",
                metrics::average_precision(&expected, &found)
            );
        }
    }
    let names = ["AUPRC", "AUROC", "F1", "Brier (1e-3)", "ECE", "unseen AUPRC", "seconds"];
    for (i, name) in names.iter().enumerate() {
        let values: Vec<f64> = figures.iter().map(|row| row[i]).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len().max(2) - 1) as f64;
        println!("{name}: mean {mean:.4}, sd {:.4}", variance.sqrt());
    }
    Ok(())
}

/// The mean distance of probability and frequency over ten groups of equal size of the bins with a probability of at
/// least .05.
fn grouped_calibration_error(truth: &[bool], probabilities: &[f64]) -> f64 {
    const GROUPS: usize = 10;
    let mut pairs: Vec<(f64, bool)> =
        probabilities.iter().copied().zip(truth.iter().copied()).filter(|(p, _)| *p >= 0.05).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = pairs.len();
    let group = |k: usize| &pairs[k * count / GROUPS..(k + 1) * count / GROUPS];
    let distance = |group: &[(f64, bool)]| {
        (group.iter().map(|(p, _)| p).sum::<f64>() - group.iter().filter(|(_, t)| *t).count() as f64).abs()
    };
    (0..GROUPS).map(|k| distance(group(k))).sum::<f64>() / count as f64
}
