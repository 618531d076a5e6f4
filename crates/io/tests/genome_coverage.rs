//! Coverage against counting each base pair, bigWig round trips.

use std::fs;

use gradome_io::genome::{
    BigWig, ChromSizes, ChromosomeFragments, ChromosomeSignal, ChromosomeTags, Fragment, Fragments, Gaps, ReadFormat,
    ReadsOptions, Run, Signal, Strands, Tags, write_bigwig,
};
use proptest::prelude::*;

mod common;

/// The depth of each base pair, one interval after another.
fn count(intervals: impl Iterator<Item = (i64, i64)>, size: usize) -> Vec<f32> {
    let mut depth = vec![0.0; size];
    for (start, end) in intervals {
        for position in start.max(0)..end.min(size as i64) {
            depth[position as usize] += 1.0;
        }
    }
    depth
}

fn run(start: u32, end: u32, value: f32) -> Run {
    Run { start, end, value }
}

#[test]
fn reads_reach_from_their_five_prime_ends_over_the_fragment() {
    let tags = ChromosomeTags { name: "c".into(), size: Some(100), forward: vec![10, 95], reverse: vec![14, 3] };
    let both = tags.coverage(6, Strands::Both).unwrap();
    assert_eq!(both.runs, [run(0, 3, 1.0), run(8, 10, 1.0), run(10, 14, 2.0), run(14, 16, 1.0), run(95, 100, 1.0)]);
    assert_eq!(tags.coverage(6, Strands::Forward).unwrap().runs, [run(10, 16, 1.0), run(95, 100, 1.0)]);
    assert_eq!(tags.coverage(6, Strands::Reverse).unwrap().runs, [run(0, 3, 1.0), run(8, 14, 1.0)]);
    let ends = tags.coverage(1, Strands::Both).unwrap();
    assert_eq!(ends.bin_sums(0..100, 50).unwrap(), [3.0, 1.0]);
    assert!(tags.coverage(0, Strands::Both).unwrap_err().to_string().contains("cannot be extended to 0 bp"));
}

#[test]
fn a_run_goes_on_where_as_many_reads_begin_as_end() {
    let tags = ChromosomeTags { name: "c".into(), size: None, forward: vec![20, 10, u32::MAX - 2], reverse: vec![] };
    let expected = [run(10, 30, 1.0), run(u32::MAX - 2, u32::MAX, 1.0)];
    assert_eq!(tags.coverage(10, Strands::Both).unwrap().runs, expected);
    let empty = ChromosomeTags { name: "c".into(), ..ChromosomeTags::default() };
    assert!(empty.coverage(10, Strands::Both).unwrap().runs.is_empty());
}

#[test]
fn bins_of_the_last_base_pairs_are_means_of_what_is_there() {
    let signal = ChromosomeSignal { name: "c".into(), size: Some(10), runs: vec![run(3, 5, 8.0), run(8, 10, 3.0)] };
    assert_eq!(signal.binned(4).unwrap().runs, [run(0, 4, 2.0), run(4, 8, 2.0), run(8, 10, 3.0)].merged());
    assert!(signal.binned(0).is_err());
}

/// Neighbours of equal value as one run.
trait Merged {
    fn merged(self) -> Vec<Run>;
}

impl<const N: usize> Merged for [Run; N] {
    fn merged(self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for run in self {
            match runs.last_mut() {
                Some(last) if last.end == run.start && last.value == run.value => last.end = run.end,
                _ => runs.push(run),
            }
        }
        runs
    }
}

#[test]
fn real_fragments_cover_as_many_base_pairs_as_they_are_long() {
    let Some(folder) = common::data() else { return };
    let path = folder.join("regulatory/atac/scatac_chr22_100cells.fragments.tsv.gz");
    let fragments = Fragments::read(&path, ReadFormat::Frag, &ReadsOptions::default()).unwrap();
    let coverage = fragments.chromosomes[0].coverage();
    coverage.validate().unwrap();
    let area: f64 = coverage.runs.iter().map(|run| f64::from(run.value) * f64::from(run.end - run.start)).sum();
    assert_eq!(area, 11_409_900.0, "the sum of lengths that awk finds");
}

