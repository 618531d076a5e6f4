//! Models of chromatin states against ChromHMM's results and reference numbers.

mod binarisation;
mod decoding;
mod enrichment;
mod training;

use std::path::{Path, PathBuf};

use gradome_epigenome::chromatin::{ChromHmmModel, JavaRandom};
use gradome_io::for_each_line;
use gradome_io::genome::binarised::{Binarised, binarised_files};

/// The files of a folder in ChromHMM's order of visits, and the generator after that.
fn visited(folder: &Path, seed: i64) -> (Binarised, JavaRandom) {
    let files = binarised_files(folder).unwrap();
    let mut random = JavaRandom::new(seed);
    let order = random.visiting_order(files.len());
    let files: Vec<PathBuf> = order.into_iter().map(|i| files[i].clone()).collect();
    (Binarised::read(&files).unwrap(), random)
}

/// The ln-likelihoods of ChromHMM's passes, which it prints with three decimals.
fn curve(path: &Path) -> Vec<f64> {
    let mut values = Vec::new();
    for_each_line(path, |line| {
        values.extend(line.split('\t').nth(1).and_then(|field| field.parse::<f64>().ok()));
        Ok(())
    })
    .unwrap();
    assert!(values.len() > 10, "{}", path.display());
    values
}

fn assert_models_close(model: &ChromHmmModel, expected: &ChromHmmModel, tolerance: f64) {
    assert_eq!(model.marks, expected.marks);
    let close = |what: &str, ours: &[f64], theirs: &[f64]| {
        assert_eq!(ours.len(), theirs.len());
        for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
            // written so that NaN fails
            let close = (a - b).abs() <= tolerance;
            assert!(close, "{what} {i}: {a}, ChromHMM {b}");
        }
    };
    let flat = |m: &ChromHmmModel| m.emissions.iter().flatten().copied().collect::<Vec<f64>>();
    close("emission", &flat(model), &flat(expected));
    close("transition", &model.transitions, &expected.transitions);
    close("initial", &model.initial, &expected.initial);
}
