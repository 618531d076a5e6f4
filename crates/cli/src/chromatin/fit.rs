//! `gradome fit chromatin-states`: learn states, choose their number, segment the genome.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use gradome::epigenome::chromatin::{
    Algorithm, ChromHmmModel, ChromatinData, ChromatinFit, ChromatinStatesConfig, EmSettings, Emission, FitMethod,
    FitStart, Region, TrainedChromatinStates,
};
use gradome::io::{write_atomic, write_text};
use gradome::nn::optim::Lbfgs;
use serde::Serialize;

use super::inputs::{Sources, Wanted};
use super::output::{Decode, write_tables};
use super::page::{self, Report};
use crate::Global;
use crate::console::print;
use crate::error::{Result, wrong};
use crate::run_dir::{MODEL_FILE, NewRun, REPORT_FILE, SETTINGS_FILE, SUMMARY_FILE};

/// The folder of tables, segments and tracks within a run.
const STATES_FOLDER: &str = "states";
/// The comparison of numbers of states.
const COUNTS_FILE: &str = "state_counts.tsv";

/// Learn chromatin states from presence calls, counts of reads, or signal.
///
/// A hidden Markov model whose states emit each mark independently: calls as ChromHMM's, Poisson or negative binomial
/// counts, or Gaussian values. It is fitted along the gradient of its likelihood (L-BFGS), or for calls by
/// expectation-maximisation as ChromHMM does; both climb the same likelihood. With several numbers of states the best by
/// held-out likelihood (--hold-out) or by BIC is kept.
///
/// Leaves in --out: model.safetensors (the model, for `gradome apply`), states/ (emissions, transitions, segments and
/// browser tracks, for calls ChromHMM's model file), state_counts.tsv, report.html, summary.json and run.toml (all
/// settings; `--config run.toml` repeats the run).
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome fit chromatin-states --calls binary/ --states 15 --out run
  gradome fit chromatin-states --calls binary/ --states 6-12 --hold-out chr2 --errors information --out run
  gradome fit chromatin-states --table cellmark.txt --sizes hg38.sizes --emission negative-binomial --out run
  gradome fit chromatin-states --table bigwigs.txt --emission gaussian --own-emissions --states 10 --out run")]
pub struct FitChromatin {
    /// Settings from a TOML file: a key for each long flag; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    decode: Decode,
    #[command(flatten)]
    output: NewRun,
}

/// The form of the model.
#[derive(Args, Clone)]
#[command(next_help_heading = "Model")]
struct Model {
    /// The number of states, or several to choose from: 10, or 5,10,15, or 6-12
    #[arg(long, value_name = "N", default_value = "15")]
    states: String,
    /// What a state emits [default: bernoulli of --calls, negative-binomial of --table]
    #[arg(long, value_enum)]
    emission: Option<Kind>,
    /// Give each cell type emissions of its own; transitions are shared
    #[arg(long)]
    own_emissions: bool,
    /// Gaussian: the least variance
    #[arg(long, value_name = "VARIANCE", default_value_t = 0.01)]
    variance_floor: f64,
    /// Gaussian: take values as they are instead of their arcsinh
    #[arg(long)]
    no_arcsinh: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Calls, 0 or 1
    Bernoulli,
    /// Counts with variance equal to the mean
    Poisson,
    /// Counts with more variance, a dispersion a mark
    NegativeBinomial,
    /// Real values
    Gaussian,
}

