//! A trained peak caller: probabilities along the genome, and called peaks.

use std::ops::Range;
use std::path::Path;

use gradome_io::genome::Peak;
use gradome_nn::{Checkpoint, Error as ModelError, ModelCard, ParamStore, Step};
use gradome_tape::{Tape, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::reads::{ReadLibrary, Stretch, TRACKS};
use super::signal::SignalInput;
use crate::{Error, Result};

/// Keys of a checkpoint's header.
const HEADER: &str = "peak_caller";

/// From the log-odds of a network to probabilities: p = sigmoid(slope x + intercept) (Platt 1999).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The factor of the log-odds.
    pub slope: f64,
    /// What is added to them.
    pub intercept: f64,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { slope: 1.0, intercept: 0.0 }
    }
}

impl Calibration {
    /// The maximum of the likelihood, by Newton's method; the identity where one class is missing.
    pub fn fit(truth: &[bool], logits: &[f64]) -> Self {
        let positives = truth.iter().filter(|t| **t).count();
        let mut fit = Self::default();
        if positives == 0 || positives == truth.len() {
            return fit;
        }
        for _ in 0..50 {
            // gradient and Hessian of the negative log-likelihood in (slope, intercept)
            let (mut g, mut h) = ([0.0; 2], [1e-9, 0.0, 1e-9]);
            for (truth, x) in truth.iter().zip(logits) {
                let p = fit.probability(*x);
                let (error, weight) = (p - f64::from(*truth), p * (1.0 - p));
                g = [g[0] + error * x, g[1] + error];
                h = [h[0] + weight * x * x, h[1] + weight * x, h[2] + weight];
            }
            let determinant = h[0] * h[2] - h[1] * h[1];
            let step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
            if !step.iter().all(|s| s.is_finite()) {
                break;
            }
            // a long step may overshoot where probabilities are all near 0 or 1
            let longest = step[0].abs().max(step[1].abs()).max(1.0);
            fit.slope -= step[0] / longest;
            fit.intercept -= step[1] / longest;
            if step[0].abs().max(step[1].abs()) < 1e-10 {
                break;
            }
        }
        fit
    }

    /// The probability that belongs to log-odds of the network.
    pub fn probability(self, logit: f64) -> f64 {
        1.0 / (1.0 + (-(self.slope * logit + self.intercept)).exp())
    }
}

/// One network of an ensemble.
pub(crate) struct Member<C> {
    pub caller: C,
    pub store: ParamStore<f32>,
}

/// A trained peak caller: the mean of several networks, calibrated.
pub struct TrainedPeakCaller<C: Caller> {
    pub(crate) members: Vec<Member<C>>,
    pub(crate) config: C::Config,
    /// Base pairs of a bin in training.
    pub(crate) bin: u32,
    /// Bins that are looked at together.
    pub(crate) window: usize,
    pub(crate) fragment_size: u32,
    pub(crate) calibration: Calibration,
    pub(crate) threshold: f64,
}

/// What a file says beside the networks.
#[derive(PartialEq, Serialize, Deserialize)]
struct Header {
    bin: u32,
    window: usize,
    fragment_size: u32,
    calibration: Calibration,
    threshold: f64,
    member: usize,
    members: usize,
}

/// The probability of a peak in the bins of one stretch.
#[derive(Clone, Debug, PartialEq)]
pub struct PeakProbabilities {
    /// The stretch.
    pub stretch: Stretch,
    /// Base pairs of a bin.
    pub bin: u32,
    /// `[bins]` calibrated probabilities.
    pub probabilities: Vec<f64>,
    /// `[bins]` the pileup of fragments, for summits and fold enrichment.
    pub pileup: Vec<f32>,
    /// `[bins]` the control's mean pileup over 1 kb or 10 kb around, whichever is higher.
    pub background: Vec<f32>,
}

impl<C: Caller> TrainedPeakCaller<C> {
    /// The form of the networks.
    pub fn config(&self) -> &C::Config {
        &self.config
    }

    /// Base pairs of a bin in training.
    pub fn bin(&self) -> u32 {
        self.bin
    }

    /// The size of fragments that the networks have seen, in base pairs.
    pub fn fragment_size(&self) -> u32 {
        self.fragment_size
    }

    /// The probability from which a bin is called: the one with the highest F1 on unseen stretches.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// How log-odds become probabilities.
    pub fn calibration(&self) -> Calibration {
        self.calibration
    }

