use std::time::Instant;

use super::gradome;

#[test]
fn check_prints_one_json_object_a_line_with_its_fields_in_order() {
    let done = gradome(&["check", "--filter", "softplus", "--json"]).well();
    let line = done.out.lines().next().expect("softplus is an op");
    assert!(line.starts_with(r#"{"name":"softplus","kind":"op","max_rel_error":"#), "{line}");
    assert!(line.ends_with(r#","pass":true}"#), "{line}");
    let parsed: serde_json::Value = serde_json::from_str(line).expect("the line is JSON");
    let error = parsed["max_rel_error"].as_f64().expect("a number");
    assert!((0.0..1e-6).contains(&error), "{error}");
}

#[test]
fn check_lists_ops_layers_losses_and_operators() {
    let done = gradome(&["check", "--json"]).well();
    for kind in ["op", "layer", "loss", "operator"] {
        let of_kind = format!(r#""kind":"{kind}""#);
        assert!(done.out.lines().any(|line| line.contains(&of_kind)), "no {kind} in\n{}", done.out);
    }
    assert!(done.out.contains(r#""name":"multiomics-vae","kind":"operator""#));
}

#[test]
fn check_is_a_table_that_ends_with_how_many_passed() {
    let done = gradome(&["check", "--filter", "softmax"]).well();
    assert!(done.out.starts_with("name"), "{}", done.out);
    assert!(done.out.lines().last().is_some_and(|line| line.contains(" passed in ")), "{}", done.out);
}

#[test]
fn a_filter_that_matches_nothing_is_an_error() {
    gradome(&["check", "--filter", "no-such-op"]).refused(&["no-such-op"]);
}

#[test]
fn one_check_starts_at_once() {
    let start = Instant::now();
    gradome(&["check", "--filter", "softmax"]).well();
    // about 30 ms; a loaded machine may take longer
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
}

#[test]
fn completions_and_manual_pages_know_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = gradome(&["completions", shell]).well().out;
        assert!(script.contains("n-top-genes") && script.contains("multiomics-vae"), "{shell}");
    }
    let folder = super::folder("man");
    gradome(&["man", "--out", super::text(&folder)]).well();
    let page = std::fs::read_to_string(folder.join("gradome-fit-multiomics-vae.1")).expect("there is a page");
    assert!(page.contains("n\\-top\\-genes"), "{page}");
    assert!(gradome(&["man"]).well().out.contains(".TH"));
}

#[test]
fn help_shows_examples() {
    for command in [&["--help"][..], &["help", "fit", "multiomics-vae"], &["apply", "multiomics-vae", "--help"]] {
        let help = gradome(command).well().out;
        assert!(help.contains("Examples:") && help.contains("--seed"), "{help}");
    }
}
