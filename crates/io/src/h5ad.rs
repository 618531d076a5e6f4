//! AnnData files (`.h5ad`): <https://anndata.readthedocs.io/en/latest/fileformat-prose.html>.

use std::path::Path;

use crate::{
    CsrMatrix, Dataset, Error, Feature, Kind, Matrix, Measured, Modality, Result,
    dataset::{collect_rows, split_by_kind},
    frame,
    hdf::{Element, Hdf, Node, guarded},
    mtx::check_shape,
    names::{check_unique, made_names},
};

/// Reads places of an `.h5ad` file as the modalities of one data set.
///
/// A place is `X`, `raw/X`, `layers/NAME` or `obsm/NAME`; without any, `X` is read. `X` and its
/// relatives take their features from `var` (`raw/var`), split into modalities by its
/// `feature_types` column where it has one. `obsm` takes them from the columns of a data frame,
/// or from a list in `uns` of the same length (`uns/protein_names` for `obsm/protein_expression`).
/// Dense values that are NaN count as not measured; a note says how many.
///
/// # Errors
/// Names the HDF5 path that is missing, damaged or of another shape than the cells and features.
pub fn read_h5ad(path: &Path, places: &[&str]) -> Result<Dataset> {
    guarded(&path.display().to_string(), || read(&Hdf::open(path)?, places))
}

/// Reads an `.h5ad` file held in memory, as [`read_h5ad`] does; `file` names it in errors.
///
/// # Errors
/// As [`read_h5ad`].
pub fn read_h5ad_bytes(file: &str, bytes: Vec<u8>, places: &[&str]) -> Result<Dataset> {
    guarded(file, || read(&Hdf::from_bytes(file, bytes)?, places))
}

fn read(hdf: &Hdf, places: &[&str]) -> Result<Dataset> {
    let mut data = read_cells(hdf)?;
    for &place in if places.is_empty() { &["X"] } else { places } {
        read_place(hdf, place.trim_matches('/'), &mut data)?;
    }
    for (at, modality) in data.modalities.iter().enumerate() {
        if data.modalities[..at].iter().any(|earlier| earlier.name == modality.name) {
            return Err(Error::file(hdf.name(), format!("two of the places give a modality `{}`", modality.name)));
        }
    }
    Ok(data)
}

/// Cell names and annotations, without any matrix.
pub(crate) fn read_cells(hdf: &Hdf) -> Result<Dataset> {
    let mut notes = Vec::new();
    match hdf.node("obs") {
        Some(Node::Group) => {}
        Some(Node::Array) => {
            return Err(
                hdf.error("obs", "is of an AnnData version before 0.7: save the file again with a newer anndata")
            );
        }
        None => return Err(hdf.error("obs", "is missing: this HDF5 file is not an .h5ad")),
    }
    let cells = frame::index(hdf, "obs")?;
    check_unique(hdf.name(), "cell", &cells)?;
    let obs = frame::columns(hdf, "obs", cells.len(), &mut notes)?;
    Ok(Dataset { cells, modalities: Vec::new(), obs, notes })
}

fn read_place(hdf: &Hdf, place: &str, data: &mut Dataset) -> Result<()> {
    let (slot, name) = place.split_once('/').unwrap_or((place, ""));
    match (slot, name) {
        ("X", "") | ("layers", _) => read_by_var(hdf, place, "var", data),
        ("raw", "X") => read_by_var(hdf, place, "raw/var", data),
        ("obsm", name) if !name.is_empty() => read_obsm(hdf, place, name, data),
        _ => Err(hdf.error(place, "is not a place of cells by features: give X, raw/X, layers/NAME or obsm/NAME")),
    }
}

fn read_by_var(hdf: &Hdf, place: &str, var: &str, data: &mut Dataset) -> Result<()> {
    let names = frame::index(hdf, var)?;
    let (matrix, measured) = read_matrix(hdf, place, data.cells.len(), Some(names.len()))?;
    note_missing(place, &measured, data);
    let features = var_features(hdf, var, names)?;
    data.modalities.extend(split_by_kind(matrix, features, measured));
    Ok(())
}

