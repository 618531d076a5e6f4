//! Training: random parts of the reads in, peaks of all reads out, or before that the pileup of all reads.

use std::ops::Range;

use gradome_io::genome::Peak;
use gradome_nn::distributions::Poisson;
use gradome_nn::losses::bce_with_logits;
use gradome_nn::metrics::average_precision;
use gradome_nn::optim::{AverageConfig, OptimizerConfig};
use gradome_nn::trainer::{End, FitOptions, History, Loss, Progress, Scores, Task};
use gradome_nn::{Decay, Error as ModelError, ModelCard, ParamStore, Schedule, Step, TrainerConfig};
use gradome_tape::{Float, Tensor};
use rand::RngExt;

use super::caller::Caller;
use super::reads::{ReadLibrary, STRAND_TRACKS, Stretch, TRACKS, Thinning};
use super::signal::SignalInput;
use super::trained::{Calibration, Member, TrainedPeakCaller};
use crate::{Error, Result};

/// Predicted pileups are held between e^-10 and e^10 fragments.
const LN_MEAN_RANGE: f64 = 10.0;

/// Which bins lie in peaks: those whose middle does.
#[derive(Clone, Debug, Default)]
pub struct PeakLabels {
    /// For each chromosome sorted intervals that do not overlap, in base pairs.
    chromosomes: std::collections::BTreeMap<String, Vec<Range<u32>>>,
}

impl PeakLabels {
    /// Takes intervals in any order; those that overlap are joined.
    pub fn new<'a>(intervals: impl IntoIterator<Item = (&'a str, Range<u32>)>) -> Self {
        let mut chromosomes = std::collections::BTreeMap::<String, Vec<Range<u32>>>::new();
        for (chromosome, range) in intervals {
            chromosomes.entry(chromosome.to_owned()).or_default().push(range);
        }
        for list in chromosomes.values_mut() {
            list.sort_unstable_by_key(|range| (range.start, range.end));
            list.dedup_by(|next, last| {
                let joined = next.start <= last.end;
                last.end = if joined { last.end.max(next.end) } else { last.end };
                joined
            });
        }
        Self { chromosomes }
    }

    /// The intervals of called peaks.
    pub fn of_peaks(peaks: &[Peak]) -> Self {
        Self::new(peaks.iter().map(|peak| (peak.chromosome.as_str(), peak.start..peak.end)))
    }

    /// For each bin of a stretch whether its middle lies in a peak.
    pub fn bins(&self, stretch: &Stretch, bin: u32) -> Vec<bool> {
        let Some(list) = self.chromosomes.get(&stretch.chromosome) else { return vec![false; stretch.bins] };
        let middle = |i: usize| stretch.start + i as u32 * bin + bin / 2;
        (0..stretch.bins)
            .map(|i| {
                let after = list.partition_point(|range| range.start <= middle(i));
                after > 0 && middle(i) < list[after - 1].end
            })
            .collect()
    }
}

/// How peak callers are trained, and what is left behind.
#[derive(Clone, Debug)]
pub struct PeakFitOptions {
    /// Base pairs of a bin. Default 25.
    pub bin: u32,
    /// Bins that are looked at together. Default 1,000.
    pub window: usize,
    /// The share of reads that the network sees in training, while the labels come from all; 1 uses all reads.
    /// Default 0.25.
    pub keep: f64,
    /// Epochs of self-supervised training before the labels are learned: from the reads that it sees the network predicts
    /// the pileup of all reads, its scores being the logarithms of Poisson means. Needs `keep` below 1. Default 0.
    pub pretraining_epochs: usize,
    /// Networks that are trained, each without another part of the stretches; their mean decides, and what each says of
    /// the part that it has not seen gives threshold and calibration. Default 4.
    pub members: usize,
    /// The training of each member, in a folder of its own. An ensemble cannot go on after a stop.
    pub fit: FitOptions,
}

impl PeakFitOptions {
    /// The default training with a seed, without files or output.
    pub fn quiet(seed: u64) -> Self {
        let fit = FitOptions::quiet(default_peak_trainer(seed));
        Self { bin: 25, window: 1000, keep: 0.25, pretraining_epochs: 0, members: 4, fit }
    }

