//! What can be wrong with the numbers a report is made of.

use std::path::PathBuf;

/// Everything that can go wrong in this crate, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to work on.
    #[error("{what}: there are no {of}; give at least one")]
    Empty {
        /// The place that needed data.
        what: &'static str,
        /// The thing that is missing: cells, dimensions, series.
        of: &'static str,
    },
    /// Two sizes that belong together differ.
    #[error("{what}: {found} values, but {expected} are needed ({why})")]
    Size {
        /// The array that has the wrong size.
        what: &'static str,
        /// How many values it has.
        found: usize,
        /// How many it needs.
        expected: usize,
        /// Where the needed number comes from.
        why: String,
    },
    /// A value is NaN or infinite.
    #[error("{what}: row {row}, column {column} is {value}; remove the row or replace the value before")]
    NotFinite {
        /// The array that holds the value.
        what: &'static str,
        /// Its row, from 0.
        row: usize,
        /// Its column, from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A setting is outside its range.
    #[error("{setting} is {found}; it must be {range}")]
    Setting {
        /// The name of the setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The range it must lie in.
        range: String,
    },
    /// An eigendecomposition did not converge.
    #[error("the eigendecomposition of a {size} x {size} matrix did not converge")]
    Eigen {
        /// The number of rows of the matrix.
        size: usize,
    },
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Error {
    /// A setting outside its range.
    pub(crate) fn setting(setting: &'static str, found: impl ToString, range: impl Into<String>) -> Self {
        Error::Setting { setting, found: found.to_string(), range: range.into() }
    }
}

/// Checks that `found` values are there where `expected` are needed.
pub(crate) fn check_size(
    what: &'static str,
    found: usize,
    expected: usize,
    why: impl Into<String>,
) -> crate::Result<()> {
    if found == expected { Ok(()) } else { Err(Error::Size { what, found, expected, why: why.into() }) }
}

/// Checks that a row-major array of `columns` columns holds finite numbers only.
pub(crate) fn check_finite(
    what: &'static str,
    values: impl IntoIterator<Item = f64>,
    columns: usize,
) -> crate::Result<()> {
    match values.into_iter().enumerate().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((at, value)) => Err(Error::NotFinite { what, row: at / columns, column: at % columns, value }),
    }
}
