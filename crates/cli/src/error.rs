//! How a command can end other than well.

use std::fmt;

/// The result of every command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or input: what, where, and what to do.
    Input(String),
    /// So many gradient checks failed.
    Checks(usize),
    /// A signal of this number ended the training; the text says how to go on.
    Interrupted(i32, String),
}

impl Failure {
    /// The exit code of the process; that of a signal is 128 and its number, as shells have it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Checks(_) => 1,
            Self::Input(_) => 2,
            Self::Interrupted(signal, _) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(problem) => write!(to, "error: {problem}"),
            Self::Checks(1) => write!(to, "error: 1 check failed"),
            Self::Checks(count) => write!(to, "error: {count} checks failed"),
            Self::Interrupted(_, how_to_go_on) => write!(to, "{how_to_go_on}"),
        }
    }
}

/// An error in what the user gave.
pub fn wrong(problem: impl Into<String>) -> Failure {
    Failure::Input(problem.into())
}

macro_rules! from_errors {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                wrong(error.to_string())
            }
        })+
    };
}
from_errors!(gradome::epigenome::Error, gradome::io::Error, gradome::nn::Error, gradome::report::Error);
