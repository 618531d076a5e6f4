//! `gradome fit peak-caller`, `gradome apply peak-caller` and their Fourier siblings.

mod page;

use std::path::PathBuf;

use clap::Args;
use gradome::epigenome::macs::{MacsConfig, Reads, call_peaks, genome_size};
use gradome::epigenome::peaks::{
    Caller, DenoiserConfig, FnoPeakCaller, FnoPeakCallerConfig, LatentPrior, PeakCaller, PeakCallerConfig,
    PeakFitOptions, PeakLabels, PeakProbabilities, ReadLibrary, Stretch, TRACKS, TrainedPeakCaller,
    default_peak_trainer,
};
use gradome::io::genome::{
    ChromSizes, ChromosomeSignal, Peak, PeakFormat, ReadFormat, ReadsOptions, Run, Signal, Tags, read_peaks,
    write_peaks,
};
use gradome::io::write_atomic;
use gradome::nn::trainer::{End, StopFlag};

use crate::Global;
use crate::console::print;
use crate::error::{Failure, Result, wrong};
use crate::run_dir::{NewRun, REPORT_FILE, SETTINGS_FILE};
use crate::track::{TrackFormat, write_track};

/// The folder of the networks within a run.
const MODEL_FOLDER: &str = "model";
/// Base pairs of a stretch that a member sees or leaves out as a whole, at most.
const STRETCH: u32 = 2_000_000;

/// Reads of a treatment and a control.
#[derive(Args, Clone)]
#[command(next_help_heading = "Input")]
struct ReadFiles {
    /// Reads of the treatment, BED or BAM; several files are pooled
    #[arg(short, long, value_name = "FILE", num_args = 1..)]
    treatment: Vec<PathBuf>,
    /// Reads of the control
    #[arg(short, long, value_name = "FILE", num_args = 1..)]
    control: Vec<PathBuf>,
}

impl ReadFiles {
    fn read(&self) -> Result<(Tags, Option<Tags>)> {
        let treatment = read_all(&self.treatment)?.ok_or_else(|| wrong("no --treatment; give files of reads"))?;
        Ok((treatment, read_all(&self.control)?))
    }
}

fn read_all(files: &[PathBuf]) -> Result<Option<Tags>> {
    let mut all: Option<Tags> = None;
    for file in files {
        let tags = Tags::read(file, ReadFormat::detect(file)?, &ReadsOptions::default())?;
        log::info!("{}: {} reads", file.display(), tags.total());
        match &mut all {
            Some(all) => all.append(tags)?,
            None => all = Some(tags),
        }
    }
    Ok(all)
}

/// Train a convolutional peak caller on reads.
///
/// The network sees a random part of the reads, another one in every epoch, and learns to find the peaks that all reads
/// show: those of --peaks, or those that MACS calls. Members of an ensemble leave out one part of the genome each; what
/// they say of it gives the threshold, the calibration and the curves of the report.
///
/// Leaves in --out: model/ (the networks), peaks.narrowPeak (the labels), report.html and run.toml.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome fit peak-caller -t chip.bam -c input.bam -g hs --out run
  gradome fit peak-caller -t chip.bed.gz -c input.bed.gz --peaks truth.narrowPeak --fragment-size 228 --out run
  gradome fit peak-caller -t chip.bam -c input.bam --leave-out chr8 --leave-out chr9 --out run")]
pub struct FitPeakCaller {
    #[command(flatten)]
    fit: FitPeaks,
    /// Filters of each convolution
    #[arg(long, value_name = "N", default_value_t = PeakCallerConfig::default().filters, help_heading = "Model")]
    filters: usize,
    /// Denoise the treatment's pileup with a variational autoencoder before
    #[arg(long, help_heading = "Model")]
    denoise: bool,
    /// Let the denoiser's latent states be a mixture of so many normal distributions [default: the standard normal]
    #[arg(long, value_name = "N", requires = "denoise", help_heading = "Model")]
    denoiser_components: Option<usize>,
}

