//! `gradome fit|apply chromatin-states`: calls, reads and signal become states and segments; what is refused.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gradome::io::genome::{ChromSizes, ChromosomeSignal, Run, Signal, write_bigwig};

use crate::{Done, bytes, folder, gradome, text};

const BINS: usize = 600;

/// Two marks that come and go together, half a turn apart, with a little noise.
fn active(bin: usize, mark: usize) -> bool {
    (bin / 10 + 6 * mark) % 12 < 3
}

fn noise(bin: usize, mark: usize) -> u32 {
    (bin as u32).wrapping_mul(2_654_435_761).wrapping_add(mark as u32 * 40_503) >> 16 & 15
}

fn calls(folder: &Path) -> PathBuf {
    let calls = folder.join("calls");
    std::fs::create_dir_all(&calls).unwrap();
    for (cell, chromosome, first) in [("a", "chr1", 0), ("a", "chr2", 40), ("b", "chr1", 7)] {
        let mut lines = format!("{cell}\t{chromosome}\nx\ty\n");
        for bin in first..first + BINS {
            let call = |mark: usize| u8::from(active(bin, mark) != (noise(bin, mark) == 0));
            writeln!(lines, "{}\t{}", call(0), call(1)).unwrap();
        }
        std::fs::write(calls.join(format!("{cell}_{chromosome}_binary.txt")), lines).unwrap();
    }
    calls
}

/// Reads of two cell types and their table.
fn reads(folder: &Path) -> PathBuf {
    let (mut table, mut sizes) = (String::new(), String::new());
    for cell in ["a", "b"] {
        for mark in 0..2 {
            let mut bed = String::new();
            for bin in 0..BINS {
                let level = if active(bin, mark) { 12 } else { 1 };
                for read in 0..(noise(bin, mark) * level / 8) as usize {
                    let start = bin * 200 + 5 * read;
                    writeln!(bed, "chr1\t{start}\t{}\tr\t0\t+", start + 36).unwrap();
                }
            }
            let name = format!("{cell}{mark}.bed");
            std::fs::write(folder.join(&name), bed).unwrap();
            writeln!(table, "{cell}\tmark{mark}\t{name}").unwrap();
        }
    }
    writeln!(sizes, "chr1\t{}\nchrEmpty\t4000", BINS * 200 + 50).unwrap();
    std::fs::write(folder.join("sizes.txt"), sizes).unwrap();
    std::fs::write(folder.join("table.txt"), table).unwrap();
    folder.join("table.txt")
}

fn run(job: &str, arguments: &[&str]) -> Done {
    gradome(&[&[job, "chromatin-states", "--quiet"], arguments].concat())
}

