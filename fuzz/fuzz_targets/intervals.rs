//! Any bytes as BED, peaks, bedGraph and chromosome sizes.
#![no_main]

use gradome_io::genome::{ChromSizes, PeakFormat, bed_from, bedgraph_from, gapped_peaks_from, peaks_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let sizes = ChromSizes::from_text("fuzz.sizes", bytes).ok();
    for sizes in [None, sizes.as_ref()] {
        let _ = bed_from("fuzz.bed", bytes, sizes);
        let _ = peaks_from("fuzz.narrowPeak", bytes, PeakFormat::Narrow, sizes);
        let _ = peaks_from("fuzz.broadPeak", bytes, PeakFormat::Broad, sizes);
        let _ = gapped_peaks_from("fuzz.gappedPeak", bytes, sizes);
        if let Ok(signal) = bedgraph_from("fuzz.bdg", bytes, sizes) {
            for chromosome in &signal.chromosomes {
                chromosome.validate().unwrap();
                chromosome.binned(10).unwrap().validate().unwrap();
            }
        }
    }
});