#[test]
fn real_reads_extended_to_one_fragment_size_are_the_pileup_of_macs3() {
    let Some(folder) = common::data() else { return };
    let folder = folder.join("regulatory/peaks");
    let tags = Tags::read(&folder.join("CTCF_SE_ChIP_chr22_50k.bed.gz"), ReadFormat::Bed, &ReadsOptions::default());
    let mut tags = tags.unwrap();
    tags.sort();
    // MACS3 keeps one read a position and strand and found fragments of 228 bp; its track ends with the last read's.
    tags.chromosomes[0].forward.dedup();
    tags.chromosomes[0].reverse.dedup();
    let coverage = tags.chromosomes[0].coverage(228, Strands::Both).unwrap();
    let macs3 = gradome_io::genome::read_bedgraph(&folder.join("macs3_narrow0_treat_pileup.bdg.gz"), None).unwrap();
    let macs3: Vec<Run> = macs3.chromosomes[0].runs.iter().copied().filter(|run| run.value > 0.0).collect();
    let shared = macs3.len() - 1;
    assert_eq!(coverage.runs[..shared], macs3[..shared]);
    assert_eq!(coverage.runs[shared].start, macs3[shared].start);
}

#[test]
fn a_signal_survives_a_bigwig_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bw");
    let sizes = ChromSizes::new([("chr2", 3_000_000), ("chr10", 500), ("empty", 77)]).unwrap();
    // Runs on both sides of the stretches that are read in one go.
    let long: Vec<Run> = (0..20_000u32).map(|i| run(i * 150, i * 150 + 70 + i % 80, (i % 13) as f32 - 2.5)).collect();
    let chromosomes = vec![
        ChromosomeSignal { name: "chr2".into(), size: Some(3_000_000), runs: long },
        ChromosomeSignal { name: "chr10".into(), size: Some(500), runs: vec![run(0, 1, 1e-30), run(499, 500, 3e30)] },
    ];
    let signal = Signal { chromosomes };
    write_bigwig(&path, &sizes, &signal).unwrap();
    let bigwig = BigWig::open(&path).unwrap();
    assert_eq!(bigwig.sizes().get("chr10"), Some(500));
    assert_eq!(bigwig.read_all().unwrap(), signal);
    let part = bigwig.read("chr2", 100..400).unwrap();
    assert_eq!(part.runs, [run(150, 221, -1.5), run(300, 372, -0.5)]);
    assert_eq!(part.bin_means(100..400, 100, Gaps::Zero).unwrap(), [-0.75, -0.315, -0.36]);
    let past = bigwig.read("chr10", 400..501).unwrap_err().to_string();
    assert!(past.contains("end 501 is past the end of chr10"), "{past}");
    assert!(bigwig.read("10", 0..1).unwrap_err().to_string().contains("chromosome `10` is not among"));
}

#[test]
fn the_three_kinds_of_section_that_libbigwig_writes_are_read() {
    // pyBigWig 0.3.29 wrote it: fixed steps, variable steps, and fixed steps without gaps on a second chromosome.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/libbigwig.bw");
    let signal = BigWig::open(path.as_ref()).unwrap().read_all().unwrap();
    let first = [
        run(100, 120, 1.0),
        run(130, 150, 2.0),
        run(160, 180, 3.5),
        run(500, 520, -2.0),
        run(600, 620, 1.0),
        run(635, 655, 0.25),
    ];
    assert_eq!(signal.chromosome("c1").unwrap().runs, first);
    assert_eq!(signal.chromosome("c2").unwrap().runs, [run(0, 15, 7.0)]);
    assert_eq!(signal.chromosome("c2").unwrap().size, Some(5000));
}

#[test]
fn a_signal_without_a_run_is_a_bigwig_without_a_chromosome() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bw");
    write_bigwig(&path, &ChromSizes::new([("c", 100)]).unwrap(), &Signal::default()).unwrap();
    let bigwig = BigWig::open(&path).unwrap();
    assert!(bigwig.sizes().is_empty());
    assert!(bigwig.read_all().unwrap().chromosomes.is_empty());
}

