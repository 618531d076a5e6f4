use std::path::Path;

use super::made::{self, CELLS, csv};
use super::{bytes, folder, gradome, text};

/// Trains on one table; nothing may be left behind.
#[track_caller]
fn refused_without_a_trace(test: &str, more: &[&str], fill: impl FnOnce(&Path), words: &[&str]) {
    let folder = folder(test);
    let file = folder.join("rna.csv");
    fill(&file);
    let out = folder.join("run");
    let mut args = vec!["fit", "multiomics-vae", "--rna", text(&file), "--out", text(&out)];
    args.extend(more);
    gradome(&args).refused(words);
    assert!(!out.exists(), "a refused run left {}", out.display());
}

fn rows(change: impl Fn(usize) -> String) -> impl Iterator<Item = String> {
    (0..20).map(move |cell| format!("c{cell},{}", change(cell)))
}

#[test]
fn a_negative_count_is_named_with_modality_cell_and_feature() {
    let fill = |file: &Path| csv(file, "A,B", rows(|cell| if cell == 7 { "1,-3".into() } else { "1,2".into() }));
    refused_without_a_trace("negative", &[], fill, &["rna", "c7", "`B`", "-3", "gaussian"]);
}

#[test]
fn a_fraction_is_no_count() {
    let fill = |file: &Path| csv(file, "A,B", rows(|_| "1,2.5".into()));
    refused_without_a_trace("fraction", &[], fill, &["rna", "c0", "`B`", "2.5", "not whole"]);
}

#[test]
fn infinity_is_refused_by_every_likelihood() {
    for likelihood in ["gaussian", "poisson", "bernoulli"] {
        let fill = |file: &Path| csv(file, "A,B", rows(|cell| if cell == 3 { "inf,1".into() } else { "1,2".into() }));
        refused_without_a_trace("infinite", &["--rna-likelihood", likelihood], fill, &["inf"]);
    }
}

#[test]
fn an_empty_file_is_refused() {
    refused_without_a_trace("empty", &[], |file| std::fs::write(file, "").expect("written"), &["rna.csv"]);
    refused_without_a_trace("header", &[], |file| csv(file, "A,B", []), &["rna.csv"]);
}

#[test]
fn a_truncated_gzip_stream_is_refused() {
    let folder = folder("truncated");
    made::tenx(&folder);
    let matrix = folder.join("matrix.mtx.gz");
    let whole = bytes(&matrix);
    std::fs::write(&matrix, &whole[..whole.len() / 2]).expect("written");
    let out = folder.join("run");
    gradome(&["fit", "multiomics-vae", "--rna", text(&folder), "--out", text(&out)])
        .refused(&["matrix.mtx.gz", "truncated"]);
    assert!(!out.exists());
}

#[test]
fn a_truncated_h5ad_file_is_refused() {
    let folder = folder("truncated-h5ad");
    let file = folder.join("cite.h5ad");
    made::h5ad(&file);
    let whole = bytes(&file);
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    gradome(&["inspect", text(&file)]).refused(&["cite.h5ad"]);
}

#[test]
fn barcodes_without_a_match_are_refused_with_examples() {
    let folder = folder("barcodes");
    let (rna, protein) = (folder.join("rna.csv"), folder.join("protein.csv"));
    csv(&rna, "A,B", (0..20).map(|cell| format!("r{cell},1,2")));
    csv(&protein, "P,Q", (0..20).map(|cell| format!("p{cell},3,4")));
    let out = folder.join("run");
    let args = ["fit", "multiomics-vae", "--rna", text(&rna), "--protein", text(&protein), "--out", text(&out)];
    gradome(&args).refused(&["no cell", "r0", "p0"]);
}

#[test]
fn cells_that_only_one_file_has_are_counted_and_left_out() {
    let folder = folder("some-barcodes");
    let (rna, protein) = (folder.join("rna.csv"), folder.join("protein.csv"));
    csv(&rna, "A,B", (0..20).map(|cell| format!("c{cell},{},2", 1 + cell % 5)));
    csv(&protein, "P,Q", (5..30).map(|cell| format!("c{cell},{},4", 1 + cell % 7)));
    let out = folder.join("run");
    let files = ["--rna", text(&rna), "--protein", text(&protein), "--out", text(&out)];
    let args = [&["fit", "multiomics-vae", "--epochs", "1"][..], &files].concat();
    let done = gradome(&args).well();
    assert!(done.err.contains("15 cells are in all of 2 inputs (of 20, 25 cells)"), "{}", done.err);
    let latent = String::from_utf8(bytes(&out.join("latent.csv"))).expect("text");
    assert_eq!(latent.lines().count(), 1 + 15);
}