    fn validate(&self) -> Result<()> {
        let problem = if self.bin == 0 {
            "a bin of 0 bp"
        } else if self.window < 2 {
            "a window of fewer than 2 bins"
        } else if !(self.keep > 0.0 && self.keep <= 1.0) {
            "the share of reads that is kept is not above 0 and at most 1"
        } else if self.keep == 1.0 && self.pretraining_epochs > 0 {
            "the network sees all reads: there is no fuller pileup to predict; keep fewer, or pre-train for 0 epochs"
        } else if self.members < 2 {
            "fewer than 2 members; threshold and calibration need parts that a member has not seen"
        } else if self.fit.resume {
            "an ensemble cannot go on after a stop; start it again"
        } else {
            return Ok(());
        };
        Err(Error::Data(problem.into()))
    }
}

/// The training that suits a chromosome or more.
pub fn default_peak_trainer(seed: u64) -> TrainerConfig {
    TrainerConfig {
        max_epochs: 40,
        batch_size: 16,
        parts: 8,
        learning_rate: 4e-3,
        schedule: Schedule {
            warmup_epochs: 0.0,
            decay: Decay::OneCycle { peak_at: 0.15, first_factor: 0.04, final_factor: 4e-6 },
        },
        optimizer: OptimizerConfig::default(),
        weight_decay: 1e-3,
        // over about the last two epochs of a chromosome
        average: Some(AverageConfig { decay: 0.99, ..AverageConfig::default() }),
        gradient_clip: 1.0,
        patience: 0,
        seed,
        ..TrainerConfig::default()
    }
}

/// One member's part of the stretches as the trainer sees it.
struct Training<'a, C: Caller> {
    caller: &'a C,
    library: &'a ReadLibrary,
    options: &'a PeakFitOptions,
    /// Stretches and their labels; the windows of each lie one after the other.
    stretches: &'a [(Stretch, Vec<bool>)],
    /// The stretch and first bin of every window.
    windows: Vec<(usize, usize)>,
    /// Whether the pileup of all reads is learned, not the labels.
    denoise: bool,
}

/// The windows of `size` bins of some stretches, one bin short of which a window may start later.
fn windows(stretches: &[(Stretch, Vec<bool>)], size: usize) -> Vec<(usize, usize)> {
    let of = |(i, (stretch, _)): (usize, &(Stretch, Vec<bool>))| {
        let last = stretch.bins.saturating_sub(2 * size - 1);
        (0..last.div_ceil(size)).map(move |k| (i, k * size)).collect::<Vec<_>>()
    };
    stretches.iter().enumerate().flat_map(of).collect()
}

impl<C: Caller, T: Float> Task<T> for Training<'_, C> {
    fn rows(&self) -> usize {
        self.windows.len()
    }

    fn loss<'t>(&self, step: Step<'_, 't, T>, rows: &[usize], progress: &Progress) -> gradome_nn::Result<Loss<'t, T>> {
        let PeakFitOptions { bin, window, keep, ref fit, .. } = *self.options;
        let epoch = progress.epoch.floor() as u64;
        // windows start elsewhere and see other reads in every epoch
        let seed = fit.trainer.seed.wrapping_mul(1 << 20).wrapping_add(epoch);
        let offset = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as usize % window;
        let thinning = (keep < 1.0).then_some(Thinning { keep, seed });
        let size = TRACKS.len() * window;
        let (mut tracks, mut labels) = (Vec::with_capacity(rows.len() * size), Vec::with_capacity(rows.len() * window));
        for &row in rows {
            let (index, first) = self.windows[row];
            let (stretch, truth) = &self.stretches[index];
            let first = first + offset;
            let part = Stretch { start: stretch.start + first as u32 * bin, bins: window, ..stretch.clone() };
            let mut values = self.library.tracks(&part, bin, thinning);
            let mut truth: Vec<f64> = if self.denoise {
                self.library.tracks(&part, bin, None)[..window].iter().map(|count| f64::from(*count)).collect()
            } else {
                truth[first..first + window].iter().map(|b| f64::from(*b)).collect()
            };
            if step.with_rng(|rng| rng.random::<bool>()) {
                mirror(&mut values, window);
                truth.reverse();
            }
            tracks.extend(values.iter().map(|v| f64::from(*v)));
            labels.extend(truth);
        }
        let shape = [rows.len(), TRACKS.len(), window];
        let input = SignalInput { tracks: step.tape.constant(&Tensor::from_f64(shape, &tracks)), noise: None };
        let output = self.caller.call(step, &input);
        let labels = step.tape.constant(&Tensor::from_f64([rows.len(), window], &labels));
        if self.denoise {
            let ln_mean = output.scores.clamp(-LN_MEAN_RANGE, LN_MEAN_RANGE);
            return Ok(Loss::new(-Poisson { ln_mean }.log_prob(labels).mean()));
        }
        let cross_entropy = bce_with_logits(output.decisions.logits, labels).mean();
        Ok(match output.denoised {
            Some(denoised) => Loss::new(cross_entropy + denoised.loss)
                .with("cross_entropy", cross_entropy)
                .with("denoiser", denoised.loss),
            None => Loss::new(cross_entropy),
        })
    }

    fn validate(&self, _: &ParamStore<T>) -> gradome_nn::Result<Option<Scores>> {
        Ok(None)
    }
}

