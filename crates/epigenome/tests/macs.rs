//! Peaks, scores and tracks beside those of MACS3 3.0.4 on real reads.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::Crc;
use flate2::read::MultiGzDecoder;
use gradome_epigenome::macs::{
    Calls, Cutoff, Duplicates, MacsConfig, MacsResult, Reads, RunDescription, ScaleTo, call_peaks,
};
use gradome_io::genome::{ChromosomeFragments, ChromosomeTags, Fragment, Fragments, ReadFormat, ReadsOptions, Tags};

/// The genome size of the reference runs on chromosome 22.
const CHROMOSOME_22: f64 = 52e6;

fn folder() -> Option<PathBuf> {
    gradome_goldens::data("regulatory")
}

fn unzipped(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    MultiGzDecoder::new(file).read_to_string(&mut text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text
}

fn tags(folder: &Path, sample: &str) -> Reads {
    let path = folder.join(format!("peaks/CTCF_SE_{sample}_chr22_50k.bed.gz"));
    Reads::Single(Tags::read(&path, ReadFormat::Bed, &ReadsOptions::default()).unwrap())
}

fn cells(folder: &Path) -> Reads {
    let path = folder.join("atac/scatac_chr22_100cells.fragments.tsv.gz");
    Reads::Cells(Fragments::read(&path, ReadFormat::Frag, &ReadsOptions::default()).unwrap())
}

fn chip(folder: &Path, config: &MacsConfig) -> MacsResult {
    call_peaks(tags(folder, "ChIP"), Some(tags(folder, "CTRL")), config).unwrap()
}

fn on_chromosome_22() -> MacsConfig {
    MacsConfig { genome_size: CHROMOSOME_22, ..MacsConfig::default() }
}

/// What a writer writes.
fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Panics at the first line that differs.
fn assert_same_lines(found: &str, expected: &str) {
    for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "number of lines");
}

/// What is written to a file.
fn filed(write: impl FnOnce(&Path) -> gradome_io::Result<()>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peaks");
    write(&path).unwrap();
    std::fs::read_to_string(path).unwrap()
}

fn narrow_peak(result: &MacsResult, name: &str, config: &MacsConfig) -> String {
    filed(|to| result.write_peaks(to, name, config, false))
}

fn narrow_matches(run: &str, peaks: usize, config: &MacsConfig) {
    let Some(folder) = folder() else { return };
    let result = chip(&folder, config);
    let expected = unzipped(&folder.join(format!("peaks/macs3_{run}_peaks.narrowPeak.gz")));
    assert_eq!(expected.lines().count(), peaks);
    assert_same_lines(&narrow_peak(&result, &format!("run_callpeak_{run}"), config), &expected);
}

#[test]
fn narrow_peaks_with_a_modelled_fragment_size_are_those_of_macs3() {
    narrow_matches("narrow0", 730, &on_chromosome_22());
}

#[test]
fn several_summits_in_a_peak_are_those_of_macs3() {
    narrow_matches("narrow1", 735, &MacsConfig { min_fragment: 15, call_summits: true, ..on_chromosome_22() });
}

#[test]
fn narrow_peaks_with_a_given_fragment_size_are_those_of_macs3() {
    narrow_matches("narrow2", 762, &MacsConfig { model: false, fragment_size: 100, ..on_chromosome_22() });
}

#[test]
fn narrow_peaks_of_shifted_reads_are_those_of_macs3() {
    narrow_matches("narrow3", 760, &MacsConfig { model: false, fragment_size: 100, shift: -50, ..on_chromosome_22() });
}

#[test]
fn broad_regions_are_those_of_macs3() {
    let Some(folder) = folder() else { return };
    let config = MacsConfig { broad_cutoff: Some(0.1), ..on_chromosome_22() };
    let result = chip(&folder, &config);
    let expected = unzipped(&folder.join("peaks/macs3_broad_peaks.broadPeak.gz"));
    assert_eq!(expected.lines().count(), 746);
    let found = filed(|to| result.write_peaks(to, "run_callpeak_broad", &config, false));
    assert_same_lines(&found, &expected);
}

#[test]
fn peaks_of_the_fragments_of_cells_are_those_of_macs3() {
    let Some(folder) = folder() else { return };
    let config = MacsConfig::default();
    let result = call_peaks(cells(&folder), None, &config).unwrap();
    let expected = unzipped(&folder.join("atac/macs3_frag_peaks.narrowPeak.gz"));
    assert_eq!(expected.lines().count(), 1_455);
    assert_same_lines(&narrow_peak(&result, "run_callpeak_frag", &config), &expected);
}

