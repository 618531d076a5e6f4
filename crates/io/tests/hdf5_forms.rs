//! Forms of HDF5 files that the real files do not cover, built here array by array.

use gradome_io::{ColumnValues, Kind, read_h5ad_bytes, read_tenx_h5_bytes};
use hdf5_pure::{AttrValue, DatasetBuilder, FileBuilder, GroupBuilder};

type Result<T> = gradome_io::Result<T>;

fn text(value: &str) -> AttrValue {
    AttrValue::VarLenString(value.into())
}

fn texts(group: &mut GroupBuilder, name: &str, values: &[&str]) {
    group.create_dataset(name).with_vlen_strings(values);
}

/// A frame with an index and nothing else.
fn frame(file: &mut FileBuilder, name: &str, index: &[&str], more: impl FnOnce(&mut GroupBuilder)) {
    let mut group = file.create_group(name);
    group.set_attr("_index", text("_index"));
    texts(&mut group, "_index", index);
    more(&mut group);
    file.add_group(group.finish());
}

/// Two cells and three genes, with what `more` adds.
fn h5ad(more: impl FnOnce(&mut FileBuilder)) -> Vec<u8> {
    let mut file = FileBuilder::new();
    frame(&mut file, "obs", &["A", "B"], |_| {});
    frame(&mut file, "var", &["g1", "g2", "g3"], |_| {});
    more(&mut file);
    file.finish().unwrap()
}

struct Sparse<'a> {
    form: &'a str,
    shape: [i64; 2],
    data: &'a [f32],
    indices: &'a [i64],
    indptr: &'a [i64],
}

impl Sparse<'_> {
    fn write(&self, file: &mut FileBuilder) {
        let mut group = file.create_group("X");
        group.set_attr("encoding-type", text(self.form));
        group.set_attr("shape", AttrValue::I64Array(self.shape.to_vec()));
        group.create_dataset("data").with_f32_data(self.data).with_shape(&[self.data.len() as u64]);
        group.create_dataset("indices").with_i64_data(self.indices).with_shape(&[self.indices.len() as u64]);
        group.create_dataset("indptr").with_i64_data(self.indptr).with_shape(&[self.indptr.len() as u64]);
        file.add_group(group.finish());
    }
}

fn good() -> Sparse<'static> {
    Sparse { form: "csr_matrix", shape: [2, 3], data: &[1.0, 2.0, 3.0], indices: &[2, 0, 1], indptr: &[0, 2, 3] }
}

fn x_of(sparse: &Sparse<'_>) -> Result<Vec<f32>> {
    let bytes = h5ad(|file| sparse.write(file));
    Ok(read_h5ad_bytes("a.h5ad", bytes, &["X"])?.modalities[0].matrix.to_row_major())
}

fn x_error(sparse: &Sparse<'_>) -> String {
    x_of(sparse).unwrap_err().to_string()
}

#[test]
fn unsorted_and_repeated_indices_become_canonical() {
    assert_eq!(x_of(&good()).unwrap(), [2.0, 0.0, 1.0, 0.0, 3.0, 0.0]);
    let repeated = Sparse { indices: &[2, 2, 1], ..good() };
    assert_eq!(x_of(&repeated).unwrap(), [0.0, 0.0, 3.0, 0.0, 3.0, 0.0]);
    let columns = Sparse { form: "csc_matrix", indices: &[1, 0, 0], indptr: &[0, 1, 1, 3], ..good() };
    assert_eq!(x_of(&columns).unwrap(), [0.0, 0.0, 5.0, 1.0, 0.0, 0.0]);
    let empty = Sparse { data: &[], indices: &[], indptr: &[0, 0, 0], ..good() };
    assert_eq!(x_of(&empty).unwrap(), [0.0; 6]);
}

