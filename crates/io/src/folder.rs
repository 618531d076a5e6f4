//! A matrix file with the names of its rows and columns in files beside it; 10x folders.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    CsrMatrix, Dataset, Error, Kind, Matrix, Orientation, Result,
    dataset::split_by_kind,
    mtx::read_matrix_market,
    names::{SideTable, made_names},
};

/// File stems that name features, most usual first.
const FEATURE_STEMS: [&str; 6] = ["features", "genes", "peaks", "proteins", "var", "var_names"];
/// File stems that name cells, most usual first.
const CELL_STEMS: [&str; 5] = ["barcodes", "cells", "obs", "obs_names", "metadata"];

/// Reads a 10x folder: `matrix.mtx`, `features.tsv` (or `genes.tsv`) and `barcodes.tsv`, plain or gzipped.
///
/// Features are split into modalities by their third column (Gene Expression, Antibody Capture, Peaks).
///
/// # Errors
/// Names the file that is missing, does not fit the matrix or breaks its format.
pub fn read_tenx_folder(folder: &Path) -> Result<Dataset> {
    let name = folder.display().to_string();
    let files = list(folder)?;
    let mut matrices = files.iter().filter(|file| stem(file).ends_with("matrix") && is_matrix(file));
    let matrix = matrices.next().ok_or_else(|| {
        Error::file(&name, "holds no matrix.mtx or matrix.mtx.gz: give a 10x folder, or the matrix file itself")
    })?;
    if let Some(second) = matrices.next() {
        let problem =
            format!("holds several matrices ({}, {}): give the file itself", matrix.display(), second.display());
        return Err(Error::file(&name, problem));
    }
    let beside = SideFiles::find(matrix, &files)?;
    let missing = match (beside.features.is_empty(), beside.cells.is_empty()) {
        (true, _) => Some("features.tsv, features.tsv.gz or genes.tsv"),
        (_, true) => Some("barcodes.tsv or barcodes.tsv.gz"),
        _ => None,
    };
    if let Some(missing) = missing {
        return Err(Error::file(&name, format!("has no {missing}: a 10x folder names its features and cells")));
    }
    read_with_names(matrix, beside, Orientation::FeaturesByCells)
}

/// Reads a MatrixMarket file with the names that lie beside it.
///
/// `features`, `genes`, `peaks` or `proteins` and `barcodes` or `cells` (`.tsv`, `.txt`, `.csv`, with or
/// without `.gz`, with or without the matrix file's own prefix) give names; whichever of them are as long as
/// a side of the matrix also say which side is the cells. Without any, names are made and the
/// orientation is the 10x one, features by cells; notes say so. Columns of the cells table that a header names become
/// annotations.
///
/// # Errors
/// Names the line of the file that breaks its format.
pub fn read_mtx(path: &Path, orientation: Orientation) -> Result<Dataset> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = SideFiles::find(path, &list(folder)?)?;
    read_with_names(path, beside, orientation)
}

/// A 10x matrix from its three parts as bytes, plain or gzipped; `file` names them in errors.
///
/// # Errors
/// As [`read_tenx_folder`].
pub fn read_tenx_parts(file: &str, matrix: impl Read, features: impl Read, barcodes: impl Read) -> Result<Dataset> {
    let matrix = read_matrix_market(&format!("{file}/matrix.mtx"), matrix)?;
    let beside = SideFiles {
        features: vec![SideTable::read(&format!("{file}/features.tsv"), features)?],
        cells: vec![SideTable::read(&format!("{file}/barcodes.tsv"), barcodes)?],
    };
    assemble(file, matrix, &beside, Orientation::FeaturesByCells)
}

fn read_with_names(path: &Path, beside: SideFiles, orientation: Orientation) -> Result<Dataset> {
    let file = path.display().to_string();
    let source = File::open(path).map_err(|source| Error::Io { file: file.clone(), source })?;
    let matrix = read_matrix_market(&file, source)?;
    assemble(&file, matrix, &beside, orientation)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Io { file: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    Ok(files)
}

/// File name without `.gz` and without its extension, in lower case.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
}

fn is_matrix(path: &Path) -> bool {
    has_extension(path, &["mtx"])
}

/// The tables beside a matrix that may name its rows and columns.
struct SideFiles {
    features: Vec<SideTable>,
    cells: Vec<SideTable>,
}

