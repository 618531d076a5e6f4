//! `gradome macs callpeak` beside the files of MACS3, and what it refuses.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::{Done, bytes, folder, gradome, text};

fn data(part: &str) -> Option<PathBuf> {
    Some(gradome_goldens::data("regulatory")?.join(part))
}

fn unzipped(path: &Path) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(&bytes(path)[..]).read_to_end(&mut plain);
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    plain
}

fn callpeak(out: &Path, arguments: &[&str]) -> Done {
    gradome(&[&["macs", "callpeak", "--outdir", text(out)], arguments].concat())
}

#[test]
fn files_are_those_of_macs3_byte_for_byte() {
    let Some(peaks) = data("peaks") else { return };
    let out = folder("macs_files");
    let (chip, control) = (peaks.join("CTCF_SE_ChIP_chr22_50k.bed.gz"), peaks.join("CTCF_SE_CTRL_chr22_50k.bed.gz"));
    let run = |arguments: &[&str]| {
        let samples = ["-t", text(&chip), "-c", text(&control), "-g", "52000000"];
        callpeak(&out, &[&samples, arguments].concat()).well()
    };
    let same = |file: &str, reference: &str| {
        assert!(bytes(&out.join(file)) == unzipped(&peaks.join(reference)), "{file} differs from {reference}");
    };

    let done = run(&["-n", "run_callpeak_narrow0", "-B"]);
    assert_eq!(done.out.trim_end(), text(&out.join("run_callpeak_narrow0_peaks.narrowPeak")));
    assert!(done.err.contains("fragment size 228 bp") && done.err.contains("730 peaks"), "{}", done.err);
    same("run_callpeak_narrow0_peaks.narrowPeak", "macs3_narrow0_peaks.narrowPeak.gz");
    same("run_callpeak_narrow0_treat_pileup.bdg", "macs3_narrow0_treat_pileup.bdg.gz");
    let table = String::from_utf8(bytes(&out.join("run_callpeak_narrow0_peaks.xls"))).unwrap();
    // what MultiQC looks for
    for line in ["# d = 228", "# tag size is determined as 101 bps", "# total tags in treatment: 49622"] {
        assert!(table.lines().any(|found| found == line), "'{line}' is not in the head of the table");
    }
    let report = String::from_utf8(bytes(&out.join("run_callpeak_narrow0_report.html"))).unwrap();
    assert!(report.contains("Tracks of chr22") && report.contains("run_callpeak_narrow0_peak_"));

    run(&["-n", "run_callpeak_narrow1", "--d-min", "15", "--call-summits", "--no-report"]);
    same("run_callpeak_narrow1_peaks.narrowPeak", "macs3_narrow1_peaks.narrowPeak.gz");
    assert!(!out.join("run_callpeak_narrow1_report.html").exists());
    run(&["-n", "run_callpeak_narrow2", "--nomodel", "--extsize", "100"]);
    same("run_callpeak_narrow2_peaks.narrowPeak", "macs3_narrow2_peaks.narrowPeak.gz");
    run(&["-n", "run_callpeak_narrow3", "--nomodel", "--extsize", "100", "--shift", "-50", "--buffer-size", "1000"]);
    same("run_callpeak_narrow3_peaks.narrowPeak", "macs3_narrow3_peaks.narrowPeak.gz");
    run(&["-n", "run_callpeak_broad", "--broad", "-q", "0.05"]);
    same("run_callpeak_broad_peaks.broadPeak", "macs3_broad_peaks.broadPeak.gz");
    let gapped = bytes(&out.join("run_callpeak_broad_peaks.gappedPeak"));
    assert_eq!(gapped.iter().filter(|&&byte| byte == b'\n').count(), 746);
}