/// Features with their `gene_ids` and `feature_types` where `var` has such columns.
fn var_features(hdf: &Hdf, var: &str, names: Vec<String>) -> Result<Vec<Feature>> {
    let ids = frame::text_column(hdf, var, "gene_ids", names.len())?;
    let types = frame::text_column(hdf, var, "feature_types", names.len())?;
    let guess = Kind::guess_from_names(&names).unwrap_or(Kind::Rna);
    let feature = |(at, name): (usize, String)| Feature {
        id: ids.as_ref().map_or_else(|| name.clone(), |ids| ids[at].clone()),
        kind: types.as_ref().map_or_else(|| guess.clone(), |types| Kind::from_feature_type(&types[at])),
        name,
    };
    Ok(names.into_iter().enumerate().map(feature).collect())
}

fn note_missing(place: &str, measured: &Option<Measured>, data: &mut Dataset) {
    if let Some(measured) = measured {
        data.notes.push(format!("{place}: {} values are NaN and count as not measured", measured.missing()));
    }
}

fn read_obsm(hdf: &Hdf, place: &str, name: &str, data: &mut Dataset) -> Result<()> {
    let kind = Kind::guess(name).unwrap_or_else(|| Kind::Other(name.to_owned()));
    let is_frame = hdf.text_attribute(place, "encoding-type").as_deref() == Some("dataframe");
    let (matrix, measured, names) = if is_frame {
        let (names, rows) = frame::numeric_frame(hdf, place, data.cells.len())?;
        let (matrix, measured) = collect_rows(names.len(), rows.into_iter().map(Ok))?;
        (matrix, measured, names)
    } else {
        let (matrix, measured) = read_matrix(hdf, place, data.cells.len(), None)?;
        let names = obsm_names(hdf, name, matrix.columns(), &mut data.notes)?;
        (matrix, measured, names)
    };
    note_missing(place, &measured, data);
    // Under its own name it goes back to the same place when written.
    let name = if matches!(kind, Kind::Other(_)) { name.to_owned() } else { kind.modality_name() };
    data.modalities.push(Modality { measured, ..Modality::new(&name, kind, names, matrix) });
    Ok(())
}

/// Names for the columns of an unnamed `obsm` array, from a text list in `uns` of that length.
fn obsm_names(hdf: &Hdf, name: &str, columns: usize, notes: &mut Vec<String>) -> Result<Vec<String>> {
    if hdf.node("uns") == Some(Node::Group) {
        let stem = name.split('_').next().unwrap_or(name);
        let preferred = [format!("{name}_names"), name.to_owned(), format!("{stem}_names")];
        let mut lists = Vec::new();
        for child in hdf.children("uns")? {
            let path = format!("uns/{child}");
            let fits = hdf.node(&path) == Some(Node::Array)
                && hdf.element(&path)? == Element::Text
                && hdf.shape(&path)? == [columns as u64];
            if fits {
                lists.push(child);
            }
        }
        if let Some(list) = preferred.iter().find(|name| lists.contains(name)) {
            let path = format!("uns/{list}");
            notes.push(format!("obsm/{name}: column names from {path}"));
            return hdf.texts(&path);
        }
    }
    if columns > 0 {
        notes.push(format!("obsm/{name}: the file names no columns, so they are called {name}_1 to {name}_{columns}"));
    }
    Ok(made_names(name, columns))
}

/// A dense or sparse matrix of `rows` cells; `columns` if they are known from names.
pub(crate) fn read_matrix(
    hdf: &Hdf,
    place: &str,
    rows: usize,
    columns: Option<usize>,
) -> Result<(Matrix, Option<Measured>)> {
    match hdf.node(place) {
        None => Err(hdf.error(place, format!("is missing; {}", places_there_are(hdf)))),
        Some(Node::Array) => read_dense(hdf, place, rows, columns),
        Some(Node::Group) => Ok((Matrix::Sparse(read_sparse(hdf, place, rows, columns)?), None)),
    }
}

/// A list of the places that hold cells by features.
fn places_there_are(hdf: &Hdf) -> String {
    let known = places(hdf);
    format!("there are: {}", if known.is_empty() { "none".into() } else { known.join(", ") })
}

/// The places of a file that hold cells by features.
pub(crate) fn places(hdf: &Hdf) -> Vec<String> {
    let mut known: Vec<String> =
        ["X", "raw/X"].iter().filter(|place| hdf.node(place).is_some()).map(|&place| place.into()).collect();
    for slot in ["layers", "obsm"] {
        if hdf.node(slot) == Some(Node::Group) {
            known.extend(hdf.children(slot).unwrap_or_default().iter().map(|name| format!("{slot}/{name}")));
        }
    }
    known
}

