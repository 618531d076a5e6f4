//! Writes `.h5ad` files that anndata and scanpy open.

use std::{io::Write as _, path::Path};

use hdf5_pure::{AttrValue, FileBuilder, FinishedGroup, GroupBuilder};

use crate::{Column, ColumnValues, Dataset, Error, Feature, Matrix, Modality, Result, write::write_atomic};

/// Deflate level of arrays: beyond 4 they hardly shrink.
const DEFLATE: u32 = 4;
/// Most values in a chunk of a compressed array. HDF5 2.0 wants each edge in as few bytes as hold it, while
/// `hdf5-pure` writes 1, 2 or 4 bytes: edges that need 3 bytes would not be readable.
const CHUNK: u64 = u16::MAX as u64;

/// Writes a data set as `.h5ad`: one modality as `X`, the others in `obsm` under their names.
///
/// `x` names the modality that becomes `X`; with `None` the file has no `X`. Names of the columns of `obsm/NAME`
/// stand in `uns/NAME_names`, where [`crate::read_h5ad`] looks for them. Values that were not measured are NaN.
///
/// # Errors
/// If there is no modality `x`, or what the system says.
pub fn write_h5ad(path: &Path, data: &Dataset, x: Option<&str>) -> Result<()> {
    let bytes = h5ad_bytes(data, x)?;
    write_atomic(path, |to| to.write_all(&bytes))
}

/// The bytes of the `.h5ad` file that [`write_h5ad`] writes.
///
/// # Errors
/// If there is no modality `x`.
pub fn h5ad_bytes(data: &Dataset, x: Option<&str>) -> Result<Vec<u8>> {
    let x = x.map(|name| data.modality(name)).transpose()?;
    let mut file = FileBuilder::new();
    for (name, value) in encoding("anndata", "0.1.0") {
        file.set_attr(name, value);
    }
    let mut obsm = group(file.create_group("obsm"), "dict", "0.1.0");
    let mut uns = group(file.create_group("uns"), "dict", "0.1.0");
    for modality in data.modalities.iter().filter(|modality| x.is_none_or(|x| x.name != modality.name)) {
        write_matrix(&mut obsm, &modality.name, modality);
        let names: Vec<&str> = modality.feature_names().collect();
        write_texts(&mut uns, &format!("{}_names", modality.name), &names);
    }
    if let Some(x) = x {
        // The root is a group like any other, but the builder gives it its own type.
        match &x.matrix {
            Matrix::Sparse(_) if x.measured.is_none() => {
                let sparse = write_sparse(file.create_group("X"), &x.matrix);
                file.add_group(sparse);
            }
            _ => {
                let (rows, columns) = x.matrix.shape();
                let array = file.create_dataset("X");
                compress(array.with_f32_data(&with_nan(x)), &[rows as u64, columns as u64]);
                set_encoding(array, "array", "0.2.0");
            }
        }
    }
    let mut obs = file.create_group("obs");
    write_frame(&mut obs, &data.cells, &data.obs);
    let var = var_group(file.create_group("var"), x.map_or(&[], |x| &x.features));
    for finished in [obsm.finish(), uns.finish(), obs.finish(), var] {
        file.add_group(finished);
    }
    file.finish().map_err(|source| Error::Data(format!("the .h5ad cannot be put together: {source}")))
}

