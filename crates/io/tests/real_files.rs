//! Files written by anndata, scanpy and R give the values that anndata and SciPy read from them.

use gradome_io::{ColumnValues, Dataset, Kind, Orientation, ReadOptions, check_counts, inspect, read, read_h5ad};

mod common;

/// Sum and non-zeros of the first modality, and its shape.
fn totals(data: &Dataset) -> (usize, usize, usize, f64) {
    let matrix = &data.modalities[0].matrix;
    (matrix.rows(), matrix.columns(), matrix.nnz(), matrix.row_sums().iter().sum())
}

#[test]
fn csr_and_csc_places_hold_what_anndata_reads() {
    let Some(folder) = common::data() else { return };
    // Shape, non-zeros and sum of each place as anndata 0.12 gives them.
    let expected = EXPECTED_PLACES;
    for (file, place, shape, nnz, sum) in expected {
        let data = read_h5ad(&folder.join("formats").join(file), &[place]).unwrap();
        let got = totals(&data);
        assert_eq!((got.0, got.1, got.2), (shape.0, shape.1, *nnz), "{file} {place}");
        assert!((got.3 - sum).abs() <= 1e-6 * sum.abs(), "{file} {place}: {} against {sum}", got.3);
    }
}

type Place = (&'static str, &'static str, (usize, usize), usize, f64);
const EXPECTED_PLACES: &[Place] = &[
    ("10x_pbmc68k_reduced.h5ad", "X", (700, 765), 535433, -243.681057988666),
    ("10x_pbmc68k_reduced.h5ad", "raw/X", (700, 765), 174400, 319044.23824107647),
    ("10x_pbmc68k_reduced.h5ad", "obsm/X_pca", (700, 50), 35000, 0.0018205521701020189),
    ("10x_pbmc68k_reduced.h5ad", "obsm/X_umap", (700, 2), 1400, -2511.0751242837573),
    ("pancreas_csc_plain.h5ad", "X", (40, 1500), 37830, 153601.0),
    ("pancreas_csc_plain.h5ad", "layers/spliced", (40, 1500), 37830, 153601.0),
    ("pancreas_csr_gzip.h5ad", "X", (500, 1500), 473788, 1994999.0),
    ("pancreas_csr_gzip.h5ad", "layers/spliced", (500, 1500), 473788, 1994999.0),
    ("pancreas_csr_gzip.h5ad", "layers/unspliced", (500, 1500), 87748, 176342.0),
    ("pancreas_csr_lzf.h5ad", "X", (50, 1500), 47105, 192572.0),
    ("pancreas_csr_lzf.h5ad", "layers/spliced", (50, 1500), 47105, 192572.0),
    ("pancreas_csr_lzf.h5ad", "layers/unspliced", (50, 1500), 8954, 18041.0),
    ("pbmc_10k_protein_v3.h5ad", "X", (200, 16727), 317760, 909531.0),
    ("pbmc_10k_protein_v3.h5ad", "obsm/protein_expression", (200, 14), 2794, 1243127.0),
    ("pbmc_5k_protein_v3.h5ad", "X", (200, 16581), 387353, 1351231.0),
    ("pbmc_5k_protein_v3.h5ad", "obsm/protein_expression", (200, 29), 5434, 628093.0),
];

#[test]
fn protein_names_come_from_uns() {
    let Some(folder) = common::data() else { return };
    let data = read_h5ad(&folder.join("formats/pbmc_10k_protein_v3.h5ad"), &["X", "obsm/protein_expression"]).unwrap();
    let names: Vec<&str> = data.modality("protein").unwrap().feature_names().collect();
    assert_eq!(names.len(), 14);
    assert_eq!((names[0], names[13]), ("CD3_TotalSeqB", "CD127_TotalSeqB"));
    assert_eq!(data.modality("rna").unwrap().kind, Kind::Rna);
    assert!(data.notes.iter().any(|note| note.contains("uns/protein_names")), "{:?}", data.notes);
}