impl SideFiles {
    fn find(matrix: &Path, files: &[PathBuf]) -> Result<Self> {
        let matrix_stem = stem(matrix);
        let pick = |stems: &[&str]| -> Result<Vec<SideTable>> {
            let mut found: Vec<(usize, &PathBuf)> = Vec::new();
            for file in files.iter().filter(|file| has_extension(file, &["tsv", "txt", "csv"])) {
                let name = stem(file);
                for (rank, word) in stems.iter().enumerate() {
                    let Some(prefix) = name.strip_suffix(word) else { continue };
                    if prefix.is_empty() || matrix_stem.starts_with(prefix) {
                        // A table that shares its word or prefix with the matrix comes first.
                        let related = !prefix.is_empty() || matrix_stem.contains(word);
                        found.push((if related { rank } else { stems.len() + rank }, file));
                        break;
                    }
                }
            }
            found.sort();
            found.into_iter().map(|(_, file)| SideTable::open(file)).collect()
        };
        Ok(Self { features: pick(&FEATURE_STEMS)?, cells: pick(&CELL_STEMS)? })
    }
}

fn assemble(file: &str, matrix: CsrMatrix, beside: &SideFiles, orientation: Orientation) -> Result<Dataset> {
    let mut notes = Vec::new();
    let orientation = match orientation {
        Orientation::Auto => guess_orientation(file, matrix.shape(), beside, &mut notes)?,
        chosen => chosen,
    };
    let (rows, columns) = matrix.shape();
    let (cells, features) = match orientation {
        Orientation::CellsByFeatures => (rows, columns),
        _ => (columns, rows),
    };
    let feature_table = fitting(file, "features", &beside.features, features)?;
    let cell_table = fitting(file, "cells", &beside.cells, cells)?;
    let feature_list = match feature_table {
        Some(table) => {
            notes.push(format!("{file}: feature names from {}", table.file()));
            table.features(features, &table.guess_kind())
        }
        None => {
            notes.push(format!(
                "{file}: no feature names beside it, so they are called feature_1 to feature_{features}"
            ));
            let kind = Kind::guess(file.rsplit(['/', '\\']).next().unwrap_or_default()).unwrap_or(Kind::Rna);
            let feature = |name: String| crate::Feature { id: name.clone(), name, kind: kind.clone() };
            made_names("feature", features).into_iter().map(feature).collect()
        }
    };
    let (cell_names, obs) = match cell_table {
        Some(table) => {
            notes.push(format!("{file}: cell names from {}", table.file()));
            (table.cells(cells)?, table.annotations(cells)?)
        }
        None => {
            notes.push(format!("{file}: no cell names beside it, so they are called cell_1 to cell_{cells}"));
            (made_names("cell", cells), Vec::new())
        }
    };
    let by_cells = match orientation {
        Orientation::CellsByFeatures => matrix,
        _ => matrix.transpose(),
    };
    let modalities = split_by_kind(Matrix::Sparse(by_cells), feature_list, None);
    Ok(Dataset { cells: cell_names, modalities, obs, notes })
}

/// The first table of the right length; an error if there are tables but none fits.
fn fitting<'a>(file: &str, what: &str, tables: &'a [SideTable], count: usize) -> Result<Option<&'a SideTable>> {
    let fit =
        tables.iter().find(|table| table.len() == count).or_else(|| tables.iter().find(|table| table.fits(count)));
    match (fit, tables.first()) {
        (None, Some(table)) => {
            let problem = format!(
                "has {count} {what} but {} has {} lines: they do not belong together",
                table.file(),
                table.len()
            );
            Err(Error::file(file, problem))
        }
        _ => Ok(fit),
    }
}

/// Which side is the cells, by the lengths of the tables beside the matrix.
fn guess_orientation(
    file: &str,
    (rows, columns): (usize, usize),
    beside: &SideFiles,
    notes: &mut Vec<String>,
) -> Result<Orientation> {
    let fits = |tables: &[SideTable], count: usize| tables.is_empty() || tables.iter().any(|table| table.fits(count));
    let tenx = fits(&beside.features, rows) && fits(&beside.cells, columns);
    let cells_first = fits(&beside.cells, rows) && fits(&beside.features, columns);
    match (tenx, cells_first) {
        (true, false) => Ok(Orientation::FeaturesByCells),
        (false, true) => Ok(Orientation::CellsByFeatures),
        (true, true) => {
            notes.push(format!(
                "{file}: nothing says which side of {rows} x {columns} is the cells; taken as features x cells, as 10x writes it"
            ));
            Ok(Orientation::FeaturesByCells)
        }
        (false, false) => {
            let tables: Vec<String> = beside
                .features
                .iter()
                .chain(&beside.cells)
                .map(|table| format!("{} ({} lines)", table.file(), table.len()))
                .collect();
            let problem =
                format!("is {rows} x {columns}, which fits none of the tables beside it: {}", tables.join(", "));
            Err(Error::file(file, problem))
        }
    }
}
