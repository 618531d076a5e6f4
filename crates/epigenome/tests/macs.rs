//! Peaks, scores and tracks beside those of MACS3 3.0.4 on real reads.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use gradome_epigenome::macs::{MacsConfig, MacsResult, Reads, call_peaks};
use gradome_io::genome::{Fragments, ReadFormat, ReadsOptions, Tags};

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

fn narrow_peak(result: &MacsResult, name: &str, config: &MacsConfig) -> String {
    written(|to| result.write_narrow_peak(to, name, config, false))
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
    let found = written(|to| result.write_broad_peak(to, "run_callpeak_broad", &config, false));
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
