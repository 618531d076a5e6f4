//! Variable features agree with scanpy's `seurat_v3`; `reference/variable_features.py` made the numbers.

use std::{collections::BTreeSet, fs, path::Path};

use gradome_io::{Dataset, Matrix, VARIANCE_TREND_SPAN, VariableFeatures, read_h5ad, variable_features};

mod common;

const CELLS: usize = 240;
const GENES: usize = 300;
const TOP: usize = 60;

/// The counts of `made_counts` in the script.
fn made_counts() -> Matrix {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 48
    };
    let mut counts = Vec::new();
    for cell in 0..CELLS {
        for gene in 0..GENES {
            let raised = if gene % 10 == 0 && cell % 3 == 0 { 6 } else { 1 };
            let scale = (1 + (gene * gene / 40) as u64) * raised;
            counts.push(((draw() * draw() * scale) >> 33) as f32);
        }
    }
    Matrix::dense(CELLS, GENES, counts)
}

fn reference() -> Vec<Vec<f64>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/variable_features.tsv");
    let text = fs::read_to_string(file).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(|field| field.parse().unwrap()).collect()).collect()
}

fn assert_agrees(ours: &VariableFeatures, variance: usize, chosen: usize) {
    let reference = reference();
    for (gene, row) in reference.iter().enumerate() {
        let (got, expected) = (ours.normalised_variance[gene], row[variance]);
        assert!((got - expected).abs() <= 1e-10 * expected, "gene {gene}: {got} against {expected}");
    }
    let expected: Vec<usize> = (0..GENES).filter(|&gene| reference[gene][chosen] == 1.0).collect();
    assert_eq!(ours.chosen, expected);
}

#[test]
fn one_batch_agrees_with_scanpy_exactly() {
    let ours = variable_features(&made_counts(), None, TOP, VARIANCE_TREND_SPAN).unwrap();
    assert_agrees(&ours, 0, 1);
}

#[test]
fn two_batches_agree_with_scanpy_exactly() {
    let batches: Vec<u32> = (0..CELLS).map(|cell| u32::from(cell % 5 < 2)).collect();
    let ours = variable_features(&made_counts(), Some(&batches), TOP, VARIANCE_TREND_SPAN).unwrap();
    assert_agrees(&ours, 2, 5);
    for (gene, row) in reference().iter().enumerate() {
        assert_eq!(ours.rank[gene].unwrap_or(f64::NAN).to_string(), row[3].to_string(), "rank of gene {gene}");
        assert_eq!(f64::from(ours.batches[gene]), row[4], "batches of gene {gene}");
    }
}

#[test]
fn sparse_and_dense_counts_choose_alike() {
    let dense = made_counts();
    let sparse = Matrix::Sparse(dense.clone().into_sparse());
    let choose = |counts: &Matrix| variable_features(counts, None, TOP, VARIANCE_TREND_SPAN).unwrap();
    assert_eq!(choose(&dense), choose(&sparse));
}

#[test]
fn counts_without_a_trend_are_named() {
    let error = |counts: &Matrix, batches: Option<&[u32]>| {
        variable_features(counts, batches, 5, VARIANCE_TREND_SPAN).unwrap_err().to_string()
    };
    let counts = made_counts();
    let batches: Vec<u32> = (0..CELLS).map(|cell| if cell == 7 { 3 } else { 0 }).collect();
    assert!(error(&counts, Some(&batches)).contains("in batch 3: 1 cell is too few"));
    assert!(error(&counts, Some(&batches[1..])).contains("another number of batch labels"));
    assert!(error(&counts.select_columns(&[290, 291]), None).contains("2 points are too few"));
    let alike = Matrix::dense(2, 40, [[1.0; 40], [2.0; 40]].concat());
    assert!(error(&alike, None).contains("points share x"));
}

#[test]
fn real_cells_in_two_batches_choose_scanpys_genes() {
    let Some(data) = common::data() else { return };
    let files: Vec<Dataset> = ["5k", "10k"]
        .iter()
        .map(|name| read_h5ad(&data.join(format!("formats/pbmc_{name}_protein_v3.h5ad")), &["X"]).unwrap())
        .collect();
    let names = |file: &Dataset| -> Vec<String> { file.modalities[0].feature_names().map(str::to_owned).collect() };
    let second: BTreeSet<String> = names(&files[1]).into_iter().collect();
    let shared: Vec<String> = names(&files[0]).into_iter().filter(|name| second.contains(name)).collect();
    let (mut rows, mut batches) = (Vec::new(), Vec::new());
    for (batch, file) in files.iter().enumerate() {
        let names = names(file);
        let columns: Vec<usize> =
            shared.iter().map(|gene| names.iter().position(|name| name == gene).unwrap()).collect();
        rows.extend(file.modalities[0].matrix.select_columns(&columns).to_row_major());
        batches.extend(vec![batch as u32; file.cells.len()]);
    }
    let counts = Matrix::dense(batches.len(), shared.len(), rows);
    let ours = variable_features(&counts, Some(&batches), 1000, VARIANCE_TREND_SPAN).unwrap();
    let ours: BTreeSet<&str> = ours.chosen.iter().map(|&gene| shared[gene].as_str()).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/pbmc_variable_genes.txt");
    let text = fs::read_to_string(file).unwrap();
    let theirs: BTreeSet<&str> = text.lines().collect();
    // Genes with equal variance stand in any order in scanpy (an unstable sort), which moves ranks by a few.
    let agree = ours.intersection(&theirs).count();
    println!("{agree} of 1000 genes are scanpy's");
    assert!(agree >= 995, "{agree} of 1000 genes are scanpy's");
}
