//! Any bytes as reads and fragments; 5' ends and fragments are joined, sorted and covered.
#![no_main]

use gradome_io::genome::{Fragments, ReadsOptions, Strands, Tags};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let options = ReadsOptions::default();
    if let Ok(mut tags) = Tags::from_bed("fuzz.bed", bytes, &options) {
        let total = tags.total();
        tags.append(tags.clone()).unwrap();
        tags.sort();
        assert_eq!(tags.total(), 2 * total);
        for chromosome in &tags.chromosomes {
            chromosome.coverage(200, Strands::Both).unwrap().validate().unwrap();
        }
    }
    for fragments in
        [Fragments::from_bedpe("fuzz.bedpe", bytes, &options), Fragments::from_frag("fuzz.tsv", bytes, &options)]
    {
        let Ok(mut fragments) = fragments else { continue };
        fragments.sort();
        assert!(fragments.mean_length() >= 1.0);
        for chromosome in &fragments.chromosomes {
            chromosome.coverage().binned(25).unwrap().validate().unwrap();
        }
    }
});
