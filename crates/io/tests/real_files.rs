//! Files written by anndata, scanpy and 10x tools give the values that those tools read from them.

use std::path::PathBuf;

use gradome_io::{Kind, ReadOptions, read};

/// The folder of reference data; without it tests print that they were skipped.
fn data() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = PathBuf::from(std::env::var("GRADOME_DATA").unwrap_or_else(|_| default.into()));
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("GRADOME_REQUIRE_GOLDENS").is_ok_and(|value| value == "1");
    assert!(!required, "{} is missing and GRADOME_REQUIRE_GOLDENS=1", folder.display());
    println!("skipped: {} is missing", folder.display());
    None
}

#[test]
fn smoke() {
    let Some(data) = data() else { return };
    for file in [
        "formats/10x_pbmc68k_reduced.h5ad",
        "formats/pancreas_csc_plain.h5ad",
        "formats/pancreas_csr_gzip.h5ad",
        "formats/pancreas_csr_lzf.h5ad",
        "formats/pbmc_10k_protein_v3.h5ad",
        "sivae/teaseq/rna_counts.mtx.gz",
        "sivae/teaseq/protein_counts.csv.gz",
        "sivae/a549_scicar/rna_counts.mtx.gz",
        "sivae/a549_scicar/peaks_binary.mtx.gz",
        "sivae/atac_small/peak_counts.mtx.gz",
        "sivae/snare_celllines/rna_counts.mtx.gz",
    ] {
        let t = std::time::Instant::now();
        let d = read(&data.join(file), &ReadOptions::default()).unwrap();
        println!(
            "{file} {} {:?} {:?} {:?} {:?}",
            d.cells.len(),
            d.modalities
                .iter()
                .map(|m| (m.name.clone(), m.matrix.shape(), m.matrix.nnz(), m.matrix.row_sums()[0]))
                .collect::<Vec<_>>(),
            d.obs.iter().map(|c| c.name.clone()).collect::<Vec<_>>(),
            d.notes,
            t.elapsed()
        );
    }
    let d = read(
        &data.join("formats/pbmc_10k_protein_v3.h5ad"),
        &ReadOptions { places: vec!["X".into(), "obsm/protein_expression".into()], ..Default::default() },
    )
    .unwrap();
    println!("{:?} {:?}", d.modalities[1].features, d.notes);
    assert_eq!(d.modalities[1].kind, Kind::Protein);
}
