//! The `gradome` command: train and apply differentiable genomics models on CPUs.
#![forbid(unsafe_code)]

mod apply;
mod check;
mod chromatin;
mod chromhmm;
mod completions;
mod console;
mod contextual;
mod demo;
mod error;
mod fit;
mod inputs;
mod inspect;
mod macs;
mod man;
mod page;
mod peaks;
mod prepare;
mod report;
mod run_dir;
mod scale;
mod settings;
mod summary;
mod table;
mod tally;
mod track;

use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::error::Result;

/// Differentiable genomics for CPUs.
///
/// Trains deep generative models on omics files and applies them: no GPU, no compile step, results that are the same
/// bits for any number of threads. Reads .h5ad, 10x folders and .h5, MatrixMarket, CSV and TSV, gzipped or not.
#[derive(Parser)]
#[command(
    name = "gradome",
    version,
    max_term_width = 100,
    after_long_help = "\
Examples:
  gradome demo                      train on real blood cells that come with the program
  gradome inspect cite.h5ad         what is in this file?
  gradome fit multiomics-vae --rna rna.h5ad --protein adt.csv --out run
  gradome apply multiomics-vae --model run/model.safetensors --rna new.h5ad \\
      --output latent --out latent.csv

Exit codes: 0 done; 1 a check failed; 2 wrong usage or input; 130 or 143 stopped by Ctrl-C or
SIGTERM.
`gradome help COMMAND` explains a command in full."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags that work everywhere.
#[derive(Args, Clone)]
struct Global {
    /// Seed of everything random; the same seed gives the same bits
    #[arg(long, global = true, value_name = "N", default_value_t = 0, help_heading = "Everywhere")]
    seed: u64,
    /// Threads to use; results do not depend on it [default: what the process may use]
    #[arg(long, global = true, value_name = "N", help_heading = "Everywhere")]
    threads: Option<usize>,
    /// Say nothing but warnings, errors and results
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    quiet: bool,
    /// Say more: files as they are read, threads, instruction set
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Everywhere")]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Fit(fit::Fit),
    Apply(apply::Apply),
    Macs(macs::Macs),
    Chromhmm(chromhmm::Chromhmm),
    Report(report::Report),
    Inspect(inspect::Inspect),
    Check(check::Check),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run() -> Result<()> {
    let (cli, settings) = settings::parse()?;
    let global = &cli.global;
    console::start(global.quiet, global.verbose > 0);
    let threads = global.threads.map_or_else(gradome::nn::available_threads, Ok)?;
    gradome::nn::set_threads(threads)?;
    let (version, level) = (env!("CARGO_PKG_VERSION"), gradome::tape::simd_level());
    log::debug!("gradome {version}, {threads} threads, {level:?} instructions, seed {}", global.seed);
    match &cli.command {
        Command::Demo(demo) => demo.run(global),
        Command::Fit(fit) => fit.run(global, &settings),
        Command::Apply(apply) => apply.run(global),
        Command::Macs(macs) => macs.run(),
        Command::Chromhmm(chromhmm) => chromhmm.run(),
        Command::Report(report) => report.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Check(check) => check.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}
