use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::made::{self, CELLS, GENES, PROTEINS};
use super::{Done, bytes, command, folder, gradome, text};

const FILES: [&str; 6] =
    ["model.safetensors", "latent.csv", "metrics.jsonl", "report.html", "run.toml", "summary.json"];

fn lines(path: &Path) -> Vec<String> {
    String::from_utf8(bytes(path)).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn a_run_leaves_its_files_and_the_same_bits_at_any_thread_count() {
    let folder = folder("threads");
    let data = folder.join("10x");
    made::tenx(&data);
    let run = |threads: &str| {
        let out = folder.join(threads);
        let files = ["--rna", text(&data), "--protein", text(&data), "--out", text(&out)];
        let flags = ["--epochs", "4", "--seed", "3", "--threads", threads, "--hidden", "16,8", "--latent", "4"];
        gradome(&[&["fit", "multiomics-vae"][..], &files, &flags].concat()).well();
        out
    };
    let (one, two) = (run("1"), run("2"));
    for file in FILES {
        assert!(one.join(file).exists(), "no {file}");
    }
    for file in ["model.safetensors", "latent.csv"] {
        assert_eq!(bytes(&one.join(file)), bytes(&two.join(file)), "{file} depends on the number of threads");
    }
    let latent = lines(&one.join("latent.csv"));
    assert_eq!(latent[0], "cell,z1,z2,z3,z4,cluster,batch");
    assert_eq!(latent.len(), 1 + CELLS);
    assert_eq!(lines(&one.join("metrics.jsonl")).len(), 4);
    let settings = lines(&one.join("run.toml")).join("\n");
    let refused = ["fit", "multiomics-vae", "--rna", text(&data), "--out", text(&one)];
    gradome(&refused).refused(&["not empty"]);
    std::fs::write(one.join("notes.txt"), "mine").expect("written");
    gradome(&[&refused[..], &["--overwrite", "--epochs", "1"]].concat()).well();
    assert_eq!(lines(&one.join("metrics.jsonl")).len(), 1, "the old run is gone");
    assert_eq!(bytes(&one.join("notes.txt")), b"mine", "other files stay");
    for line in ["latent = 4", "hidden = [16, 8]", "seed = 3", "epochs = 4", "n-top-genes = 0"] {
        assert!(settings.lines().any(|has| has == line), "no `{line}` in\n{settings}");
    }
}

#[test]
fn the_settings_a_run_leaves_repeat_it_and_flags_override_them() {
    let folder = folder("config");
    let file = folder.join("cite.h5ad");
    made::h5ad(&file);
    let first = folder.join("first");
    let data = ["--h5ad", text(&file), "--protein", "obsm/protein", "--batch", "donor", "--n-top-genes", "20"];
    let flags = ["--out", text(&first), "--epochs", "2", "--learning-rate", "0.001"];
    gradome(&[&["fit", "multiomics-vae"][..], &data, &flags].concat()).well();
    let settings = first.join("run.toml");
    let again = |out: &str, more: &[&str]| {
        let out = folder.join(out);
        let flags = ["fit", "multiomics-vae", "--config", text(&settings), "--out", text(&out)];
        gradome(&[&flags[..], more].concat()).well();
        out
    };
    let same = again("same", &[]);
    assert_eq!(bytes(&first.join("model.safetensors")), bytes(&same.join("model.safetensors")));
    assert!(lines(&first.join("latent.csv"))[1].ends_with(",a"), "the batch stands in latent.csv");
    let other = again("other", &["--epochs", "3"]);
    assert_eq!(lines(&other.join("metrics.jsonl")).len(), 3);
}

#[test]
fn a_run_ended_by_a_signal_goes_on_to_the_same_bits() {
    let folder = folder("interrupt");
    let data = folder.join("10x");
    made::tenx(&data);
    let (whole, parts) = (folder.join("whole"), folder.join("parts"));
    let args = |out: &Path| -> Vec<String> {
        let fixed = ["fit", "multiomics-vae", "--rna", text(&data), "--epochs", "150", "--patience", "0", "--out"];
        fixed.into_iter().chain([text(out)]).map(str::to_owned).collect()
    };
    let borrowed = |args: &[String]| -> Done { gradome(&args.iter().map(String::as_str).collect::<Vec<_>>()) };
    borrowed(&args(&whole)).well();

    let parts_args = args(&parts);
    let mut training = command(&parts_args.iter().map(String::as_str).collect::<Vec<_>>())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    // an epoch is written: training has begun
    let start = Instant::now();
    while std::fs::metadata(parts.join("metrics.jsonl")).map_or(0, |file| file.len()) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "training did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = training.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    training.wait().expect("it ends");
    let done: Done = training.wait_with_output().expect("it ended").into();
    assert_eq!(done.code, Some(143), "{}", done.err);
    assert!(done.err.contains("gradome fit multiomics-vae --out") && done.err.contains("--resume"), "{}", done.err);
    assert!(!parts.join("report.html").exists() && parts.join("checkpoint.safetensors").exists());

    gradome(&["fit", "multiomics-vae", "--out", text(&parts), "--resume"]).well();
    for file in ["model.safetensors", "latent.csv"] {
        assert_eq!(bytes(&whole.join(file)), bytes(&parts.join(file)), "{file} differs after a stop");
    }
}

#[test]
fn a_model_is_inspected_applied_and_reported() {
    let folder = folder("apply");
    let file = folder.join("cite.h5ad");
    made::h5ad(&file);
    let run = folder.join("run");
    let data = ["--h5ad", text(&file), "--protein", "obsm/protein", "--batch", "donor", "--out", text(&run)];
    gradome(&[&["fit", "multiomics-vae", "--epochs", "3"][..], &data].concat()).well();
    let model = run.join("model.safetensors");

    let words = gradome(&["inspect", text(&model)]).well().out;
    assert!(words.contains("multiomics-vae") && words.contains("negative-binomial"), "{words}");

    let apply = |output: &str, out: &str, more: &[&str]| {
        let out = folder.join(out);
        let files = ["--model", text(&model), "--rna", text(&file), "--output", output, "--out", text(&out)];
        (gradome(&[&["apply", "multiomics-vae"][..], &files, more].concat()), out)
    };
    let (done, _) = apply("latent", "none.csv", &[]);
    done.refused(&["--as-batch"]);
    let (done, _) = apply("latent", "none.csv", &["--as-batch", "c"]);
    done.refused(&["batch 'c'", "a, b"]);
    let (done, _) = apply("latent", "none.tsv", &["--as-batch", "a"]);
    done.refused(&[".csv.gz"]);

    let (done, latent) = apply("latent", "latent.csv", &["--batch", "donor"]);
    done.well();
    assert_eq!(lines(&latent).len(), 1 + CELLS);
    let (done, imputed) = apply("impute", "imputed.h5ad", &["--as-batch", "a"]);
    done.well();
    let imputed =
        gradome::io::read(&imputed, &gradome::io::ReadOptions::default()).expect("what is written can be read");
    let protein = &imputed.modalities[0];
    assert_eq!(protein.matrix.shape(), (CELLS, PROTEINS));
    assert!(protein.feature_names().eq(["CD0", "CD1", "CD2", "CD3", "CD4", "CD5"]));
    assert!(protein.matrix.to_row_major().iter().all(|value| value.is_finite() && *value >= 0.0));
    let (done, normalized) = apply("normalized", "rna.csv.gz", &["--as-batch", "b", "--of", "rna"]);
    done.well();
    let normalized = gradome::io::read(&normalized, &gradome::io::ReadOptions::default()).expect("readable");
    assert_eq!(normalized.modalities[0].features.len(), GENES);
    for sum in normalized.modalities[0].matrix.row_sums() {
        assert!((sum - 1e4).abs() < 1.0, "normalised counts add up to 10,000, not {sum}");
    }
    let (done, scores) = apply("log-likelihood", "scores.csv", &["--as-batch", "a", "--samples", "3"]);
    done.well();
    let header = "cell,elbo,importance_weighted,kl,log_likelihood_rna,log_likelihood_protein";
    assert_eq!(lines(&scores)[0], header);

    let report = run.join("report.html");
    let before = bytes(&report);
    std::fs::remove_file(&report).expect("removed");
    gradome(&["report", text(&run)]).well();
    assert_eq!(bytes(&report), before, "the report is the same when it is written again");
}

#[test]
fn the_features_of_new_cells_may_come_in_another_order() {
    let folder = folder("order");
    let (file, turned) = (folder.join("cite.h5ad"), folder.join("turned.h5ad"));
    made::h5ad(&file);
    let run = folder.join("run");
    gradome(&["fit", "multiomics-vae", "--rna", text(&file), "--epochs", "2", "--out", text(&run)]).well();
    let mut data = made::cite_seq();
    data.modalities[0] = data.modalities[0].select_features(&(0..GENES).rev().collect::<Vec<_>>());
    gradome::io::write_h5ad(&turned, &data, Some("rna")).expect("written");
    let latent = |data: &Path, out: &str| {
        let (model, out) = (run.join("model.safetensors"), folder.join(out));
        let files = ["--model", text(&model), "--rna", text(data), "--out", text(&out), "--output", "latent"];
        gradome(&[&["apply", "multiomics-vae"][..], &files].concat()).well();
        bytes(&out)
    };
    assert_eq!(latent(&file, "file.csv"), latent(&turned, "turned.csv"));
}

#[test]
fn the_demo_leaves_a_report_with_scores_of_hidden_proteins() {
    let out = folder("demo").join("demo");
    // two epochs show the way; the real length is for the release build
    gradome(&["demo", "--out", text(&out), "--epochs", "2", "--quiet"]).well();
    let report = String::from_utf8(bytes(&out.join("report.html"))).expect("text");
    for words in ["hidden", "nearest cells by RNA", "CD3", "5k", "10k"] {
        assert!(report.contains(words), "no '{words}' in the report");
    }
    assert_eq!(lines(&out.join("latent.csv")).len(), 1 + 400);
}
