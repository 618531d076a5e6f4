//! Learned peak callers: networks over binned signals that say where peaks lie.

mod caller;
mod checks;
mod cnn;
mod decision;
mod denoiser;
mod fit;
mod fno;
mod reads;
mod signal;
mod trained;
mod window_share;

pub use caller::{Caller, PeakOutput};
pub(crate) use checks::{check_cnn, check_fno};
pub use cnn::{PeakCaller, PeakCallerConfig};
pub use decision::{DecisionConfig, Decisions, Indicators};
pub use denoiser::{CountLaw, Denoised, DenoiserConfig, LatentPrior};
pub use fit::{HeldOut, PeakFit, PeakFitOptions, PeakLabels, default_peak_trainer};
pub use fno::{FnoForm, FnoPeakCaller, FnoPeakCallerConfig};
pub use reads::{ReadLibrary, Stretch, TRACKS, Thinning, background_tracks};
pub use signal::{SignalBatch, SignalInput, SignalTransform};
pub use trained::{Calibration, PeakProbabilities, TrainedPeakCaller};
