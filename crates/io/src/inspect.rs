//! What a file is, in a few lines.

use std::{fmt, path::Path};

use crate::{
    Column, ColumnValues, Dataset, Modality, Orientation, ReadOptions, Result,
    h5ad::places,
    hdf::{Hdf, guarded},
    read::{Format, detect, read},
};

/// A summary of a file or folder.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// The file as the caller named it.
    pub file: String,
    /// `h5ad`, `10x h5`, `10x folder`, `MatrixMarket` or `table`.
    pub format: String,
    /// Size on disk in bytes, files of a folder summed.
    pub bytes: u64,
    /// Number of cells.
    pub cells: usize,
    /// Each modality, of `.h5ad` each place.
    pub modalities: Vec<ModalitySummary>,
    /// Annotations of the cells.
    pub annotations: Vec<AnnotationSummary>,
    /// What the reader chose or noticed.
    pub notes: Vec<String>,
}

/// A summary of one modality.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ModalitySummary {
    /// Where it stands in an `.h5ad` file; empty for other formats.
    pub place: String,
    /// `rna`, `protein`, `atac` or another name.
    pub name: String,
    /// Number of features.
    pub features: usize,
    /// The first few feature names.
    pub examples: Vec<String>,
    /// Share of the values that are not zero.
    pub density: f64,
    /// Smallest and largest value, zeros included.
    pub range: (f32, f32),
    /// Whether every value is whole and none negative.
    pub counts: bool,
    /// Smallest, median and largest sum of a cell.
    pub depth: (f64, f64, f64),
    /// Cells in which nothing was found.
    pub empty_cells: usize,
    /// Values that were not measured.
    pub missing: usize,
}

/// A summary of a column of cell annotations.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct AnnotationSummary {
    /// Name of the column.
    pub name: String,
    /// `categories`, `numbers` or `texts`.
    pub kind: String,
    /// The first categories, or the range of the numbers.
    pub content: String,
}

/// Summarises a file or folder of any supported format; of `.h5ad`, every place that holds cells by features.
///
/// # Errors
/// As [`crate::read`].
pub fn inspect(path: &Path) -> Result<Summary> {
    let file = path.display().to_string();
    let format = detect(path)?;
    let read_at = |places: Vec<String>| read(path, &ReadOptions { places, orientation: Orientation::Auto });
    let mut modalities = Vec::new();
    let mut notes = Vec::new();
    let data = if format == Format::H5ad {
        let (mut data, known) = guarded(&file, || {
            let hdf = Hdf::open(path)?;
            Ok((crate::h5ad::read_cells(&hdf)?, places(&hdf)))
        })?;
        for place in known {
            // A place that cannot be read is a finding, not the end of the summary.
            match read_at(vec![place.clone()]) {
                Ok(at_place) => {
                    modalities.extend(at_place.modalities.iter().map(|modality| summarise(&place, modality)));
                    let new: Vec<String> =
                        at_place.notes.into_iter().filter(|note| !data.notes.contains(note)).collect();
                    notes.extend(new);
                }
                Err(error) => notes.push(error.to_string()),
            }
        }
        notes.append(&mut data.notes);
        data
    } else {
        let mut data: Dataset = read_at(Vec::new())?;
        modalities.extend(data.modalities.iter().map(|modality| summarise("", modality)));
        notes.append(&mut data.notes);
        data
    };
    Ok(Summary {
        file,
        format: format.name().into(),
        bytes: size_on_disk(path),
        cells: data.cells.len(),
        modalities,
        annotations: data.obs.iter().map(annotation).collect(),
        notes,
    })
}

fn size_on_disk(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).map(|folder| folder.flatten().map(|entry| entry.path()).collect());
    let files: Vec<_> = files.unwrap_or_else(|_| vec![path.to_path_buf()]);
    files.iter().filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
}

fn summarise(place: &str, modality: &Modality) -> ModalitySummary {
    let (cells, features) = modality.matrix.shape();
    let (mut low, mut high, mut counts) = (f32::INFINITY, f32::NEG_INFINITY, true);
    for row in 0..cells {
        for (_, value) in modality.matrix.row_entries(row) {
            low = low.min(value);
            high = high.max(value);
            counts &= value >= 0.0 && value.fract() == 0.0;
        }
    }
    let values = (cells * features).max(1);
    let nnz = modality.matrix.nnz();
    if nnz < values {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    let mut sums = modality.matrix.row_sums();
    sums.sort_by(f64::total_cmp);
    let at = |share: f64| sums.get(((sums.len().saturating_sub(1)) as f64 * share) as usize).copied().unwrap_or(0.0);
    ModalitySummary {
        place: place.into(),
        name: modality.name.clone(),
        features,
        examples: modality.feature_names().take(3).map(str::to_owned).collect(),
        density: nnz as f64 / values as f64,
        range: (low, high),
        counts,
        depth: (at(0.0), at(0.5), at(1.0)),
        empty_cells: crate::zero_depth_cells(modality).len(),
        missing: modality.measured.as_ref().map_or(0, crate::Measured::missing),
    }
}

fn annotation(column: &Column) -> AnnotationSummary {
    const SHOWN: usize = 6;
    let listed = |texts: &[String]| {
        let more = if texts.len() > SHOWN { format!(", ... ({} in all)", texts.len()) } else { String::new() };
        format!("{}{more}", texts[..texts.len().min(SHOWN)].join(", "))
    };
    let (kind, content) = match &column.values {
        ColumnValues::Categorical { categories, .. } => ("categories", listed(categories)),
        ColumnValues::Numeric(values) => {
            let known = values.iter().copied().filter(|value| !value.is_nan());
            let (low, high) =
                known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
            ("numbers", if low > high { "none".into() } else { format!("{low} to {high}") })
        }
        ColumnValues::Text(values) => ("texts", listed(values)),
    };
    AnnotationSummary { name: column.name.clone(), kind: kind.into(), content }
}

impl fmt::Display for Summary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}: {}, {:.1} MB, {} cells", self.file, self.format, self.bytes as f64 / 1e6, self.cells)?;
        for modality in &self.modalities {
            let place = if modality.place.is_empty() { String::new() } else { format!(" at {}", modality.place) };
            let what = if modality.counts { "counts" } else { "real values" };
            let examples = if modality.examples.is_empty() {
                String::new()
            } else {
                format!(" ({}, ...)", modality.examples.join(", "))
            };
            writeln!(to, "  {}{place}: {} features{examples}, {what}", modality.name, modality.features)?;
            let (low, high) = modality.range;
            writeln!(to, "    {:.1} % not zero, values {low} to {high}", 100.0 * modality.density)?;
            // sums of single-precision values carry no more digits than these
            let [least, median, most] = <[f64; 3]>::from(modality.depth).map(|sum| (sum * 1e3).round() / 1e3);
            writeln!(
                to,
                "    sum of a cell: {least} to {most}, median {median}; {} empty cells",
                modality.empty_cells
            )?;
            if modality.missing > 0 {
                writeln!(to, "    {} values were not measured", modality.missing)?;
            }
        }
        for annotation in &self.annotations {
            writeln!(to, "  annotation {}: {} {}", annotation.name, annotation.kind, annotation.content)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(to, "  note: {note}"))
    }
}
