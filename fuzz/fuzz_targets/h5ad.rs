//! Any bytes as an HDF5 file, read as `.h5ad` and as 10x `.h5`.
#![no_main]

use gradome_io::{read_h5ad_bytes, read_tenx_h5_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for places in [&["X"][..], &["raw/X", "obsm/protein"]] {
        if let Ok(data) = read_h5ad_bytes("fuzz.h5ad", bytes.to_vec(), places) {
            for modality in &data.modalities {
                assert_eq!(modality.matrix.shape(), (data.cells.len(), modality.features.len()));
            }
        }
    }
    let _ = read_tenx_h5_bytes("fuzz.h5", bytes.to_vec());
});