#[test]
fn fragments_of_cells_give_the_peaks_of_macs3() {
    let Some(atac) = data("atac") else { return };
    let out = folder("macs_cells");
    let fragments = atac.join("scatac_chr22_100cells.fragments.tsv.gz");
    callpeak(&out, &["-t", text(&fragments), "-f", "FRAG", "-n", "run_callpeak_frag"]).well();
    let found = bytes(&out.join("run_callpeak_frag_peaks.narrowPeak"));
    assert!(found == unzipped(&atac.join("macs3_frag_peaks.narrowPeak.gz")));
}

/// Reads of a small sample: two heaps and some in between.
fn small_reads(file: &Path, chromosome: &str) {
    let mut lines = String::new();
    for i in 0..60 {
        let (forward, reverse) = (10_000 + 2 * i, 10_160 + 2 * i);
        lines += &format!("{chromosome}\t{forward}\t{}\tr\t0\t+\n", forward + 36);
        lines += &format!("{chromosome}\t{}\t{reverse}\tr\t0\t-\n", reverse - 36);
        lines += &format!("{chromosome}\t{}\t{}\tr\t0\t+\n", 1_000 * i, 1_000 * i + 36);
    }
    std::fs::write(file, lines).expect("a test file can be written");
}

#[test]
fn arguments_of_macs3_that_are_not_there_are_refused_by_name() {
    let out = folder("macs_refused");
    let (reads, others) = (out.join("reads.bed"), out.join("others.bed"));
    small_reads(&reads, "chr1");
    small_reads(&others, "1");
    let (reads, others) = (text(&reads), text(&others));
    let run = |arguments: &[&str]| callpeak(&out.join("never"), &[&["-t", reads], arguments].concat());
    run(&["--down-sample"]).refused(&["--down-sample", "not there"]);
    run(&["--cutoff-analysis"]).refused(&["--cutoff-analysis", "not there"]);
    run(&["--ratio", "2"]).refused(&["--ratio", "not there"]);
    run(&["--to-large"]).refused(&["--scale-to large"]);
    run(&["-f", "SAM"]).refused(&["SAM", "BAMPE"]);
    run(&["-q", "0.1", "-p", "0.1"]).refused(&["cannot be used with"]);
    run(&["-f", "BEDPE", "--shift", "5"]).refused(&["--shift", "pairs"]);
    run(&["--broad", "--call-summits"]).refused(&["cannot be used with"]);
    run(&["--max-count", "1"]).refused(&["-f FRAG"]);
    run(&["-g", "human"]).refused(&["--gsize human", "hs"]);
    run(&["--keep-dup", "0"]).refused(&["--keep-dup 0"]);
    run(&["--verbose", "1"]).refused(&["--quiet"]);
    run(&["-n", "a/b"]).refused(&["--outdir"]);
    // nothing was written for any of them
    assert!(!out.join("never").exists());
    run(&[]).refused(&["at least 100 pairs", "--nomodel"]);
    run(&["--nomodel", "-c", others]).refused(&["no chromosome in common"]);
    callpeak(&out, &["-t", text(&out.join("absent.bed"))]).refused(&["absent.bed"]);
    std::fs::write(out.join("bad.bed"), "chr1\t90\t50\tr\t0\t+\n").expect("a test file can be written");
    callpeak(&out, &["-t", text(&out.join("bad.bed")), "-f", "bed"]).refused(&["bad.bed line 1", "90"]);
    assert!(std::fs::read_dir(out.join("never")).unwrap().next().is_none());
}

