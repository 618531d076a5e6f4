//! `gradome chromhmm` from reads to enrichments, with ChromHMM's words.

use std::fmt::Write as _;
use std::path::Path;

use super::{bytes, folder, gradome, text};

/// Reads of two marks that come and go together along one chromosome, and the table that names them.
fn reads(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("sizes.txt", "chr1\t120100\n");
    write("table.txt", "cell\tH3K4me3\ta.bed\ncell\tH3K27me3\tb.bed\n");
    for (name, phase) in [("a.bed", 0), ("b.bed", 5)] {
        let mut bed = String::new();
        for bin in 0..600 {
            let active = (bin / 10 + phase) % 12 < 3;
            for read in 0..(if active { 15 } else { usize::from(bin % 7 == 0) }) {
                let start = bin * 200 + 10 * read;
                writeln!(bed, "chr1\t{start}\t{}\tr\t0\t+", start + 36).unwrap();
            }
        }
        write(name, &bed);
    }
    std::fs::create_dir_all(folder.join("coords/made")).unwrap();
    write("coords/made/genes.bed", "chr1\t0\t6000\nchr1\t24000\t30000\n");
    write("anchors.txt", "chr1\t6000\t+\nchr1\t30000\t-\n");
}

#[test]
fn reads_become_states_segments_and_enrichments() {
    let folder = folder("chromhmm");
    reads(&folder);
    let at = |name: &str| text(&folder.join(name)).to_owned();
    let (sizes, table, calls, model) = (at("sizes.txt"), at("table.txt"), at("calls"), at("model"));
    gradome(&["chromhmm", "BinarizeBed", &sizes, text(&folder), &table, &calls]).well();
    let header = String::from_utf8(bytes(&folder.join("calls/cell_chr1_binary.txt"))).unwrap();
    assert!(header.starts_with("cell\tchr1\nH3K27me3\tH3K4me3\n"), "marks stand in order of name");
    // words before and among the files
    let coords = at("coords");
    let learn = ["chromhmm", "LearnModel", "-p", "1", "-u", &coords, &calls, "-printposterior", &model, "3", "made"];
    let done = gradome(&learn).well();
    assert!(done.out.contains("Estimated Log Likelihood"), "{}", done.out);
    for file in [
        "model_3.txt",
        "emissions_3.txt",
        "emissions_3.svg",
        "transitions_3.txt",
        "cell_3_segments.bed",
        "cell_3_dense.bed",
        "cell_3_expanded.bed",
        "cell_3_overlap.txt",
        "POSTERIOR/cell_3_chr1_posterior.txt",
        "webpage_3.html",
    ] {
        assert!(folder.join("model").join(file).is_file(), "{file} is missing");
    }
    let (again, of) = (at("again"), at("model/model_3.txt"));
    gradome(&["chromhmm", "MakeSegmentation", &of, &calls, &again]).well();
    let segments = "cell_3_segments.bed";
    assert_eq!(bytes(&folder.join("again").join(segments)), bytes(&folder.join("model").join(segments)));
    let (segments, anchors, out) = (at("again/cell_3_segments.bed"), at("anchors.txt"), at("around"));
    gradome(&["chromhmm", "NeighborhoodEnrichment", "-noimage", "-l", "2", "-r", "2", &segments, &anchors, &out])
        .well();
    let around = String::from_utf8(bytes(&folder.join("around.txt"))).unwrap();
    assert!(around.starts_with("State (Emission order)\t-400\t-200\t0\t200\t400\n"), "{around}");
    assert!(!folder.join("around.svg").exists());
}

#[test]
fn what_chromhmm_knows_and_this_does_not_is_refused() {
    let run = |words: &[&str]| gradome(&[&["chromhmm"], words].concat());
    run(&["LearnModel", "-bogus", "a", "b", "3", "hg19"]).refused(&[
        "unknown word '-bogus'",
        "-printposterior",
        "usage",
    ]);
    run(&["LearnModel", "-n", "2", "a", "b", "3", "hg19"]).refused(&["-n is not supported", "-f"]);
    run(&["LearnModel", "a", "b", "3"]).refused(&["3 positional arguments, 4 were expected"]);
    run(&["LearnModel", "a", "b", "3", "hg19", "-r"]).refused(&["-r needs N behind it"]);
    run(&["MergeBinary", "a", "b"]).refused(&["'MergeBinary' is no command", "BinarizeBed"]);
    run(&["LearnModel", "-init", "random", "/nowhere", "b", "3", "hg19"]).refused(&["/nowhere"]);
}
