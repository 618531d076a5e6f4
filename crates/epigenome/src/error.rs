//! What can go wrong between reads and calls.

/// The error of every function of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    Files(#[from] gradome_io::Error),
    /// A model cannot be built, trained, saved or loaded.
    #[error(transparent)]
    Model(#[from] gradome_nn::Error),
    /// Data or settings do not allow what was asked; the text says what to do.
    #[error("{0}")]
    Data(String),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
