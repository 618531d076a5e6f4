//! BED, peaks and bedGraph: what is written is read again, MACS3's own files stay byte for byte, malformed lines are named.

use std::fs;

use gradome_io::genome::{
    BedRecord, ChromSizes, ChromosomeSignal, GappedPeak, Gaps, Peak, PeakFormat, Run, Signal, Strand, bed_from,
    bedgraph_from, gapped_peaks_from, general, peaks_from, read_bed, read_bedgraph, read_gapped_peaks, read_peaks,
    write_bed, write_bedgraph, write_gapped_peaks, write_peaks,
};
use proptest::prelude::*;

mod common;

fn text_of(path: &std::path::Path) -> String {
    let mut text = String::new();
    let bytes = fs::read(path).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).unwrap();
    text
}

#[test]
fn peaks_of_macs3_are_written_byte_for_byte_as_they_were_read() {
    let Some(data) = common::data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("peaks/macs3_narrow0_peaks.narrowPeak.gz", PeakFormat::Narrow, 730),
        ("peaks/macs3_narrow1_peaks.narrowPeak.gz", PeakFormat::Narrow, 735),
        ("peaks/macs3_narrow2_peaks.narrowPeak.gz", PeakFormat::Narrow, 762),
        ("peaks/macs3_narrow3_peaks.narrowPeak.gz", PeakFormat::Narrow, 760),
        ("atac/macs3_frag_peaks.narrowPeak.gz", PeakFormat::Narrow, 1455),
        ("peaks/macs3_broad_peaks.broadPeak.gz", PeakFormat::Broad, 746),
    ];
    for (file, format, count) in cases {
        let source = data.join("regulatory").join(file);
        let peaks = read_peaks(&source, format, None).unwrap();
        assert_eq!(peaks.len(), count, "{file}");
        let copy = folder.path().join("copy.gz");
        write_peaks(&copy, format, None, &peaks).unwrap();
        assert!(text_of(&copy) == text_of(&source), "{file}");
    }
}

#[test]
fn the_pileup_of_macs3_is_written_byte_for_byte_and_has_the_area_that_awk_finds() {
    let Some(data) = common::data() else { return };
    let source = data.join("regulatory/peaks/macs3_narrow0_treat_pileup.bdg.gz");
    let signal = read_bedgraph(&source, None).unwrap();
    let chr22 = signal.chromosome("chr22").unwrap();
    assert_eq!(chr22.runs.len(), 91_982);
    let area: f64 = chr22.runs.iter().map(|run| f64::from(run.value) * f64::from(run.end - run.start)).sum();
    assert_eq!(area, 10_954_716.0);
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("copy.bdg.gz");
    write_bedgraph(&copy, None, Some(5), &signal).unwrap();
    assert!(text_of(&copy) == text_of(&source));
    // Every bin's mean is that of its base pairs.
    let (range, bin) = (17_255_400..17_256_000, 25);
    let dense = chr22.dense(range.clone(), Gaps::Zero);
    let expected: Vec<f32> = dense.chunks(25).map(|bases| bases.iter().sum::<f32>() / 25.0).collect();
    assert!(expected.iter().any(|&mean| mean > 10.0));
    assert_eq!(chr22.bin_means(range, bin, Gaps::Zero).unwrap(), expected);
}

