//! Peaks of ChIP-seq, ATAC-seq and the like, as MACS calls them.
//!
//! Model-based analysis of ChIP-seq (Zhang et al. 2008, Genome Biology 9:R137) as MACS3 does it: duplicates are left
//! out, the fragment size is estimated from the distance between the peaks of both strands, reads are extended to it,
//! and each place is compared with the background expected there, the highest of the control's pileups over windows of
//! three sizes. Poisson p-values become q-values over all base pairs (Benjamini and Hochberg 1995); significant places
//! become narrow peaks with summits, or broad regions. Intervals, summits, scores and tracks are those of MACS3 3.0.4,
//! rounding included, whatever the number of threads and chromosomes.
//!
//! ```
//! use gradome_epigenome::macs::{Calls, MacsConfig, Reads, call_peaks};
//! use gradome_io::genome::{ReadsOptions, Tags};
//!
//! // 40 fragments of 200 bp around position 10,100, and one read each 2,000 bp
//! let mut bed = String::new();
//! for i in 0..20 {
//!     bed += &format!("chr1\t{}\t{}\t.\t.\t+\n", 9_990 + i, 10_026 + i);
//!     bed += &format!("chr1\t{}\t{}\t.\t.\t-\n", 10_164 + i, 10_200 + i);
//! }
//! for i in 1..40 {
//!     bed += &format!("chr1\t{}\t{}\t.\t.\t+\n", 2_000 * i, 2_000 * i + 36);
//! }
//! let tags = Tags::from_bed("reads.bed", bed.as_bytes(), &ReadsOptions::default())?;
//! let config = MacsConfig { genome_size: 80_000.0, model: false, fragment_size: 200, ..MacsConfig::default() };
//! let result = call_peaks(Reads::Single(tags), None, &config)?;
//! let Calls::Narrow(peaks) = &result.calls else { unreachable!("broad peaks were not asked for") };
//! assert_eq!(peaks.len(), 1);
//! assert!(peaks[0].summit.abs_diff(10_100) < 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod broad;
mod config;
mod fragment_model;
mod library;
mod output;
mod peaks;
mod pileup;
mod score;
mod signal;
mod summits;

use std::sync::Arc;

use rayon::prelude::*;

pub use broad::BroadPeak;
pub use config::{Cutoff, Duplicates, MacsConfig, ScaleTo, genome_size};
pub use fragment_model::{FragmentModel, NoModel};
pub use library::{ReadCounts, Reads};
pub use output::RunDescription;
pub use peaks::NarrowPeak;
pub use pileup::{PairedTrack, Track};
pub use score::{QScores, p_score};
pub use signal::Signal;

use crate::{Error, Result};
use library::Library;
use peaks::{Rule, Scored};
use score::ScoreLengths;
use signal::{Decision, Samples, Scales, Size};

/// Runs of all tracks up to which they are kept between scoring and calling (16 bytes each); more are made a second
/// time, which costs less than the memory.
const KEPT_RUNS: usize = 4_000_000;

/// What was called.
#[derive(Clone, Debug, PartialEq)]
pub enum Calls {
    /// Narrow peaks by chromosome and position; several summits of one region follow each other.
    Narrow(Vec<NarrowPeak>),
    /// Broad regions by chromosome and position.
    Broad(Vec<BroadPeak>),
}

impl Calls {
    /// How many peaks there are; each summit counts.
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow(peaks) => peaks.len(),
            Self::Broad(peaks) => peaks.len(),
        }
    }

    /// Whether nothing was called.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A finished peak call.
#[derive(Clone, Debug)]
pub struct MacsResult {
    /// The peaks.
    pub calls: Calls,
    /// Pileup and background of each chromosome.
    pub signal: Signal,
    /// q-scores of p-scores.
    pub q_scores: QScores,
    /// How the fragment size was estimated; absent where it was given, known from pairs, or could not be.
    pub model: Option<FragmentModel>,
    /// The fragment size (bp): estimated, given, or the mean of pairs.
    pub fragment_size: f64,
    /// The read length (bp), or the mean length of pairs.
    pub tag_size: f64,
    /// Whether fragments are known from both their ends.
    pub paired: bool,
    /// The treatment's reads.
    pub treatment: ReadCounts,
    /// The control's reads.
    pub control: Option<ReadCounts>,
    /// Reads kept at one place; all where absent.
    pub duplicate_limit: Option<u32>,
    /// What the caller should know: chromosomes of one sample alone, a doubtful fragment size.
    pub notes: Vec<String>,
}