#[test]
fn several_files_of_a_sample_are_pooled() {
    let out = folder("macs_pooled");
    let whole = out.join("whole.bed");
    small_reads(&whole, "chr1");
    let lines = String::from_utf8(bytes(&whole)).unwrap();
    let (first, second) = (out.join("a.bed"), out.join("b.bed"));
    let half = lines.match_indices('\n').nth(80).unwrap().0 + 1;
    std::fs::write(&first, &lines[..half]).expect("a test file can be written");
    std::fs::write(&second, &lines[half..]).expect("a test file can be written");
    let settings = ["--nomodel", "--extsize", "160", "-g", "1e5", "--no-report"];
    callpeak(&out, &[&["-t", text(&whole), "-n", "x"], &settings[..]].concat()).well();
    let peaks = out.join("x_peaks.narrowPeak");
    let of_whole = bytes(&peaks);
    assert!(of_whole.starts_with(b"chr1\t"));
    callpeak(&out, &[&["-t", text(&first), text(&second), "-n", "x"], &settings[..]].concat()).well();
    assert!(bytes(&peaks) == of_whole);
}

/// A record of BAM (SAM specification, section 4.2): an alignment without gaps and name, of A alone.
fn alignment(start: u32, end: u32, flags: u16, mate: i32, length: i32) -> Vec<u8> {
    let mut record = Vec::new();
    record.extend(0_i32.to_le_bytes());
    record.extend(start.to_le_bytes());
    // a name of one byte (its end), mapping quality 60, no bin, one operation
    record.extend([1, 60, 0, 0, 1, 0]);
    record.extend(flags.to_le_bytes());
    record.extend((end - start).to_le_bytes());
    record.extend((if flags & 1 == 1 { 0_i32 } else { -1 }).to_le_bytes());
    record.extend(mate.to_le_bytes());
    record.extend(length.to_le_bytes());
    record.push(0);
    record.extend(((end - start) << 4).to_le_bytes());
    let bases = (end - start) as usize;
    // two bases a byte, qualities that are not known
    record.resize(record.len() + bases.div_ceil(2), 0x11);
    record.resize(record.len() + bases, 0xff);
    record
}

fn write_bam(path: &Path, chromosome: &str, records: impl IntoIterator<Item = Vec<u8>>) {
    let mut stream = b"BAM\x01\0\0\0\0\x01\0\0\0".to_vec();
    stream.extend((chromosome.len() as u32 + 1).to_le_bytes());
    stream.extend(chromosome.as_bytes());
    stream.push(0);
    stream.extend(60_000_000_u32.to_le_bytes());
    for record in records {
        stream.extend((record.len() as u32).to_le_bytes());
        stream.extend(record);
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&stream).unwrap();
    // the block that ends every BAM file (SAM specification, section 4.1.2)
    let end = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0\x1b\0\x03\0\0\0\0\0\0\0\0\0";
    std::fs::write(path, [&gzip.finish().unwrap()[..], end].concat()).unwrap();
}

/// The reads of BED as BAM.
fn bam_of(bed: &str, path: &Path) {
    let chromosome = bed.split('\t').next().unwrap();
    let record = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let flags = if columns[5] == "-" { 16 } else { 0 };
        alignment(columns[1].parse().unwrap(), columns[2].parse().unwrap(), flags, -1, 0)
    };
    write_bam(path, chromosome, bed.lines().map(record));
}

#[test]
fn reads_in_bam_give_the_files_of_the_same_reads_in_bed() {
    let out = folder("macs_bam");
    let small = out.join("small.bed");
    small_reads(&small, "chr1");
    let small = String::from_utf8(bytes(&small)).unwrap();
    // every third read lies between the heaps
    let between: String = small.split_inclusive('\n').skip(2).step_by(3).collect();
    let mut samples = vec![(small, between, ["--nomodel", "--extsize", "160", "-g", "1e5"])];
    if let Some(peaks) = data("peaks") {
        let bed = |name: &str| String::from_utf8(unzipped(&peaks.join(name))).unwrap();
        let (chip, control) = (bed("CTCF_SE_ChIP_chr22_50k.bed.gz"), bed("CTCF_SE_CTRL_chr22_50k.bed.gz"));
        samples.push((chip, control, ["-g", "52000000", "-B", "--no-report", "--call-summits"]));
    }
    for (chip, control, settings) in samples {
        let run = |format: &str, endings: [&str; 2]| {
            let [chip, control] = endings.map(|name| text(&out.join(name)).to_owned());
            callpeak(&out, &[&["-t", &chip, "-c", &control, "-f", format, "-n", format], &settings[..]].concat())
                .well();
            ["peaks.narrowPeak", "summits.bed"].map(|file| {
                let file = String::from_utf8(bytes(&out.join(format!("{format}_{file}")))).unwrap();
                file.replace(&format!("{format}_peak"), "peak")
            })
        };
        std::fs::write(out.join("chip.bed"), &chip).unwrap();
        std::fs::write(out.join("control.bed"), &control).unwrap();
        bam_of(&chip, &out.join("chip.bam"));
        bam_of(&control, &out.join("control.bam"));
        let of_bed = run("BED", ["chip.bed", "control.bed"]);
        assert!(of_bed[0].starts_with("chr"), "no peak is called");
        assert!(of_bed == run("BAM", ["chip.bam", "control.bam"]));
    }
}

