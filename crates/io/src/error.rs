//! What can be wrong with a file, and what to do about it.

/// The error of every reader, writer and preparation step of this crate.
///
/// Each message names the file and the line, record, HDF5 path or cell, and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    #[error("{file}: {source}")]
    Io {
        /// The file as the caller named it.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line (text) or record (table) cannot be understood.
    #[error("{file} line {line}: {problem}")]
    Line {
        /// The file as the caller named it.
        file: String,
        /// Line number, from 1.
        line: u64,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A place inside an HDF5 file cannot be understood.
    #[error("{file} at `{place}`: {problem}")]
    Place {
        /// The file as the caller named it.
        file: String,
        /// Path of the HDF5 object.
        place: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The file as a whole is not what it should be.
    #[error("{file}: {problem}")]
    File {
        /// The file as the caller named it.
        file: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// One value of a matrix is not allowed.
    #[error("modality `{modality}`, cell `{cell}`, feature `{feature}`: {problem}")]
    Value {
        /// Name of the modality.
        modality: String,
        /// Barcode of the cell.
        cell: String,
        /// Name of the feature.
        feature: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Data sets do not fit together, or an argument does not fit the data.
    #[error("{0}")]
    Data(String),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn file(file: &str, problem: impl Into<String>) -> Self {
        Self::File { file: file.into(), problem: problem.into() }
    }

    pub(crate) fn line(file: &str, line: u64, problem: impl Into<String>) -> Self {
        Self::Line { file: file.into(), line, problem: problem.into() }
    }

    pub(crate) fn place(file: &str, place: &str, problem: impl Into<String>) -> Self {
        Self::Place { file: file.into(), place: place.into(), problem: problem.into() }
    }

    /// An input-output error; a gzip stream that ends early or is damaged is said in plain words.
    pub(crate) fn io(file: &str, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match source.kind() {
            UnexpectedEof => {
                Self::file(file, "the compressed stream ends early: the file is truncated, copy or download it again")
            }
            InvalidData | InvalidInput => Self::file(
                file,
                format!("the compressed stream is damaged ({source}): copy or download the file again"),
            ),
            _ => Self::Io { file: file.into(), source },
        }
    }
}
