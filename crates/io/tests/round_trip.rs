//! What is written comes back equal.

use std::{fs, path::PathBuf};

use gradome_io::{
    Column, ColumnValues, CsrMatrix, Dataset, Feature, Kind, Matrix, Measured, Modality, Orientation, ReadOptions,
    h5ad_bytes, read, read_h5ad_bytes, read_matrix_market, read_mtx, read_table, read_table_bytes, read_tenx_folder,
    write_atomic, write_csv, write_h5ad, write_matrix_market, write_tenx_folder,
};

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("gradome-io-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn features(kind: &Kind, names: &[&str]) -> Vec<Feature> {
    let feature = |name: &&str| Feature { id: format!("id-{name}"), name: (*name).into(), kind: kind.clone() };
    names.iter().map(feature).collect()
}

/// Three cells with two genes and two proteins.
fn small() -> Dataset {
    let rna = CsrMatrix::new(3, 2, vec![0, 1, 1, 3], vec![1, 0, 1], vec![7.0, 2.0, 1.0]).unwrap();
    let modality = |kind: Kind, matrix, names: &[&str]| Modality {
        name: kind.modality_name(),
        features: features(&kind, names),
        kind,
        matrix,
        measured: None,
    };
    Dataset {
        cells: vec!["AAAC-1".into(), "AAAG-1".into(), "AAAT-1".into()],
        modalities: vec![
            modality(Kind::Rna, Matrix::Sparse(rna), &["CD4", "CD8A"]),
            modality(Kind::Protein, Matrix::dense(3, 2, vec![5.0, 1.0, 2.0, 3.0, 8.0, 4.0]), &["CD4_tag", "CD8_tag"]),
        ],
        obs: vec![
            Column::categorical("batch", &["a", "b", "a"]),
            Column { name: "score".into(), values: ColumnValues::Numeric(vec![0.5, f64::INFINITY, -2.0]) },
            Column { name: "note".into(), values: ColumnValues::Text(vec!["x".into(), String::new(), "µ".into()]) },
        ],
        notes: Vec::new(),
    }
}

#[test]
fn h5ad_keeps_matrices_names_and_annotations() {
    let before = small();
    let bytes = h5ad_bytes(&before, Some("rna")).unwrap();
    let after = read_h5ad_bytes("small.h5ad", bytes, &["X", "obsm/protein"]).unwrap();
    assert_eq!(after.cells, before.cells);
    assert_eq!(after.obs, before.obs);
    assert_eq!(after.modalities[0], before.modalities[0]);
    assert_eq!(after.modalities[1].matrix, before.modalities[1].matrix);
    assert_eq!(after.modalities[1].kind, Kind::Protein);
    assert!(after.modalities[1].feature_names().eq(["CD4_tag", "CD8_tag"]));
}

#[test]
fn h5ad_keeps_what_was_not_measured() {
    let mut before = small();
    let missing = vec![vec![true, true], vec![true, false], vec![true, true]];
    before.modalities[1].measured = Measured::from_rows(missing);
    before.modalities[1].matrix = Matrix::dense(3, 2, vec![5.0, 1.0, 2.0, 0.0, 8.0, 4.0]);
    let bytes = h5ad_bytes(&before, None).unwrap();
    let after = read_h5ad_bytes("small.h5ad", bytes, &["obsm/protein"]).unwrap();
    assert_eq!(after.modalities[0].measured, before.modalities[1].measured);
    assert_eq!(after.modalities[0].matrix, before.modalities[1].matrix);
    assert!(after.notes.iter().any(|note| note.contains("1 values are NaN")), "{:?}", after.notes);
}