/// How it is trained.
#[derive(Args, Clone)]
#[command(next_help_heading = "Training")]
struct Training {
    /// How parameters are found [default: em where it can be, else gradient]
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// Calls: passes of expectation-maximisation before --method gradient, which finds better optima from there
    #[arg(long, value_name = "N", default_value_t = 20)]
    warm_up: usize,
    /// Where training starts
    #[arg(long, value_enum, default_value_t = Init::Information)]
    init: Init,
    /// Start from a model of calls (ChromHMM's model_N.txt) instead
    #[arg(long, value_name = "FILE")]
    start_from: Option<PathBuf>,
    /// Random starts beside the first; the fit with the highest likelihood is kept
    #[arg(long, value_name = "N", default_value_t = 0)]
    random_starts: usize,
    /// Passes over the data or steps along the gradient, at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    iterations: usize,
    /// Stop when an iteration gains less ln-likelihood than this (nats)
    #[arg(long, value_name = "NATS", default_value_t = 1e-3)]
    tolerance: f64,
    /// Hold a chromosome or a stretch (chr11:1000000-2000000) out of training, to judge the model there; may be repeated
    #[arg(long, value_name = "REGION")]
    hold_out: Vec<String>,
    /// By what the number of states is chosen [default: held-out with --hold-out, else bic]
    #[arg(long, value_enum)]
    choose: Option<Criterion>,
    /// Standard errors of the emissions
    #[arg(long, value_enum, default_value_t = Errors::None)]
    errors: Errors,
    /// Draws of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 20)]
    draws: usize,
    /// Bins of a block that the bootstrap draws
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    block: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Expectation-maximisation with a renewal after each sequence, as ChromHMM
    Em,
    /// Expectation-maximisation with a renewal after each pass (ChromHMM's -p)
    BaumWelch,
    /// L-BFGS along the gradient of the likelihood
    Gradient,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Init {
    /// Groups of bins that marks tell apart best, as ChromHMM
    Information,
    /// At random, by --seed
    Random,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Criterion {
    /// The likelihood of --hold-out
    HeldOut,
    /// The Bayesian information criterion
    Bic,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Errors {
    /// None
    None,
    /// From the curvature of the likelihood
    Information,
    /// From refits to blocks drawn with replacement
    Bootstrap,
}

/// How well a number of states fits.
#[derive(Clone, Serialize)]
pub struct CountScore {
    pub states: usize,
    pub ln_likelihood: f64,
    pub free_parameters: usize,
    pub bic: f64,
    pub held_out_per_bin: Option<f64>,
    pub chosen: bool,
}

impl Model {
    fn emission(&self, sources: &Sources) -> Emission {
        match self.emission {
            Some(Kind::Bernoulli) => Emission::Bernoulli,
            Some(Kind::Poisson) => Emission::Poisson,
            Some(Kind::NegativeBinomial) => Emission::NegativeBinomial,
            Some(Kind::Gaussian) => Emission::Gaussian,
            None if sources.table.is_some() => Emission::NegativeBinomial,
            None => Emission::Bernoulli,
        }
    }

    /// The numbers of states to try.
    fn counts(&self) -> Result<Vec<usize>> {
        let problem = || wrong(format!("--states {}: give 10, or 5,10,15, or 6-12", self.states));
        let mut counts = Vec::new();
        for part in self.states.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| (1..=512).contains(n));
            let (Some(first), Some(last)) = (number(first), number(last)) else { return Err(problem()) };
            counts.extend(first..=last);
        }
        counts.sort_unstable();
        counts.dedup();
        if counts.is_empty() { Err(problem()) } else { Ok(counts) }
    }
}

impl Training {
    fn method(&self, emission: Emission, own: bool, bins: usize) -> FitMethod {
        let em = emission == Emission::Bernoulli && !own;
        let settings = |algorithm| {
            let (max_iterations, tolerance) = (self.iterations, self.tolerance);
            FitMethod::Em(EmSettings { algorithm, max_iterations, tolerance, ..EmSettings::default() })
        };
        match self.method.unwrap_or(if em { Method::Em } else { Method::Gradient }) {
            Method::Em => settings(Algorithm::Incremental),
            Method::BaumWelch => settings(Algorithm::BaumWelch),
            Method::Gradient => FitMethod::Gradient {
                // the search's tolerance is a share of the value, which is about one nat a bin
                optimizer: Lbfgs {
                    max_iterations: self.iterations,
                    value_tolerance: self.tolerance / bins as f64,
                    ..Lbfgs::default()
                },
                warm_up: self.warm_up,
            },
        }
    }

    fn starts(&self, seed: u64) -> Result<Vec<FitStart>> {
        let first = match (&self.start_from, self.init) {
            (Some(file), _) => FitStart::Model(Box::new(ChromHmmModel::read(file)?)),
            (None, Init::Information) => FitStart::Information,
            (None, Init::Random) => FitStart::Random(seed),
        };
        let next = seed + u64::from(self.start_from.is_none() && self.init == Init::Random);
        let random = (0..self.random_starts as u64).map(|n| FitStart::Random(next.wrapping_add(n)));
        Ok(std::iter::once(first).chain(random).collect())
    }