    /// The log-odds of one network for tracks `[6, bins]` in bins of `bin` base pairs. Windows overlap by half; the middle
    /// of each counts.
    pub(crate) fn member_logits(&self, member: &Member<C>, tracks: &[f32], bins: usize, bin: u32) -> Result<Vec<f64>> {
        // windows span the base pairs they had in training
        let window = ((self.window * self.bin as usize) / bin as usize).max(4).min(bins.max(1));
        let step = (window / 2).max(1);
        let count = if bins <= window { 1 } else { 1 + (bins - window).div_ceil(step) };
        let starts: Vec<usize> = (0..count).map(|k| (k * step).min(bins - window)).collect();
        let middles: Vec<Range<usize>> = starts
            .iter()
            .enumerate()
            .map(|(k, &start)| {
                let from = if k == 0 { 0 } else { start + window / 4 };
                let to = if k + 1 == count { bins } else { starts[k + 1] + window / 4 };
                from..to
            })
            .collect();
        let mut out = vec![0.0; bins];
        let mut rest = &mut out[..];
        let pieces: Vec<&mut [f64]> =
            middles.iter().map(|m| rest.split_off_mut(..m.len()).expect("middles cover the bins")).collect();
        starts.par_iter().zip(&middles).zip(pieces).for_each(|((&start, middle), out)| {
            let tape = Tape::<f32>::new();
            let bound = member.store.bind(&tape);
            let values: Vec<f32> =
                (0..TRACKS.len()).flat_map(|t| &tracks[t * bins + start..t * bins + start + window]).copied().collect();
            let tracks = tape.constant(&Tensor::new([1, TRACKS.len(), window], &values));
            let logits =
                member.caller.call(Step::eval(&tape, &bound), &SignalInput { tracks, noise: None }).decisions.logits;
            let logits = logits.value();
            for (out, at) in out.iter_mut().zip(middle.clone()) {
                *out = f64::from(logits.data()[at - start]);
            }
        });
        if let Some(at) = out.iter().position(|x| !x.is_finite()) {
            return Err(Error::Data(format!("the network gives {} at bin {at}; the model is damaged", out[at])));
        }
        Ok(out)
    }

    /// Calibrated probabilities for tracks `[6, bins]` ([`TRACKS`]) in bins of `bin` base pairs.
    ///
    /// # Errors
    /// When the tracks have another size, or hold values that are negative or not finite.
    pub fn probabilities(&self, tracks: &[f32], bins: usize, bin: u32) -> Result<Vec<f64>> {
        if tracks.len() != TRACKS.len() * bins || bins == 0 {
            return Err(Error::Data(format!(
                "{} values do not make {} tracks of {bins} bins",
                tracks.len(),
                TRACKS.len()
            )));
        }
        if let Some(i) = tracks.iter().position(|v| !(*v >= 0.0 && v.is_finite())) {
            let problem = format!(
                "track {}, bin {} holds {}; signals are finite and 0 or more",
                TRACKS[i / bins],
                i % bins,
                tracks[i]
            );
            return Err(Error::Data(problem));
        }
        let mut mean = vec![0.0; bins];
        for member in &self.members {
            for (mean, logit) in mean.iter_mut().zip(self.member_logits(member, tracks, bins, bin)?) {
                *mean += logit / self.members.len() as f64;
            }
        }
        Ok(mean.into_iter().map(|logit| self.calibration.probability(logit)).collect())
    }

    /// Calibrated probabilities along a stretch of a library, in bins of `bin` base pairs.
    ///
    /// # Errors
    /// When the stretch is empty or a bin has 0 base pairs.
    pub fn apply(&self, library: &ReadLibrary, stretch: &Stretch, bin: u32) -> Result<PeakProbabilities> {
        if bin == 0 {
            return Err(Error::Data("a bin of 0 bp".into()));
        }
        let tracks = library.tracks(stretch, bin, None);
        let bins = stretch.bins;
        let probabilities = self.probabilities(&tracks, bins, bin)?;
        let background = (0..bins).map(|i| tracks[4 * bins + i].max(tracks[5 * bins + i])).collect();
        Ok(PeakProbabilities {
            stretch: stretch.clone(),
            bin,
            probabilities,
            pileup: tracks[..bins].to_vec(),
            background,
        })
    }

