//! Where reference data is.

use std::path::PathBuf;

/// The folder of reference data; without it tests print that they were skipped.
pub fn data() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = PathBuf::from(std::env::var("GRADOME_DATA").unwrap_or_else(|_| default.into()));
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("GRADOME_REQUIRE_GOLDENS").is_ok_and(|value| value == "1");
    assert!(!required, "{} is missing and GRADOME_REQUIRE_GOLDENS=1", folder.display());
    println!("skipped: {} is missing", folder.display());
    None
}