/// Calls peaks.
///
/// Chromosomes that one of two samples lacks are left out, and named in `notes`. With several files of pairs the
/// fragment size is the mean over all of them, where MACS3 takes the last file's. Windows around the fragments of cells
/// end at the chromosome's start, where MACS3 lets positions become negative. The control's duplicates have the
/// treatment's limit, as in MACS3.
///
/// # Errors
/// Settings that cannot be meant, samples of different kinds or without a common chromosome, too few pairs of peaks for
/// the fragment-size model.
pub fn call_peaks(treatment: Reads, control: Option<Reads>, config: &MacsConfig) -> Result<MacsResult> {
    config.validate()?;
    let paired = treatment.are_paired();
    if control.as_ref().is_some_and(|control| control.are_paired() != paired) {
        return Err(Error::Data("treatment and control must both be single reads or both pairs".into()));
    }
    let treatment = Library::new(treatment, config, None)?;
    let duplicate_limit = treatment.limit;
    let control = control.map(|control| Library::new(control, config, Some(duplicate_limit))).transpose()?;
    let counts = (treatment.counts, control.as_ref().map(|control| control.counts));
    let tag_size = f64::from(treatment.tag_size);
    let Decision { size, model, note } = decide(&treatment, config, paired)?;
    let scales = Scales::new(&treatment, control.as_ref(), size, config)?;
    let Samples { signal, unmatched } = Samples::join(treatment, control, scales)?;
    let mut notes: Vec<String> = note.into_iter().collect();
    for (names, [own, other]) in unmatched.iter().zip([["treatment", "control"], ["control", "treatment"]]) {
        if let Some(first) = names.first() {
            let count = match names.len() {
                1 => "1 chromosome of".into(),
                count => format!("{count} chromosomes of"),
            };
            notes.push(format!("{count} the {own} not in the {other}: left out, {first} first"));
        }
    }
    let (calls, q_scores) = call(&signal, size, tag_size, config, KEPT_RUNS);
    Ok(MacsResult {
        calls,
        signal,
        q_scores,
        model,
        fragment_size: size.0,
        tag_size,
        paired,
        treatment: counts.0,
        control: counts.1,
        duplicate_limit,
        notes,
    })
}

/// The fragment size: known, given or estimated.
fn decide(treatment: &Library, config: &MacsConfig, paired: bool) -> Result<Decision> {
    let given = Size(f64::from(config.fragment_size));
    if paired {
        return Ok(Decision { size: Size(f64::from(treatment.tag_size)), model: None, note: None });
    }
    if !config.model {
        return Ok(Decision { size: given, model: None, note: None });
    }
    let fixed = |problem: String| format!("{problem}; the fragment size is set to {} bp", config.fragment_size);
    match fragment_model::estimate(treatment, config) {
        Err(problem) if config.fix_bimodal => {
            Ok(Decision { size: given, model: None, note: Some(fixed(problem.to_string())) })
        }
        Err(problem) => Err(Error::Data(format!(
            "{problem}: widen the fold range (--mfold), or give a fragment size instead (--nomodel --extsize 147)"
        ))),
        Ok(model) => {
            let estimate = model.fragment_size;
            let doubtful = f64::from(estimate) <= 2.0 * f64::from(treatment.tag_size);
            let problem = || {
                format!("the estimated fragment size, {estimate} bp, is below twice the read length and may be wrong")
            };
            let (size, note) = match (doubtful, config.fix_bimodal) {
                (true, true) => (given, Some(fixed(problem()))),
                (true, false) => {
                    let others: Vec<String> = model.alternatives.iter().map(u32::to_string).collect();
                    let others = others.join(", ");
                    (Size(f64::from(estimate)), Some(format!("{}; other maxima are at {others} bp", problem())))
                }
                (false, _) => (Size(f64::from(estimate)), None),
            };
            Ok(Decision { size, model: Some(model), note })
        }
    }
}

