//! BAM files that noodles wrote from SAM text: which records count, where their ends lie, what damaged files are told.

use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use gradome_io::genome::{ChromSizes, Fragments, ReadFormat, ReadsOptions, Tags};
use noodles_sam::alignment::io::Write as _;

const HEADER: &str = "@HD\tVN:1.6\tSO:unsorted\n@SQ\tSN:chr1\tLN:10000\n@SQ\tSN:chr2\tLN:5000\n@SQ\tSN:empty\tLN:70\n";

/// SAM text as BAM.
fn bam(records: &str) -> Vec<u8> {
    let text = format!("{HEADER}{records}");
    let mut sam = noodles_sam::io::Reader::new(text.as_bytes());
    let header = sam.read_header().unwrap();
    let mut writer = noodles_bam::io::Writer::new(Vec::new());
    writer.write_header(&header).unwrap();
    for record in sam.record_bufs(&header) {
        writer.write_alignment_record(&header, &record.unwrap()).unwrap();
    }
    writer.try_finish().unwrap();
    writer.into_inner().into_inner()
}

/// A SAM line of a read without a mate; its sequence is as long as its CIGAR says.
fn single(flags: u16, chromosome: &str, position: u32, cigar: &str, length: usize) -> String {
    let (sequence, quality) = ("A".repeat(length), "I".repeat(length));
    format!("r\t{flags}\t{chromosome}\t{position}\t30\t{cigar}\t*\t0\t0\t{sequence}\t{quality}\n")
}

/// A SAM line of one end of a pair of 30 bp reads.
fn end(flags: u16, position: u32, mate: (&str, u32), template: i32) -> String {
    let (sequence, quality) = ("A".repeat(30), "I".repeat(30));
    format!("p\t{flags}\tchr1\t{position}\t30\t30M\t{}\t{}\t{template}\t{sequence}\t{quality}\n", mate.0, mate.1)
}

fn tags(bytes: &[u8]) -> gradome_io::Result<Tags> {
    Tags::from_bam("x.bam", bytes, &ReadsOptions::default())
}

#[test]
fn the_reverse_end_follows_from_the_cigar() {
    // SAM positions count from 1. M, D, N, = and X cover the reference; I, S, H and P do not.
    let text = [
        single(0, "chr2", 101, "36M", 36),
        single(16, "chr2", 101, "36M", 36),
        single(16, "chr1", 1, "5S10M3I10M2D8=1X4N6M2S", 45),
        single(16, "chr1", 201, "4H30M2P6M", 36),
    ];
    let tags = tags(&bam(&text.concat())).unwrap();
    let names: Vec<_> = tags.chromosomes.iter().map(|c| (c.name.as_str(), c.size)).collect();
    assert_eq!(names, [("chr2", Some(5000)), ("chr1", Some(10_000))], "order of first appearance");
    assert_eq!((&tags.chromosomes[0].forward[..], &tags.chromosomes[0].reverse[..]), (&[100][..], &[136][..]));
    assert_eq!(tags.chromosomes[1].reverse, [10 + 10 + 2 + 8 + 1 + 4 + 6, 200 + 36]);
    assert_eq!(tags.read_length, Some((36 + 36 + 45 + 36) / 4));
    assert_eq!(tags.skipped, 0);
}

#[test]
fn only_primary_mapped_reads_and_first_reads_of_proper_pairs_count() {
    let bad = [4, 256, 512, 1024 | 4, 2048, 16 | 256].map(|flags| single(flags, "chr1", 11, "20M", 20)).concat();
    // A duplicate (1024) counts: how many are kept is decided later.
    let good = [0, 16, 1024].map(|flags| single(flags, "chr1", 11, "20M", 20)).concat();
    let pairs = [
        end(1 | 2 | 32 | 64, 101, ("=", 201), 130),
        end(1 | 2 | 16 | 128, 201, ("=", 101), -130),
        end(1 | 32 | 64, 101, ("=", 201), 130),
        end(1 | 2 | 8 | 64, 101, ("=", 201), 130),
        end(1 | 2 | 16 | 64, 401, ("=", 301), -130),
        end(1 | 2 | 32 | 128, 301, ("=", 401), 130),
    ]
    .concat();
    let file = bam(&(bad + &good + &pairs));
    let tags = tags(&file).unwrap();
    assert_eq!(tags.chromosomes[0].forward, [10, 10, 100]);
    assert_eq!(tags.chromosomes[0].reverse, [30, 430]);
    assert_eq!(tags.skipped, 6 + 4);

    let fragments = Fragments::from_bampe("x.bam", &file[..], &ReadsOptions::default()).unwrap();
    let found: Vec<_> = fragments.chromosomes[0].fragments.iter().map(|f| (f.start, f.end)).collect();
    assert_eq!(found, [(100, 230), (300, 430)]);
    assert_eq!((fragments.total(), fragments.skipped), (2, 9 + 4));
    assert_eq!(fragments.chromosomes[0].size, Some(10_000));
}

