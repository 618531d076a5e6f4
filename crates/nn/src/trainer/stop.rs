//! Asking a run to stop: by signals, or from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};

/// A flag that asks training to stop after the step at hand; clones share it.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicUsize>);

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a stop as the given signal would.
    pub fn set(&self, signal: i32) {
        self.0.store(usize::try_from(signal).unwrap_or(0), Ordering::SeqCst);
    }

    /// The signal that asked for a stop, if any.
    pub fn signal(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::SeqCst)).ok().filter(|&signal| signal != 0)
    }

    /// Lets SIGINT (Ctrl-C) and SIGTERM set the flag; a second signal ends the process at once.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn install_signal_handlers(&self) -> Result<()> {
        let armed = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // the order matters: a signal looks whether one came before, then arms the next
            flag::register_conditional_default(signal, Arc::clone(&armed))
                .and_then(|_| flag::register(signal, Arc::clone(&armed)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&self.0), signal as usize))
                .map_err(|error| Error::config("signals", format!("cannot be handled: {error}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_sets_the_flag() {
        let stop = StopFlag::new();
        stop.install_signal_handlers().unwrap();
        assert_eq!(stop.signal(), None);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(stop.signal(), Some(SIGTERM));
    }
}