/// Scores all chromosomes, then calls on each; tracks of up to `kept_runs` runs are made once.
fn call(signal: &Signal, size: Size, tag_size: f64, config: &MacsConfig, kept_runs: usize) -> (Calls, QScores) {
    let scored = |chromosome: usize| {
        let track = signal.tracks(chromosome);
        let p_scores = score::p_scores(&track);
        Scored { chromosome: Arc::from(signal.name(chromosome)), track, p_scores }
    };
    let keep = signal.most_runs() <= kept_runs;
    let chromosomes = 0..signal.len();
    let (kept, lengths) = chromosomes
        .clone()
        .into_par_iter()
        .fold(
            || (Vec::new(), ScoreLengths::default()),
            |(mut kept, mut lengths), chromosome| {
                let scored = scored(chromosome);
                lengths.add(&scored.track, &scored.p_scores);
                if keep {
                    kept.push(scored);
                }
                (kept, lengths)
            },
        )
        .reduce(
            || (Vec::new(), ScoreLengths::default()),
            |(mut kept, lengths), (others, more)| {
                kept.extend(others);
                (kept, lengths.merge(more))
            },
        );
    let q_scores = QScores::new(&lengths);
    let lowest_p = |cutoff: Cutoff| match cutoff {
        Cutoff::Q(_) => q_scores.lowest_p_above(cutoff.score()),
        Cutoff::P(_) => cutoff.score().next_up(),
    };
    let gap = config.max_gap.map_or(tag_size, f64::from);
    let min_length = config.min_length.unwrap_or(size.0 as u32);
    let rule = Rule { lowest_p: lowest_p(config.cutoff), max_gap: gap as u32, min_length };
    // weak regions bridge gaps four times as wide
    let broad = config.broad_cutoff.map(|cutoff| {
        let cutoff = match config.cutoff {
            Cutoff::Q(_) => Cutoff::Q(cutoff),
            Cutoff::P(_) => Cutoff::P(cutoff),
        };
        Rule { lowest_p: lowest_p(cutoff), max_gap: (4.0 * gap) as u32, min_length }
    });
    let on_each = |call: &(dyn Fn(&Scored) -> Calls + Sync)| -> Vec<Calls> {
        if keep {
            kept.par_iter().map(call).collect()
        } else {
            chromosomes.clone().into_par_iter().map(|chromosome| call(&scored(chromosome))).collect()
        }
    };
    let min_fold = config.min_fold as f32;
    let calls = match broad {
        None => {
            let narrow = on_each(&|scored| {
                let mut peaks = scored.narrow_peaks(rule, config.call_summits, &q_scores);
                peaks.retain(|peak| peak.fold >= min_fold);
                Calls::Narrow(peaks)
            });
            Calls::Narrow(
                narrow
                    .into_iter()
                    .flat_map(|calls| if let Calls::Narrow(p) = calls { p } else { Vec::new() })
                    .collect(),
            )
        }
        Some(weak) => {
            let broad = on_each(&|scored| {
                let mut peaks = scored.broad_peaks(rule, weak, &q_scores);
                peaks.retain(|peak| peak.fold >= min_fold);
                Calls::Broad(peaks)
            });
            Calls::Broad(
                broad.into_iter().flat_map(|calls| if let Calls::Broad(p) = calls { p } else { Vec::new() }).collect(),
            )
        }
    };
    (calls, q_scores)
}

#[cfg(test)]
mod tests {
    use gradome_io::genome::{ChromosomeTags, Tags};

    use super::*;

    #[test]
    fn tracks_that_are_made_twice_give_the_same_calls() {
        let chromosome = |i: u32| ChromosomeTags {
            name: format!("chr{i}"),
            size: None,
            forward: (0..80).map(|k| 5_000 + (k * k * 7 + i) % 400).chain((0..40).map(|k| 1_000 * k)).collect(),
            reverse: (0..80).map(|k| 5_200 + (k * k * 11 + i) % 400).collect(),
        };
        let tags = Tags { chromosomes: (0..3).map(chromosome).collect(), read_length: Some(36), skipped: 0 };
        for broad_cutoff in [None, Some(0.1)] {
            let config = MacsConfig { genome_size: 1e5, model: false, broad_cutoff, ..MacsConfig::default() };
            let library = Library::new(Reads::Single(tags.clone()), &config, None).unwrap();
            let size = Size(200.0);
            let scales = Scales::new(&library, None, size, &config).unwrap();
            let Samples { signal, .. } = Samples::join(library, None, scales).unwrap();
            let once = call(&signal, size, 36.0, &config, usize::MAX);
            assert!(once.0.len() >= 3);
            assert!(once == call(&signal, size, 36.0, &config, 0));
        }
    }
}