#[test]
fn general_is_the_printf_of_c() {
    // From C's printf("%.6g").
    let cases = [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (100_000.0, "100000"),
        (999_999.5, "1e+06"),
        (999_999.4, "999999"),
        (1_234_567.0, "1.23457e+06"),
        (0.0001, "0.0001"),
        (0.00001234567, "1.23457e-05"),
        (-13.21576, "-13.2158"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (2.5e-310, "2.5e-310"),
        (f64::NAN, "nan"),
        (f64::NEG_INFINITY, "-inf"),
    ];
    for (value, expected) in cases {
        assert_eq!(general(value, 6), expected);
    }
    assert_eq!((general(12345.0, 3), general(0.15, 1)), ("1.23e+04".into(), "0.1".into()));
}

#[test]
fn bed_keeps_what_the_file_says() {
    let text =
        "track name=x\nchr1\t5\t9\nchr1\t5\t9\tE1\nchr2 0 4 . 7.5 - 1 3 255,0,10\nchr2\t1\t1\tq\t.\t.\t1\t1\t0\n";
    let records = bed_from("x.bed", text.as_bytes(), None).unwrap();
    let bare = BedRecord { chromosome: "chr1".into(), start: 5, end: 9, ..BedRecord::default() };
    assert_eq!(records[0], bare);
    assert_eq!(records[1], BedRecord { name: Some("E1".into()), ..bare });
    let full = &records[2];
    assert_eq!((full.name.as_deref(), full.score, full.strand), (None, Some(7.5), Some(Strand::Reverse)));
    assert_eq!((full.thick, full.color), (Some((1, 3)), Some([255, 0, 10])));
    assert_eq!((records[3].score, records[3].strand, records[3].color), (None, None, None));
}

#[test]
fn dense_bed_has_the_columns_that_browsers_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bed");
    let record = BedRecord {
        name: Some("1".into()),
        score: Some(0.0),
        color: Some([1, 2, 3]),
        ..BedRecord { chromosome: "chr1".into(), start: 200, end: 400, ..BedRecord::default() }
    };
    write_bed(&path, Some("track name=\"s\""), 9, [&record]).unwrap();
    let expected = "track name=\"s\"\nchr1\t200\t400\t1\t0\t.\t200\t400\t1,2,3\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    write_bed(&path, None, 4, [&record]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "chr1\t200\t400\t1\n");
    fs::write(&path, "").unwrap();
    assert!(read_bed(&path, None).unwrap().is_empty(), "a file without a record holds none");
}

#[test]
fn malformed_intervals_are_named_by_line_and_column() {
    let bed = [
        ("chr1\t9\t5", "x line 1: end 5 is before start 9"),
        ("chr1\t5\t9\tn\thigh", "x line 1: score `high` (column 5) is not a finite number"),
        ("chr1\t5\t9\tn\tinf", "x line 1: score `inf` (column 5) is not a finite number"),
        ("chr1\t5\t9\tn\t0\t*", "x line 1: strand `*` is none of"),
        ("chr1\t5\t9\tn\t0\t+\t5\tx", "x line 1: thick end `x` (column 8) is not a whole number"),
        ("chr1\t5\t9\tn\t0\t+\t5\t9\t256,0,0", "x line 1: color `256,0,0` (column 9)"),
        ("chr1\t5\t9\tn\t0\t+\t5\t9\tred", "x line 1: color `red` (column 9)"),
    ];
    let narrow = [
        ("chr1\t5\t9\tn\t0\t.\t1\t2\t3", "x line 1: has 9 columns: summit (column 10) is missing"),
        ("chr1\t5\t9\tn\t0\t.\t1\t2\t3\t4", "x line 1: summit 4 (column 10) is past the end of a peak of 4 bp"),
        ("chr1\t5\t9\tn\t0\t.\t1\t-2\t3\t1", "x line 1: p-score -2 (column 8) is negative"),
        ("chr1\t5\t9\tn\t0\t.\tnan\t2\t3\t1", "x line 1: signal `nan` (column 7) is not a finite number"),
        ("chr1\t5\t9\tn\t0.5\t.\t1\t2\t3\t1", "x line 1: score `0.5` (column 5) is not a whole number"),
        ("chr1\t5\t5\tn\t0\t.\t1\t2\t3\t1", "x line 1: start and end are both 5"),
    ];
    let gapped = [
        ("2\t5,5", "x line 1: 2 blocks have 2 lengths and 1 starts", "0"),
        ("3\t5,5,", "x line 1: 3 blocks have 2 lengths and 2 starts", "0,10"),
        ("2\t5,5", "x line 1: block at 4 of 5 bp overlaps", "0,4"),
        ("2\t5,5", "x line 1: block at 16 of 5 bp overlaps another or passes", "0,16"),
        ("2\t5,4294967295", "x line 1: block at 16 of 4294967295 bp overlaps another or passes", "0,16"),
        ("1\tfive", "x line 1: lengths of blocks `five` are not whole numbers", "0"),
        ("1\t5", "x line 1: starts of blocks `` are not whole numbers", ""),
    ];
    let graph = [
        ("chr1\t0\t5\t1\nchr1\t4\t9\t1", "x line 2: chr1:4-9 overlaps the record before it or is out of order"),
        ("chr1\t10\t15\t1\nchr1\t4\t9\t1", "x line 2: chr1:4-9 overlaps the record before it or is out of order"),
        ("chr1\t0\t5\t1\nchr2\t0\t5\t1\nchr1\t6\t9\t1", "x line 3: chr1 comes back after another chromosome"),
        ("chr1\t5\t5\t1", "x line 1: chr1:5-5 has no base pair"),
        ("chr1\t0\t5\tNaN", "x line 1: value `NaN` (column 4) is not a finite number"),
        ("chr1\t0\t5\t1e39", "x line 1: chr1:0-5 has the value inf"),
        ("chr1\t0\t5", "x line 1: has 3 columns: value (column 4) is missing"),
    ];
    let check = |line: &str, expected: &str, result: Option<gradome_io::Error>| {
        let error = result.unwrap_or_else(|| panic!("{line} was taken")).to_string();
        assert!(error.starts_with(expected), "{line}: {error}");
    };
    for (line, expected) in bed {
        check(line, expected, bed_from("x", line.as_bytes(), None).err());
    }
    for (line, expected) in narrow {
        check(line, expected, peaks_from("x", line.as_bytes(), PeakFormat::Narrow, None).err());
    }
    for (blocks, expected, starts) in gapped {
        let line = format!("chr1\t5\t25\tn\t0\t.\t5\t25\t0\t{blocks}\t{starts}\t1\t2\t3");
        check(&line, expected, gapped_peaks_from("x", line.as_bytes(), None).err());
    }
    for (line, expected) in graph {
        check(line, expected, bedgraph_from("x", line.as_bytes(), None).err());
    }
    let sizes = ChromSizes::new([("chr1", 100)]).unwrap();
    let past = bedgraph_from("x", "chr1\t90\t101\t1\n".as_bytes(), Some(&sizes)).unwrap_err().to_string();
    assert!(past.contains("line 1: end 101 is past the end of chr1"), "{past}");
}

