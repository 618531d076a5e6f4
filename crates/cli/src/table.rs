//! Tables of cells, plain or gzipped by their name.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use gradome::io::write_atomic;

use crate::error::Result;

/// Writes one row a cell, whole or not at all; `header` names the columns after the cell's name.
pub fn write_table(
    path: &Path,
    header: &[String],
    cells: &[String],
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<()> {
    let fill = |to: &mut dyn Write| -> std::io::Result<()> {
        let mut table = csv::Writer::from_writer(to);
        table.write_record(std::iter::once("cell").chain(header.iter().map(String::as_str)))?;
        for (cell, row) in cells.iter().zip(rows) {
            table.write_record(std::iter::once(cell).chain(&row))?;
        }
        table.flush()
    };
    write_atomic(path, |to| {
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut gzip = GzEncoder::new(to, Compression::default());
            fill(&mut gzip)?;
            gzip.finish().map(drop)
        } else {
            fill(to)
        }
    })?;
    Ok(())
}