#[test]
fn the_treatment_pileup_is_that_of_macs3() {
    let Some(folder) = folder() else { return };
    let result = chip(&folder, &on_chromosome_22());
    let (mut treatment, mut lambda) = (Vec::new(), Vec::new());
    result.write_bedgraphs(&mut treatment, &mut lambda, "narrow0", false, false).unwrap();
    let expected = unzipped(&folder.join("peaks/macs3_narrow0_treat_pileup.bdg.gz"));
    assert_eq!(expected.lines().count(), 91_982);
    assert_same_lines(std::str::from_utf8(&treatment).unwrap(), &expected);
}

/// The number of lines and the CRC-32 of a whole file that MACS3 3.0.4 wrote for the same reads and settings.
type Reference = (usize, u32);

#[track_caller]
fn assert_is(what: &str, found: &str, (lines, sum): Reference) {
    let mut crc = Crc::new();
    crc.update(found.as_bytes());
    assert_eq!((found.lines().count(), crc.sum()), (lines, sum), "{what}");
}

#[test]
fn every_setting_gives_the_narrow_peaks_of_macs3() {
    let Some(folder) = folder() else { return };
    let base = on_chromosome_22();
    let given = MacsConfig { model: false, fragment_size: 100, shift: -50, ..base.clone() };
    // name of the run, settings, whether with a control
    let runs: [(&str, MacsConfig, bool, Reference); 9] = [
        ("narrow4", MacsConfig { local_lambda: false, ..given }, true, (1_461, 0xdfb8_ebc2)),
        ("narrow5", MacsConfig { scale_to: ScaleTo::Large, ..base.clone() }, true, (722, 0xde49_7dfc)),
        ("pval", MacsConfig { cutoff: Cutoff::P(1e-4), ..base.clone() }, true, (693, 0x56a1_3ec3)),
        ("nocontrol", base.clone(), false, (851, 0x5f90_06f9)),
        (
            "dupauto",
            MacsConfig {
                duplicates: Duplicates::Auto,
                cutoff: Cutoff::Q(0.01),
                tag_size: Some(50),
                fold_range: (4, 40),
                band_width: 250,
                ..base.clone()
            },
            true,
            (646, 0x2572_cf9e),
        ),
        (
            "dupall",
            MacsConfig { duplicates: Duplicates::All, call_summits: true, min_fold: 5.0, ..base.clone() },
            true,
            (638, 0xbc24_3a9c),
        ),
        ("slocal0", MacsConfig { small_local: 0, large_local: 0, ..base.clone() }, true, (792, 0xf737_07d2)),
        ("llocal0", MacsConfig { large_local: 0, band_width: 100, ..base.clone() }, true, (851, 0xee4c_302b)),
        (
            "spmr",
            MacsConfig {
                duplicates: Duplicates::AtMost(2),
                small_local: 500,
                large_local: 5_000,
                max_gap: Some(50),
                min_length: Some(300),
                ..base.clone()
            },
            true,
            (607, 0x394c_43c5),
        ),
    ];
    for (name, config, controlled, expected) in runs {
        let control = controlled.then(|| tags(&folder, "CTRL"));
        let result = call_peaks(tags(&folder, "ChIP"), control, &config).unwrap();
        // the reference ran with --trackline here
        let found = filed(|to| result.write_peaks(to, name, &config, name == "spmr"));
        let lines = expected.0 - usize::from(name == "spmr");
        assert_eq!(result.calls.len(), lines, "{name}");
        assert_is(name, &found, expected);
    }
}

#[test]
fn pooled_files_give_the_peaks_of_macs3() {
    let Some(folder) = folder() else { return };
    let (Reads::Single(mut pooled), Reads::Single(more)) = (tags(&folder, "ChIP"), tags(&folder, "CTRL")) else {
        unreachable!("single reads were read")
    };
    pooled.append(more).unwrap();
    let config = on_chromosome_22();
    let result = call_peaks(Reads::Single(pooled), Some(tags(&folder, "CTRL")), &config).unwrap();
    assert_is("pooled", &narrow_peak(&result, "pooled", &config), (485, 0x7215_91ef));
}