#[test]
fn categories_and_nullable_names_are_read() {
    let Some(folder) = common::data() else { return };
    let data = read_h5ad(&folder.join("formats/pancreas_csr_lzf.h5ad"), &["layers/unspliced"]).unwrap();
    assert_eq!((data.cells[0].as_str(), data.cells[49].as_str()), ("cell0", "cell49"));
    let ColumnValues::Categorical { categories, codes } = &data.column("cluster").unwrap().values else {
        panic!("cluster is categorical")
    };
    assert_eq!(categories.len(), 8);
    assert_eq!(codes.len(), 50);

    let data = read_h5ad(&folder.join("formats/10x_pbmc68k_reduced.h5ad"), &["raw/X"]).unwrap();
    let (labels, _) = data.column("bulk_labels").unwrap().labels();
    assert_eq!(labels.len(), 10);
    assert!(labels.contains(&"CD19+ B".to_owned()));
}

#[test]
fn matrix_market_finds_names_and_orientation_beside_it() {
    let Some(folder) = common::data() else { return };
    let options = ReadOptions::default();
    let peaks = read(&folder.join("sivae/a549_scicar/peaks_binary.mtx.gz"), &options).unwrap();
    assert_eq!(totals(&peaks), (1600, 3000, 210_301, 210_301.0));
    assert_eq!(peaks.modalities[0].kind, Kind::Atac);
    let rna = read(&folder.join("sivae/a549_scicar/rna_counts.mtx.gz"), &options).unwrap();
    assert_eq!((rna.modalities[0].kind.clone(), rna.modalities[0].matrix.columns()), (Kind::Rna, 1185));
    assert_eq!(rna.column("dex_time").unwrap().labels().0, ["0h", "1h", "3h"]);
    let turned = ReadOptions { orientation: Orientation::FeaturesByCells, ..options };
    let error = read(&folder.join("sivae/a549_scicar/rna_counts.mtx.gz"), &turned).unwrap_err().to_string();
    assert!(error.contains("do not belong together"), "{error}");
}

#[test]
fn protein_table_is_read_by_its_header() {
    let Some(folder) = common::data() else { return };
    let data = read(&folder.join("sivae/teaseq/protein_counts.csv.gz"), &ReadOptions::default()).unwrap();
    assert_eq!((data.cells.len(), data.modalities[0].features.len()), (1262, 46));
    assert_eq!(data.modalities[0].kind, Kind::Protein);
}

#[test]
fn inspection_lists_every_place() {
    let Some(folder) = common::data() else { return };
    let summary = inspect(&folder.join("formats/10x_pbmc68k_reduced.h5ad")).unwrap();
    let places: Vec<&str> = summary.modalities.iter().map(|modality| modality.place.as_str()).collect();
    assert_eq!(places, ["X", "raw/X", "obsm/X_pca", "obsm/X_umap"]);
    assert!(!summary.modalities[0].counts, "X is scaled");
    assert_eq!(summary.cells, 700);
    let text = summary.to_string();
    assert!(text.contains("annotation louvain: categories"), "{text}");
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["format"], "h5ad");
}

#[test]
fn demo_data_holds_two_batches_and_says_what_was_not_measured() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo-data/pbmc_cite_seq.h5ad");
    let data = read_h5ad(file.as_ref(), &["X", "obsm/protein_expression"]).unwrap();
    let (batches, codes) = data.column("batch").unwrap().labels();
    assert_eq!((batches, codes.len()), (vec!["5k".into(), "10k".into()], 400));
    for modality in &data.modalities {
        check_counts(modality, &data.cells).unwrap();
    }
    // 15 of the 29 proteins are missing in the 200 cells of the second batch.
    let measured = data.modality("protein").unwrap().measured.as_ref().unwrap();
    assert_eq!((measured.missing(), measured.cell(0).contains(&false)), (15 * 200, false));
}
