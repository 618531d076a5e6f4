//! Tables of cells by features as CSV or TSV text.

use std::{io::Read, path::Path};

use crate::{
    Dataset, Error, Kind, Modality, Orientation, Result,
    dataset::collect_rows,
    names::{check_unique, is_missing},
    text::{decompressed, open, read_record},
};

/// Reads a table with a header of names and a name at the start of each row, plain or gzipped.
///
/// The separator (comma, tab or semicolon) is the one that splits the header most. Rows are cells unless
/// `orientation` says otherwise. Empty fields, `NA` and `NaN` count as not measured; a note says how many.
///
/// # Errors
/// Names the line of a ragged row, a field that is not a number, or a name that occurs twice.
pub fn read_table(path: &Path, orientation: Orientation) -> Result<Dataset> {
    read_records(&path.display().to_string(), open(path)?, orientation)
}

/// Reads a table held in memory, as [`read_table`] does; `file` names it in errors.
///
/// # Errors
/// As [`read_table`].
pub fn read_table_bytes(file: &str, source: impl Read, orientation: Orientation) -> Result<Dataset> {
    read_records(file, decompressed(file, source)?, orientation)
}

fn read_records(file: &str, mut source: impl std::io::BufRead, orientation: Orientation) -> Result<Dataset> {
    let start = source.fill_buf().map_err(|source| Error::io(file, source))?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").map_or(0, |_| 3);
    source.consume(start);
    let separator = sniff_separator(source.fill_buf().map_err(|source| Error::io(file, source))?);
    let mut records =
        csv::ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(source);
    let mut record = csv::StringRecord::new();
    if !read_record(file, &mut records, &mut record)? {
        return Err(Error::file(file, "the file is empty"));
    }
    let mut header: Vec<String> = record.iter().map(|name| name.trim().to_owned()).collect();
    let mut row_names = Vec::new();
    let Some(first) = next_row(file, &mut records, &mut record, None, header.len(), &mut row_names)? else {
        return Err(Error::file(file, "holds no values: expected a header of names, then a name and numbers a line"));
    };
    let columns = first.len();
    if columns == 0 {
        return Err(Error::file(
            file,
            "holds only names: is the separator something else than comma, tab or semicolon?",
        ));
    }
    if columns < header.len() {
        header.remove(0);
    }
    let rest = std::iter::from_fn(|| {
        next_row(file, &mut records, &mut record, Some(columns + 1), header.len(), &mut row_names).transpose()
    });
    let by_rows = collect_rows(columns, std::iter::once(Ok(first)).chain(rest))?;
    build(file, orientation, header, row_names, by_rows)
}

fn build(
    file: &str,
    orientation: Orientation,
    header: Vec<String>,
    row_names: Vec<String>,
    (matrix, measured): (crate::Matrix, Option<crate::Measured>),
) -> Result<Dataset> {
    let mut notes = Vec::new();
    if let Some(measured) = &measured {
        notes.push(format!("{file}: {} values are empty or NA and count as not measured", measured.missing()));
    }
    let (cells, names, matrix, measured) = if orientation == Orientation::FeaturesByCells {
        let measured = measured.and_then(|measured| measured.transpose(header.len()));
        (header, row_names, crate::Matrix::Sparse(matrix.into_sparse().transpose()), measured)
    } else {
        (row_names, header, matrix, measured)
    };
    check_unique(file, "cell", &cells)?;
    let file_name = file.rsplit(['/', '\\']).next().unwrap_or_default();
    let kind = Kind::guess_from_names(&names).or_else(|| Kind::guess(file_name)).unwrap_or(Kind::Other("table".into()));
    let name = kind.modality_name();
    let modality = Modality { measured, ..Modality::new(&name, kind, names, matrix) };
    Ok(Dataset { cells, modalities: vec![modality], obs: Vec::new(), notes })
}

/// The separator that occurs most in the first line, outside quotes.
fn sniff_separator(start: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b'\t', 0), (b';', 0)];
    let mut quoted = false;
    for &byte in start.iter().take_while(|&&byte| byte != b'\n') {
        quoted ^= byte == b'"';
        if let Some(count) = counts.iter_mut().find(|count| count.0 == byte && !quoted) {
            count.1 += 1;
        }
    }
    // The last of equals would win in `max_by_key`; the comma stands first, so look from behind.
    counts.iter().rev().max_by_key(|count| count.1).map_or(b',', |count| count.0)
}

/// The values of the next row, NaN where missing; its name goes to `names`.
fn next_row<R: Read>(
    file: &str,
    records: &mut csv::Reader<R>,
    record: &mut csv::StringRecord,
    width: Option<usize>,
    header: usize,
    names: &mut Vec<String>,
) -> Result<Option<Vec<f32>>> {
    if !read_record(file, records, record)? {
        return Ok(None);
    }
    let line = record.position().map_or(0, csv::Position::line);
    // R writes a header without the corner, so rows may be one field longer than it.
    let expected = width.unwrap_or(if record.len() == header + 1 { header + 1 } else { header });
    if record.len() != expected {
        let problem = format!("has {} fields, {expected} were expected as in the header", record.len());
        return Err(Error::line(file, line, problem));
    }
    names.push(record[0].trim().to_owned());
    let value = |(at, field): (usize, &str)| {
        let field = field.trim();
        if is_missing(field) {
            return Ok(f32::NAN);
        }
        match field.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(Error::line(file, line, format!("field {} `{field}` is not a finite number", at + 1))),
        }
    };
    record.iter().enumerate().skip(1).map(value).collect::<Result<_>>().map(Some)
}