impl FitPeakCaller {
    pub fn run(&self, global: &Global, settings: &str) -> Result<()> {
        let prior = self
            .denoiser_components
            .map_or(LatentPrior::StandardNormal, |components| LatentPrior::Mixture { components });
        let config = PeakCallerConfig {
            tracks: TRACKS.len(),
            filters: self.filters,
            denoiser: self.denoise.then(|| DenoiserConfig { prior, ..DenoiserConfig::default() }),
            ..PeakCallerConfig::default()
        };
        self.fit.run::<PeakCaller>(global, settings, &config)
    }
}

/// Train a Fourier peak caller on reads.
///
/// As `gradome fit peak-caller`, with a Fourier neural operator: it sees the whole window at once, and can be applied
/// with other bins than those of training.
#[derive(Args)]
pub struct FitFnoPeakCaller {
    #[command(flatten)]
    fit: FitPeaks,
    /// Channels between the blocks
    #[arg(long, value_name = "N", default_value_t = FnoPeakCallerConfig::default().hidden, help_heading = "Model")]
    hidden: usize,
    /// Frequencies that a block keeps
    #[arg(long, value_name = "N", default_value_t = FnoPeakCallerConfig::default().modes, help_heading = "Model")]
    modes: usize,
    /// Blocks
    #[arg(long, value_name = "N", default_value_t = FnoPeakCallerConfig::default().blocks, help_heading = "Model")]
    blocks: usize,
}

impl FitFnoPeakCaller {
    pub fn run(&self, global: &Global, settings: &str) -> Result<()> {
        let config = FnoPeakCallerConfig {
            tracks: TRACKS.len(),
            hidden: self.hidden,
            modes: self.modes,
            blocks: self.blocks,
            ..FnoPeakCallerConfig::default()
        };
        self.fit.run::<FnoPeakCaller>(global, settings, &config)
    }
}

/// What training of either caller takes.
#[derive(Args)]
struct FitPeaks {
    /// Settings from a TOML file: a key for each long flag; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    reads: ReadFiles,
    /// Peaks to learn, narrowPeak [default: those that MACS calls in all reads]
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    peaks: Option<PathBuf>,
    /// Effective genome size in bp, or hs, mm, ce, dm; for MACS
    #[arg(short, long, value_name = "SIZE", default_value = "hs", help_heading = "Input")]
    gsize: String,
    /// Size of fragments in bp [default: MACS's estimate]
    #[arg(long, value_name = "BP", help_heading = "Input")]
    fragment_size: Option<u32>,
    /// Leave this chromosome out of training, to judge the caller there
    #[arg(long, value_name = "CHROM", help_heading = "Training")]
    leave_out: Vec<String>,
    /// Base pairs of a bin
    #[arg(long, value_name = "BP", default_value_t = 25, help_heading = "Training")]
    bin: u32,
    /// Bins that are looked at together
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Training")]
    window: usize,
    /// Share of the reads that the network sees; 1 shows all
    #[arg(long, value_name = "SHARE", default_value_t = 0.25, help_heading = "Training")]
    keep: f64,
    /// Passes before that in which the network learns without labels to predict the pileup of all reads from those it
    /// sees (self-supervised training)
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    pretraining_epochs: usize,
    /// Networks of the ensemble
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Training")]
    members: usize,
    /// Passes over the genome for each network
    #[arg(long, value_name = "N", default_value_t = default_peak_trainer(0).max_epochs, help_heading = "Training")]
    epochs: usize,
    /// Highest learning rate of Adam
    #[arg(long, value_name = "RATE", default_value_t = default_peak_trainer(0).learning_rate, help_heading = "Training")]
    learning_rate: f64,
    #[command(flatten)]
    output: NewRun,
}

