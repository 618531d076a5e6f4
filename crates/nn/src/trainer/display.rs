//! What a person sees while a model trains.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::history::EpochMetrics;

/// Plain lines come at most this often, except the first and the last.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// A bar on a terminal, lines elsewhere, or nothing; all on standard error.
pub(super) enum Display {
    Quiet,
    Lines { last: Option<Instant>, max_epochs: usize },
    Bar(ProgressBar),
}

impl Display {
    pub fn new(quiet: bool, max_epochs: usize, steps: usize, done: usize) -> Self {
        if quiet {
            Self::Quiet
        } else if std::io::stderr().is_terminal() {
            let style = "{bar:30} {percent:>3} %  {msg}  {elapsed} (about {eta} left)";
            let style = ProgressStyle::with_template(style).expect("the template names fields that exist");
            let bar = ProgressBar::new(steps as u64).with_style(style).with_message(format!("epoch 1/{max_epochs}"));
            bar.set_position(done as u64);
            bar.reset_eta();
            Self::Bar(bar)
        } else {
            Self::Lines { last: None, max_epochs }
        }
    }

    pub fn step(&self) {
        if let Self::Bar(bar) = self {
            bar.inc(1);
        }
    }

    pub fn epoch(&mut self, metrics: &EpochMetrics, monitored: Option<&str>, max_epochs: usize) {
        let mut text = format!("epoch {}/{max_epochs}", metrics.epoch);
        if let Some(loss) = metrics.train.get("loss") {
            text += &format!("  loss {loss:.4}");
        }
        if let Some((name, score)) = monitored.and_then(|name| metrics.validation.get_key_value(name)) {
            text += &format!("  held-out {name} {score:.4}");
        }
        match self {
            Self::Quiet => {}
            Self::Lines { last, max_epochs } => {
                if last.is_none_or(|last| last.elapsed() >= LINE_EVERY) || metrics.epoch == *max_epochs {
                    eprintln!("{text}");
                    *last = Some(Instant::now());
                }
            }
            Self::Bar(bar) => bar.set_message(text),
        }
    }

    pub fn end(&self, text: &str) {
        match self {
            Self::Quiet => {}
            Self::Lines { .. } => eprintln!("{text}"),
            Self::Bar(bar) => bar.abandon_with_message(text.to_owned()),
        }
    }
}
