//! Any file of the supported formats, told apart by content.

use std::{fs::File, io::Read as _, path::Path};

use crate::{
    Dataset, Error, Result,
    folder::{read_mtx, read_tenx_folder},
    h5ad::read_h5ad,
    hdf::{HDF5_MAGIC, Hdf, Node, guarded},
    table::read_table,
    tenx_h5::read_tenx_h5,
    text::{Lines, open},
};

/// Which side of a matrix file is the cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orientation {
    /// By the tables beside a MatrixMarket file; rows are cells in CSV and TSV tables.
    #[default]
    Auto,
    /// Rows are cells.
    CellsByFeatures,
    /// Rows are features, as 10x writes.
    FeaturesByCells,
}

/// What a reader cannot tell from the file alone.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Places in an `.h5ad` file, as for [`read_h5ad`]; empty means `X`. Other formats take none.
    pub places: Vec<String>,
    /// Which side is the cells, for MatrixMarket, CSV and TSV.
    pub orientation: Orientation,
}

/// A supported format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    H5ad,
    TenxH5,
    TenxFolder,
    MatrixMarket,
    Table,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H5ad => "h5ad",
            Self::TenxH5 => "10x h5",
            Self::TenxFolder => "10x folder",
            Self::MatrixMarket => "MatrixMarket",
            Self::Table => "table",
        }
    }
}

/// Reads a file or folder of any supported format.
///
/// # Errors
/// As the reader of the format; a file of no supported format is named together with those there are.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Dataset> {
    let format = detect(path)?;
    if format != Format::H5ad && !options.places.is_empty() {
        let problem = format!("`{}` is a place in an .h5ad file, this is another format", options.places[0]);
        return Err(Error::file(&path.display().to_string(), problem));
    }
    match format {
        Format::H5ad => read_h5ad(path, &options.places.iter().map(String::as_str).collect::<Vec<_>>()),
        Format::TenxH5 => read_tenx_h5(path),
        Format::TenxFolder => read_tenx_folder(path),
        Format::MatrixMarket => read_mtx(path, options.orientation),
        Format::Table => read_table(path, options.orientation),
    }
}

/// The format of a file by its content, and of text by its first line.
pub(crate) fn detect(path: &Path) -> Result<Format> {
    if path.is_dir() {
        return Ok(Format::TenxFolder);
    }
    let name = path.display().to_string();
    let failed = |source| Error::Io { file: name.clone(), source };
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(HDF5_MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
    if start == HDF5_MAGIC {
        return guarded(&name, || {
            let hdf = Hdf::open(path)?;
            if hdf.node("obs").is_some() {
                Ok(Format::H5ad)
            } else if crate::tenx_h5::genome_groups(&hdf)?.is_empty() && hdf.node("matrix") != Some(Node::Group) {
                Err(Error::file(&name, "is HDF5 but neither .h5ad (no `obs`) nor 10x (no `matrix` group)"))
            } else {
                Ok(Format::TenxH5)
            }
        });
    }
    let mut lines = Lines::new(&name, open(path)?);
    let unknown = || {
        Error::file(
            &name,
            "is of no known format: expected .h5ad, a 10x folder or .h5, MatrixMarket (.mtx), CSV or TSV, gzipped or not",
        )
    };
    let first = match lines.next() {
        Ok(first) => first.unwrap_or_default(),
        Err(Error::Line { .. }) => return Err(unknown()),
        Err(other) => return Err(other),
    };
    if first.to_lowercase().starts_with("%%matrixmarket") {
        Ok(Format::MatrixMarket)
    } else if first.contains([',', '\t', ';']) && !first.contains('\0') {
        Ok(Format::Table)
    } else {
        Err(unknown())
    }
}