impl FitPeaks {
    fn run<C: Caller>(&self, global: &Global, settings: &str, config: &C::Config) -> Result<()> {
        let out = self.output.folder()?;
        let (treatment, control) = self.reads.read()?;
        let (peaks, fragment_size) = self.labels(&treatment, control.as_ref())?;
        log::info!("{} peaks to learn, fragments of {fragment_size} bp", peaks.len());
        let library = ReadLibrary::new(treatment, control, fragment_size)?;
        let stop = StopFlag::default();
        stop.install_signal_handlers()?;
        let mut options = PeakFitOptions {
            bin: self.bin,
            window: self.window,
            keep: self.keep,
            pretraining_epochs: self.pretraining_epochs,
            members: self.members,
            ..PeakFitOptions::quiet(global.seed)
        };
        options.fit.folder = Some(out.join("training"));
        options.fit.quiet = global.quiet;
        options.fit.stop = stop;
        options.fit.trainer.max_epochs = self.epochs;
        options.fit.trainer.learning_rate = self.learning_rate;
        let stretches = self.stretches(&library);
        let fit = TrainedPeakCaller::<C>::fit(config, &library, &stretches, &PeakLabels::of_peaks(&peaks), &options)?;
        if let End::Interrupted { signal, .. } = fit.end {
            let text =
                format!("stopped by signal {signal}: an ensemble is not written in part; start again with --overwrite");
            return Err(Failure::Interrupted(signal, text));
        }
        fit.trained.save(out.join(MODEL_FOLDER))?;
        write_atomic(&out.join(SETTINGS_FILE), |to| std::io::Write::write_all(to, settings.as_bytes()))?;
        write_peaks(&out.join("peaks.narrowPeak"), PeakFormat::Narrow, None, &peaks)?;
        let report = out.join(REPORT_FILE);
        page::page(&fit, &library, &stretches, &peaks, self.keep)?.write(&report)?;
        log::info!("held-out average precision {:.4}", fit.held_out.average_precision());
        print(format_args!("{}\n", report.display()));
        Ok(())
    }

    /// The peaks to learn and the fragment size.
    fn labels(&self, treatment: &Tags, control: Option<&Tags>) -> Result<(Vec<Peak>, u32)> {
        if let (Some(peaks), Some(size)) = (&self.peaks, self.fragment_size) {
            return Ok((read_peaks(peaks, PeakFormat::Narrow, None)?, size));
        }
        let size = self.gsize.parse().ok().or_else(|| genome_size(&self.gsize));
        let genome_size =
            size.ok_or_else(|| wrong(format!("--gsize {}: give hs, mm, ce, dm or a number", self.gsize)))?;
        let given =
            self.fragment_size.map(|size| MacsConfig { model: false, fragment_size: size, ..Default::default() });
        let config = MacsConfig { genome_size, ..given.unwrap_or_default() };
        let called = call_peaks(Reads::Single(treatment.clone()), control.cloned().map(Reads::Single), &config)?;
        let fragment_size = called.fragment_size.round() as u32;
        if let Some(peaks) = &self.peaks {
            return Ok((read_peaks(peaks, PeakFormat::Narrow, None)?, fragment_size));
        }
        Ok((called.peaks("macs", &config), fragment_size))
    }

    /// The genome in stretches, without what is left out.
    fn stretches(&self, library: &ReadLibrary) -> Vec<Stretch> {
        let bin = self.bin.max(1);
        let whole: Vec<Stretch> = library.stretches(bin);
        // smaller ones where the genome is small, so that members can leave some out
        let total: usize = whole.iter().map(|stretch| stretch.bins).sum();
        let bins = ((STRETCH / bin) as usize).min(total / (2 * self.members.max(1))).max(2 * self.window.max(1));
        let cut = |whole: Stretch| {
            let count = whole.bins.div_ceil(bins);
            (0..count).map(move |i| Stretch {
                start: (i * bins) as u32 * bin,
                bins: bins.min(whole.bins - i * bins),
                ..whole.clone()
            })
        };
        let kept = |whole: &Stretch| !self.leave_out.contains(&whole.chromosome);
        whole.into_iter().filter(kept).flat_map(cut).collect()
    }
}

/// Call peaks with a trained peak caller.
///
/// Reads must be of the same kind of library as in training; there may be fewer of them. Writes narrowPeak: score is 1000
/// times the highest probability, signalValue the highest fold enrichment, pValue -log10 of 1 - the highest probability,
/// qValue -log10 of the share of the peak's bins that are expected to be false.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome apply peak-caller --model run/model -t few.bam -c input.bam --out peaks.narrowPeak
  gradome apply peak-caller --model run/model -t few.bam -c input.bam --track p.bw --out peaks.narrowPeak")]
