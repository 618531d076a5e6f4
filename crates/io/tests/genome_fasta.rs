//! FASTA: windows by index, by scan and by slicing agree; malformed files are named.

use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use gradome_io::genome::{
    BedRecord, OneHot, PastEnd, Window, fasta_from, one_hot, read_fasta, read_windows, reverse_complement, windows_from,
};
use proptest::prelude::*;

mod common;

fn window(chromosome: &str, start: i64, end: i64) -> Window {
    Window { chromosome: chromosome.into(), start, end }
}

/// FASTA text in lines of `width` bases, and its index as `samtools faidx` writes it.
fn fasta(sequences: &[(&str, &[u8])], width: usize, line_end: &str) -> (Vec<u8>, String) {
    let (mut text, mut index) = (Vec::new(), String::new());
    for (name, sequence) in sequences {
        text.extend(format!(">{name} a description{line_end}").bytes());
        index += &format!("{name}\t{}\t{}\t{width}\t{}\n", sequence.len(), text.len(), width + line_end.len());
        for line in sequence.chunks(width) {
            text.extend(line);
            text.extend(line_end.bytes());
        }
    }
    (text, index)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn sequences_are_read_as_they_stand() {
    let text = b">a first\nACgt\r\nNN\n\n>b\nTT";
    let records = fasta_from("x.fa", &gzip(text)[..]).unwrap();
    let found: Vec<_> = records.iter().map(|r| (r.name.as_str(), r.sequence.as_slice())).collect();
    assert_eq!(found, [("a", &b"ACgtNN"[..]), ("b", b"TT")]);
}

#[test]
fn real_windows_have_two_hundred_bases_each() {
    let Some(folder) = common::data() else { return };
    let records = read_fasta(&folder.join("regulatory/motif/CTCF_GM12878_top500_w200.fa.gz")).unwrap();
    assert_eq!(records.len(), 500);
    assert!(records.iter().all(|record| record.sequence.len() == 200));
}

#[test]
fn windows_past_an_end_are_refused_or_padded() {
    let (text, index) = fasta(&[("c", b"ACGTACGTAC")], 4, "\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.fa");
    fs::write(&path, &text).unwrap();
    let windows =
        [window("c", -2, 3), window("c", 8, 13), window("c", 20, 22), window("c", -5, -2), window("c", -1, 11)];
    let expected: [&[u8]; 5] = [b"NNACG", b"ACNNN", b"NN", b"NNN", b"NACGTACGTACN"];
    for with_index in [false, true] {
        if with_index {
            fs::write(folder.path().join("x.fa.fai"), &index).unwrap();
        }
        assert_eq!(read_windows(&path, &windows, PastEnd::Pad).unwrap(), expected);
        let refuse = |window: Window| read_windows(&path, &[window], PastEnd::Refuse).unwrap_err().to_string();
        assert!(refuse(window("c", -2, 3)).contains("x.fa: window c:-2-3 starts before position 0"));
        assert!(refuse(window("c", 8, 11)).contains("window c:8-11 ends past the sequence, which has 10 bp"));
        assert!(refuse(window("c", 20, 22)).contains("ends past the sequence, which has 10 bp"));
        assert!(refuse(window("d", 0, 1)).contains("has no sequence `d`"));
        assert!(refuse(window("c", 3, 3)).contains("window c:3-3 has no base pair"));
        assert!(refuse(window("c", i64::MIN, i64::MAX)).contains("has no base pair"));
        assert_eq!(read_windows(&path, &[window("c", 0, 10)], PastEnd::Refuse).unwrap(), [b"ACGTACGTAC"]);
    }
}

#[test]
fn an_index_that_does_not_fit_is_refused() {
    let (text, index) = fasta(&[("c", &[b'A'; 50]), ("d", &[b'C'; 50])], 10, "\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.fa");
    fs::write(&path, &text).unwrap();
    let read = |index: &str, window: Window| {
        fs::write(folder.path().join("x.fa.fai"), index).unwrap();
        read_windows(&path, &[window], PastEnd::Refuse).map_err(|error| error.to_string())
    };
    assert_eq!(read(&index, window("d", 5, 15)).unwrap(), [[b'C'; 10]]);
    let misfit = "the index beside it does not fit: remove it or run `samtools faidx` again";
    let cases = [
        (index.replace("c\t50", "c\t80"), window("c", 0, 80)),
        (index.replace("c\t50", "c\t9000"), window("c", 0, 9000)),
        (index.replace("10\t11", "11\t12"), window("c", 20, 31)),
        (format!("c\t{0}\t{0}\t10\t11\n", u64::MAX), window("c", 0, 50)),
        (format!("c\t{0}\t5\t1\t3\n", u64::MAX), window("c", i64::MAX - 20, i64::MAX - 10)),
    ];
    for (index, window) in cases {
        assert!(read(&index, window).unwrap_err().contains(misfit), "{index}");
    }
    let error = read("c\t50\t5\t0\t11\n", window("c", 0, 5)).unwrap_err();
    assert!(error.contains("x.fa.fai line 1: lines of 0 bases in 11 bytes cannot be"), "{error}");
    let error = read("c\t50\n", window("c", 0, 5)).unwrap_err();
    assert!(error.contains("x.fa.fai line 1: has 2 columns: offset (column 3) is missing"), "{error}");
}

#[test]
fn malformed_fasta_is_named_by_line() {
    let endless = [b">".as_slice(), &[b'x'; 1 << 17]].concat();
    let cases: [(&[u8], &str); 8] = [
        (b"ACGT\n", "x.fa line 1: bases before the first `>`"),
        (b"chr1\t10\t20\n", "x.fa line 1: `1` is no base"),
        (b">a\nAC\nA C\n", "x.fa line 3: ` ` is no base"),
        (b">a\nAC>b\n", "x.fa line 2: `>` is no base"),
        (b">\nAC\n", "x.fa line 1: `>` without a name"),
        (b">a\nAC\n>a\nAC\n", "x.fa line 3: sequence `a` stands twice"),
        (b"\n\n", "x.fa: holds no sequence"),
        (&endless, "x.fa line 1: the name does not end"),
    ];
    for (text, expected) in cases {
        let error = fasta_from("x.fa", text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{expected}: {error}");
        let error = windows_from("x.fa", text, &[window("a", 0, 1)], PastEnd::Pad).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{expected}: {error}");
    }
    assert!(fasta_from("x.fa", &b""[..]).unwrap_err().to_string().contains("the file is empty"));
}

#[test]
fn a_line_may_be_as_long_as_a_chromosome() {
    let mut text = b">c\n".to_vec();
    text.extend((0..100_000_000u32).map(|i| b"ACGT"[(i % 4) as usize]));
    let found = windows_from("x.fa", &text[..], &[window("c", 99_999_997, 100_000_000)], PastEnd::Refuse).unwrap();
    assert_eq!(found, [b"CGT"]);
}

#[test]
fn one_hot_has_a_one_at_each_known_base() {
    let sequence = b"ACGTUNacgtn-RY";
    let first = one_hot(sequence, OneHot::BasesFirst);
    let last = one_hot(sequence, OneHot::BasesLast);
    let rows = ["10000010000000", "01000001000000", "00100000100000", "00011000010000"];
    for (base, row) in rows.iter().enumerate() {
        for (position, bit) in row.bytes().enumerate() {
            let expected = f32::from(bit - b'0');
            assert_eq!(first[base * sequence.len() + position], expected);
            assert_eq!(last[4 * position + base], expected);
        }
    }
    assert_eq!(reverse_complement(b"AACgtN"), b"NacGTT");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn index_scan_and_gzip_agree_with_slicing(
        first in prop::collection::vec(prop::sample::select(&b"ACGTNacgtn"[..]), 1..120),
        second in prop::collection::vec(prop::sample::select(&b"ACGTNacgtn"[..]), 1..120),
        width in 1usize..30,
        windows_line_end in any::<bool>(),
        places in prop::collection::vec((any::<bool>(), -20i64..130, 1i64..60), 0..12),
    ) {
        let line_end = if windows_line_end { "\r\n" } else { "\n" };
        let (text, index) = fasta(&[("one", &first), ("two", &second)], width, line_end);
        let windows: Vec<Window> = places
            .iter()
            .map(|&(is_first, start, length)| window(if is_first { "one" } else { "two" }, start, start + length))
            .collect();
        let expected: Vec<Vec<u8>> = places
            .iter()
            .map(|&(is_first, start, length)| {
                let sequence = if is_first { &first } else { &second };
                let base = |at: i64| usize::try_from(at).ok().and_then(|at| sequence.get(at)).copied().unwrap_or(b'N');
                (start..start + length).map(base).collect()
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.fa");
        fs::write(&path, &text).unwrap();
        prop_assert_eq!(&read_windows(&path, &windows, PastEnd::Pad).unwrap(), &expected);
        fs::write(folder.path().join("x.fa.fai"), index).unwrap();
        prop_assert_eq!(&read_windows(&path, &windows, PastEnd::Pad).unwrap(), &expected);
        fs::write(&path, gzip(&text)).unwrap();
        prop_assert_eq!(&read_windows(&path, &windows, PastEnd::Pad).unwrap(), &expected);
    }
}

#[test]
fn a_bed_record_is_a_window() {
    let record = BedRecord { chromosome: "c".into(), start: 2, end: 9, ..BedRecord::default() };
    assert_eq!(Window::from(&record), window("c", 2, 9));
}