#[test]
fn signal_out_of_order_is_not_written_and_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bdg");
    fs::write(&path, "old").unwrap();
    let run = |start, end| Run { start, end, value: 1.0 };
    let chromosome = ChromosomeSignal { name: "c".into(), size: Some(10), runs: vec![run(5, 9), run(2, 4)] };
    let error = write_bedgraph(&path, None, None, &Signal { chromosomes: vec![chromosome] }).unwrap_err().to_string();
    assert!(error.contains("c:2-4 overlaps the record before it or is out of order"), "{error}");
    let past = ChromosomeSignal { name: "c".into(), size: Some(10), runs: vec![run(5, 11)] };
    assert!(past.validate().unwrap_err().to_string().contains("signal up to 11 is past the end, 10 bp"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
}

#[test]
fn gaps_are_zero_or_left_out_of_the_mean_as_asked() {
    let runs = vec![Run { start: 2, end: 4, value: 3.0 }, Run { start: 4, end: 9, value: 1.0 }];
    let signal = ChromosomeSignal { name: "c".into(), size: None, runs };
    assert_eq!(signal.dense(1..5, Gaps::Zero), [0.0, 3.0, 3.0, 1.0]);
    assert!(signal.dense(0..2, Gaps::Missing).iter().all(|value| value.is_nan()));
    assert_eq!(signal.bin_means(0..8, 4, Gaps::Zero).unwrap(), [1.5, 1.0]);
    let means = signal.bin_means(0..16, 4, Gaps::Missing).unwrap();
    assert_eq!(means[..3], [3.0, 1.0, 1.0]);
    assert!(means[3].is_nan());
    let top = u32::MAX - 3..u32::MAX;
    assert_eq!(signal.bin_means(top, 3, Gaps::Zero).unwrap(), [0.0]);
    for bin in [0, 3] {
        let error = signal.bin_means(0..8, bin, Gaps::Zero).unwrap_err().to_string();
        assert_eq!(error, format!("bins of {bin} bp do not fit the range 0-8"));
    }
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_.:-]{1,12}".prop_filter("a dot is no name", |name| name != ".")
}