fn check_extent(hdf: &Hdf, place: &str, shape: &[u64], rows: usize, columns: Option<usize>) -> Result<()> {
    let fits = shape.len() == 2 && shape[0] == rows as u64 && columns.is_none_or(|columns| shape[1] == columns as u64);
    if fits {
        return Ok(());
    }
    let wanted = columns.map_or_else(|| format!("[{rows}, ..]"), |columns| format!("[{rows}, {columns}]"));
    Err(hdf.error(place, format!("has shape {shape:?} but the cells and features need {wanted}")))
}

/// About 4 MB of rows at a time, so a dense file of sparse counts never stands in memory whole.
const WINDOW_VALUES: usize = 1 << 20;

fn read_dense(hdf: &Hdf, place: &str, rows: usize, columns: Option<usize>) -> Result<(Matrix, Option<Measured>)> {
    let shape = hdf.shape(place)?;
    check_extent(hdf, place, &shape, rows, columns)?;
    let columns = usize::try_from(shape[1]).map_err(|_| hdf.error(place, "has more columns than memory"))?;
    let array = hdf.rows(place)?;
    if columns == 0 {
        return Ok((Matrix::dense(rows, 0, Vec::new()), None));
    }
    let window = array.whole_chunks(WINDOW_VALUES / columns);
    let read_window = |start: usize| {
        let count = window.min(rows - start);
        match array.read(start, count) {
            Ok(values) if values.len() == count * columns => {
                values.chunks(columns).map(|row| Ok(row.to_vec())).collect::<Vec<_>>()
            }
            Ok(values) => vec![Err(hdf.error(place, format!("gave {} of {} values", values.len(), count * columns)))],
            Err(error) => vec![Err(error)],
        }
    };
    collect_rows(columns, (0..rows).step_by(window).flat_map(read_window))
}

/// A CSR or CSC group, its form named by `encoding-type` or the older `h5sparse_format`.
fn read_sparse(hdf: &Hdf, place: &str, rows: usize, columns: Option<usize>) -> Result<CsrMatrix> {
    let form = hdf.text_attribute(place, "encoding-type").or_else(|| hdf.text_attribute(place, "h5sparse_format"));
    let by_columns = match form.as_deref() {
        Some("csr_matrix" | "csr") => false,
        Some("csc_matrix" | "csc") => true,
        other => {
            return Err(hdf.error(place, format!("is a group of type {other:?}: expected csr_matrix or csc_matrix")));
        }
    };
    let shape = hdf
        .sizes_attribute(place, "shape")
        .or_else(|| hdf.sizes_attribute(place, "h5sparse_shape"))
        .ok_or_else(|| hdf.error(place, "has no `shape` attribute"))?;
    check_extent(hdf, place, &shape, rows, columns)?;
    let named = columns.is_some();
    let columns = usize::try_from(shape[1]).map_err(|_| hdf.error(place, "has more columns than memory"))?;
    let sides = if by_columns { (columns, rows) } else { (rows, columns) };
    let matrix = read_compressed(hdf, place, sides)?;
    if !named {
        // Names will be made for as many columns as the attribute claims.
        check_shape(0, columns, matrix.nnz()).map_err(|problem| hdf.error(place, problem))?;
    }
    Ok(if by_columns { matrix.transpose() } else { matrix })
}

/// The arrays `data`, `indices`, `indptr` of a group as a matrix of `(major, minor)` rows and columns.
///
/// `major` is backed by the length of `indptr`, `minor` costs nothing: neither needs belief.
pub(crate) fn read_compressed(hdf: &Hdf, place: &str, (major, minor): (usize, usize)) -> Result<CsrMatrix> {
    let path = |name: &str| format!("{place}/{name}");
    let data = hdf.f32s(&path("data"))?;
    let indices = unsigned(hdf, &path("indices"))?;
    let indptr: Vec<usize> = unsigned(hdf, &path("indptr"))?;
    CsrMatrix::new(major, minor, indptr, indices, data)
        .map_err(|problem| hdf.error(place, format!("{problem}: the matrix is damaged")))
}

fn unsigned<T: TryFrom<i64>>(hdf: &Hdf, path: &str) -> Result<Vec<T>> {
    let wrong = |value: i64| hdf.error(path, format!("holds {value} where an index was expected"));
    hdf.integers(path)?.into_iter().map(|value| T::try_from(value).map_err(|_| wrong(value))).collect()
}