/// The tracks of the other strand, from its 5' to its 3' end.
fn mirror(values: &mut [f32], bins: usize) {
    values.chunks_exact_mut(bins).for_each(<[f32]>::reverse);
    let (forward, reverse) = STRAND_TRACKS;
    let (before, after) = values.split_at_mut(reverse * bins);
    before[forward * bins..(forward + 1) * bins].swap_with_slice(&mut after[..bins]);
}

/// What training gave.
pub struct PeakFit<C: Caller> {
    /// The caller.
    pub trained: TrainedPeakCaller<C>,
    /// The numbers of every epoch of every member.
    pub histories: Vec<History>,
    /// The numbers of every epoch of every member's self-supervised training, where there was one.
    pub pretraining: Vec<History>,
    /// How training ended: that of the last member that was trained.
    pub end: End,
    /// What each member says of the stretches that it has not seen, from a random part of the reads.
    pub held_out: HeldOut,
}

/// Calibrated probabilities of bins that were not seen in training, and the truth.
#[derive(Clone, Debug, Default)]
pub struct HeldOut {
    /// `[bins]` whether a bin lies in a peak.
    pub truth: Vec<bool>,
    /// `[bins]` its probability.
    pub probabilities: Vec<f64>,
}

impl HeldOut {
    /// The area under the precision-recall curve.
    pub fn average_precision(&self) -> f64 {
        average_precision(&self.truth, &self.probabilities)
    }
}

