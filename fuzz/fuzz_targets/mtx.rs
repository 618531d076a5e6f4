//! Any bytes as a MatrixMarket file; what is read is written and read again.
#![no_main]

use gradome_io::{Matrix, read_matrix_market, write_matrix_market};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(matrix) = read_matrix_market("fuzz.mtx", bytes) else { return };
    let mut text = Vec::new();
    write_matrix_market(&Matrix::Sparse(matrix.clone()), &mut text).unwrap();
    // Sums of repeated entries can leave the range of f32, which no file can hold.
    if matrix.data().iter().all(|value| value.is_finite()) {
        assert_eq!(read_matrix_market("again.mtx", &text[..]).unwrap(), matrix);
    }
});