#[test]
fn broad_regions_by_p_value_and_of_cells_are_those_of_macs3() {
    let Some(folder) = folder() else { return };
    let config = MacsConfig { cutoff: Cutoff::P(1e-4), broad_cutoff: Some(1e-2), ..on_chromosome_22() };
    let result = chip(&folder, &config);
    let (broad, gapped) = broad_files(&result, "pbroad", &config);
    assert_is("pbroad, broad", &broad, (1_009, 0x01c8_6531));
    assert_is("pbroad, gapped", &gapped, (1_009, 0x1294_591a));

    let config = MacsConfig { broad_cutoff: Some(0.1), ..on_chromosome_22() };
    let result = call_peaks(cells(&folder), None, &config).unwrap();
    let (broad, gapped) = broad_files(&result, "fragbroad", &config);
    assert_is("cells, broad", &broad, (1_292, 0x70a2_8489));
    assert_is("cells, gapped", &gapped, (1_292, 0x2a8e_bb44));

    let result = chip(&folder, &config);
    assert_is("gapped", &broad_files(&result, "broad", &config).1, (746, 0x9c9d_6218));
    assert_is("table", &table(&result, "broad", &config), (747, 0x2bee_4f18));
}

fn broad_files(result: &MacsResult, name: &str, config: &MacsConfig) -> (String, String) {
    let broad = filed(|to| result.write_peaks(to, name, config, false));
    (broad, filed(|to| result.write_gapped_peaks(to, name, config, false)))
}

/// The table of the `.xls` file without its head.
fn table(result: &MacsResult, name: &str, config: &MacsConfig) -> String {
    let run = RunDescription { name: name.into(), ..RunDescription::default() };
    let whole = written(|to| result.write_xls(to, &run, config));
    let start = whole.find("chr\tstart").expect("the table has a head");
    whole[start..].to_owned()
}

#[test]
fn fragments_of_cells_counted_once_give_the_peaks_of_macs3() {
    let Some(folder) = folder() else { return };
    let config = MacsConfig { max_count: Some(1), call_summits: true, ..on_chromosome_22() };
    let result = call_peaks(cells(&folder), None, &config).unwrap();
    assert_is("fragmax", &narrow_peak(&result, "fragmax", &config), (636, 0x0971_d6af));
}

#[test]
fn summits_tables_and_local_lambda_are_those_of_macs3() {
    let Some(folder) = folder() else { return };
    let config = on_chromosome_22();
    let result = chip(&folder, &config);
    assert_is("summits", &written(|to| result.write_summits(to, "narrow0", &config, false)), (730, 0x1584_d054));
    assert_is("table", &table(&result, "narrow0", &config), (731, 0xe837_38d1));
    let (mut treatment, mut lambda) = (Vec::new(), Vec::new());
    result.write_bedgraphs(&mut treatment, &mut lambda, "narrow0", false, false).unwrap();
    assert_is("lambda", std::str::from_utf8(&lambda).unwrap(), (188_078, 0x2311_81ac));

    let model = result.model.as_ref().expect("a model was made");
    assert_eq!((model.fragment_size, result.fragment_size), (228, 228.0));
    let config = MacsConfig { min_fragment: 15, call_summits: true, ..config };
    let result = chip(&folder, &config);
    assert_is("summits", &written(|to| result.write_summits(to, "narrow1", &config, false)), (735, 0x9675_a096));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let Some(folder) = folder() else { return };
    let config = MacsConfig { call_summits: true, ..on_chromosome_22() };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| narrow_peak(&call_peaks(several(&folder, 7), None, &config).unwrap(), "t", &config))
    };
    assert_eq!(with(1), with(4));
}

/// The reads of the ChIP sample, dealt out to so many chromosomes.
fn several(folder: &Path, count: usize) -> Reads {
    let Reads::Single(tags) = tags(folder, "ChIP") else { unreachable!("single reads were read") };
    let chromosome = |i: usize| ChromosomeTags {
        name: format!("chr{i}"),
        size: None,
        forward: tags.chromosomes[0].forward.iter().copied().skip(i).step_by(count).collect(),
        reverse: tags.chromosomes[0].reverse.iter().copied().skip(i).step_by(count).collect(),
    };
    Reads::Single(Tags { chromosomes: (0..count).map(chromosome).collect(), ..tags })
}

#[test]
fn a_hundred_thousand_contigs_take_seconds() {
    // a hundred reads in a heap on every thousandth contig, two reads on each strand of the others
    let contig = |i: u32| {
        let spread = |strand: u32| (0..2).map(|k| 50 + 700 * k + (i * 37 + strand * 211) % 600).collect::<Vec<_>>();
        let (mut forward, mut reverse) = (spread(0), spread(1));
        if i.is_multiple_of(1_000) {
            forward.extend((0..50).map(|k| 800 + k));
            reverse.extend((0..50).map(|k| 1_000 + k));
        }
        ChromosomeTags { name: format!("contig{i}"), size: Some(2_000), forward, reverse }
    };
    let tags = Tags { chromosomes: (0..100_000).map(contig).collect(), read_length: Some(36), skipped: 0 };
    let config = MacsConfig { genome_size: 2e8, model: false, fragment_size: 200, ..MacsConfig::default() };
    let start = std::time::Instant::now();
    let result = call_peaks(Reads::Single(tags.clone()), Some(Reads::Single(tags)), &config).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert!(seconds < 10.0, "{seconds} s");
    assert_eq!(result.signal.len(), 100_000);
    // the same heap in treatment and control is no peak
    assert_eq!(result.calls, Calls::Narrow(Vec::new()));
}

