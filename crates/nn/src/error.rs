//! What can go wrong with a model, its data or its files.

use std::path::PathBuf;

/// The result of operations that look at configurations, data or files.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that says which field, array or file is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration that cannot be built.
    #[error("config field '{field}': {problem}")]
    Config {
        /// The field's name, dotted where it is nested.
        field: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// An array that does not fit, or holds values that make no sense.
    #[error("{array}: {problem}")]
    Data {
        /// Which array, as the user knows it.
        array: String,
        /// What is wrong, where, and what to do.
        problem: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Training that cannot go on.
    #[error("training stopped at epoch {epoch}, step {step}: {problem}")]
    Training {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Optimiser step, counted from 1.
        step: usize,
        /// What happened, with the op and the parameter where they are known.
        problem: String,
    },
}

impl Error {
    /// An error about a configuration field.
    pub fn config(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { field: field.into(), problem: problem.into() }
    }

    /// An error about an array.
    pub fn data(array: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Data { array: array.into(), problem: problem.into() }
    }

    /// An error about a file.
    pub fn file(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), problem: problem.to_string() }
    }
}
