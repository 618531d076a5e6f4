//! `gradome fit|apply chromatin-states`: states of chromatin from calls, counts or signal.

mod apply;
mod fit;
mod inputs;
mod output;
mod page;

pub use apply::ApplyChromatin;
pub use fit::FitChromatin;
