//! Cells, what was measured in them, and what is known about them.

use std::collections::HashMap;

use crate::{Error, Matrix, Result, matrix::CsrBuilder};

/// What a feature is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// A gene measured through its transcripts.
    Rna,
    /// A surface protein measured through an antibody tag.
    Protein,
    /// A stretch of open chromatin.
    Atac,
    /// Anything else, by the name the file gives it.
    Other(String),
}

impl Kind {
    /// The kind that a 10x `feature_type` names.
    pub fn from_feature_type(text: &str) -> Self {
        match text.trim() {
            "Gene Expression" => Self::Rna,
            "Antibody Capture" => Self::Protein,
            "Peaks" => Self::Atac,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The 10x `feature_type` of this kind.
    pub fn feature_type(&self) -> &str {
        match self {
            Self::Rna => "Gene Expression",
            Self::Protein => "Antibody Capture",
            Self::Atac => "Peaks",
            Self::Other(name) => name,
        }
    }

    /// The usual name of a modality of this kind: `rna`, `protein`, `atac`, or the file's own word.
    pub fn modality_name(&self) -> String {
        match self {
            Self::Rna => "rna".into(),
            Self::Protein => "protein".into(),
            Self::Atac => "atac".into(),
            Self::Other(name) => name.to_lowercase().replace(' ', "_"),
        }
    }

    /// A guess from the name of a file or of a place in a file (`obsm/protein_expression`, `peaks.txt`).
    pub(crate) fn guess(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["prot", "antibody", "adt", "citeseq", "cite_seq"]) {
            Some(Self::Protein)
        } else if says(&["peak", "atac", "fragment"]) {
            Some(Self::Atac)
        } else if says(&["gene", "rna", "expression", "transcript"]) {
            Some(Self::Rna)
        } else {
            None
        }
    }

    /// Peaks if most names look like `chr1:100-200`, `chr1-100-200` or `chr1_100_200`.
    pub(crate) fn guess_from_names(names: &[String]) -> Option<Self> {
        let is_interval = |name: &String| {
            let mut parts = name.rsplit([':', '-', '_']);
            let numeric = |part: Option<&str>| {
                part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            };
            numeric(parts.next()) && numeric(parts.next()) && parts.next().is_some()
        };
        let intervals = names.iter().filter(|name| is_interval(name)).count();
        (2 * intervals > names.len()).then_some(Self::Atac)
    }
}

/// A gene, protein or peak.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Feature {
    /// Stable identifier (`ENSG00000010610`); equal to the name where the file gives only one.
    pub id: String,
    /// Name as people say it (`CD4`).
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// Which values were measured, where some were not.
///
/// Cells share patterns: all cells of a batch that lacks some proteins point at one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    pattern_of_cell: Vec<u32>,
    patterns: Vec<Vec<bool>>,
}

impl Measured {
    /// Collects one pattern a cell; gives nothing if every value of every cell was measured.
    pub fn from_rows(rows: impl IntoIterator<Item = Vec<bool>>) -> Option<Self> {
        let mut builder = MeasuredBuilder::default();
        for row in rows {
            builder.push(row);
        }
        builder.finish()
    }

    /// Whether each feature of a cell was measured, `[features]`.
    pub fn cell(&self, cell: usize) -> &[bool] {
        &self.patterns[self.pattern_of_cell[cell] as usize]
    }

    /// Number of values that were not measured.
    pub fn missing(&self) -> usize {
        (0..self.pattern_of_cell.len()).map(|cell| self.cell(cell).iter().filter(|&&measured| !measured).count()).sum()
    }

    /// Turns rows into columns; a row has `columns` values.
    pub(crate) fn transpose(&self, columns: usize) -> Option<Self> {
        let rows = self.pattern_of_cell.len();
        Self::from_rows((0..columns).map(|column| (0..rows).map(|row| self.cell(row)[column]).collect()))
    }

    fn select(&self, cells: &[usize], features: Option<&[usize]>) -> Option<Self> {
        Self::from_rows(cells.iter().map(|&cell| {
            let pattern = self.cell(cell);
            features.map_or_else(|| pattern.to_vec(), |features| features.iter().map(|&f| pattern[f]).collect())
        }))
    }
}

/// Collects the pattern of each cell, equal patterns once.
#[derive(Default)]
pub(crate) struct MeasuredBuilder {
    known: HashMap<Vec<bool>, u32>,
    pattern_of_cell: Vec<u32>,
}

impl MeasuredBuilder {
    pub(crate) fn push(&mut self, pattern: Vec<bool>) {
        let next = self.known.len() as u32;
        self.pattern_of_cell.push(*self.known.entry(pattern).or_insert(next));
    }