fn reads_on(chromosome: &str) -> Tags {
    let forward = (0..50).map(|i| 1_000 + 3 * i).collect();
    let reverse = (0..50).map(|i| 1_200 + 3 * i).collect();
    let chromosomes = vec![ChromosomeTags { name: chromosome.into(), size: None, forward, reverse }];
    Tags { chromosomes, read_length: Some(36), skipped: 0 }
}

#[track_caller]
fn refused(treatment: Reads, control: Option<Reads>, config: &MacsConfig, words: &[&str]) {
    let problem = call_peaks(treatment, control, config).expect_err("it must be refused").to_string();
    for word in words {
        assert!(problem.contains(word), "'{word}' is not in: {problem}");
    }
}

#[test]
fn samples_that_cannot_be_compared_are_refused() {
    let given = MacsConfig { model: false, ..MacsConfig::default() };
    let single = |name| Reads::Single(reads_on(name));
    refused(single("chr1"), Some(single("1")), &given, &["no chromosome in common", "chr1", "assembly"]);
    let fragment = Fragment { start: 5, end: 90, barcode: 0, count: 1 };
    let chromosomes = vec![ChromosomeFragments { name: "chr1".into(), size: None, fragments: vec![fragment] }];
    let pairs = Reads::Pairs(Fragments { chromosomes, ..Fragments::default() });
    refused(single("chr1"), Some(pairs), &given, &["both be single reads or both pairs"]);
    refused(single("chr1"), None, &MacsConfig::default(), &["at least 100 pairs", "there are 0", "--nomodel"]);
    let mut lonely = reads_on("chr1");
    lonely.chromosomes[0].forward.truncate(1);
    lonely.chromosomes[0].reverse.clear();
    refused(Reads::Single(lonely), None, &given, &["nothing to call from"]);
    let wide = MacsConfig { fragment_size: 5_000, ..given };
    refused(single("chr1"), Some(single("chr1")), &wide, &["shorter than the fragment size 5000"]);
}

#[test]
fn a_chromosome_of_one_sample_alone_is_left_out_and_named() {
    let mut treatment = reads_on("chr1");
    treatment.chromosomes.extend(reads_on("chr2").chromosomes);
    let config = MacsConfig { model: false, genome_size: 1e6, ..MacsConfig::default() };
    let result = call_peaks(Reads::Single(treatment), Some(Reads::Single(reads_on("chr1"))), &config).unwrap();
    assert_eq!((result.signal.len(), result.signal.name(0)), (1, "chr1"));
    assert!(result.notes[0].contains("1 chromosome") && result.notes[0].contains("chr2"), "{:?}", result.notes);
}

#[test]
fn where_the_model_fails_the_given_size_can_be_taken() {
    let config = MacsConfig { fix_bimodal: true, fragment_size: 150, genome_size: 1e6, ..MacsConfig::default() };
    let result = call_peaks(Reads::Single(reads_on("chr1")), None, &config).unwrap();
    assert_eq!(result.fragment_size, 150.0);
    assert!(result.notes[0].contains("150 bp"), "{:?}", result.notes);
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let base = MacsConfig::default;
    for (config, word) in [
        (MacsConfig { genome_size: f64::NAN, ..base() }, "genome size"),
        (MacsConfig { cutoff: Cutoff::Q(0.0), ..base() }, "cutoff"),
        (MacsConfig { broad_cutoff: Some(0.01), ..base() }, "stricter"),
        (MacsConfig { broad_cutoff: Some(0.1), call_summits: true, ..base() }, "no summits"),
        (MacsConfig { fragment_size: 0, ..base() }, "fragment size 0"),
        (MacsConfig { fold_range: (50, 5), ..base() }, "fold range"),
        (MacsConfig { duplicates: Duplicates::AtMost(0), ..base() }, "duplicates"),
    ] {
        let problem = config.validate().expect_err(word).to_string();
        assert!(problem.contains(word), "'{word}' is not in: {problem}");
    }
}
