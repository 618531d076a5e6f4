//! What the program says: results on standard output, all else on standard error.

use std::io::{ErrorKind, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Prints a result; ends the program quietly when nobody reads any more, as in `gradome check | head`.
pub fn print(text: impl std::fmt::Display) {
    if let Err(error) = write!(std::io::stdout(), "{text}") {
        std::process::exit(if error.kind() == ErrorKind::BrokenPipe { 0 } else { 2 });
    }
}

struct Console;

impl Log for Console {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let mark = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        // there is no other place to say that standard error is closed
        let _ = writeln!(std::io::stderr(), "{mark}{}", record.args());
    }

    fn flush(&self) {}
}

/// Starts the log: warnings alone when quiet, details when verbose.
pub fn start(quiet: bool, verbose: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::Warn,
        (_, false) => LevelFilter::Info,
        (_, true) => LevelFilter::Debug,
    };
    // fails only when a log was started before
    if log::set_logger(&Console).is_ok() {
        log::set_max_level(level);
    }
}
