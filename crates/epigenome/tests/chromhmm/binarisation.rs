//! Calls from reads against ChromHMM's, bin by bin.

use std::path::{Path, PathBuf};

use gradome_epigenome::chromatin::{BinariseOptions, CellMarkTable, ReadFiles, binarise};
use gradome_goldens::data;
use gradome_io::for_each_line;
use gradome_io::genome::ChromSizes;
use noodles_sam::alignment::io::Write as _;

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

/// Writes SAM records as BAM.
fn write_bam(path: &Path, records: &str) {
    let text = format!("@HD\tVN:1.6\tSO:unsorted\n@SQ\tSN:chr1\tLN:20000\n{records}");
    let mut sam = noodles_sam::io::Reader::new(text.as_bytes());
    let header = sam.read_header().unwrap();
    let mut writer = noodles_bam::io::Writer::new(std::fs::File::create(path).unwrap());
    writer.write_header(&header).unwrap();
    for record in sam.record_bufs(&header) {
        writer.write_alignment_record(&header, &record.unwrap()).unwrap();
    }
    writer.try_finish().unwrap();
}

/// The lines of the calls that a file of reads gives, without and with counts.
fn called(folder: &Path, file: &str, reads: ReadFiles) -> (Vec<String>, Vec<String>) {
    std::fs::write(folder.join("table.txt"), format!("cell\tx\t{file}\n")).unwrap();
    let sizes = ChromSizes::new([("chr1", 20_000u32)]).unwrap();
    let table = CellMarkTable::read(&folder.join("table.txt"), false).unwrap();
    let to = folder.join(file.replace('.', "_"));
    let options = BinariseOptions { reads, signal_folder: Some(to.join("signal")), ..BinariseOptions::default() };
    binarise(&sizes, &table, (folder, folder), &to, &options).unwrap();
    (text(&to.join("cell_chr1_binary.txt")), text(&to.join("signal/cell_chr1_signal.txt")))
}

#[test]
fn reads_in_bam_have_the_calls_of_the_same_reads_in_bed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bed, mut sam) = (String::new(), String::new());
    for read in 0..400u32 {
        let start = if read % 3 == 0 { 4_000 + read % 90 } else { read * 47 % 19_900 };
        let (strand, flags) = if read % 4 == 1 { ('-', 16) } else { ('+', 0) };
        bed += &format!("chr1\t{start}\t{}\tr\t0\t{strand}\n", start + 36);
        // SAM counts from 1
        let (sequence, quality) = ("A".repeat(36), "I".repeat(36));
        sam += &format!("r{read}\t{flags}\tchr1\t{}\t30\t36M\t*\t0\t0\t{sequence}\t{quality}\n", start + 1);
    }
    // a read that is not mapped counts for nothing
    sam += "u\t4\t*\t0\t0\t*\t*\t0\t0\tAAAA\tIIII\n";
    std::fs::write(folder.path().join("reads.bed"), bed).unwrap();
    write_bam(&folder.path().join("reads.bam"), &sam);
    let (bed, bam) =
        (called(folder.path(), "reads.bed", ReadFiles::Bed), called(folder.path(), "reads.bam", ReadFiles::Bam));
    assert_eq!(bed, bam);
    assert!(bed.0.iter().any(|line| line == "1") && bed.0.iter().any(|line| line == "0"));
}

#[test]
fn a_proper_pair_counts_once_in_the_middle_of_its_fragment() {
    let folder = tempfile::tempdir().unwrap();
    let (sequence, quality) = ("A".repeat(30), "I".repeat(30));
    // a fragment of 500 bp from 1,000 on: first read forward (flags 99), its mate reverse (147)
    let pair = |name: &str, start: u32| {
        format!(
            "{name}\t99\tchr1\t{}\t30\t30M\t=\t{}\t500\t{sequence}\t{quality}\n\
             {name}\t147\tchr1\t{}\t30\t30M\t=\t{}\t-500\t{sequence}\t{quality}\n",
            start + 1,
            start + 471,
            start + 471,
            start + 1
        )
    };
    write_bam(&folder.path().join("pairs.bam"), &[pair("a", 1_000), pair("b", 1_010)].concat());
    let (_, counts) = called(folder.path(), "pairs.bam", ReadFiles::PairedBam);
    // 1,250 and 1,260 lie in bin 6
    let found: Vec<usize> = (0..100).filter(|bin| counts[bin + 2] != "0").collect();
    assert_eq!((found, counts[8].as_str()), (vec![6], "2"));
    let single = format!("s\t0\tchr1\t5001\t30\t30M\t*\t0\t0\t{sequence}\t{quality}\n");
    write_bam(&folder.path().join("mixed.bam"), &[pair("a", 1_000), single].concat());
    let (_, counts) = called(folder.path(), "mixed.bam", ReadFiles::MixedBam);
    let found: Vec<usize> = (0..100).filter(|bin| counts[bin + 2] == "1").collect();
    assert_eq!(found, [6, 25], "the middle of the pair, and the shifted 5' end of the single read");
}

#[test]
fn a_chromosome_without_control_gets_no_calls_and_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let reads = |chromosome: &str| -> String {
        (0..50).map(|i| format!("{chromosome}\t{}\t{}\tr\t0\t+\n", i * 37, i * 37 + 36)).collect()
    };
    write("reads.bed", reads("chr1") + &reads("chr2"));
    write("control.bed", reads("chr1"));
    write("table.txt", "cell\tx\treads.bed\tcontrol.bed\n".into());
    let sizes = ChromSizes::new([("chr1", 10_000u32), ("chr2", 10_000), ("chr3", 10_000)]).unwrap();
    let table = CellMarkTable::read(&folder.path().join("table.txt"), false).unwrap();
    let to = folder.path().join("to");
    let places = (folder.path(), folder.path());
    let (written, notes) = binarise(&sizes, &table, places, &to, &BinariseOptions::default()).unwrap();
    // as in ChromHMM; a chromosome without any read is not written either
    assert_eq!(written, [to.join("cell_chr1_binary.txt")]);
    assert!(notes.iter().any(|note| note.contains("cell chr2: has reads but none of the control")), "{notes:?}");
    write("reads.bed", "track name=x\n".into());
    let error = binarise(&sizes, &table, places, &to, &BinariseOptions::default()).unwrap_err().to_string();
    assert!(error.contains("cell x: no read of reads.bed lies on a chromosome"), "{error}");
}