    /// The patterns, or nothing if none of them lacks a value.
    pub(crate) fn finish(self) -> Option<Measured> {
        let mut patterns = vec![Vec::new(); self.known.len()];
        for (pattern, index) in self.known {
            patterns[index as usize] = pattern;
        }
        let any_missing = patterns.iter().flatten().any(|&measured| !measured);
        any_missing.then_some(Measured { pattern_of_cell: self.pattern_of_cell, patterns })
    }
}

/// Collects dense rows, NaN as not measured, into whichever form is smaller.
pub(crate) fn collect_rows(
    columns: usize,
    rows: impl Iterator<Item = Result<Vec<f32>>>,
) -> Result<(Matrix, Option<Measured>)> {
    let mut matrix = CsrBuilder::new(columns);
    let mut measured = MeasuredBuilder::default();
    for row in rows {
        let mut row = row?;
        measured.push(row.iter().map(|value| !value.is_nan()).collect());
        row.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
        matrix.push_dense(&row);
    }
    Ok((matrix.finish_as_matrix(), measured.finish()))
}

/// One kind of measurement over all cells of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Modality {
    /// Name: `rna`, `protein`, `atac` or what the user calls it.
    pub name: String,
    /// What its features are.
    pub kind: Kind,
    /// One entry a column of `matrix`.
    pub features: Vec<Feature>,
    /// `[cells, features]`; 0 where a value was not measured.
    pub matrix: Matrix,
    /// Which values were measured; `None` if all were.
    pub measured: Option<Measured>,
}

impl Modality {
    /// A modality of which everything was measured; `names` become ids as well.
    ///
    /// ```
    /// use gradome_io::{Kind, Matrix, Modality};
    ///
    /// let matrix = Matrix::dense(1, 2, vec![0.5, -1.0]);
    /// let latent = Modality::new("X_latent", Kind::Other("latent".into()), ["z1", "z2"], matrix);
    /// assert!(latent.feature_names().eq(["z1", "z2"]));
    /// ```
    ///
    /// # Panics
    /// If there are not as many names as columns.
    pub fn new(name: &str, kind: Kind, names: impl IntoIterator<Item = impl Into<String>>, matrix: Matrix) -> Self {
        let feature = |name: String| Feature { id: name.clone(), name, kind: kind.clone() };
        let features: Vec<Feature> = names.into_iter().map(|name| feature(name.into())).collect();
        assert_eq!(features.len(), matrix.columns(), "modality `{name}`: names and columns differ in number");
        Self { name: name.into(), kind, features, matrix, measured: None }
    }

    /// Names of the features, in the order of the columns.
    pub fn feature_names(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|feature| feature.name.as_str())
    }

    /// The modality with the features at `columns`, in that order, each at most once.
    #[must_use]
    pub fn select_features(&self, columns: &[usize]) -> Self {
        let cells: Vec<usize> = (0..self.matrix.rows()).collect();
        Self {
            name: self.name.clone(),
            kind: self.kind.clone(),
            features: columns.iter().map(|&column| self.features[column].clone()).collect(),
            matrix: self.matrix.select_columns(columns),
            measured: self.measured.as_ref().and_then(|measured| measured.select(&cells, Some(columns))),
        }
    }

    /// The modality with the cells at `cells`, in that order.
    ///
    /// # Panics
    /// If an index is not a cell.
    #[must_use]
    pub fn select_cells(&self, cells: &[usize]) -> Self {
        Self {
            matrix: self.matrix.select_rows(cells),
            measured: self.measured.as_ref().and_then(|measured| measured.select(cells, None)),
            ..self.clone_frame()
        }
    }

    /// Everything but the values.
    fn clone_frame(&self) -> Self {
        Self {
            name: self.name.clone(),
            kind: self.kind.clone(),
            features: self.features.clone(),
            matrix: Matrix::dense(0, 0, Vec::new()),
            measured: None,
        }
    }
}

/// The values of a column of cell annotations.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnValues {
    /// Labels from a list; `None` where a cell has none.
    Categorical {
        /// The labels.
        categories: Vec<String>,
        /// `[cells]` index into `categories`.
        codes: Vec<Option<u32>>,
    },
    /// Numbers; NaN where a cell has none.
    Numeric(Vec<f64>),
    /// Free text.
    Text(Vec<String>),
}

/// A column of cell annotations (`obs`).
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Name of the column.
    pub name: String,
    /// One value a cell.
    pub values: ColumnValues,
}

impl Column {
    /// A categorical column from one label a cell; categories are sorted.
    pub fn categorical(name: &str, labels: &[impl AsRef<str>]) -> Self {
        let mut categories: Vec<String> = labels.iter().map(|label| label.as_ref().to_owned()).collect();
        categories.sort();
        categories.dedup();
        let code = |label: &str| categories.binary_search_by(|known| known.as_str().cmp(label)).ok();
        let codes = labels.iter().map(|label| code(label.as_ref()).map(|code| code as u32)).collect();
        Self { name: name.into(), values: ColumnValues::Categorical { categories, codes } }
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        match &self.values {
            ColumnValues::Categorical { codes, .. } => codes.len(),
            ColumnValues::Numeric(values) => values.len(),
            ColumnValues::Text(values) => values.len(),
        }
    }