#[test]
fn a_cell_without_counts_is_left_out_and_said() {
    let folder = folder("zero-depth");
    let rna = folder.join("rna.csv");
    csv(&rna, "A,B", (0..20).map(|cell| format!("c{cell},{}", if cell == 4 { "0,0" } else { "3,2" })));
    let out = folder.join("run");
    let args = ["fit", "multiomics-vae", "--rna", text(&rna), "--out", text(&out), "--epochs", "1"];
    let done = gradome(&args).well();
    assert!(done.err.contains("1 cells have fewer than 1 counts"), "{}", done.err);
}

#[test]
fn usage_errors_say_what_to_give() {
    let folder = folder("usage");
    let (file, run) = (folder.join("cite.h5ad"), folder.join("run"));
    made::h5ad(&file);
    let fit = |more: &[&str]| gradome(&[&["fit", "multiomics-vae"][..], more].concat());
    fit(&["--out", text(&run)]).refused(&["--rna"]);
    fit(&["--rna", text(&file)]).refused(&["--out"]);
    fit(&["--rna", "no-such-file.h5ad", "--out", text(&run)]).refused(&["no-such-file.h5ad"]);
    fit(&["--rna", text(&file), "--out", text(&folder)]).refused(&["not empty", "--overwrite"]);
    fit(&["--rna", text(&file), "--out", text(&folder), "--resume"]).refused(&["nothing to go on with"]);
    let h5ad = ["--h5ad", text(&file), "--out", text(&run)];
    fit(&[&h5ad[..], &["--batch", "donr"]].concat()).refused(&["donr", "donor"]);
    fit(&[&h5ad[..], &["--protein", "obsm/nothing"]].concat()).refused(&["obsm/nothing"]);
    fit(&[&h5ad[..], &["--dropout", "2"]].concat()).refused(&["dropout"]);
    fit(&[&h5ad[..], &["--modality", "x=X:gausian"]].concat()).refused(&["gausian", "gaussian"]);
    assert!(!run.exists());
}

#[test]
fn a_settings_file_with_an_unknown_key_or_a_wrong_value_is_refused() {
    let folder = folder("settings");
    let settings = folder.join("run.toml");
    let fit = || gradome(&["fit", "multiomics-vae", "--config", text(&settings)]);
    for (content, words) in [
        ("latnt = 5\n", &["run.toml", "unknown key 'latnt'", "latent"][..]),
        ("latent = 'many'\n", &["run.toml", "many", "--latent"]),
        ("latent = [1, 2]\n", &["run.toml", "latent"]),
        ("latent = \n", &["run.toml"]),
        ("ignore-suffix = 3\n", &["run.toml", "ignore-suffix"]),
    ] {
        std::fs::write(&settings, content).expect("written");
        fit().refused(words);
    }
}

#[test]
fn what_is_no_model_is_not_applied() {
    let folder = folder("no-model");
    let (file, model) = (folder.join("cite.h5ad"), folder.join("model.safetensors"));
    made::h5ad(&file);
    std::fs::write(&model, "nothing of the kind").expect("written");
    let out = folder.join("latent.csv");
    let apply = |model: &Path| {
        let files = ["--model", text(model), "--rna", text(&file), "--out", text(&out)];
        gradome(&[&["apply", "multiomics-vae", "--output", "latent"][..], &files].concat())
    };
    apply(&model).refused(&["model.safetensors"]);
    apply(&folder.join("absent.safetensors")).refused(&["absent.safetensors"]);
    gradome(&["inspect", text(&model)]).refused(&["model.safetensors"]);
    assert!(!out.exists());
}

#[test]
fn a_folder_without_a_run_has_no_report() {
    gradome(&["report", text(&folder("no-run"))]).refused(&["summary.json"]);
}

#[test]
fn inspect_describes_data_in_words_and_in_json() {
    let folder = folder("inspect");
    let file = folder.join("cite.h5ad");
    made::h5ad(&file);
    let words = gradome(&["inspect", text(&file)]).well().out;
    assert!(words.contains(&format!("{CELLS} cells")) && words.contains("donor"), "{words}");
    let json = gradome(&["inspect", text(&file), "--json"]).well().out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["cells"], CELLS);
    assert_eq!(json["modalities"][0]["features"], made::GENES);
}