    /// Writes the networks into a folder, which is made when it is missing: one checkpoint a network.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| ModelError::file(folder, e))?;
        for (i, member) in self.members.iter().enumerate() {
            let header = Header {
                bin: self.bin,
                window: self.window,
                fragment_size: self.fragment_size,
                calibration: self.calibration,
                threshold: self.threshold,
                member: i,
                members: self.members.len(),
            };
            let header = serde_json::to_value(&header).map_err(|e| ModelError::file(folder, e))?;
            let card = ModelCard::new::<C>(&self.config)?.with(HEADER, header);
            gradome_nn::checkpoint::save(member_file(folder, i), &card, &member.store)?;
        }
        Ok(())
    }

    /// Reads the networks from a folder.
    ///
    /// # Errors
    /// When a file is missing, damaged, or of another operator or another ensemble.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (header, config, first) = Self::load_member(folder, 0)?;
        let mut members = vec![first];
        for i in 1..header.members {
            let (other, _, member) = Self::load_member(folder, i)?;
            if (Header { member: 0, ..other }) != header {
                let problem = "belongs to another training than member 0; copy the whole folder again";
                return Err(ModelError::file(member_file(folder, i), problem).into());
            }
            members.push(member);
        }
        let Header { bin, window, fragment_size, calibration, threshold, .. } = header;
        Ok(Self { members, config, bin, window, fragment_size, calibration, threshold })
    }

    fn load_member(folder: &Path, i: usize) -> Result<(Header, C::Config, Member<C>)> {
        let path = member_file(folder, i);
        let Checkpoint { operator, store, config, metadata, .. } = Checkpoint::<C, f32>::load(&path)?;
        let header = metadata.get(HEADER).and_then(|value| serde_json::from_value(value.clone()).ok());
        let header = header.ok_or_else(|| ModelError::file(path, "holds no peak caller; was it written by `fit`?"))?;
        Ok((header, config, Member { caller: operator, store }))
    }
}

fn member_file(folder: &Path, member: usize) -> std::path::PathBuf {
    folder.join(format!("member-{member}.safetensors"))
}

impl PeakProbabilities {
    /// Calls peaks: runs of bins whose probability is at least `threshold`, joined over gaps of up to `max_gap` base
    /// pairs, at least `min_length` base pairs long.
    ///
    /// The score of a narrowPeak line is 1000 times the highest probability, signalValue the highest fold enrichment
    /// (pileup + 1) / (background + 1), pValue -log10(1 - highest probability), qValue -log10 of the mean of 1 - p over
    /// the peak's bins, which is the share of false bins to expect; the summit is the bin of the highest pileup.
    pub fn call(&self, threshold: f64, max_gap: u32, min_length: u32) -> Vec<Peak> {
        let Self { stretch, bin, probabilities, pileup, background } = self;
        let gap = (max_gap / bin) as usize;
        let mut runs: Vec<Range<usize>> = Vec::new();
        for i in (0..probabilities.len()).filter(|i| probabilities[*i] >= threshold) {
            match runs.last_mut() {
                Some(run) if i <= run.end + gap => run.end = i + 1,
                _ => runs.push(i..i + 1),
            }
        }
        runs.retain(|run| run.len() as u64 * u64::from(*bin) >= u64::from(min_length));
        let call = |(number, run): (usize, Range<usize>)| {
            let highest = probabilities[run.clone()].iter().copied().fold(0.0, f64::max);
            let error = probabilities[run.clone()].iter().map(|p| 1.0 - p).sum::<f64>() / run.len() as f64;
            let fold = |i: usize| (pileup[i] + 1.0) / (background[i] + 1.0);
            let summit = run.clone().fold(run.start, |best, i| if pileup[i] > pileup[best] { i } else { best });
            let minus_log = |p: f64| -p.max(1e-300).log10();
            Peak {
                chromosome: stretch.chromosome.clone(),
                start: stretch.start + run.start as u32 * bin,
                end: stretch.start + run.end as u32 * bin,
                name: format!("{}_{}", stretch.chromosome, number + 1),
                score: (highest * 1000.0).round() as u32,
                strand: None,
                signal: f64::from(run.clone().map(fold).fold(0.0, f32::max)),
                p_score: Some(minus_log(1.0 - highest)),
                q_score: Some(minus_log(error)),
                summit: Some((summit - run.start) as u32 * bin + bin / 2),
            }
        };
        runs.into_iter().enumerate().map(call).collect()
    }
}
