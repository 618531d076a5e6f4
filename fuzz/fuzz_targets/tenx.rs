//! Any bytes as the three files of a 10x folder, cut at two marks.
#![no_main]

use gradome_io::read_tenx_parts;
use libfuzzer_sys::fuzz_target;

/// Stands between the matrix, the features and the barcodes.
const MARK: u8 = b'#';

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |&byte| byte == MARK);
    let mut part = || parts.next().unwrap_or_default();
    let (matrix, features, barcodes) = (part(), part(), part());
    if let Ok(data) = read_tenx_parts("fuzz", matrix, features, barcodes) {
        for modality in &data.modalities {
            assert_eq!(modality.matrix.shape(), (data.cells.len(), modality.features.len()));
        }
    }
});
