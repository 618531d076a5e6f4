//! `gradome fit|apply contextual-epigenomics`: from files to files, and what is refused.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::{bytes, folder, gradome, text};

/// Presence calls of 2,000 bins: B is where A is in one bin and not in the next.
fn marks(folder: &Path) -> PathBuf {
    let a = |bin: u32| bin.wrapping_mul(2_654_435_761) >> 16 & 3 == 0;
    let mut calls = "cell\tchr1\nA\tB\n".to_owned();
    for bin in 0..2_000 {
        writeln!(calls, "{}\t{}", u8::from(a(bin)), u8::from(a(bin) && !a(bin + 1))).unwrap();
    }
    let path = folder.join("cell_chr1_binary.txt");
    std::fs::write(&path, calls).unwrap();
    path
}

const SMALL: [&str; 10] =
    ["--hidden", "8", "--layers", "1", "--length", "100", "--batch-size", "4", "--block", "40000"];

#[test]
fn a_mark_is_learnt_from_another_and_written_as_a_track() {
    let folder = folder("contextual");
    let (calls, out) = (marks(&folder), folder.join("run"));
    let fit = ["fit", "contextual-epigenomics", "--marks", text(&calls), "--predict", "B", "--out", text(&out)];
    let more = ["--epochs", "30", "--learning-rate", "0.02", "--strands", "forward"];
    gradome(&[&fit[..], &SMALL, &more].concat()).well();
    let summary: serde_json::Value = serde_json::from_slice(&bytes(&out.join("summary.json"))).unwrap();
    let precision = summary["held_out"][0]["auprc"].as_f64().unwrap();
    assert!(precision > 0.95, "{summary}");
    let report = String::from_utf8(bytes(&out.join("report.html"))).unwrap();
    assert!(report.contains("recall") && report.contains("predicted probability"));
    let table = String::from_utf8(bytes(&out.join("predictions.tsv"))).unwrap();
    assert!(table.starts_with("chromosome\tstart\tend\tB\tknown_B\nchr1\t"));

    let track = folder.join("b.bedGraph");
    let model = out.join("model.safetensors");
    let apply = ["apply", "contextual-epigenomics", "--model", text(&model), "--marks", text(&calls), "--out"];
    gradome(&[&apply[..], &[text(&track)]].concat()).well();
    let track = String::from_utf8(bytes(&track)).unwrap();
    assert!(track.lines().all(|line| line.split('\t').count() == 4) && track.contains("\t400000\t"));

    // the settings of the run repeat it
    let again = folder.join("again");
    let settings = out.join("run.toml");
    let repeat = ["fit", "contextual-epigenomics", "--config", text(&settings), "--out", text(&again)];
    gradome(&repeat).well();
    assert_eq!(bytes(&model), bytes(&again.join("model.safetensors")));
}

#[test]
fn shuffled_dna_is_told_from_windows_of_a_genome() {
    let folder = folder("contextual_dna");
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let (mut genome, mut windows) = (">chr1\n".to_owned(), String::new());
    for window in 0..200 {
        let bases: String = (0..40).map(|_| ['A', 'C', 'G', 'T'][random() as usize % 4]).collect();
        write!(genome, "{}GATTACAGATTACA{}", &bases[..13], &bases[13..26]).unwrap();
        writeln!(windows, "chr1\t{}\t{}", window * 40, window * 40 + 40).unwrap();
    }
    let (fasta, bed, out) = (folder.join("g.fa"), folder.join("w.bed"), folder.join("run"));
    std::fs::write(&fasta, genome + "\n").unwrap();
    std::fs::write(&bed, windows).unwrap();
    let fit = ["fit", "contextual-epigenomics", "--genome", text(&fasta), "--windows", text(&bed), "--label", "site"];
    let more = ["--shuffled-negatives", "--hidden", "8", "--layers", "1", "--block", "400", "--epochs", "20"];
    gradome(&[&fit[..], &more, &["--learning-rate", "0.01", "--out", text(&out)]].concat()).well();
    let summary: serde_json::Value = serde_json::from_slice(&bytes(&out.join("summary.json"))).unwrap();
    assert!(summary["held_out"][0]["auroc"].as_f64().unwrap() > 0.9, "{summary}");
}

#[test]
fn wrong_flags_and_files_are_refused_before_anything_is_written() {
    let folder = folder("contextual_refused");
    let (calls, out) = (marks(&folder), folder.join("run"));
    let fit = |arguments: &[&str]| {
        let all =
            [&["fit", "contextual-epigenomics", "--marks", text(&calls), "--out", text(&out)], arguments].concat();
        gradome(&all)
    };
    fit(&[]).refused(&["nothing to predict", "--predict"]);
    fit(&["--predict", "C"]).refused(&["no track 'C'", "A, B"]);
    fit(&["--predict", "B:colour"]).refused(&["'colour'", "binary, regression and counts"]);
    fit(&["--predict", "B", "--bin", "100"]).refused(&["bins of 200 bp"]);
    fit(&["--label", "x"]).refused(&["--label needs --windows"]);
    fit(&["--predict", "B", "--track", "nonsense"]).refused(&["--track nonsense", "NAME=FILE"]);
    fit(&["--predict", "B"]).refused(&["one block", "--block"]);
    assert!(!out.exists());
}