#[test]
fn damaged_sparse_arrays_are_named() {
    let cases: [(Sparse<'_>, &str); 9] = [
        (Sparse { indices: &[2, 3, 1], ..good() }, "index 3 at entry 1 is outside the 3 columns"),
        (Sparse { indices: &[2, -1, 1], ..good() }, "`X/indices`: holds -1"),
        (Sparse { indices: &[2, 0], ..good() }, "2 indices but 3 values"),
        (Sparse { indptr: &[0, 3], ..good() }, "indptr has 2 entries"),
        (Sparse { indptr: &[0, 2, 9], ..good() }, "indptr runs from 0 to 9"),
        (Sparse { indptr: &[0, 4, 3], ..good() }, "indptr falls from 4 to 3 at row 1"),
        (Sparse { indptr: &[1, 2, 3], ..good() }, "indptr runs from 1"),
        (Sparse { shape: [2, i64::MAX], ..good() }, "the cells and features need [2, 3]"),
        (Sparse { form: "coo_matrix", ..good() }, "expected csr_matrix or csc_matrix"),
    ];
    for (sparse, expected) in cases {
        let error = x_error(&sparse);
        assert!(error.contains(expected) && error.starts_with("a.h5ad at `X"), "{error}");
    }
}

#[test]
fn indices_of_another_type_are_refused() {
    let bytes = h5ad(|file| {
        let mut group = file.create_group("X");
        group.set_attr("encoding-type", text("csr_matrix"));
        group.set_attr("shape", AttrValue::I64Array(vec![2, 3]));
        group.create_dataset("data").with_f32_data(&[1.0]);
        group.create_dataset("indices").with_f64_data(&[0.0]);
        group.create_dataset("indptr").with_i32_data(&[0, 1, 1]);
        file.add_group(group.finish());
    });
    let error = read_h5ad_bytes("a.h5ad", bytes, &["X"]).unwrap_err().to_string();
    assert!(error.contains("`X/indices`") && error.contains("whole numbers were expected"), "{error}");
}

fn dense(file: &mut FileBuilder, shape: &[u64], fill: impl FnOnce(&mut DatasetBuilder) -> &mut DatasetBuilder) {
    fill(file.create_dataset("X")).with_shape(shape);
}

#[test]
fn dense_places_of_another_shape_or_type_are_refused() {
    let read = |bytes| read_h5ad_bytes("a.h5ad", bytes, &["X"]);
    let bytes = h5ad(|file| dense(file, &[3, 2], |array| array.with_i32_data(&[0; 6])));
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.contains("has shape [3, 2] but the cells and features need [2, 3]"), "{error}");
    let bytes = h5ad(|file| dense(file, &[2, 3], |array| array.with_vlen_strings(&["a"; 6])));
    assert!(read(bytes).unwrap_err().to_string().contains("holds Text elements where numbers were expected"));
    let bytes = h5ad(|file| dense(file, &[2, 3], |array| array.with_i32_data(&[1, 2, 3, 4, 5, 6])));
    assert_eq!(read(bytes).unwrap().modalities[0].matrix.to_row_major(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn a_missing_place_lists_those_there_are() {
    let bytes = h5ad(|file| good().write(file));
    let error = read_h5ad_bytes("a.h5ad", bytes.clone(), &["layers/counts"]).unwrap_err().to_string();
    assert!(error.contains("`layers/counts`: is missing; there are: X"), "{error}");
    let error = read_h5ad_bytes("a.h5ad", bytes, &["uns/thing"]).unwrap_err().to_string();
    assert!(error.contains("give X, raw/X, layers/NAME or obsm/NAME"), "{error}");
}

#[test]
fn categories_of_older_files_are_read_and_checked() {
    let with_codes = |codes: &'static [i8]| {
        let mut file = FileBuilder::new();
        frame(&mut file, "obs", &["A", "B", "C"], |obs| {
            obs.create_dataset("donor").with_i8_data(codes);
            let mut categories = obs.create_group("__categories");
            texts(&mut categories, "donor", &["d1", "d2"]);
            obs.add_group(categories.finish());
        });
        file.create_group("var");
        read_h5ad_bytes("old.h5ad", file.finish().unwrap(), &["obsm/none"])
    };
    // The place is missing, which comes after the annotations were read.
    let error = with_codes(&[1, -1, 0]).unwrap_err().to_string();
    assert!(error.contains("obsm/none"), "{error}");
    let error = with_codes(&[1, 2, 0]).unwrap_err().to_string();
    assert!(error.contains("`obs/donor`: holds code 2 but there are 2 categories"), "{error}");
    let error = with_codes(&[1, 1]).unwrap_err().to_string();
    assert!(error.contains("has 2 values for 3 rows"), "{error}");
}

#[test]
fn nullable_older_and_frame_encodings_hold_their_values() {
    let mut file = FileBuilder::new();
    frame(&mut file, "obs", &["A", "B"], |obs| {
        obs.create_dataset("donor").with_i8_data(&[1, -1]);
        let mut categories = obs.create_group("__categories");
        texts(&mut categories, "donor", &["d1", "d2"]);
        obs.add_group(categories.finish());
        let mut age = obs.create_group("age");
        age.set_attr("encoding-type", text("nullable-integer"));
        age.create_dataset("values").with_i64_data(&[30, 1]);
        age.create_dataset("mask").with_u8_data(&[0, 1]);
        obs.add_group(age.finish());
    });
    let mut obsm = file.create_group("obsm");
    let mut adt = obsm.create_group("adt");
    adt.set_attr("encoding-type", text("dataframe"));
    adt.set_attr("_index", text("_index"));
    adt.set_attr("column-order", AttrValue::VarLenStringArray(vec!["CD8".into(), "CD4".into()]));
    texts(&mut adt, "_index", &["A", "B"]);
    adt.create_dataset("CD4").with_i64_data(&[1, 2]);
    adt.create_dataset("CD8").with_f64_data(&[3.0, f64::NAN]);
    obsm.add_group(adt.finish());
    file.add_group(obsm.finish());
    let data = read_h5ad_bytes("a.h5ad", file.finish().unwrap(), &["obsm/adt"]).unwrap();
    let modality = data.modality("protein").unwrap();
    assert!(modality.feature_names().eq(["CD8", "CD4"]));
    assert_eq!(modality.matrix.to_row_major(), [3.0, 1.0, 0.0, 2.0]);
    assert_eq!(modality.measured.as_ref().unwrap().cell(1), [false, true]);
    let ColumnValues::Numeric(age) = &data.column("age").unwrap().values else { panic!("age is numeric") };
    assert!(age[0] == 30.0 && age[1].is_nan());
    assert_eq!(data.column("donor").unwrap().labels(), (vec!["d1".into(), "d2".into()], vec![Some(1), None]));
}

#[test]
fn repeated_cells_are_refused() {
    let mut file = FileBuilder::new();
    frame(&mut file, "obs", &["A", "B", "A"], |_| {});
    let error = read_h5ad_bytes("a.h5ad", file.finish().unwrap(), &[]).unwrap_err().to_string();
    assert!(error.contains("cell `A` is number 1 and again number 3"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_not_a_crash() {
    let whole = h5ad(|file| good().write(file));
    for length in (0..whole.len()).step_by(7) {
        let cut = whole[..length].to_vec();
        assert!(read_h5ad_bytes("cut.h5ad", cut.clone(), &["X"]).is_err(), "{length} of {} bytes", whole.len());
        assert!(read_tenx_h5_bytes("cut.h5", cut).is_err());
    }
}

#[test]
fn a_file_with_any_byte_changed_never_crashes() {
    let whole = h5ad(|file| good().write(file));
    let mut refused = 0;
    for at in (0..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xa5;
        refused += usize::from(read_h5ad_bytes("damaged.h5ad", damaged, &["X"]).is_err());
    }
    assert!(refused > 0);
}

/// A 10x file of two genes and one antibody over two cells.
fn tenx(shape: [i32; 2]) -> Vec<u8> {
    let mut file = FileBuilder::new();
    let mut matrix = file.create_group("matrix");
    matrix.create_dataset("barcodes").with_ascii_strings(&["AAAC-1", "AAAG-1"]).unwrap();
    matrix.create_dataset("data").with_i32_data(&[4, 1, 9]);
    matrix.create_dataset("indices").with_i64_data(&[0, 2, 1]);
    matrix.create_dataset("indptr").with_i64_data(&[0, 2, 3]);
    matrix.create_dataset("shape").with_i32_data(&shape);
    let mut features = matrix.create_group("features");
    features.create_dataset("id").with_ascii_strings(&["ENSG1", "ENSG2", "CD4"]).unwrap();
    features.create_dataset("name").with_ascii_strings(&["A", "B", "CD4_tag"]).unwrap();
    let types = ["Gene Expression", "Gene Expression", "Antibody Capture"];
    features.create_dataset("feature_type").with_ascii_strings(&types).unwrap();
    matrix.add_group(features.finish());
    file.add_group(matrix.finish());
    file.finish().unwrap()
}

#[test]
fn tenx_h5_splits_features_by_type() {
    let data = read_tenx_h5_bytes("a.h5", tenx([3, 2])).unwrap();
    assert_eq!(data.cells, ["AAAC-1", "AAAG-1"]);
    assert_eq!(data.modality("rna").unwrap().matrix.to_row_major(), [4.0, 0.0, 0.0, 9.0]);
    let protein = data.modality("protein").unwrap();
    assert_eq!((protein.kind.clone(), protein.matrix.to_row_major()), (Kind::Protein, vec![1.0, 0.0]));
    assert_eq!((protein.features[0].id.as_str(), protein.features[0].name.as_str()), ("CD4", "CD4_tag"));
    let error = read_tenx_h5_bytes("a.h5", tenx([2, 2])).unwrap_err().to_string();
    assert!(error.contains("says [2, 2] but there are 3 features and 2 barcodes"), "{error}");
}

#[test]
fn tenx_h5_of_one_genome_is_read_and_of_two_refused() {
    let build = |genomes: &[&str]| {
        let mut file = FileBuilder::new();
        for genome in genomes {
            let mut group = file.create_group(genome);
            group.create_dataset("barcodes").with_ascii_strings(&["AAAC-1"]).unwrap();
            group.create_dataset("genes").with_ascii_strings(&["ENSG1", "ENSG2"]).unwrap();
            group.create_dataset("gene_names").with_ascii_strings(&["A", "B"]).unwrap();
            group.create_dataset("data").with_i32_data(&[5]);
            group.create_dataset("indices").with_i64_data(&[1]);
            group.create_dataset("indptr").with_i64_data(&[0, 1]);
            group.create_dataset("shape").with_i32_data(&[2, 1]);
            file.add_group(group.finish());
        }
        read_tenx_h5_bytes("old.h5", file.finish().unwrap())
    };
    assert_eq!(build(&["GRCh38"]).unwrap().modalities[0].matrix.to_row_major(), [0.0, 5.0]);
    assert!(build(&["hg19", "mm10"]).unwrap_err().to_string().contains("several genomes (hg19, mm10)"));
    assert!(build(&[]).unwrap_err().to_string().contains("is not a 10x file"));
}