fn summary(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&bytes(&out.join("summary.json"))).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    String::from_utf8(bytes(path)).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn calls_become_states_and_both_methods_climb_the_same_likelihood() {
    let folder = folder("chromatin_calls");
    let (calls, em, gradient) = (calls(&folder), folder.join("em"), folder.join("gradient"));
    let fit = |out: &Path, more: &[&str]| {
        run("fit", &[&["--calls", text(&calls), "--out", text(out)], more].concat()).well();
        summary(out)["ln_likelihood"].as_f64().unwrap()
    };
    let more = ["--states", "2,3", "--hold-out", "chr2", "--errors", "information", "--posteriors"];
    let value = fit(&em, &more);
    let by_gradient = fit(&gradient, &[&more[..], &["--method", "gradient", "--iterations", "400"]].concat());
    // one of the passes of expectation-maximisation ends within its tolerance of the optimum
    assert!((value - by_gradient).abs() < 0.5, "{value} {by_gradient}");
    let scores = lines(&em.join("state_counts.tsv"));
    assert_eq!(scores.len(), 3);
    assert_eq!(scores.iter().filter(|line| line.ends_with("yes")).count(), 1);
    let states = summary(&em)["config"]["states"].as_u64().unwrap();
    for file in [
        "model.safetensors".to_owned(),
        "report.html".into(),
        "run.toml".into(),
        format!("states/model_{states}.txt"),
        format!("states/emissions_{states}.txt"),
        format!("states/transitions_{states}.txt"),
        "states/emissions.tsv".into(),
        format!("states/a_{states}_segments.bed"),
        format!("states/b_{states}_dense.bed"),
        format!("states/POSTERIOR/a_{states}_chr2_posterior.txt"),
    ] {
        assert!(em.join(&file).is_file(), "{file} is missing");
    }
    assert!(lines(&em.join("states/emissions.tsv"))[0].ends_with("probability\tstandard_error"));

    // the same segments from the saved model, and from ChromHMM's command with the model file
    let (applied, segmented) = (folder.join("applied"), folder.join("segmented"));
    let model = em.join("model.safetensors");
    run("apply", &["--model", text(&model), "--calls", text(&calls), "--out", text(&applied)]).well();
    let model = em.join(format!("states/model_{states}.txt"));
    gradome(&["chromhmm", "MakeSegmentation", text(&model), text(&calls), text(&segmented)]).well();
    for cell in ["a", "b"] {
        let file = format!("{cell}_{states}_segments.bed");
        let expected = bytes(&em.join("states").join(&file));
        assert_eq!(bytes(&applied.join(&file)), expected, "apply");
        assert_eq!(bytes(&segmented.join(&file)), expected, "MakeSegmentation");
    }
    let total: f64 = lines(&applied.join("likelihood.tsv"))[1..]
        .iter()
        .filter(|line| !line.contains("chr2"))
        .map(|line| line.split('\t').nth(3).unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((total - value).abs() < 1e-6 * value.abs(), "{total} {value}");

    // the settings of the run repeat it
    let again = folder.join("again");
    run("fit", &["--config", text(&em.join("run.toml")), "--out", text(&again)]).well();
    assert_eq!(bytes(&again.join("model.safetensors")), bytes(&em.join("model.safetensors")));
    fit(&em, &["--states", "3", "--start-from", text(&model_of(&again)), "--overwrite"]);
    assert!(!em.join("states/POSTERIOR").exists(), "what the earlier run left is gone");
}

/// A model of three states to start from.
fn model_of(run_folder: &Path) -> PathBuf {
    let (calls, out) = (run_folder.with_file_name("calls"), run_folder.with_file_name("three"));
    run("fit", &["--calls", text(&calls), "--states", "3", "--out", text(&out)]).well();
    out.join("states/model_3.txt")
}

#[test]
fn reads_are_counted_and_every_cell_type_may_have_emissions_of_its_own() {
    let folder = folder("chromatin_reads");
    let (table, out) = (reads(&folder), folder.join("run"));
    let sizes = folder.join("sizes.txt");
    let input = ["--table", text(&table), "--sizes", text(&sizes)];
    let fit = ["--states", "3", "--own-emissions", "--random-starts", "1", "--out", text(&out)];
    let done = run("fit", &[&input[..], &fit].concat()).well();
    assert!(done.err.contains("chrEmpty: has no signal of any mark and is left out"), "{}", done.err);
    let table_of = lines(&out.join("states/emissions.tsv"));
    assert_eq!(table_of[0], "cell\tstate\tmark\tmean_count\tdispersion");
    assert_eq!(table_of.len(), 1 + 2 * 3 * 2);
    // the two marks are never high together, so two of three states are each high in one of them
    let segments = lines(&out.join("states/a_3_segments.bed"));
    assert!(segments.len() > 20 && segments.last().unwrap().contains(&format!("\t{}\t", BINS * 200)), "{segments:?}");

    let model = out.join("model.safetensors");
    let apply = |more: &[&str]| run("apply", &[&["--model", text(&model)], &input[..], more].concat());
    let viterbi = folder.join("viterbi");
    apply(&["--decode", "viterbi", "--out", text(&viterbi)]).well();
    let smoothed = folder.join("smoothed");
    apply(&["--decode", "smoothed", "--temperature", "0.0001", "--out", text(&smoothed)]).well();
    let file = "a_3_segments.bed";
    assert_eq!(bytes(&viterbi.join(file)), bytes(&smoothed.join(file)), "the smoothed path becomes the best one");

    // another cell type has to be told apart
    let (other, to) = (folder.join("other.txt"), folder.join("other"));
    std::fs::write(&other, "c\tmark0\ta0.bed\nc\tmark1\ta1.bed\n").unwrap();
    let other = ["--model", text(&model), "--table", text(&other), "--sizes", text(&sizes)];
    run("apply", &[&other[..], &["--out", text(&to)]].concat()).refused(&["emissions of a, b, none of c", "--as-cell"]);
    run("apply", &[&other[..], &["--as-cell", "a", "--out", text(&to)]].concat()).well();
    let ours: Vec<String> = lines(&to.join("c_3_segments.bed"));
    assert_eq!(ours, segments, "the same reads have the same segments");
}

#[test]
fn signal_is_averaged_in_bins() {
    let folder = folder("chromatin_signal");
    let sizes = ChromSizes::new([("chr1", (BINS * 200) as u32)]).unwrap();
    let mut table = String::new();
    for mark in 0..2 {
        let run = |bin: usize| {
            let value = if active(bin, mark) { 8.0 } else { 0.5 } * (1.0 + noise(bin, mark) as f32 / 16.0);
            Run { start: (bin * 200) as u32, end: (bin * 200 + 200) as u32, value }
        };
        let runs = (0..BINS).map(run).collect();
        let chromosomes = vec![ChromosomeSignal { name: "chr1".into(), size: None, runs }];
        write_bigwig(&folder.join(format!("{mark}.bw")), &sizes, &Signal { chromosomes }).unwrap();
        writeln!(table, "cell\tmark{mark}\t{mark}.bw").unwrap();
    }
    let (path, out) = (folder.join("table.txt"), folder.join("run"));
    std::fs::write(&path, table).unwrap();
    let fit = ["--table", text(&path), "--emission", "gaussian", "--states", "3", "--out", text(&out)];
    run("fit", &fit).well();
    // three states: neither mark, one, the other; switched as the signal is
    let segments = lines(&out.join("states/cell_3_segments.bed"));
    let state = |bin: usize| {
        let at = (bin * 200) as u64;
        let inside = |line: &&String| {
            let fields: Vec<&str> = line.split('\t').collect();
            (fields[1].parse::<u64>().unwrap()..fields[2].parse().unwrap()).contains(&at)
        };
        segments.iter().find(inside).unwrap().rsplit('\t').next().unwrap().to_owned()
    };
    let of = |marks: [bool; 2]| {
        let bins = (0..BINS).filter(|&bin| [active(bin, 0), active(bin, 1)] == marks);
        bins.map(state).collect::<std::collections::BTreeSet<String>>()
    };
    let found = [of([false, false]), of([true, false]), of([false, true])];
    assert!(found.iter().all(|states| states.len() == 1), "{found:?}");
    assert!(found[0] != found[1] && found[1] != found[2] && found[0] != found[2], "{found:?}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let folder = folder("chromatin_refused");
    let (calls, table, out) = (calls(&folder), reads(&folder), folder.join("run"));
    let fit = |arguments: &[&str]| run("fit", &[arguments, &["--out", text(&out)]].concat());
    let of_calls = |more: &[&str]| fit(&[&["--calls", text(&calls)], more].concat());
    fit(&[]).refused(&["no input", "--calls", "--table"]);
    of_calls(&["--states", "x"]).refused(&["--states x", "6-12"]);
    of_calls(&["--hold-out", "chr9"]).refused(&["no bin of chr9"]);
    of_calls(&["--leave-out", "chr9"]).refused(&["--leave-out chr9"]);
    of_calls(&["--choose", "held-out"]).refused(&["needs --hold-out"]);
    of_calls(&["--own-emissions", "--method", "em"]).refused(&["use gradients"]);
    of_calls(&["--states", "9"]).refused(&["states apart in these calls"]);
    fit(&["--table", text(&table), "--emission", "bernoulli"]).refused(&["BinarizeBed"]);
    fit(&["--table", text(&table)]).refused(&["no chromosome's length is known"]);
    let sizes = folder.join("sizes.txt");
    let controls = std::fs::read_to_string(&table).unwrap().replace(".bed", ".bed\tinput.bed");
    std::fs::write(folder.join("controls.txt"), controls).unwrap();
    let controls = folder.join("controls.txt");
    fit(&["--table", text(&controls), "--sizes", text(&sizes)]).refused(&["column of controls"]);
    std::fs::write(folder.join("a0.bed"), "chr7\t5\t41\tr\t0\t+\n").unwrap();
    fit(&["--table", text(&table), "--sizes", text(&sizes)]).refused(&["a mark0", "no read of", "named alike"]);
    let unmeasured = "a\tchr1\nx\ty\n1\t2\n0\t2\n";
    let file = folder.join("a_chr1_binary.txt");
    std::fs::write(&file, unmeasured).unwrap();
    fit(&["--calls", text(&file)]).refused(&["y was measured in no bin"]);
    std::fs::write(&file, "a\tchr1\nx\ty\n").unwrap();
    fit(&["--calls", text(&file)]).refused(&["there are no bins"]);
    assert!(!out.exists());
}
