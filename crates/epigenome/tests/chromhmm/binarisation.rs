//! Calls from reads against ChromHMM's, bin by bin.

use std::path::{Path, PathBuf};

use gradome_epigenome::chromatin::{BinariseOptions, CellMarkTable, binarise};
use gradome_goldens::data;
use gradome_io::for_each_line;
use gradome_io::genome::ChromSizes;

fn text(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for_each_line(path, |line| {
        lines.push(line.to_owned());
        Ok(())
    })
    .unwrap();
    lines
}

/// Compares every file of a folder with ours of that name; gives the number of lines.
fn assert_same_files(ours: &Path, expected: &str) -> usize {
    let expected = data(&format!("hmm_dmfa/binarize/{expected}")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(&expected).unwrap() {
        let theirs = entry.unwrap().path();
        let name = theirs.file_name().unwrap();
        let (ours, theirs) = (text(&ours.join(name)), text(&theirs));
        let wrong = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
        assert_eq!((ours.len(), wrong), (theirs.len(), 0), "{}", name.display());
        count += ours.len();
    }
    assert!(count > 2000, "{}: {count} lines", expected.display());
    count
}

fn run(table: &str, to: &Path, options: &BinariseOptions) -> Option<(Vec<PathBuf>, Vec<String>)> {
    let folder = data("hmm_dmfa/binarize")?;
    let sizes = ChromSizes::read(&folder.join("chromsizes.txt")).unwrap();
    let table = CellMarkTable::read(&folder.join(table), false).unwrap();
    let reads = folder.join("bed");
    Some(binarise(&sizes, &table, (&reads, &reads), to, &BinariseOptions { gzip: true, ..options.clone() }).unwrap())
}

#[test]
fn calls_without_control_are_chromhmms() {
    let to = tempfile::tempdir().unwrap();
    let (calls, signal) = (to.path().join("calls"), to.path().join("signal"));
    let options = BinariseOptions { signal_folder: Some(signal.clone()), ..BinariseOptions::default() };
    let Some((written, notes)) = run("table_nocontrol.txt", &calls, &options) else { return };
    assert_eq!(written.len(), 4);
    assert!(notes.iter().any(|note| note.contains("cB m3: no file, counts as not measured")), "{notes:?}");
    assert_same_files(&calls, "out_nocontrol");
    assert_same_files(&signal, "out_nocontrol_signal");
    let options = BinariseOptions { center: true, poisson: 0.01, fold: 2.0, ..BinariseOptions::default() };
    let calls = to.path().join("center");
    run("table_nocontrol.txt", &calls, &options);
    assert_same_files(&calls, "out_center_p01_f2");
}

#[test]
fn calls_with_control_are_chromhmms() {
    let to = tempfile::tempdir().unwrap();
    let [calls, signal, control, strict] = ["calls", "signal", "control", "strict"].map(|name| to.path().join(name));
    let options = BinariseOptions {
        signal_folder: Some(signal.clone()),
        control_signal_folder: Some(control.clone()),
        ..BinariseOptions::default()
    };
    if run("table_control.txt", &calls, &options).is_none() {
        return;
    }
    assert_same_files(&calls, "out_control");
    assert_same_files(&signal, "out_control_signal");
    assert_same_files(&control, "out_control_ctrl");
    run("table_control.txt", &strict, &BinariseOptions { strict: true, ..BinariseOptions::default() });
    assert_same_files(&strict, "out_control_strict");
}

#[test]
fn reads_that_cannot_be_used_are_errors_that_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("sizes.txt", "chr1\t1000\n");
    write("table.txt", "a\tx\treads.bed\n");
    let problem = |reads: &str| {
        write("reads.bed", reads);
        let sizes = ChromSizes::read(&folder.path().join("sizes.txt")).unwrap();
        let table = CellMarkTable::read(&folder.path().join("table.txt"), false).unwrap();
        let options = BinariseOptions::default();
        let done = binarise(&sizes, &table, (folder.path(), folder.path()), &folder.path().join("to"), &options);
        done.map(|(_, notes)| notes.join("; ")).unwrap_or_else(|error| error.to_string())
    };
    assert!(problem("1\t10\t46\tr\t0\t+\n").contains("no read of reads.bed lies on a chromosome"));
    assert!(problem("chr1\t10\t46\tr\t0\t.\n").contains("reads.bed line 1: has no strand"));
    let past = problem("chr1\t10\t46\tr\t0\t+\nchr1\t5000\t5036\tr\t0\t+\nchr2\t1\t37\tr\t0\t+\n");
    assert!(past.contains("left out 1 reads past a chromosome's whole bins and 1 on chromosomes without"), "{past}");
    write("table.txt", "a x reads.bed\n");
    let error = CellMarkTable::read(&folder.path().join("table.txt"), false).unwrap_err().to_string();
    assert!(error.contains("table.txt line 1: has fewer than three columns"), "{error}");
}
