//! Any bytes as a bigWig file.
#![no_main]

use gradome_io::genome::BigWig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The index is reached by seeking, so the bytes go through a file.
    let path = std::env::temp_dir().join(format!("gradome-fuzz-{}.bw", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    if let Ok(bigwig) = BigWig::open(&path) {
        for (name, size) in bigwig.sizes().iter().take(4) {
            if let Ok(signal) = bigwig.read(name, 0..size.min(10_000)) {
                signal.validate().unwrap();
            }
        }
    }
});
