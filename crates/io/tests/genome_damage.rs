//! Files with random damage give values or an error that names the file; no reader crashes.

use gradome_io::genome::{
    ChromSizes, Fragments, PastEnd, PeakFormat, ReadsOptions, Strands, Tags, Window, bed_from, bedgraph_from,
    fasta_from, gapped_peaks_from, peaks_from, windows_from,
};
use proptest::prelude::*;

/// One small valid file of each format.
const FILES: &[&str] = &[
    "chr1\t10\t46\tr\t0\t+\nchr1\t90\t126\tr\t0\t-\n",
    "chr1\t10\t200\nchr1\t100\t150\tchr1\t20\t60\tp\t30\t-\t+\n",
    "# id=x\nchr1\t10\t60\tAA-1\t2\nchr1\t5\t50\tCC-1\t1\n",
    "track name=x\nchr1\t200\t400\t1\t0\t.\t200\t400\t1,2,3\n",
    "chr1\t5\t25\tp\t214\t.\t13.2\t24.2\t21.4\t16\n",
    "chr1\t5\t25\tp\t0\t.\t5\t25\t0\t2\t5,5\t0,15\t1\t2\t3\n",
    "chr1\t0\t5\t1\nchr1\t5\t9\t2.5\nchr2\t0\t5\t-1\n",
    "chr1\t1000\nchr2\t500\n",
    ">a first\nACgt\nNN\n>b\nTT\n",
];

/// A BAM stream of three reads on `c`.
const BAM: &[u8] = b"BAM\x01\0\0\0\0\x01\0\0\0\x02\0\0\0c\0\xe8\x03\0\0\
    \x25\0\0\0\0\0\0\0\x05\0\0\0\x01\x1e\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xa0\0\0\0\
    \x25\0\0\0\0\0\0\0\x32\0\0\0\x01\x1e\0\0\x01\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xa0\0\0\0\
    \x25\0\0\0\0\0\0\0\x32\0\0\0\x01\x1e\0\0\x01\0\x63\0\0\0\0\0\0\0\0\0\xc8\0\0\0\x82\0\0\0\0\xa0\0\0\0";

/// Reads bytes as each format; errors must name the file.
fn read_all(bytes: &[u8]) {
    fn named<T>(result: gradome_io::Result<T>) -> Option<T> {
        result.map_err(|error| assert!(error.to_string().starts_with("f"), "{error}")).ok()
    }
    let options = ReadsOptions::default();
    for tags in [Tags::from_bed("f", bytes, &options), Tags::from_bam("f", bytes, &options)] {
        for chromosome in named(tags).map(|tags| tags.chromosomes).unwrap_or_default() {
            chromosome.coverage(100, Strands::Both).unwrap().validate().unwrap();
        }
    }
    let pairs = [Fragments::from_bedpe, Fragments::from_frag, Fragments::from_bampe];
    for chromosome in pairs.iter().filter_map(|read| named(read("f", bytes, &options))).flat_map(|all| all.chromosomes)
    {
        chromosome.coverage().binned(7).unwrap().validate().unwrap();
    }
    named(bed_from("f", bytes, None));
    named(peaks_from("f", bytes, PeakFormat::Narrow, None));
    named(peaks_from("f", bytes, PeakFormat::Broad, None));
    named(gapped_peaks_from("f", bytes, None));
    named(ChromSizes::from_text("f", bytes));
    for chromosome in named(bedgraph_from("f", bytes, None)).map(|signal| signal.chromosomes).unwrap_or_default() {
        chromosome.validate().unwrap();
        chromosome.binned(3).unwrap().validate().unwrap();
    }
    named(fasta_from("f", bytes));
    named(windows_from("f", bytes, &[Window { chromosome: "a".into(), start: -3, end: 5 }], PastEnd::Pad));
}

#[test]
fn the_undamaged_files_are_read() {
    let options = ReadsOptions::default();
    assert_eq!(Tags::from_bam("f", BAM, &options).unwrap().total(), 3);
    assert_eq!(Fragments::from_bampe("f", BAM, &options).unwrap().mean_length(), 130.0);
    assert_eq!(Tags::from_bed("f", FILES[0].as_bytes(), &options).unwrap().total(), 2);
    assert_eq!(gapped_peaks_from("f", FILES[5].as_bytes(), None).unwrap()[0].blocks, [(0, 5), (15, 5)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn damage_is_an_error_or_a_value_but_never_a_crash(
        file in 0..FILES.len() + 1,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let mut bytes = FILES.get(file).map_or(BAM, |text| text.as_bytes()).to_vec();
        for (place, byte, kind) in damage {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, b"0123456789-.\t\n>,"[usize::from(byte % 16)]),
                2 => bytes[place] = b"0123456789-.\t\n>,"[usize::from(byte % 16)],
                _ if bytes.len() > 1 => {
                    bytes.remove(place);
                }
                _ => {}
            }
        }
        read_all(&bytes);
    }
}
