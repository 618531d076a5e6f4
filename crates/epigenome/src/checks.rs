//! The finite-difference checks of this crate's operators.

use gradome_nn::{Operator, OperatorEntry};

use crate::chromatin::{self, ChromatinStateAnnotator};
use crate::contextual::{self, ContextualEpigenomics};

/// Every operator of this crate with its check.
pub fn checks() -> Vec<OperatorEntry> {
    vec![
        OperatorEntry { name: ChromatinStateAnnotator::NAME, kind: "operator", check: chromatin::check },
        OperatorEntry { name: ContextualEpigenomics::NAME, kind: "operator", check: contextual::check },
    ]
}