#[test]
fn files_are_told_by_content_and_truncated_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reads");
    let whole = bam(&single(0, "chr1", 101, "36M", 36).repeat(500));
    fs::write(&path, &whole).unwrap();
    assert_eq!(ReadFormat::detect(&path).unwrap(), ReadFormat::Bam);
    assert_eq!(Tags::read(&path, ReadFormat::Bam, &ReadsOptions::default()).unwrap().total(), 500);
    for cut in [whole.len() - 28, whole.len() - 1, whole.len() / 2, 3, 0] {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = Tags::read(&path, ReadFormat::Bam, &ReadsOptions::default()).unwrap_err().to_string();
        assert!(error.contains("truncated"), "cut at {cut}: {error}");
    }
    fs::write(&path, "chr1\t10\t46\t.\t.\t+\nchr1\t10\t46\t.\t.\t+\n").unwrap();
    let error = Tags::read(&path, ReadFormat::Bam, &ReadsOptions::default()).unwrap_err().to_string();
    assert!(error.contains("or no BAM"), "{error}");
    let error = Tags::read(&path, ReadFormat::Bampe, &ReadsOptions::default()).unwrap_err().to_string();
    assert!(error.contains("a file of pairs is read as fragments"), "{error}");
}

#[test]
fn sizes_of_another_assembly_are_refused() {
    let file = bam(&single(16, "chr1", 9981, "20M", 20));
    let read = |sizes: &[(&str, u32)]| {
        let sizes = ChromSizes::new(sizes.iter().copied()).unwrap();
        let options = ReadsOptions { sizes: Some(&sizes), ..ReadsOptions::default() };
        Tags::from_bam("x.bam", &file[..], &options).map_err(|error| error.to_string())
    };
    assert_eq!(read(&[("chr1", 10_000)]).unwrap().total(), 1);
    assert!(read(&[("chr1", 10_001)]).unwrap_err().contains("chr1 has 10000 bp in one file and 10001 bp in another"));
    assert!(read(&[("chr2", 5000)]).unwrap_err().contains("x.bam: record 1: chromosome `chr1` is not among"));
}

/// A BAM stream by hand: the header above has one reference, `c` of 100 bp; records are given as bytes.
fn by_hand(records: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = b"BAM\x01\0\0\0\0\x01\0\0\0\x02\0\0\0c\0\x64\0\0\0".to_vec();
    for record in records {
        stream.extend((record.len() as u32).to_le_bytes());
        stream.extend(record);
    }
    stream
}

/// A record without name and sequence.
fn record(reference: i32, position: i32, flags: u16, operations: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(reference.to_le_bytes());
    bytes.extend(position.to_le_bytes());
    bytes.extend([1, 0, 0, 0]);
    bytes.extend((operations.len() as u16).to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend([0; 16]);
    bytes.push(0);
    bytes.extend(operations.iter().flat_map(|operation| operation.to_le_bytes()));
    bytes
}

#[test]
fn damaged_records_are_named_and_claims_cost_no_memory() {
    let good = record(0, 5, 0, &[10 << 4]);
    assert_eq!(tags(&by_hand(std::slice::from_ref(&good))).unwrap().chromosomes[0].forward, [5]);
    let mut many_bases = good.clone();
    many_bases[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    let huge = |position: i32| record(0, position, 16, &[u32::MAX << 4]);
    let cases = [
        (vec![good.clone(), record(1, 5, 0, &[160])], "record 2: lies on reference 1, the header has 1"),
        (vec![record(-2, 5, 0, &[160])], "record 1: lies on reference -2"),
        (vec![record(0, -1, 0, &[160])], "record 1: is mapped but has no position"),
        (vec![record(0, 5, 16, &[])], "record 1: a reverse read without CIGAR"),
        (vec![good[..20].to_vec()], "record 1: claims 20 bytes, 32 are the least"),
        (vec![good[..34].to_vec()], "record 1: claims 34 bytes, but its parts need 37"),
        (vec![many_bases], "record 1: claims 37 bytes"),
        (vec![record(0, i32::MAX, 16, &[(u32::MAX >> 4) << 4; 9])], "record 1: ends beyond any position"),
        (vec![record(0, 5, 4, &[])], "holds no reads (1 records were left out)"),
    ];
    for (records, expected) in cases {
        let error = tags(&by_hand(&records)).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert_eq!(tags(&by_hand(&[huge(0)])).unwrap().total(), 1, "(2^28 - 1) bp are a position still");
    let whole = by_hand(&[good]);
    for cut in [5, 12, 18, 25, 30, whole.len() - 1] {
        let error = tags(&whole[..cut]).unwrap_err().to_string();
        assert!(error.contains("ends early"), "cut at {cut}: {error}");
    }
    // A header and a record that claim 4 GiB are over when the stream is.
    for claim in [&b"BAM\x01\xff\xff\xff\xff"[..], b"BAM\x01\0\0\0\0\0\0\0\0\xff\xff\xff\xff"] {
        assert!(tags(claim).unwrap_err().to_string().contains("ends early"));
    }
    let name = tags(b"BAM\x01\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f").unwrap_err().to_string();
    assert!(name.contains("a reference name of 2147483647 bytes"), "{name}");
}

#[test]
fn plain_gzip_around_bam_is_read_too() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&by_hand(&[record(0, 5, 0, &[160])])).unwrap();
    assert_eq!(tags(&gzip.finish().unwrap()).unwrap().total(), 1);
    assert!(tags(b"chr1\t10\t46\t.\t.\t+\n").unwrap_err().to_string().contains("is not BAM"));
}