    /// Whether there are no cells.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The column as labels: categories and a code a cell, whatever the column holds.
    ///
    /// Numbers become labels by their value (`0`, `1.5`), so a batch given as 0/1 works.
    pub fn labels(&self) -> (Vec<String>, Vec<Option<u32>>) {
        let texts: Vec<String> = match &self.values {
            ColumnValues::Categorical { categories, codes } => return (categories.clone(), codes.clone()),
            ColumnValues::Numeric(values) => values.iter().map(f64::to_string).collect(),
            ColumnValues::Text(values) => values.clone(),
        };
        let missing = |text: &String| text.is_empty() || text == "NaN";
        let present: Vec<&String> = texts.iter().filter(|text| !missing(text)).collect();
        let ColumnValues::Categorical { categories, codes } = Self::categorical(&self.name, &present).values else {
            unreachable!("`categorical` makes a categorical column")
        };
        let mut codes = codes.into_iter();
        let codes = texts.iter().map(|text| if missing(text) { None } else { codes.next().flatten() }).collect();
        (categories, codes)
    }

    fn select(&self, cells: &[usize]) -> Self {
        let values = match &self.values {
            ColumnValues::Categorical { categories, codes } => ColumnValues::Categorical {
                categories: categories.clone(),
                codes: cells.iter().map(|&cell| codes[cell]).collect(),
            },
            ColumnValues::Numeric(values) => ColumnValues::Numeric(cells.iter().map(|&cell| values[cell]).collect()),
            ColumnValues::Text(values) => ColumnValues::Text(cells.iter().map(|&cell| values[cell].clone()).collect()),
        };
        Self { name: self.name.clone(), values }
    }
}

/// Cells with one or more modalities and annotations.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dataset {
    /// Barcodes or names of the cells.
    pub cells: Vec<String>,
    /// What was measured; every matrix has one row a cell.
    pub modalities: Vec<Modality>,
    /// Annotations of the cells; every column has one value a cell.
    pub obs: Vec<Column>,
    /// What the reader chose or noticed, in plain words, for the log.
    pub notes: Vec<String>,
}

impl Dataset {
    /// The modality of a name.
    ///
    /// # Errors
    /// If there is none; the message lists those there are.
    pub fn modality(&self, name: &str) -> Result<&Modality> {
        self.modalities.iter().find(|modality| modality.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.modalities.iter().map(|modality| modality.name.as_str()).collect();
            Error::Data(format!("no modality `{name}`; there are: {}", known.join(", ")))
        })
    }

    /// The annotation column of a name.
    ///
    /// # Errors
    /// If there is none; the message lists those there are.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.obs.iter().find(|column| column.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.obs.iter().map(|column| column.name.as_str()).collect();
            Error::Data(format!("no cell annotation `{name}`; there are: {}", known.join(", ")))
        })
    }

    /// The data set with the cells at `cells`, in that order.
    ///
    /// # Panics
    /// If an index is not a cell.
    #[must_use]
    pub fn select_cells(&self, cells: &[usize]) -> Self {
        Self {
            cells: cells.iter().map(|&cell| self.cells[cell].clone()).collect(),
            modalities: self.modalities.iter().map(|modality| modality.select_cells(cells)).collect(),
            obs: self.obs.iter().map(|column| column.select(cells)).collect(),
            notes: self.notes.clone(),
        }
    }
}

/// Puts features of several kinds into one modality a kind, in the order in which kinds appear.
pub(crate) fn split_by_kind(matrix: Matrix, features: Vec<Feature>, measured: Option<Measured>) -> Vec<Modality> {
    let mut kinds: Vec<(Kind, Vec<usize>)> = Vec::new();
    for (column, feature) in features.iter().enumerate() {
        match kinds.iter_mut().find(|(kind, _)| *kind == feature.kind) {
            Some((_, columns)) => columns.push(column),
            None => kinds.push((feature.kind.clone(), vec![column])),
        }
    }
    let first = kinds.first().map_or(Kind::Rna, |(kind, _)| kind.clone());
    let whole = Modality { name: first.modality_name(), kind: first, features, matrix, measured };
    if kinds.len() <= 1 {
        return vec![whole];
    }
    let part = |(kind, columns): &(Kind, Vec<usize>)| Modality {
        name: kind.modality_name(),
        kind: kind.clone(),
        ..whole.select_features(columns)
    };
    kinds.iter().map(part).collect()
}
