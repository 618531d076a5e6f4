//! Files that are written whole or not at all.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use atomicwrites::{AtomicFile, OverwriteBehavior};
use flate2::{Compression, write::GzEncoder};

use crate::{Dataset, Error, Result, mtx::write_matrix_market};

/// Writes a file through a temporary one in the same folder, renamed at the end.
///
/// Should `fill` fail, the temporary file goes and what stood at `path` stays as it was.
///
/// # Errors
/// What `fill` or the system says.
pub fn write_atomic(path: &Path, fill: impl FnOnce(&mut BufWriter<&mut File>) -> std::io::Result<()>) -> Result<()> {
    let written = AtomicFile::new(path, OverwriteBehavior::AllowOverwrite).write(|file| {
        let mut to = BufWriter::new(file);
        fill(&mut to)?;
        to.flush()
    });
    written.map_err(|error| Error::Io { file: path.display().to_string(), source: error.into() })
}

/// As [`write_atomic`], for writers that open their file themselves: `fill` is given the temporary one's path.
pub(crate) fn write_atomic_at(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let failed = |source| Error::Io { file: path.display().to_string(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".gradome").tempdir_in(folder).map_err(failed)?;
    let unfinished = scratch.path().join("unfinished");
    fill(&unfinished)?;
    let finish = || File::open(&unfinished)?.sync_all().and_then(|()| fs::rename(&unfinished, path));
    finish().map_err(failed)
}

/// Writes a table: a header, then a name and its values a row; `[names.len(), header.len() - 1]` values by rows.
///
/// The first entry of `header` names the column of names; NaN becomes an empty field.
///
/// # Errors
/// What the system says.
///
/// # Panics
/// If the number of values is not rows times columns.
pub fn write_csv(path: &Path, header: &[String], names: &[String], values: &[f32]) -> Result<()> {
    let columns = header.len() - 1;
    assert_eq!(values.len(), names.len() * columns, "write_csv: values do not fill {} x {columns}", names.len());
    write_atomic(path, |to| {
        let mut table = csv::Writer::from_writer(to);
        table.write_record(header)?;
        for (row, name) in names.iter().enumerate() {
            table.write_field(name)?;
            for value in &values[row * columns..(row + 1) * columns] {
                table.write_field(if value.is_nan() { String::new() } else { value.to_string() })?;
            }
            table.write_record(None::<&[u8]>)?;
        }
        table.flush()
    })
}

/// Writes a data set as a 10x folder: `matrix.mtx.gz`, `features.tsv.gz` and `barcodes.tsv.gz`.
///
/// # Errors
/// What the system says, and values that were not measured, which the format cannot say.
pub fn write_tenx_folder(folder: &Path, data: &Dataset) -> Result<()> {
    let file = folder.display().to_string();
    if let Some(modality) = data.modalities.iter().find(|modality| modality.measured.is_some()) {
        let problem = format!(
            "modality `{}` has values that were not measured, which 10x files cannot say: write .h5ad",
            modality.name
        );
        return Err(Error::file(&file, problem));
    }
    fs::create_dir_all(folder).map_err(|source| Error::Io { file, source })?;
    let features = data.modalities.iter().flat_map(|modality| &modality.features);
    let features: Vec<String> =
        features.map(|feature| format!("{}\t{}\t{}", feature.id, feature.name, feature.kind.feature_type())).collect();
    let parts: Vec<_> = data.modalities.iter().map(|modality| modality.matrix.clone().into_sparse()).collect();
    let joined = crate::CsrMatrix::beside(data.cells.len(), &parts).transpose();
    write_gzip(&folder.join("features.tsv.gz"), |to| write_lines(to, &features))?;
    write_gzip(&folder.join("barcodes.tsv.gz"), |to| write_lines(to, &data.cells))?;
    write_gzip(&folder.join("matrix.mtx.gz"), |to| write_matrix_market(&crate::Matrix::Sparse(joined), to))
}

fn write_lines(to: &mut dyn Write, lines: &[String]) -> std::io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(to, "{line}"))
}

/// Writes a text file whole or not at all, gzipped when its name ends in `.gz`.
///
/// # Errors
/// What `fill` or the system says.
pub fn write_text(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "gz") {
        return write_gzip(path, fill);
    }
    write_atomic(path, |to| fill(to))
}

fn write_gzip(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    write_atomic(path, |to| {
        let mut gzip = GzEncoder::new(to, Compression::default());
        fill(&mut gzip)?;
        gzip.finish().map(|_| ())
    })
}