impl<C: Caller> TrainedPeakCaller<C> {
    /// Trains a caller on stretches of the genome whose peaks are known, from MACS on all reads or from the user.
    ///
    /// The network sees a random part of the reads, another one in each epoch, so that it learns to find in few reads
    /// what all of them show. Results depend on data, configuration and seed alone, not on the number of threads.
    ///
    /// # Errors
    /// When configuration or data make no sense, there are fewer stretches of at least two windows than members, no bin
    /// is in a peak, training produces values that are not finite, or a file cannot be written.
    pub fn fit(
        config: &C::Config,
        library: &ReadLibrary,
        stretches: &[Stretch],
        labels: &PeakLabels,
        options: &PeakFitOptions,
    ) -> Result<PeakFit<C>> {
        options.validate()?;
        if C::tracks(config) != TRACKS.len() {
            let problem = format!("reads give {} tracks, the caller takes {}", TRACKS.len(), C::tracks(config));
            return Err(ModelError::config("tracks", problem).into());
        }
        let labelled: Vec<(Stretch, Vec<bool>)> = stretches
            .iter()
            .filter(|stretch| stretch.bins >= 2 * options.window)
            .map(|stretch| (stretch.clone(), labels.bins(stretch, options.bin)))
            .collect();
        if labelled.len() < options.members {
            return Err(Error::Data(format!(
                "{} stretches of at least {} bp are too few for {} members; split the chromosomes in more stretches",
                labelled.len(),
                2 * options.window as u64 * u64::from(options.bin),
                options.members
            )));
        }
        if !labelled.iter().any(|(_, truth)| truth.contains(&true)) {
            return Err(Error::Data("no bin of the training stretches lies in a peak".into()));
        }
        let mut trained = TrainedPeakCaller {
            members: Vec::new(),
            config: config.clone(),
            bin: options.bin,
            window: options.window,
            fragment_size: library.fragment_size(),
            calibration: Calibration::default(),
            threshold: 0.5,
        };
        let (mut histories, mut pretraining, mut end) = (Vec::new(), Vec::new(), End::Finished);
        let (mut truth, mut logits) = (Vec::new(), Vec::new());
        for member in 0..options.members {
            let (seen, unseen): (Vec<_>, Vec<_>) =
                labelled.iter().cloned().enumerate().partition(|(i, _)| i % options.members != member);
            let seen: Vec<_> = seen.into_iter().map(|(_, stretch)| stretch).collect();
            let seed = options.fit.trainer.seed.wrapping_mul(1009).wrapping_add(member as u64);
            let mut fit = options.fit.clone();
            fit.trainer.seed = seed;
            fit.folder = fit.folder.map(|folder| folder.join(format!("member-{member}")));
            let member_options = PeakFitOptions { fit, ..options.clone() };
            let mut store = ParamStore::<f32>::new(seed);
            let caller = C::new(config, &mut store)?;
            caller.standardise(&mut store, &spread_sample(library, &seen, options));
            let mut task = Training {
                caller: &caller,
                library,
                options: &member_options,
                stretches: &seen,
                windows: windows(&seen, options.window),
                denoise: true,
            };
            if options.pretraining_epochs > 0 {
                let mut first = member_options.fit.clone();
                first.trainer.max_epochs = options.pretraining_epochs;
                first.folder = first.folder.map(|folder| folder.join("pretraining"));
                let outcome = first.trainer(ModelCard::new::<C>(config)?)?.train(&task, &mut store)?;
                pretraining.push(outcome.history);
                end = outcome.end;
            }
            task.denoise = false;
            if end == End::Finished {
                let outcome = member_options.fit.trainer(ModelCard::new::<C>(config)?)?.train(&task, &mut store)?;
                histories.push(outcome.history);
                end = outcome.end;
            }
            let thinning = (options.keep < 1.0).then_some(Thinning { keep: options.keep, seed: !seed });
            let one = Member { caller, store };
            for (_, (stretch, bins)) in unseen {
                let tracks = library.tracks(&stretch, options.bin, thinning);
                logits.extend(trained.member_logits(&one, &tracks, stretch.bins, options.bin)?);
                truth.extend(bins);
            }
            trained.members.push(one);
            if end != End::Finished {
                break;
            }
        }
        trained.calibration = Calibration::fit(&truth, &logits);
        trained.threshold = best_f1_threshold(&truth, &logits, trained.calibration);
        let probabilities = logits.into_iter().map(|logit| trained.calibration.probability(logit)).collect();
        Ok(PeakFit { trained, histories, pretraining, end, held_out: HeldOut { truth, probabilities } })
    }
}

/// The tracks `[6, bins]` of the stretch with most peaks, from as many reads as training sees.
fn spread_sample(library: &ReadLibrary, stretches: &[(Stretch, Vec<bool>)], options: &PeakFitOptions) -> Vec<f32> {
    let richest = stretches.iter().max_by_key(|(_, truth)| truth.iter().filter(|t| **t).count());
    let thinning = (options.keep < 1.0).then_some(Thinning { keep: options.keep, seed: options.fit.trainer.seed });
    richest.map_or_else(Vec::new, |(stretch, _)| library.tracks(stretch, options.bin, thinning))
}

/// The calibrated probability above which calls have the highest F1.
fn best_f1_threshold(truth: &[bool], logits: &[f64], calibration: Calibration) -> f64 {
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let positives = truth.iter().filter(|t| **t).count() as f64;
    let (mut found, mut best) = (0.0, (0.0, 0.0));
    for (rank, pair) in order.windows(2).enumerate() {
        found += f64::from(truth[pair[0]]);
        let f1 = 2.0 * found / (positives + (rank + 1) as f64);
        // ties are called together
        if f1 > best.0 && logits[pair[0]] > logits[pair[1]] {
            best = (f1, (logits[pair[0]] + logits[pair[1]]) / 2.0);
        }
    }
    calibration.probability(best.1)
}