pub struct ApplyPeaks {
    /// The folder of the networks
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    reads: ReadFiles,
    /// Size of fragments in bp [default: that of training]
    #[arg(long, value_name = "BP", help_heading = "Input")]
    fragment_size: Option<u32>,
    /// Base pairs of a bin [default: that of training]
    #[arg(long, value_name = "BP", help_heading = "Calls")]
    bin: Option<u32>,
    /// Probability from which a bin is called [default: the one with the highest F1 in training]
    #[arg(long, value_name = "P", help_heading = "Calls")]
    threshold: Option<f64>,
    /// Join calls over gaps of up to so many bp
    #[arg(long, value_name = "BP", default_value_t = 50, help_heading = "Calls")]
    max_gap: u32,
    /// Leave out shorter calls, in bp
    #[arg(long, value_name = "BP", default_value_t = 100, help_heading = "Calls")]
    min_length: u32,
    /// The peaks, narrowPeak
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// The probability of each bin: bedGraph, or bigWig where the name ends in .bw or .bigWig
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    track: Option<PathBuf>,
    /// Lengths of chromosomes (chrom.sizes), at which the track ends [default: up to the last read]
    #[arg(long, value_name = "FILE", requires = "track", help_heading = "Output")]
    chrom_sizes: Option<PathBuf>,
}

impl ApplyPeaks {
    pub fn run<C: Caller>(&self) -> Result<()> {
        let trained = TrainedPeakCaller::<C>::load(&self.model)?;
        if let Some(threshold) = self.threshold.filter(|p| !(0.0..=1.0).contains(p)) {
            return Err(wrong(format!("--threshold {threshold}: a probability is from 0 to 1")));
        }
        let bin = self.bin.unwrap_or(trained.bin());
        if bin == 0 {
            return Err(wrong("--bin 0: give 1 bp or more"));
        }
        let sizes = self.chrom_sizes.as_deref().map(ChromSizes::read).transpose()?;
        let (treatment, control) = self.reads.read()?;
        let size = self.fragment_size.unwrap_or(trained.fragment_size());
        let library = ReadLibrary::new(treatment, control, size)?;
        let threshold = self.threshold.unwrap_or(trained.threshold());
        let (mut peaks, mut signal) = (Vec::new(), Signal::default());
        for stretch in library.stretches(bin) {
            let probabilities = trained.apply(&library, &stretch, bin)?;
            peaks.extend(probabilities.call(threshold, self.max_gap, self.min_length));
            if self.track.is_some() {
                signal.chromosomes.push(track(&probabilities));
            }
        }
        write_peaks(&self.out, PeakFormat::Narrow, None, &peaks)?;
        if let Some(path) = &self.track {
            let sizes = sizes.map_or_else(|| ChromSizes::new(library.chromosomes()), Ok)?;
            write_track(path, TrackFormat::of(path).unwrap_or(TrackFormat::BedGraph), Some(&sizes), 3, signal)?;
        }
        log::info!("{} peaks at p >= {threshold:.3}", peaks.len());
        print(format_args!("{}\n", self.out.display()));
        Ok(())
    }
}

/// Probabilities as runs of equal value, to three decimals.
fn track(probabilities: &PeakProbabilities) -> ChromosomeSignal {
    let PeakProbabilities { stretch, bin, probabilities, .. } = probabilities;
    let mut runs: Vec<Run> = Vec::new();
    for (i, p) in probabilities.iter().enumerate() {
        let (start, value) = (stretch.start + i as u32 * bin, ((p * 1000.0).round() / 1000.0) as f32);
        match runs.last_mut() {
            Some(run) if run.value == value => run.end = start + bin,
            _ => runs.push(Run { start, end: start + bin, value }),
        }
    }
    ChromosomeSignal { name: stretch.chromosome.clone(), size: None, runs }
}