#[test]
fn pairs_in_bam_give_the_files_of_the_same_fragments_in_bedpe() {
    let out = folder("macs_bampe");
    let fragments: Vec<(u32, u32)> = (0..60)
        .map(|i| (10_000 + 2 * i, 10_160 + 3 * i))
        .chain((0..60).map(|i| (1_000 * i, 1_000 * i + 150)))
        .collect();
    let lines: String = fragments.iter().map(|(start, end)| format!("chr1\t{start}\t{end}\n")).collect();
    std::fs::write(out.join("pairs.bedpe"), lines).unwrap();
    let pair = |&(start, end): &(u32, u32)| {
        let (length, right) = ((end - start) as i32, end - 36);
        // paired, proper; mate reverse and first, reverse and second
        let first = alignment(start, start + 36, 0x1 | 0x2 | 0x20 | 0x40, right as i32, length);
        [first, alignment(right, end, 0x1 | 0x2 | 0x10 | 0x80, start as i32, -length)]
    };
    write_bam(&out.join("pairs.bam"), "chr1", fragments.iter().flat_map(pair));
    let run = |format: &str, file: &str| {
        let file = out.join(file);
        callpeak(&out, &["-t", text(&file), "-f", format, "-n", "x", "-g", "1e5", "--no-report"]).well();
        bytes(&out.join("x_peaks.narrowPeak"))
    };
    let of_bedpe = run("BEDPE", "pairs.bedpe");
    assert!(of_bedpe.starts_with(b"chr1\t100"), "{of_bedpe:?}");
    assert!(of_bedpe == run("BAMPE", "pairs.bam"));
}

#[test]
fn settings_come_from_a_file_and_flags_override_them() {
    let out = folder("macs_config");
    let (reads, config) = (out.join("reads.bed"), out.join("settings.toml"));
    small_reads(&reads, "chr1");
    let settings = format!(
        "treatment = [{:?}]\nnomodel = true\nextsize = 160\ngsize = \"1e5\"\nmfold = [4, 40]\nname = \"file\"\nno-report = true\n",
        text(&reads)
    );
    std::fs::write(&config, &settings).expect("a test file can be written");
    callpeak(&out, &["--config", text(&config)]).well();
    let table = String::from_utf8(bytes(&out.join("file_peaks.xls"))).unwrap();
    assert!(table.contains("# d = 160\n") && table.contains("# model fold = [4, 40]\n"), "{table}");
    callpeak(&out, &["--config", text(&config), "-n", "flag", "--extsize", "150"]).well();
    assert!(String::from_utf8(bytes(&out.join("flag_peaks.xls"))).unwrap().contains("# d = 150\n"));
    std::fs::write(&config, format!("{settings}colour = 1\n")).expect("a test file can be written");
    callpeak(&out, &["--config", text(&config)]).refused(&["settings.toml", "unknown key 'colour'"]);
    callpeak(&out, &[]).refused(&["--treatment"]);
}
