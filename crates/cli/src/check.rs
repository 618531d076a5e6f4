//! `gradome check`: are all gradients right on this machine?

use std::time::Instant;

use clap::Args;
use gradome::tape::check::Outcome;
use serde_json::json;

use crate::console::print;
use crate::error::{Failure, Result, wrong};

/// Check every gradient against finite differences.
///
/// Runs every op, layer, loss and operator in double precision at several shapes and compares its gradients with central
/// differences, its single-precision kernels with double precision, and its formulas with dual numbers. Prints the
/// worst relative error of each; the exit code is 1 when one fails.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome check                          all, as a table
  gradome check --filter softmax         those whose name has `softmax` in it
  gradome check --json                   one object a line, for programs")]
pub struct Check {
    /// Only what has NAME in its name
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// One JSON object a line: name, kind, max_rel_error (null when not finite), pass
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(&self) -> Result<()> {
        let all = gradome::checks();
        let wanted = |name: &str| self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
        let chosen: Vec<_> = all.iter().filter(|check| wanted(check.name)).collect();
        if chosen.is_empty() {
            let filter = self.filter.as_deref().unwrap_or_default();
            return Err(wrong(format!(
                "no op, layer, loss or operator has '{filter}' in its name; `gradome check` lists all"
            )));
        }
        let start = Instant::now();
        let width = chosen.iter().map(|check| check.name.len()).max().unwrap_or(0);
        if !self.json {
            print(format_args!("{:width$}  {:8}  worst relative error\n", "name", "kind"));
        }
        let mut failed = 0;
        for check in &chosen {
            let outcome = check.run();
            failed += usize::from(!outcome.passed());
            print(match self.json {
                true => json_line(check.kind, &outcome),
                false => table_line(check.kind, &outcome, width),
            });
        }
        if !self.json {
            let passed = chosen.len() - failed;
            print(format_args!("{passed} of {} passed in {:.1} s\n", chosen.len(), start.elapsed().as_secs_f64()));
        }
        if failed > 0 { Err(Failure::Checks(failed)) } else { Ok(()) }
    }
}

fn json_line(kind: &str, outcome: &Outcome) -> String {
    // written field by field: the order of the fields is part of the format
    let error = json!(outcome.max_rel_error.is_finite().then_some(outcome.max_rel_error));
    let (name, kind) = (json!(outcome.name), json!(kind));
    format!("{{\"name\":{name},\"kind\":{kind},\"max_rel_error\":{error},\"pass\":{}}}\n", outcome.passed())
}

fn table_line(kind: &str, outcome: &Outcome, width: usize) -> String {
    let verdict = outcome.failure.as_ref().map_or_else(|| "ok".to_owned(), |why| format!("FAILED\n{why}"));
    format!("{:width$}  {kind:8}  {:<9.1e}  {verdict}\n", outcome.name, outcome.max_rel_error)
}
