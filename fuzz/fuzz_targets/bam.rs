//! Any bytes as BAM, compressed or not.
#![no_main]

use gradome_io::genome::{Fragments, ReadsOptions, Strands, Tags};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let options = ReadsOptions::default();
    if let Ok(tags) = Tags::from_bam("fuzz.bam", bytes, &options) {
        for chromosome in &tags.chromosomes {
            chromosome.coverage(150, Strands::Both).unwrap().validate().unwrap();
        }
    }
    let _ = Fragments::from_bampe("fuzz.bam", bytes, &options);
});
