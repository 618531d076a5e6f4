//! Names of cells and features, and the small tables that hold them beside a matrix.

use std::{collections::HashMap, io::Read, path::Path};

use crate::{
    Column, ColumnValues, Error, Feature, Kind, Result,
    text::{decompressed, open, read_record},
};

/// `stem_1`, `stem_2`, ...
pub(crate) fn made_names(stem: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{stem}_{number}")).collect()
}

/// An error if a name occurs twice.
pub(crate) fn check_unique(file: &str, what: &str, names: &[String]) -> Result<()> {
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        if let Some(earlier) = first.insert(name, at) {
            let problem =
                format!("{what} `{name}` is number {} and again number {}: names must be unique", earlier + 1, at + 1);
            return Err(Error::file(file, problem));
        }
    }
    Ok(())
}

/// A small table beside a matrix: `features.tsv`, `barcodes.tsv`, `cells.csv`.
#[derive(Debug)]
pub(crate) struct SideTable {
    file: String,
    rows: Vec<Vec<String>>,
    /// Whether the first row can be a header; otherwise a row too many is an error, not a header.
    may_have_header: bool,
}

/// First fields of the header lines of tables of cells and features, in lower case.
const HEADER_WORDS: [&str; 12] =
    ["", "barcode", "barcodes", "cell", "cells", "cell_id", "index", "id", "gene", "gene_id", "feature", "peak"];

impl SideTable {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::from_text(&path.display().to_string(), open(path)?)
    }

    pub(crate) fn read(file: &str, source: impl Read) -> Result<Self> {
        Self::from_text(file, decompressed(file, source)?)
    }

    fn from_text(file: &str, source: impl Read) -> Result<Self> {
        let is_csv = file.trim_end_matches(".gz").ends_with(".csv");
        let mut records = csv::ReaderBuilder::new()
            .delimiter(if is_csv { b',' } else { b'\t' })
            .quoting(is_csv)
            .has_headers(false)
            .flexible(true)
            .from_reader(source);
        let mut record = csv::StringRecord::new();
        let mut rows: Vec<Vec<String>> = Vec::new();
        while read_record(file, &mut records, &mut record)? {
            let row: Vec<String> = record.iter().map(|field| field.trim().to_owned()).collect();
            if row[0].is_empty() && !rows.is_empty() {
                let line = record.position().map_or(0, csv::Position::line);
                return Err(Error::line(file, line, "has no name: give each row one, as the matrix has"));
            }
            rows.push(row);
        }
        let first = rows.first().map(|row| row[0].to_lowercase());
        let may_have_header = is_csv || first.is_some_and(|first| HEADER_WORDS.contains(&first.as_str()));
        Ok(Self { file: file.to_owned(), rows, may_have_header })
    }

    /// Whether the table names `count` rows, with or without a header line.
    pub(crate) fn fits(&self, count: usize) -> bool {
        self.rows.len() == count || (self.may_have_header && self.rows.len() == count + 1)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The rows without a header line; a line more than `count` is the header.
    fn body(&self, count: usize) -> &[Vec<String>] {
        &self.rows[self.rows.len() - count..]
    }

    /// The first column, which must be unique.
    pub(crate) fn cells(&self, count: usize) -> Result<Vec<String>> {
        let cells: Vec<String> = self.body(count).iter().map(|row| row[0].clone()).collect();
        check_unique(&self.file, "cell", &cells)?;
        Ok(cells)
    }

    /// The columns after the first as cell annotations, if a header names them.
    pub(crate) fn annotations(&self, count: usize) -> Result<Vec<Column>> {
        if self.rows.len() == count {
            return Ok(Vec::new());
        }
        let header = &self.rows[0];
        for (at, row) in self.body(count).iter().enumerate() {
            if row.len() != header.len() {
                let problem = format!("has {} fields, the header has {}", row.len(), header.len());
                return Err(Error::line(&self.file, at as u64 + 2, problem));
            }
        }
        let column = |at: usize| {
            let texts: Vec<&str> = self.body(count).iter().map(|row| row[at].as_str()).collect();
            column_from_texts(&header[at], &texts)
        };
        Ok((1..header.len()).map(column).collect())
    }

    /// Features from `id`, or `id name`, or `id name type` columns as 10x writes them.
    pub(crate) fn features(&self, count: usize, kind: &Kind) -> Vec<Feature> {
        let feature = |row: &Vec<String>| Feature {
            id: row[0].clone(),
            name: row.get(1).filter(|name| !name.is_empty()).unwrap_or(&row[0]).clone(),
            kind: row
                .get(2)
                .filter(|text| !text.is_empty())
                .map_or_else(|| kind.clone(), |text| Kind::from_feature_type(text)),
        };
        self.body(count).iter().map(feature).collect()
    }

    /// What the features are if the table does not say: by the file's name, then by their names.
    pub(crate) fn guess_kind(&self) -> Kind {
        let name = self.file.rsplit(['/', '\\']).next().unwrap_or_default();
        let names: Vec<String> = self.rows.iter().map(|row| row[0].clone()).collect();
        Kind::guess_from_names(&names).or_else(|| Kind::guess(name)).unwrap_or(Kind::Rna)
    }
}

/// Numbers if every text is a number or missing, else labels.
pub(crate) fn column_from_texts(name: &str, texts: &[&str]) -> Column {
    let numbers: Option<Vec<f64>> =
        texts.iter().map(|text| if is_missing(text) { Some(f64::NAN) } else { text.parse().ok() }).collect();
    match numbers {
        Some(numbers) => Column { name: name.into(), values: ColumnValues::Numeric(numbers) },
        None => Column::categorical(name, texts),
    }
}

/// Whether a field of a text table says that nothing was measured.
pub(crate) fn is_missing(text: &str) -> bool {
    matches!(text.trim(), "" | "NA" | "N/A" | "NaN" | "nan" | "null" | "None")
}