#[test]
fn tenx_folder_keeps_both_modalities() {
    let folder = folder("tenx");
    let before = small();
    write_tenx_folder(&folder, &before).unwrap();
    let after = read_tenx_folder(&folder).unwrap();
    assert_eq!(after.cells, before.cells);
    assert_eq!(after.modalities[0], before.modalities[0]);
    assert_eq!(after.modalities[1].matrix.to_row_major(), before.modalities[1].matrix.to_row_major());
    assert_eq!(read(&folder, &ReadOptions::default()).unwrap(), after);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn matrix_market_keeps_real_and_whole_values() {
    for values in [vec![1.0, 0.0, 3.0, 4.0], vec![0.1, 0.0, -3.5, 1e-20]] {
        let before = Matrix::dense(2, 2, values);
        let mut text = Vec::new();
        write_matrix_market(&before, &mut text).unwrap();
        assert_eq!(Matrix::Sparse(read_matrix_market("a.mtx", &text[..]).unwrap()).into_dense(), before);
    }
}

#[test]
fn csv_keeps_values_and_gaps() {
    let folder = folder("csv");
    let path = folder.join("latent.csv");
    let header: Vec<String> = ["cell", "z1", "z2"].map(String::from).into();
    write_csv(&path, &header, &["a, b".into(), "c".into()], &[0.1, -2.0, f32::NAN, 1e-7]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "cell,z1,z2\n\"a, b\",0.1,-2\nc,,0.0000001\n");
    let after = read_table(&path, Orientation::Auto).unwrap();
    assert_eq!(after.cells, ["a, b", "c"]);
    assert_eq!(after.modalities[0].matrix.to_row_major(), [0.1, -2.0, 0.0, 1e-7]);
    assert_eq!(after.modalities[0].measured.as_ref().unwrap().cell(1), [false, true]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_other() {
    let folder = folder("atomic");
    let path = folder.join("latent.csv");
    fs::write(&path, "old").unwrap();
    let failed = write_atomic(&path, |to| {
        std::io::Write::write_all(to, b"half")?;
        Err(std::io::Error::other("disk full"))
    });
    assert!(failed.unwrap_err().to_string().contains("disk full"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    write_h5ad(&path, &small(), Some("rna")).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_layout_of_matrix_market_gives_the_same_matrix() {
    let expected = [2.0, 1.0, 1.0, 0.0];
    for text in [
        "%%MatrixMarket matrix coordinate integer general\n% a comment\n\n2 2 3\n1 1 2\n% another\n2 1 1\n\n1 2 1\n",
        "%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 2.0\n2 1 1e0\n",
        "%%MatrixMarket matrix array real general\n2 2\n2\n1\n1\n0\n",
        "%%MatrixMarket matrix array integer symmetric\n2 2\n2\n1\n0\n",
        "%%matrixmarket MATRIX Coordinate Pattern General\r\n2 2 4\r\n1 1\r\n1 1\r\n1 2\r\n2 1\r\n",
    ] {
        let matrix = read_matrix_market("a.mtx", text.as_bytes()).unwrap();
        assert_eq!(Matrix::Sparse(matrix).to_row_major(), expected, "{text}");
    }
}

#[test]
fn tables_come_with_any_separator_and_orientation() {
    for text in [
        "c,g1,g2\nx,1,2\ny,0,4\n",
        "c\tg1\tg2\r\nx\t1\t2\r\ny\t0\t4\r\n",
        "g1;g2\nx;1;2\ny;0;4",
        "\u{feff}c,\"g1\",g2\nx,1,2\ny,0,4\n",
    ] {
        let data = read_table_bytes("t.csv", text.as_bytes(), Orientation::Auto).unwrap();
        assert_eq!(data.cells, ["x", "y"], "{text}");
        assert!(data.modalities[0].feature_names().eq(["g1", "g2"]), "{text}");
        assert_eq!(data.modalities[0].matrix.to_row_major(), [1.0, 2.0, 0.0, 4.0]);
    }
    let turned =
        read_table_bytes("t.csv", "g,x,y\ng1,1,0\ng2,2,NA\n".as_bytes(), Orientation::FeaturesByCells).unwrap();
    assert_eq!(turned.cells, ["x", "y"]);
    assert_eq!(turned.modalities[0].matrix.to_row_major(), [1.0, 2.0, 0.0, 0.0]);
    assert_eq!(turned.modalities[0].measured.as_ref().unwrap().cell(1), [true, false]);
}

#[test]
fn minus_one_is_a_value_and_not_a_gap() {
    let data = read_table_bytes("t.csv", "c,g\nx,-1\n".as_bytes(), Orientation::Auto).unwrap();
    assert_eq!(data.modalities[0].matrix.to_row_major(), [-1.0]);
    assert_eq!(data.modalities[0].measured, None);
}

#[test]
fn a_matrix_without_names_gets_made_ones_and_a_note() {
    let folder = folder("bare");
    let path = folder.join("counts.mtx");
    fs::write(&path, "%%MatrixMarket matrix coordinate integer general\n2 3 1\n2 3 5\n").unwrap();
    let data = read_mtx(&path, Orientation::Auto).unwrap();
    assert_eq!(data.cells, ["cell_1", "cell_2", "cell_3"]);
    assert!(data.modalities[0].feature_names().eq(["feature_1", "feature_2"]));
    assert!(data.notes.iter().any(|note| note.contains("features x cells")), "{:?}", data.notes);
    let data = read_mtx(&path, Orientation::CellsByFeatures).unwrap();
    assert_eq!(data.cells.len(), 2);
    fs::remove_dir_all(folder).unwrap();
}
