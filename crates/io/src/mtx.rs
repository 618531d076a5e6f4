//! MatrixMarket text matrices (<https://math.nist.gov/MatrixMarket/formats.html>).

use std::io::{Read, Write};

use crate::{
    CsrMatrix, Error, Matrix, Result,
    text::{Lines, decompressed},
};

/// How the entries stand in the file.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Coordinate,
    Array,
}

/// What an entry's value is.
#[derive(Clone, Copy, PartialEq)]
enum Field {
    Integer,
    Real,
    Pattern,
}

/// Which entries stand for a second one across the diagonal.
#[derive(Clone, Copy, PartialEq)]
enum Symmetry {
    General,
    Symmetric,
    Skew,
}

struct Header {
    layout: Layout,
    field: Field,
    symmetry: Symmetry,
}

/// Entries in the order of the file: row, column, value.
struct Entries {
    rows: usize,
    columns: usize,
    list: Vec<(u32, u32, f32)>,
}

/// A size line can claim rows that no entry fills; beyond this many they must have entries.
const FREE_ROWS: usize = 1 << 20;
/// Rows or columns a stored entry may account for, past `FREE_ROWS`.
const ROWS_PER_ENTRY: usize = 16;

/// Says whether a shape is believable for what was read, so that memory follows what was read.
pub(crate) fn check_shape(rows: usize, columns: usize, entries: usize) -> std::result::Result<(), String> {
    let most = FREE_ROWS.saturating_add(entries.saturating_mul(ROWS_PER_ENTRY));
    for (what, count) in [("rows", rows), ("columns", columns)] {
        if count > most || count > u32::MAX as usize {
            return Err(format!("claims {count} {what} but holds only {entries} entries: the size is wrong"));
        }
    }
    Ok(())
}

/// Reads a MatrixMarket matrix, plain or gzipped, as its rows and columns stand in the file.
///
/// Coordinate and array layout; integer, real and pattern (value 1) entries; general, symmetric
/// and skew-symmetric. `file` names the source in errors.
///
/// # Errors
/// Names the line that breaks the format.
pub fn read_matrix_market(file: &str, source: impl Read) -> Result<CsrMatrix> {
    let mut lines = Lines::new(file, decompressed(file, source)?);
    let first = lines.next()?.unwrap_or_default().to_owned();
    let header = parse_header(&first).map_err(|problem| lines.error(problem))?;
    let size = next_content(&mut lines)?.ok_or_else(|| Error::file(file, "ends before the size line"))?;
    let entries = match header.layout {
        Layout::Coordinate => read_coordinates(&mut lines, &header, &size)?,
        Layout::Array => read_array(&mut lines, &header, &size)?,
    };
    compress(entries).map_err(|problem| Error::file(file, problem))
}

fn parse_header(line: &str) -> std::result::Result<Header, String> {
    let words: Vec<String> = line.split_ascii_whitespace().map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["%%matrixmarket", "matrix", layout, field, symmetry] = words[..] else {
        return Err("is not a MatrixMarket header: expected `%%MatrixMarket matrix coordinate integer general`".into());
    };
    let layout = match layout {
        "coordinate" => Layout::Coordinate,
        "array" => Layout::Array,
        other => return Err(format!("unknown layout `{other}`: expected coordinate or array")),
    };
    let field = match field {
        "integer" => Field::Integer,
        "real" | "double" => Field::Real,
        "pattern" if layout == Layout::Coordinate => Field::Pattern,
        other => return Err(format!("values of kind `{other}` are not supported: expected integer, real or pattern")),
    };
    let symmetry = match symmetry {
        "general" => Symmetry::General,
        "symmetric" => Symmetry::Symmetric,
        "skew-symmetric" => Symmetry::Skew,
        other => return Err(format!("symmetry `{other}` is not supported: expected general or symmetric")),
    };
    Ok(Header { layout, field, symmetry })
}

/// The next line that is neither blank nor a comment.
fn next_content(lines: &mut Lines<'_>) -> Result<Option<String>> {
    while let Some(line) = lines.next()? {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('%') {
            return Ok(Some(line.to_owned()));
        }
    }
    Ok(None)
}

fn read_coordinates(lines: &mut Lines<'_>, header: &Header, size: &str) -> Result<Entries> {
    let sizes: Vec<Option<usize>> = size.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
    let [Some(rows), Some(columns), Some(count)] = sizes[..] else {
        return Err(lines.error(format!("`{size}` is not a size line: expected `rows columns entries`")));
    };
    check_square(lines, header, rows, columns)?;
    let mut list = Vec::new();
    let mut read = 0usize;
    loop {
        let entry = match lines.next()? {
            None => break,
            Some(line) if line.trim().is_empty() || line.starts_with('%') => continue,
            Some(line) => parse_entry(line, header.field, rows, columns),
        };
        let (row, column, value) = entry.map_err(|problem| lines.error(problem))?;
        read += 1;
        if read > count {
            return Err(lines.error(format!("more entries than the {count} that the size line claims")));
        }
        list.push((row, column, value));
        if row != column && header.symmetry != Symmetry::General {
            list.push((column, row, if header.symmetry == Symmetry::Skew { -value } else { value }));
        }
    }
    if read < count {
        let problem = format!("ends after {read} of {count} entries: the file is truncated, copy or download it again");
        return Err(Error::file(lines.file, problem));
    }
    Ok(Entries { rows, columns, list })
}