#[test]
fn a_signal_that_cannot_be_leaves_the_old_bigwig_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bw");
    fs::write(&path, "old").unwrap();
    let sizes = ChromSizes::new([("c", 100)]).unwrap();
    let write = |name: &str, runs: Vec<Run>| {
        let chromosome = ChromosomeSignal { name: name.into(), size: None, runs };
        write_bigwig(&path, &sizes, &Signal { chromosomes: vec![chromosome] }).unwrap_err().to_string()
    };
    assert!(write("c", vec![run(5, 9, 1.0), run(8, 10, 1.0)]).contains("c:8-10 overlaps the record before it"));
    assert!(write("c", vec![run(5, 9, f32::NAN)]).contains("c:5-9 has the value NaN"));
    assert!(write("c", vec![run(99, 101, 1.0)]).contains("end 101 is past the end of c"));
    assert!(write("d", vec![run(5, 9, 1.0)]).contains("chromosome `d` is not among"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("no/x.bw");
    assert!(write_bigwig(&nowhere, &sizes, &Signal::default()).unwrap_err().to_string().contains("no/x.bw"));
}

#[test]
fn damaged_bigwig_files_are_errors_or_wrong_values_but_never_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bw");
    let sizes = ChromSizes::new([("c", 10_000)]).unwrap();
    let runs = (0..400).map(|i| run(i * 25, i * 25 + 20, i as f32)).collect();
    let signal = Signal { chromosomes: vec![ChromosomeSignal { name: "c".into(), size: None, runs }] };
    write_bigwig(&path, &sizes, &signal).unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in [0, 3, 63, 64, whole.len() / 4] {
        fs::write(&path, &whole[..cut]).unwrap();
        let opened = BigWig::open(&path).and_then(|bigwig| bigwig.read_all());
        assert!(opened.is_err(), "cut at {cut} of {}", whole.len());
    }
    fs::write(&path, "chr1\t0\t10\t1\n").unwrap();
    let error = BigWig::open(&path).unwrap_err().to_string();
    assert!(error.contains("x.bw: cannot be read as bigWig"), "{error}");
    let mut state = 7u64;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (state >> 33) as usize % bytes.len();
            bytes[place] = (state >> 24) as u8;
        }
        fs::write(&path, &bytes).unwrap();
        // A damaged length of the chromosome is believed: only what is asked for is looked at.
        if let Ok(bigwig) = BigWig::open(&path) {
            let _ = bigwig.read("c", 0..10_000);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn coverage_is_what_counting_each_base_pair_gives(
        forward in prop::collection::vec(0u32..130, 0..30),
        reverse in prop::collection::vec(1u32..130, 0..30),
        extension in 1u32..40,
        bin in 1u32..30,
    ) {
        let size = 100usize;
        let tags = ChromosomeTags { name: "c".into(), size: Some(size as u32), forward, reverse };
        let wide = i64::from(extension);
        let ahead = tags.forward.iter().map(|&end| (i64::from(end), i64::from(end) + wide));
        let back = tags.reverse.iter().map(|&end| (i64::from(end) - wide, i64::from(end)));
        let expected = count(ahead.chain(back), size);
        let coverage = tags.coverage(extension, Strands::Both).unwrap();
        coverage.validate().unwrap();
        let range = 0..size as u32;
        prop_assert_eq!(coverage.dense(range.clone(), Gaps::Zero), expected.clone());
        let whole = size as u32 / bin * bin;
        let sums: Vec<f32> = expected[..whole as usize].chunks(bin as usize).map(|bases| bases.iter().sum()).collect();
        prop_assert_eq!(coverage.bin_sums(0..whole, bin).unwrap(), sums);
        let binned = coverage.binned(bin).unwrap();
        binned.validate().unwrap();
        let means: Vec<f32> = expected
            .chunks(bin as usize)
            .flat_map(|bases| vec![(bases.iter().map(|&depth| f64::from(depth)).sum::<f64>() / bases.len() as f64) as f32; bases.len()])
            .collect();
        prop_assert_eq!(binned.dense(range, Gaps::Zero), means);
    }

    #[test]
    fn fragments_cover_what_counting_gives(
        fragments in prop::collection::vec((0u32..100, 1u32..50), 0..30),
    ) {
        let fragments: Vec<Fragment> = fragments
            .into_iter()
            .map(|(start, length)| Fragment { start, end: start + length, barcode: 0, count: 3 })
            .collect();
        let expected = count(fragments.iter().map(|f| (i64::from(f.start), i64::from(f.end))), 100);
        let chromosome = ChromosomeFragments { name: "c".into(), size: Some(100), fragments };
        prop_assert_eq!(chromosome.coverage().dense(0..100, Gaps::Zero), expected);
    }

    #[test]
    fn bigwig_keeps_any_runs(
        runs in prop::collection::vec((0u32..40, 1u32..40, -1e6f32..1e6), 1..200),
    ) {
        let mut free = 0;
        let place = |(gap, length, value)| {
            let start = free + gap;
            free = start + length;
            Run { start, end: free, value }
        };
        let runs: Vec<Run> = runs.into_iter().map(place).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bw");
        let sizes = ChromSizes::new([("c", free)]).unwrap();
        let chromosome = ChromosomeSignal { name: "c".into(), size: Some(free), runs };
        write_bigwig(&path, &sizes, &Signal { chromosomes: vec![chromosome.clone()] }).unwrap();
        let read = BigWig::open(&path).unwrap().read("c", 0..free).unwrap();
        prop_assert_eq!(read.dense(0..free, Gaps::Zero), chromosome.dense(0..free, Gaps::Zero));
    }
}
