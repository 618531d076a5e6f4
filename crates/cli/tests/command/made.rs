//! Small made data sets: cells of three types in two batches.

use std::path::Path;

use gradome::io::{Column, Dataset, Kind, Matrix, Modality, write_h5ad, write_tenx_folder};

pub const CELLS: usize = 90;
pub const GENES: usize = 30;
pub const PROTEINS: usize = 6;

/// A number in 0..n that depends on its arguments in no simple way.
fn mixed(a: usize, b: usize, n: u64) -> u64 {
    let mut x = (a as u64) << 32 ^ b as u64 ^ 0x9e37_79b9_7f4a_7c15;
    for _ in 0..3 {
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (x ^ x >> 31) % n
}

/// Counts that are high where feature and cell are of one type.
fn counts(features: usize, salt: usize, high: u64) -> Matrix {
    let value = |cell: usize, feature: usize| {
        let most = if feature % 3 == cell % 3 { high } else { 3 };
        mixed(cell + salt, feature, most + 1) as f32
    };
    let values = (0..CELLS).flat_map(|cell| (0..features).map(move |feature| value(cell, feature))).collect();
    Matrix::dense(CELLS, features, values)
}

/// RNA and proteins of the same cells, with their batch in `donor`.
pub fn cite_seq() -> Dataset {
    let genes = (0..GENES).map(|gene| format!("GENE{gene}"));
    let proteins = (0..PROTEINS).map(|protein| format!("CD{protein}"));
    let donors: Vec<&str> = (0..CELLS).map(|cell| if cell % 2 == 0 { "a" } else { "b" }).collect();
    Dataset {
        cells: (0..CELLS).map(|cell| format!("CELL{cell:03}-1")).collect(),
        modalities: vec![
            Modality::new("rna", Kind::Rna, genes, counts(GENES, 0, 12)),
            Modality::new("protein", Kind::Protein, proteins, counts(PROTEINS, 1000, 60)),
        ],
        obs: vec![Column::categorical("donor", &donors)],
        notes: Vec::new(),
    }
}

pub fn tenx(folder: &Path) {
    write_tenx_folder(folder, &cite_seq()).expect("made data can be written");
}

/// RNA as X, proteins in obsm/protein.
pub fn h5ad(path: &Path) {
    write_h5ad(path, &cite_seq(), Some("rna")).expect("made data can be written");
}

/// A table of one feature a column.
pub fn csv(path: &Path, header: &str, rows: impl IntoIterator<Item = String>) {
    let mut text = format!("cell,{header}\n");
    rows.into_iter().for_each(|row| text += &(row + "\n"));
    std::fs::write(path, text).expect("a table can be written");
}