fn encoding(kind: &str, version: &str) -> [(&'static str, AttrValue); 2] {
    // anndata compares these as str, which only variable-length UTF-8 gives in every h5py.
    [
        ("encoding-type", AttrValue::VarLenString(kind.into())),
        ("encoding-version", AttrValue::VarLenString(version.into())),
    ]
}

fn group(mut group: GroupBuilder, kind: &str, version: &str) -> GroupBuilder {
    for (name, value) in encoding(kind, version) {
        group.set_attr(name, value);
    }
    group
}

type ArrayBuilder = hdf5_pure::DatasetBuilder;

fn set_encoding(array: &mut ArrayBuilder, kind: &str, version: &str) {
    for (name, value) in encoding(kind, version) {
        array.set_attr(name, value);
    }
}

/// Gives an array its shape, and chunks and deflate where that can pay.
fn compress(array: &mut ArrayBuilder, shape: &[u64]) {
    array.with_shape(shape);
    let values: u64 = shape.iter().product();
    if values > 0 {
        let mut chunk: Vec<u64> = shape.iter().map(|&length| length.min(CHUNK)).collect();
        let row: u64 = chunk[1..].iter().product();
        chunk[0] = (CHUNK / row).clamp(1, shape[0]);
        array.with_chunks(&chunk).with_shuffle().with_deflate(DEFLATE);
    }
}

fn write_texts(to: &mut GroupBuilder, name: &str, texts: &[&str]) {
    let array = to.create_dataset(name);
    array.with_vlen_strings(texts);
    set_encoding(array, "string-array", "0.2.0");
}

fn write_matrix(to: &mut GroupBuilder, name: &str, modality: &Modality) {
    if matches!(modality.matrix, Matrix::Sparse(_)) && modality.measured.is_none() {
        let sparse = write_sparse(to.create_group(name), &modality.matrix);
        to.add_group(sparse);
    } else {
        let (rows, columns) = modality.matrix.shape();
        let array = to.create_dataset(name);
        compress(array.with_f32_data(&with_nan(modality)), &[rows as u64, columns as u64]);
        set_encoding(array, "array", "0.2.0");
    }
}

/// All values by rows, NaN where nothing was measured.
fn with_nan(modality: &Modality) -> Vec<f32> {
    let mut values = modality.matrix.to_row_major();
    if let Some(measured) = &modality.measured {
        let columns = modality.matrix.columns();
        for (cell, row) in values.chunks_mut(columns).enumerate() {
            for (value, _) in row.iter_mut().zip(measured.cell(cell)).filter(|(_, measured)| !**measured) {
                *value = f32::NAN;
            }
        }
    }
    values
}

fn write_sparse(to: GroupBuilder, matrix: &Matrix) -> FinishedGroup {
    let csr = matrix.clone().into_sparse();
    let (rows, columns) = csr.shape();
    let mut to = group(to, "csr_matrix", "0.1.0");
    to.set_attr("shape", AttrValue::I64Array(vec![rows as i64, columns as i64]));
    let entries = [csr.nnz() as u64];
    compress(to.create_dataset("data").with_f32_data(csr.data()), &entries);
    let indices: Vec<i32> = csr.indices().iter().map(|&index| index as i32).collect();
    compress(to.create_dataset("indices").with_i32_data(&indices), &entries);
    // SciPy wants both index arrays of one width, which 32 bits are for all but huge matrices.
    let indptr: Vec<i64> = csr.indptr().iter().map(|&start| start as i64).collect();
    if csr.nnz() < i32::MAX as usize {
        let narrow: Vec<i32> = indptr.iter().map(|&start| start as i32).collect();
        compress(to.create_dataset("indptr").with_i32_data(&narrow), &[narrow.len() as u64]);
    } else {
        compress(to.create_dataset("indptr").with_i64_data(&indptr), &[indptr.len() as u64]);
    }
    to.finish()
}

fn var_group(mut to: GroupBuilder, features: &[Feature]) -> FinishedGroup {
    let names: Vec<String> = features.iter().map(|feature| feature.name.clone()).collect();
    let mut columns = Vec::new();
    if !features.is_empty() {
        let ids = features.iter().map(|feature| feature.id.clone()).collect();
        let types: Vec<&str> = features.iter().map(|feature| feature.kind.feature_type()).collect();
        columns.push(Column { name: "gene_ids".into(), values: ColumnValues::Text(ids) });
        columns.push(Column::categorical("feature_types", &types));
    }
    write_frame(&mut to, &names, &columns);
    to.finish()
}

fn write_frame(to: &mut GroupBuilder, index: &[String], columns: &[Column]) {
    for (name, value) in encoding("dataframe", "0.2.0") {
        to.set_attr(name, value);
    }
    to.set_attr("_index", AttrValue::VarLenString("_index".into()));
    let order: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    // pandas itself stores the empty order as an empty array of floats.
    let order = if order.is_empty() { AttrValue::F64Array(Vec::new()) } else { AttrValue::VarLenStringArray(order) };
    to.set_attr("column-order", order);
    write_texts(to, "_index", &index.iter().map(String::as_str).collect::<Vec<_>>());
    for column in columns {
        match &column.values {
            ColumnValues::Numeric(values) => {
                let array = to.create_dataset(&column.name);
                array.with_f64_data(values);
                set_encoding(array, "array", "0.2.0");
            }
            ColumnValues::Text(values) => {
                write_texts(to, &column.name, &values.iter().map(String::as_str).collect::<Vec<_>>());
            }
            ColumnValues::Categorical { categories, codes } => {
                let mut categorical = group(to.create_group(&column.name), "categorical", "0.2.0");
                categorical.set_attr("ordered", AttrValue::U8(0));
                write_texts(&mut categorical, "categories", &categories.iter().map(String::as_str).collect::<Vec<_>>());
                let codes: Vec<i32> = codes.iter().map(|code| code.map_or(-1, |code| code as i32)).collect();
                let array = categorical.create_dataset("codes");
                array.with_i32_data(&codes);
                set_encoding(array, "array", "0.2.0");
                to.add_group(categorical.finish());
            }
        }
    }
}
