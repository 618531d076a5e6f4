//! Data sets fit together by barcode, and what is not a count is named.

use gradome_io::{
    Dataset, Feature, Kind, Matrix, Measured, Modality, Orientation, align, check_counts, check_finite,
    make_names_unique, read_table_bytes, zero_depth_cells,
};

fn table(file: &str, text: &str) -> Dataset {
    read_table_bytes(file, text.as_bytes(), Orientation::Auto).unwrap()
}

#[test]
fn shared_cells_stand_in_the_order_of_the_first_input() {
    let rna = table("rna.csv", "c,g\nA,1\nB,2\nC,3\n");
    let protein = table("adt.csv", "c,p\nC,30\nX,0\nA,10\n");
    let (joined, alignment) = align(&[rna, protein], false).unwrap();
    assert_eq!(joined.cells, ["A", "C"]);
    assert_eq!(joined.modality("rna").unwrap().matrix.to_row_major(), [1.0, 3.0]);
    assert_eq!(joined.modality("protein").unwrap().matrix.to_row_major(), [10.0, 30.0]);
    assert_eq!(alignment.to_string(), "2 cells are in all of 2 inputs (of 3, 3 cells)");
}

#[test]
fn suffixes_match_only_when_asked_to() {
    let inputs = [table("rna.csv", "c,g\nA-1,1\n"), table("adt.csv", "c,p\nA,10\n")];
    let error = align(&inputs, false).unwrap_err().to_string();
    assert!(error.contains("`A-1`, `A`") && error.contains("-1 at the end"), "{error}");
    let (joined, alignment) = align(&inputs, true).unwrap();
    assert_eq!((joined.cells.len(), alignment.shared), (1, 1));
}

#[test]
fn two_inputs_of_one_name_are_refused() {
    let inputs = [table("rna.csv", "c,g\nA,1\n"), table("rna.csv", "c,g\nA,1\n")];
    assert!(align(&inputs, false).unwrap_err().to_string().contains("two inputs have a modality `rna`"));
}

#[test]
fn repeated_gene_names_get_the_suffixes_of_anndata() {
    let feature = |name: &&str| Feature { id: String::new(), name: (*name).into(), kind: Kind::Rna };
    let mut features: Vec<Feature> = ["a", "a", "b", "a-1", "a", "b"].iter().map(feature).collect();
    assert_eq!(make_names_unique(&mut features), 3);
    let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
    // anndata.utils.make_index_unique gives these.
    assert_eq!(names, ["a", "a-2", "b", "a-1", "a-3", "b-1"]);
}

#[test]
fn renamed_features_are_noted() {
    let mut data = table("rna.csv", "c,g,h,g\nA,1,2,3\n");
    data.make_feature_names_unique();
    assert!(data.modalities[0].feature_names().eq(["g", "h", "g-1"]));
    assert_eq!(data.notes, ["rna: 1 repeated feature names got a suffix (-1, -2, ...)"]);
}

#[test]
fn a_value_that_is_no_count_is_named_with_its_cell_and_feature() {
    let data = table("rna.csv", "c,g1,g2\nA,1,2\nB,0,-3\n");
    let error = check_counts(&data.modalities[0], &data.cells).unwrap_err().to_string();
    assert!(error.contains("cell `B`, feature `g2`: -3 is negative"), "{error}");
    let data = table("rna.csv", "c,g1,g2\nA,1,2.5\n");
    let error = check_counts(&data.modalities[0], &data.cells).unwrap_err().to_string();
    assert!(error.contains("2.5 is not whole") && error.contains("raw"), "{error}");
    check_finite(&data.modalities[0], &data.cells).unwrap();
    let mut data = table("rna.csv", "c,g1\nA,1\n");
    data.modalities[0].matrix = Matrix::dense(1, 1, vec![f32::INFINITY]);
    assert!(check_finite(&data.modalities[0], &data.cells).unwrap_err().to_string().contains("inf"));
    assert!(check_counts(&data.modalities[0], &data.cells).is_err());
}

#[test]
fn a_cell_without_counts_is_found_but_not_one_without_measurement() {
    let modality = Modality {
        name: "protein".into(),
        kind: Kind::Protein,
        features: Vec::new(),
        matrix: Matrix::dense(3, 2, vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
        measured: Measured::from_rows([vec![true, false], vec![true, true], vec![false, false]]),
    };
    assert_eq!(zero_depth_cells(&modality), [0]);
    assert!(modality.matrix.row_sums()[0].is_sign_positive());
}

#[test]
fn cells_and_features_can_be_chosen_together() {
    let data = table("rna.csv", "c,g1,g2,g3\nA,1,0,3\nB,0,5,NA\nC,7,8,9\n");
    let picked = data.select_cells(&[2, 1]).modalities[0].select_features(&[2, 0]);
    assert_eq!(picked.matrix.to_row_major(), [9.0, 7.0, 0.0, 0.0]);
    assert_eq!(picked.measured.unwrap().cell(1), [false, true]);
    let whole = data.select_cells(&[0, 2]);
    assert_eq!(whole.modalities[0].measured, None);
}
