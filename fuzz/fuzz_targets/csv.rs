//! Any bytes as a table, in both orientations.
#![no_main]

use gradome_io::{Orientation, read_table_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for orientation in [Orientation::CellsByFeatures, Orientation::FeaturesByCells] {
        if let Ok(data) = read_table_bytes("fuzz.csv", bytes, orientation) {
            let shape = data.modalities[0].matrix.shape();
            assert_eq!(shape, (data.cells.len(), data.modalities[0].features.len()));
        }
    }
});
