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
    fit(&["--predict", "B:colour"]).refused(&["'colour'", "binary, classes, regression and counts"]);
    fit(&["--predict", "B", "--bin", "100"]).refused(&["bins of 200 bp"]);
    fit(&["--label", "x"]).refused(&["--label needs --windows"]);
    fit(&["--predict", "B", "--track", "nonsense"]).refused(&["--track nonsense", "NAME=FILE"]);
    fit(&["--predict", "B"]).refused(&["one block", "--block"]);
    assert!(!out.exists());
}

/// The table or list of a test.
fn write(folder: &Path, name: &str, contents: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, contents).unwrap();
    text(&path).to_owned()
}

/// 200 windows of ten bins; windows are called w0, w1, ... .
fn windows(folder: &Path) -> String {
    let lines: String = (0..200).map(|w| format!("chr1\t{}\t{}\tw{w}\n", w * 2000, (w + 1) * 2000)).collect();
    write(folder, "windows.bed", &lines)
}

fn held_out(out: &Path) -> serde_json::Value {
    serde_json::from_slice::<serde_json::Value>(&bytes(&out.join("summary.json"))).unwrap()["held_out"].clone()
}

#[test]
fn what_depends_on_the_context_is_learnt_with_the_context_alone() {
    let folder = folder("contextual_context");
    let (calls, bed, out) = (marks(&folder), windows(&folder), folder.join("run"));
    // whether the factor is there says whether windows with many A, or those with few, are active
    let factor = |w: u32| (w.wrapping_mul(40_503) >> 7) & 1;
    let many = |w: u32| {
        let a = |bin: u32| u32::from(bin.wrapping_mul(2_654_435_761) >> 16 & 3 == 0);
        u32::from((w * 10..w * 10 + 10).map(a).sum::<u32>() > 2)
    };
    let context: String = (0..200).map(|w| format!("w{w},{},{}\n", w % 3, factor(w))).collect();
    let context = write(&folder, "context.csv", &format!("window,OTHER,TF\n{context}"));
    let labels: String =
        (0..200).map(|w| format!("w{w}\t{}\t{}\t{}\n", factor(w) ^ many(w), many(w) * 2, 3 * many(w))).collect();
    let labels = write(&folder, "labels.tsv", &format!("window\tactive\tkind\tlevel\n{labels}"));
    let fit = |out: &Path, more: &[&str]| {
        let fit = ["fit", "contextual-epigenomics", "--marks", text(&calls), "--windows", &bed, "--labels", &labels];
        let tasks = ["--label", "active", "--label", "kind:classes", "--label", "level:counts", "--out", text(out)];
        let small =
            ["--hidden", "16", "--layers", "2", "--block", "20000", "--epochs", "60", "--learning-rate", "0.01"];
        gradome(&[&fit[..], &tasks, &small, &["--validation-fraction", "0.3", "--dropout", "0"], more].concat())
    };
    fit(&out, &["--context", &context]).well();
    let (without, scores) = (folder.join("without"), held_out(&out));
    fit(&without, &[]).well();
    let auroc = |scores: &serde_json::Value| scores[0]["auroc"].as_f64().unwrap();
    let plain = held_out(&without);
    assert!(auroc(&scores) > 0.9 && auroc(&plain) < 0.7, "{scores} {plain}");
    // several tasks at once, each with its own score
    assert!(scores[1]["accuracy"].as_f64().unwrap() > 0.9 && scores[2]["pearson"].as_f64().unwrap() > 0.8, "{scores}");

    // columns are found by their names, and must be there
    let model = out.join("model.safetensors");
    let apply = |context: &[&str], out: &Path| {
        let apply =
            ["apply", "contextual-epigenomics", "--model", text(&model), "--marks", text(&calls), "--windows", &bed];
        gradome(&[&apply[..], &["--length", "10", "--out", text(out)], context].concat())
    };
    let swapped: String = (0..200).map(|w| format!("w{w},{},{}\n", factor(w), w % 3)).collect();
    let swapped = write(&folder, "swapped.csv", &format!("window,TF,OTHER\n{swapped}"));
    let (first, second) = (folder.join("first.tsv"), folder.join("second.tsv"));
    apply(&["--context", &context], &first).well();
    apply(&["--context", &swapped], &second).well();
    assert_eq!(bytes(&first), bytes(&second));
    apply(&[], &second).refused(&["needs a context", "OTHER, TF"]);
    let one = write(&folder, "one.csv", "sample,TF\nGM12878,1\n");
    apply(&["--context", &one], &second).refused(&["no column 'OTHER'", "one.csv"]);
}

#[test]
fn embeddings_of_places_that_touch_become_alike() {
    let folder = folder("contextual_contacts");
    let (calls, bed, out) = (marks(&folder), windows(&folder), folder.join("run"));
    // bins with A touch each other, and so do those without
    let a = |bin: u32| bin.wrapping_mul(2_654_435_761) >> 16 & 3 == 0;
    let mut pairs = String::new();
    for w in 0..200_u32 {
        for (i, j) in
            (0..10).flat_map(|i| (i + 1..10).map(move |j| (w * 10 + i, w * 10 + j))).filter(|&(i, j)| a(i) == a(j))
        {
            writeln!(pairs, "chr1\t{}\t{}\tchr1\t{}\t{}\t5", i * 200, i * 200 + 200, j * 200, j * 200 + 200).unwrap();
        }
    }
    let contacts = write(&folder, "contacts.bedpe", &pairs);
    let fit = ["fit", "contextual-epigenomics", "--marks", text(&calls), "--windows", &bed, "--predict", "B", "--out"];
    let small = ["--hidden", "8", "--layers", "1", "--block", "20000", "--epochs", "30", "--learning-rate", "0.01"];
    gradome(&[&fit[..], &[text(&out), "--contacts", &contacts, "--contact-weight", "2"], &small].concat()).well();
    let metrics = String::from_utf8(bytes(&out.join("metrics.jsonl"))).unwrap();
    let held_out = |line: &str| {
        let epoch: serde_json::Value = serde_json::from_str(line).unwrap();
        epoch["validation"]["loss_contacts"].as_f64().unwrap()
    };
    let losses: Vec<f64> = metrics.lines().map(held_out).collect();
    // 5/8 of the pairs touch: one number for all leaves an error of about 0.23
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.05 && last < first / 2.0, "{losses:?}");
    // a trained model needs no contacts
    let (model, predictions) = (out.join("model.safetensors"), folder.join("b.tsv"));
    let apply =
        ["apply", "contextual-epigenomics", "--model", text(&model), "--marks", text(&calls), "--windows", &bed];
    gradome(&[&apply[..], &["--out", text(&predictions)]].concat()).well();
}
