//! Any bytes as FASTA; windows are slices of the whole sequences.
#![no_main]

use gradome_io::genome::{PastEnd, Window, fasta_from, windows_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(records) = fasta_from("fuzz.fa", bytes) else { return };
    let windows: Vec<Window> = records
        .iter()
        .map(|record| Window {
            chromosome: record.name.clone(),
            start: 2,
            end: record.sequence.len().max(3) as i64 + 1,
        })
        .collect();
    let found = windows_from("fuzz.fa", bytes, &windows, PastEnd::Pad).unwrap();
    for (record, (found, window)) in records.iter().zip(found.iter().zip(&windows)) {
        let mut expected = record.sequence.get(2..).unwrap_or_default().to_vec();
        expected.resize((window.end - window.start) as usize, b'N');
        assert_eq!(*found, expected);
    }
});