    fn criterion(&self) -> Result<Criterion> {
        match (self.choose, self.hold_out.is_empty()) {
            (Some(Criterion::HeldOut), true) => Err(wrong("--choose held-out needs --hold-out")),
            (Some(criterion), _) => Ok(criterion),
            (None, true) => Ok(Criterion::Bic),
            (None, false) => Ok(Criterion::HeldOut),
        }
    }
}

impl FitChromatin {
    pub fn run(&self, global: &Global, settings: &str) -> Result<()> {
        let out = self.output.folder()?;
        let (criterion, counts) = (self.training.criterion()?, self.model.counts()?);
        let emission = self.model.emission(&self.sources);
        if emission == Emission::Bernoulli && self.sources.table.is_some() {
            return Err(wrong(
                "calls are made of reads by `gradome chromhmm BinarizeBed`; then give --calls, or another --emission",
            ));
        }
        let start = Instant::now();
        let arcsinh = emission == Emission::Gaussian && !self.model.no_arcsinh;
        let wanted = Wanted {
            bin: self.sources.bin.unwrap_or(200),
            counts: matches!(emission, Emission::Poisson | Emission::NegativeBinomial),
            arcsinh,
        };
        if wanted.bin == 0 {
            return Err(wrong("--bin 0: a bin has 1 bp or more"));
        }
        let sizes = self.sources.chromosome_sizes()?;
        let data = self.sources.read(&wanted)?;
        let regions: Vec<Region> =
            self.training.hold_out.iter().map(|text| Region::parse(text)).collect::<Result<_, _>>()?;
        let (training, held_out) = if regions.is_empty() {
            (data.clone(), None)
        } else {
            let (training, held_out) = data.hold_out(&regions)?;
            (training, Some(held_out))
        };
        log::info!(
            "{} bins of {} marks in {} sequences of {} cell types, {} bins held out",
            data.bins(),
            data.marks.len(),
            data.sequences.len(),
            data.cells().len(),
            held_out.as_ref().map_or(0, ChromatinData::bins)
        );
        let (fit, scores) = self.fit_all(&counts, criterion, (&training, held_out.as_ref()), arcsinh, global.seed)?;
        let model = &fit.trained;
        let errors = match self.training.errors {
            Errors::None => None,
            Errors::Information => Some(model.emission_errors(&training)?),
            Errors::Bootstrap => {
                let Training { block, draws, .. } = self.training;
                Some(model.bootstrap_errors(&training, block, draws, global.seed)?)
            }
        };
        let folder = start_folder(out)?;
        write_atomic(&out.join(SETTINGS_FILE), |to| std::io::Write::write_all(to, settings.as_bytes()))?;
        model.save(out.join(MODEL_FILE))?;
        write_tables(model, errors.as_deref(), &folder)?;
        let cells = self.decode.write(model, &data, (&folder, sizes.as_ref()))?;
        write_scores(&out.join(COUNTS_FILE), &scores)?;
        let seconds = start.elapsed().as_secs_f64();
        self.summarise(&fit, &scores, criterion, seconds, out, global.seed)?;
        let (errors, method) = (errors.as_deref(), self.method_name(emission));
        let report = Report {
            model,
            fit: Some((&fit, method)),
            scores: &scores,
            errors,
            data: &data,
            cells: &cells,
            likelihoods: &[],
        };
        page::page(&report, global.seed)?.write(&out.join(REPORT_FILE))?;
        log::info!("trained in {seconds:.0} s; look at");
        for (file, what) in [
            (REPORT_FILE, "open it in a browser"),
            (STATES_FOLDER, "tables, segments and tracks"),
            (MODEL_FILE, "for `gradome apply`"),
        ] {
            print(format_args!("{}  {what}\n", out.join(file).display()));
        }
        Ok(())
    }

    fn method_name(&self, emission: Emission) -> &'static str {
        match self.training.method(emission, self.model.own_emissions, 1) {
            FitMethod::Em(_) => "expectation-maximisation",
            FitMethod::Gradient { .. } => "L-BFGS along the gradient",
        }
    }