fn parse_entry(line: &str, field: Field, rows: usize, columns: usize) -> std::result::Result<(u32, u32, f32), String> {
    let mut words = line.split_ascii_whitespace();
    let mut place = |what: &str, most: usize| -> std::result::Result<u32, String> {
        let word = words.next().ok_or_else(|| format!("`{line}` has no {what}"))?;
        let index: usize = word.parse().map_err(|_| format!("{what} `{word}` is not a whole number"))?;
        if index == 0 || index > most {
            return Err(format!("{what} {index} is outside 1 to {most}"));
        }
        u32::try_from(index - 1).map_err(|_| format!("{what} {index} is beyond what this reader can hold"))
    };
    let (row, column) = (place("row", rows)?, place("column", columns)?);
    let value = match field {
        Field::Pattern => 1.0,
        Field::Integer | Field::Real => {
            let word = words.next().ok_or_else(|| format!("`{line}` has no value"))?;
            parse_value(word, field)?
        }
    };
    match words.next() {
        Some(extra) => Err(format!("`{extra}` after the entry: each line holds one entry")),
        None => Ok((row, column, value)),
    }
}

fn parse_value(word: &str, field: Field) -> std::result::Result<f32, String> {
    let value: f32 = word.parse().map_err(|_| format!("value `{word}` is not a number"))?;
    if !value.is_finite() {
        return Err(format!("value `{word}` is not finite: drop the entry or give a number"));
    }
    if field == Field::Integer && value.fract() != 0.0 {
        return Err(format!("value `{word}` is not whole although the header says integer"));
    }
    Ok(value)
}

fn check_square(lines: &Lines<'_>, header: &Header, rows: usize, columns: usize) -> Result<()> {
    if header.symmetry != Symmetry::General && rows != columns {
        return Err(lines.error(format!("a symmetric matrix must be square, this one is {rows} x {columns}")));
    }
    Ok(())
}

/// Dense values, column by column; of a symmetric matrix only the lower triangle stands in the file.
fn read_array(lines: &mut Lines<'_>, header: &Header, size: &str) -> Result<Entries> {
    let sizes: Vec<Option<usize>> = size.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
    let [Some(rows), Some(columns)] = sizes[..] else {
        return Err(lines.error(format!("`{size}` is not a size line: expected `rows columns`")));
    };
    check_square(lines, header, rows, columns)?;
    if rows > u32::MAX as usize || columns > u32::MAX as usize {
        return Err(lines.error(format!("{rows} x {columns} is beyond what this reader can hold")));
    }
    let first_row = |column: usize| match header.symmetry {
        Symmetry::General => 0,
        Symmetry::Symmetric => column,
        Symmetry::Skew => column + 1,
    };
    let mut list = Vec::new();
    let mut read = 0usize;
    for column in 0..columns {
        for row in first_row(column)..rows {
            let Some(word) = next_content(lines)? else {
                let problem = format!("ends after {read} values of a {rows} x {columns} array: the file is truncated");
                return Err(Error::file(lines.file, problem));
            };
            let value = parse_value(&word, header.field).map_err(|problem| lines.error(problem))?;
            read += 1;
            if value != 0.0 {
                list.push((row as u32, column as u32, value));
                if row != column && header.symmetry != Symmetry::General {
                    list.push((
                        column as u32,
                        row as u32,
                        if header.symmetry == Symmetry::Skew { -value } else { value },
                    ));
                }
            }
        }
        if rows == 0 {
            break;
        }
    }
    if next_content(lines)?.is_some() {
        return Err(lines.error(format!("more values than a {rows} x {columns} array holds")));
    }
    check_shape(rows, columns, read).map_err(|problem| Error::file(lines.file, problem))?;
    Ok(Entries { rows, columns, list })
}

/// Sorts entries into rows by counting; repeated places are summed.
fn compress(entries: Entries) -> std::result::Result<CsrMatrix, String> {
    let Entries { rows, columns, list } = entries;
    check_shape(rows, columns, list.len())?;
    let mut indptr = vec![0usize; rows + 1];
    for entry in &list {
        indptr[entry.0 as usize + 1] += 1;
    }
    for row in 0..rows {
        indptr[row + 1] += indptr[row];
    }
    let mut next = indptr.clone();
    let mut indices = vec![0; list.len()];
    let mut data = vec![0.0; list.len()];
    for (row, column, value) in list {
        let slot = &mut next[row as usize];
        indices[*slot] = column;
        data[*slot] = value;
        *slot += 1;
    }
    CsrMatrix::new(rows, columns, indptr, indices, data)
}

/// Writes a matrix as MatrixMarket coordinates, integer if every value is whole.
///
/// # Errors
/// What the writer says.
pub fn write_matrix_market(matrix: &Matrix, mut to: impl Write) -> std::io::Result<()> {
    let (rows, columns) = matrix.shape();
    let whole = (0..rows).all(|row| matrix.row_entries(row).all(|entry| entry.1.fract() == 0.0));
    let field = if whole { "integer" } else { "real" };
    writeln!(to, "%%MatrixMarket matrix coordinate {field} general")?;
    writeln!(to, "{rows} {columns} {}", matrix.nnz())?;
    for row in 0..rows {
        for (column, value) in matrix.row_entries(row) {
            writeln!(to, "{} {} {value}", row + 1, column + 1)?;
        }
    }
    to.flush()
}