fn strand() -> impl Strategy<Value = Option<Strand>> {
    prop_oneof![Just(None), Just(Some(Strand::Forward)), Just(Some(Strand::Reverse))]
}

fn bed_record() -> impl Strategy<Value = BedRecord> {
    let score = prop::option::of(-1e6f64..1e6);
    let color = prop::option::of(any::<[u8; 3]>());
    (name(), any::<u32>(), any::<u32>(), prop::option::of(name()), score, strand(), color).prop_map(
        |(chromosome, a, b, name, score, strand, color)| {
            let (start, end) = (a.min(b), a.max(b));
            BedRecord { chromosome, start, end, name, score, strand, thick: Some((start, end)), color }
        },
    )
}

fn peak() -> impl Strategy<Value = Peak> {
    // Six significant digits are what a file keeps.
    let score = || (0u32..1_000_000).prop_map(|score| f64::from(score) / 1000.0);
    let scores = (score(), prop::option::of(score()), prop::option::of(score()));
    (name(), name(), 0u32..1 << 31, 1u32..10_000, any::<u32>(), strand(), scores, any::<Option<u32>>()).prop_map(
        |(chromosome, name, start, length, score, strand, (signal, p_score, q_score), summit)| Peak {
            chromosome,
            start,
            end: start + length,
            name,
            score,
            strand,
            signal,
            p_score,
            q_score,
            summit: summit.map(|summit| summit % length),
        },
    )
}

fn gapped_peak() -> impl Strategy<Value = GappedPeak> {
    (peak(), prop::collection::vec((0u32..50, 1u32..50), 1..5), any::<Option<[u8; 3]>>()).prop_map(
        |(peak, gaps, color)| {
            let mut end = 0;
            let mut blocks = Vec::new();
            for (gap, length) in gaps {
                blocks.push((end + gap, length));
                end += gap + length;
            }
            let peak = Peak { end: peak.start + end, summit: None, ..peak };
            GappedPeak { thick: (peak.start, peak.end), peak, color, blocks }
        },
    )
}

fn signal() -> impl Strategy<Value = Signal> {
    let value = any::<f32>().prop_filter("finite", |value| value.is_finite());
    let runs = prop::collection::vec((0u32..1000, 1u32..1000, value), 0..20).prop_map(|runs| {
        let mut free = 0;
        let place = |(gap, length, value)| {
            let start = free + gap;
            free = start + length;
            Run { start, end: free, value }
        };
        runs.into_iter().map(place).collect::<Vec<_>>()
    });
    prop::collection::vec(runs, 0..4).prop_map(|all| {
        let chromosome = |(place, runs)| ChromosomeSignal { name: format!("chr{place}"), size: None, runs };
        let with_runs = all.into_iter().enumerate().map(chromosome).filter(|chromosome| !chromosome.runs.is_empty());
        Signal { chromosomes: with_runs.collect() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_again(
        bed in prop::collection::vec(bed_record(), 0..8),
        peaks in prop::collection::vec(peak(), 0..8),
        gapped in prop::collection::vec(gapped_peak(), 0..8),
        signal in signal(),
        gzip in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if gzip { "x.gz" } else { "x" });
        write_bed(&path, Some("# nine"), 9, &bed).unwrap();
        prop_assert_eq!(read_bed(&path, None).unwrap(), bed);
        write_peaks(&path, PeakFormat::Narrow, Some("track type=narrowPeak"), &peaks).unwrap();
        prop_assert_eq!(&read_peaks(&path, PeakFormat::Narrow, None).unwrap(), &peaks);
        write_peaks(&path, PeakFormat::Broad, None, &peaks).unwrap();
        let broad: Vec<Peak> = peaks.into_iter().map(|peak| Peak { summit: None, ..peak }).collect();
        prop_assert_eq!(read_peaks(&path, PeakFormat::Broad, None).unwrap(), broad);
        write_gapped_peaks(&path, None, &gapped).unwrap();
        prop_assert_eq!(read_gapped_peaks(&path, None).unwrap(), gapped);
        write_bedgraph(&path, None, None, &signal).unwrap();
        prop_assert_eq!(read_bedgraph(&path, None).unwrap(), signal);
    }
}