    /// Fits every number of states; gives the fit of the chosen one and all scores.
    fn fit_all(
        &self,
        counts: &[usize],
        criterion: Criterion,
        (training, held_out): (&ChromatinData, Option<&ChromatinData>),
        arcsinh: bool,
        seed: u64,
    ) -> Result<(ChromatinFit, Vec<CountScore>)> {
        let emission = self.model.emission(&self.sources);
        let method = self.training.method(emission, self.model.own_emissions, training.bins());
        let starts = self.training.starts(seed)?;
        let mut scores: Vec<CountScore> = Vec::new();
        let mut best: Option<(f64, ChromatinFit)> = None;
        for &states in counts {
            let config = ChromatinStatesConfig {
                states,
                emission,
                variance_floor: self.model.variance_floor,
                ..ChromatinStatesConfig::default()
            };
            let own = (self.model.own_emissions, arcsinh);
            let fit = TrainedChromatinStates::fit(&config, training, own, &method, &starts, |start, pass, value| {
                if pass == 1 || pass % 10 == 0 {
                    log::info!("{states} states from {}: pass {pass}, ln-likelihood {value:.3}", start.name());
                }
            })?;
            for attempt in &fit.attempts {
                match &attempt.outcome {
                    Ok(value) => log::info!("{states} states from {}: ln-likelihood {value:.3}", attempt.start),
                    Err(problem) => log::warn!("{states} states from {}: {problem}", attempt.start),
                }
            }
            if !fit.converged {
                log::warn!("{states} states: all {} iterations were used; give more", self.training.iterations);
            }
            let model = &fit.trained;
            let per_bin = |data: &ChromatinData| model.ln_likelihood(data).map(|value| value / data.bins() as f64);
            let held_out_per_bin = held_out.map(per_bin).transpose()?;
            let score = match criterion {
                Criterion::HeldOut => held_out_per_bin.unwrap_or(f64::NEG_INFINITY),
                Criterion::Bic => -model.bic(),
            };
            scores.push(CountScore {
                states,
                ln_likelihood: model.header().ln_likelihood,
                free_parameters: model.free_parameters(),
                bic: model.bic(),
                held_out_per_bin,
                chosen: false,
            });
            if best.as_ref().is_none_or(|best| score > best.0) {
                best = Some((score, fit));
            }
        }
        let Some((_, fit)) = best else { return Err(wrong("--states names no number of states")) };
        scores.iter_mut().for_each(|score| score.chosen = score.states == fit.trained.states());
        Ok((fit, scores))
    }

    fn summarise(
        &self,
        fit: &ChromatinFit,
        scores: &[CountScore],
        criterion: Criterion,
        seconds: f64,
        out: &Path,
        seed: u64,
    ) -> Result<()> {
        let header = fit.trained.header();
        let attempts = fit.attempts.iter().map(|attempt| {
            let (value, problem) = (attempt.outcome.as_ref().ok(), attempt.outcome.as_ref().err());
            serde_json::json!({ "start": attempt.start, "ln_likelihood": value, "problem": problem })
        });
        let summary = serde_json::json!({
            "operator": "chromatin-states",
            "version": env!("CARGO_PKG_VERSION"),
            "seed": seed,
            "config": fit.trained.config(),
            "marks": header.marks,
            "cells": header.cells,
            "bins": header.bins,
            "ln_likelihood": header.ln_likelihood,
            "passes": header.passes,
            "converged": fit.converged,
            "starts": attempts.collect::<Vec<_>>(),
            "chosen_by": criterion,
            "state_counts": scores,
            "seconds": seconds,
        });
        write_atomic(&out.join(SUMMARY_FILE), |to| std::io::Write::write_all(to, summary.to_string().as_bytes()))?;
        Ok(())
    }
}

/// Makes the folder of states; what an earlier run left in it goes.
fn start_folder(out: &Path) -> Result<PathBuf> {
    let folder = out.join(STATES_FOLDER);
    let failed = |error: std::io::Error| wrong(format!("{}: {error}", folder.display()));
    if out.join(SETTINGS_FILE).exists() && folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder)
}

fn write_scores(path: &Path, scores: &[CountScore]) -> Result<()> {
    write_text(path, |to| {
        writeln!(to, "states\tln_likelihood\tfree_parameters\tbic\theld_out_ln_likelihood_per_bin\tchosen")?;
        scores.iter().try_for_each(|score| {
            let CountScore { states, ln_likelihood, free_parameters, bic, held_out_per_bin, chosen } = score;
            let held_out = held_out_per_bin.map_or(String::new(), |value| value.to_string());
            let chosen = if *chosen { "yes" } else { "no" };
            writeln!(to, "{states}\t{ln_likelihood}\t{free_parameters}\t{bic}\t{held_out}\t{chosen}")
        })
    })?;
    Ok(())
}
