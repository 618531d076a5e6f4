//! `gradome fit peak-caller` and `gradome apply peak-caller` from reads to peaks.

use std::path::Path;

use gradome::io::genome::{BigWig, read_bedgraph};

use crate::{folder, gradome, text};

/// Reads of one strand pattern: `count` fragments of 200 bp around each multiple of 4,000 bp, and a background.
fn write_reads(path: &Path, count: u32) {
    let mut bed = String::new();
    for centre in (4_000..396_000_u32).step_by(4_000) {
        for i in 0..count {
            let start = centre - 100 + i * 13 % 40;
            bed += &match i % 2 {
                0 => format!("chr1\t{start}\t{}\t.\t.\t+\n", start + 36),
                _ => format!("chr1\t{}\t{}\t.\t.\t-\n", start + 164, start + 200),
            };
        }
    }
    for i in 0..2_000_u32 {
        let start = i * 7_919 % 399_000;
        bed += &format!("chr1\t{start}\t{}\t.\t.\t{}\n", start + 36, if i % 3 == 0 { '-' } else { '+' });
    }
    std::fs::write(path, bed).unwrap();
}

#[test]
fn a_caller_trained_on_what_macs_finds_calls_peaks_in_other_reads() {
    let folder = folder("peaks");
    let at = |name: &str| text(&folder.join(name)).to_owned();
    write_reads(&folder.join("chip.bed"), 40);
    write_reads(&folder.join("few.bed"), 20);
    write_reads(&folder.join("input.bed"), 0);
    let (chip, input, out) = (at("chip.bed"), at("input.bed"), at("run"));
    let fit = [
        "fit",
        "peak-caller",
        "-t",
        &chip,
        "-c",
        &input,
        "-g",
        "400000",
        "--fragment-size",
        "200",
        "--bin",
        "50",
        "--window",
        "200",
        "--keep",
        "0.5",
        "--members",
        "2",
        "--epochs",
        "3",
        "--filters",
        "4",
        "--pretraining-epochs",
        "1",
        "--denoise",
        "--denoiser-components",
        "3",
        "--quiet",
        "--out",
        &out,
    ];
    gradome(&fit).well();
    for file in
        ["model/member-0.safetensors", "model/member-1.safetensors", "peaks.narrowPeak", "report.html", "run.toml"]
    {
        assert!(folder.join("run").join(file).exists(), "{file}");
    }
    gradome(&fit).refused(&["not empty"]);

    let (model, few, peaks, track) = (at("run/model"), at("few.bed"), at("peaks.narrowPeak"), at("p.bedGraph"));
    gradome(&[
        "apply",
        "peak-caller",
        "--model",
        &model,
        "-t",
        &few,
        "-c",
        &input,
        "--threshold",
        "0.01",
        "--track",
        &track,
        "--quiet",
        "--out",
        &peaks,
    ])
    .well();
    let (called, drawn) = (std::fs::read_to_string(&peaks).unwrap(), std::fs::read_to_string(&track).unwrap());
    assert!(called.lines().all(|line| line.split('\t').count() == 10) && !called.is_empty(), "{called}");
    assert!(drawn.starts_with("chr1\t0\t"), "{drawn}");

    // the same probabilities as bigWig, up to the chromosome's end
    let (sizes, bigwig) = (at("chrom.sizes"), at("p.bw"));
    std::fs::write(&sizes, "chr1\t399010\n").unwrap();
    let apply = ["apply", "peak-caller", "--model", &model, "-t", &few, "-c", &input, "--quiet", "--out", &peaks];
    gradome(&[&apply[..], &["--track", &bigwig, "--chrom-sizes", &sizes]].concat()).well();
    let (text, binary) = (read_bedgraph(Path::new(&track), None).unwrap(), BigWig::open(Path::new(&bigwig)).unwrap());
    assert_eq!(binary.sizes().get("chr1"), Some(399_010));
    let (text, binary) = (&text.chromosomes[0].runs, binary.read("chr1", 0..399_010).unwrap().runs);
    assert_eq!(binary.last().unwrap().end, 399_010.min(text.last().unwrap().end));
    for run in &binary[..binary.len() - 1] {
        assert!(text.contains(run), "{run:?}");
    }
    std::fs::write(&sizes, "chr2\t399010\n").unwrap();
    gradome(&[&apply[..], &["--track", &bigwig, "--chrom-sizes", &sizes]].concat()).refused(&["'chr1'", "assembly"]);
    gradome(&["apply", "fno-peak-caller", "--model", &model, "-t", &few, "--out", &peaks]).refused(&["peak-caller"]);
}
