//! The finite-difference checks of this crate's operators.

use gradome_nn::{Operator, OperatorEntry};

use crate::chromatin::{self, ChromatinStateAnnotator};
use crate::contextual::{self, ContextualEpigenomics};
use crate::peaks::{self, FnoPeakCaller, PeakCaller};
use crate::scale::{self, Scale};

/// Every operator of this crate with its check.
pub fn checks() -> Vec<OperatorEntry> {
    vec![
        OperatorEntry { name: ChromatinStateAnnotator::NAME, kind: "operator", check: chromatin::check },
        OperatorEntry { name: ContextualEpigenomics::NAME, kind: "operator", check: contextual::check },
        OperatorEntry { name: PeakCaller::NAME, kind: "operator", check: peaks::check_cnn },
        OperatorEntry { name: FnoPeakCaller::NAME, kind: "operator", check: peaks::check_fno },
        OperatorEntry { name: Scale::NAME, kind: "operator", check: scale::check },
    ]
}
