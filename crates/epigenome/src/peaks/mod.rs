//! Learned peak callers: networks over binned signals that say where peaks lie.

mod caller;
mod checks;
mod cnn;
mod decision;
mod denoiser;
mod fno;
mod signal;
mod window_share;

pub use caller::{Caller, PeakOutput};
pub(crate) use checks::checks;
pub use cnn::{PeakCaller, PeakCallerConfig};
pub use decision::{DecisionConfig, Decisions, Indicators};
pub use denoiser::{CountLaw, Denoised, DenoiserConfig};
pub use fno::{FnoForm, FnoPeakCaller, FnoPeakCallerConfig};
pub use signal::{SignalBatch, SignalInput, SignalTransform};
