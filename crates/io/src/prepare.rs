//! Makes data sets fit together and checks that counts are counts.

use std::collections::{HashMap, HashSet};

use crate::{Dataset, Error, Feature, Modality, Result};

/// How many cells two or more data sets share.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Alignment {
    /// Cells of each data set before.
    pub before: Vec<usize>,
    /// Cells that all of them have.
    pub shared: usize,
    /// Whether barcodes were compared without a `-1` at their end.
    pub without_suffix: bool,
}

impl std::fmt::Display for Alignment {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let before: Vec<String> = self.before.iter().map(usize::to_string).collect();
        write!(
            to,
            "{} cells are in all of {} inputs (of {} cells)",
            self.shared,
            self.before.len(),
            before.join(", ")
        )?;
        if self.without_suffix { write!(to, "; barcodes compared without their -1 suffix") } else { Ok(()) }
    }
}

/// A barcode without the `-1` that Cell Ranger puts behind it.
fn bare(barcode: &str) -> &str {
    barcode.strip_suffix("-1").unwrap_or(barcode)
}

/// Joins data sets of the same cells into one, on the cells they all have, in the order of the first.
///
/// Modalities keep their order and must differ in name; of annotations with the same name the first is kept, and
/// a note says so. `without_suffix` compares barcodes without a `-1` at their end.
///
/// # Errors
/// If no cell is shared (the message shows one barcode of each), or if two modalities have one name.
///
/// # Panics
/// If `inputs` is empty.
pub fn align(inputs: &[Dataset], without_suffix: bool) -> Result<(Dataset, Alignment)> {
    let key = |barcode: &'_ str| -> String { if without_suffix { bare(barcode).into() } else { barcode.into() } };
    let mut places: Vec<HashMap<String, usize>> = Vec::new();
    for input in inputs {
        let mut place = HashMap::with_capacity(input.cells.len());
        for (at, cell) in input.cells.iter().enumerate() {
            if place.insert(key(cell), at).is_some() {
                return Err(Error::Data(format!("cell `{cell}` occurs twice in one input: barcodes must be unique")));
            }
        }
        places.push(place);
    }
    let shared: Vec<String> = inputs[0]
        .cells
        .iter()
        .map(|cell| key(cell))
        .filter(|cell| places.iter().all(|place| place.contains_key(cell)))
        .collect();
    let before: Vec<usize> = inputs.iter().map(|input| input.cells.len()).collect();
    if shared.is_empty() {
        let examples: Vec<&str> = inputs.iter().filter_map(|input| input.cells.first().map(String::as_str)).collect();
        let hint = if without_suffix {
            ""
        } else {
            "; if they differ by a -1 at the end, ignore that suffix (--ignore-suffix)"
        };
        return Err(Error::Data(format!(
            "no cell is in all {} inputs (of {before:?} cells): their barcodes look like `{}`{hint}",
            inputs.len(),
            examples.join("`, `")
        )));
    }
    let mut joined = Dataset::default();
    for (input, place) in inputs.iter().zip(&places) {
        let rows: Vec<usize> = shared.iter().map(|cell| place[cell]).collect();
        let picked = input.select_cells(&rows);
        if joined.cells.is_empty() {
            joined.cells = picked.cells;
        }
        for modality in picked.modalities {
            if joined.modalities.iter().any(|known| known.name == modality.name) {
                return Err(Error::Data(format!("two inputs have a modality `{}`: name them apart", modality.name)));
            }
            joined.modalities.push(modality);
        }
        joined.notes.extend(picked.notes);
        for column in picked.obs {
            if joined.obs.iter().any(|known| known.name == column.name) {
                joined.notes.push(format!("annotation `{}` is in several inputs; the first is kept", column.name));
            } else {
                joined.obs.push(column);
            }
        }
    }
    let alignment = Alignment { before, shared: shared.len(), without_suffix };
    Ok((joined, alignment))
}

/// Makes feature names unique as anndata does: a repeated name gets `-1`, `-2`, ... behind it.
///
/// Gives how many were renamed; suffixes that would collide with another name are passed over.
pub fn make_names_unique(features: &mut [Feature]) -> usize {
    let mut taken: HashSet<String> = features.iter().map(|feature| feature.name.clone()).collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut renamed = 0;
    for feature in features {
        let Some(repeats) = seen.get_mut(&feature.name) else {
            seen.insert(feature.name.clone(), 0);
            continue;
        };
        let free = loop {
            *repeats += 1;
            let candidate = format!("{}-{repeats}", feature.name);
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        };
        feature.name = free;
        renamed += 1;
    }
    renamed
}

impl Dataset {
    /// Makes the feature names of each modality unique by [`make_names_unique`]; a note says how many it renamed.
    pub fn make_feature_names_unique(&mut self) {
        for modality in &mut self.modalities {
            let renamed = make_names_unique(&mut modality.features);
            if renamed > 0 {
                let name = &modality.name;
                self.notes.push(format!("{name}: {renamed} repeated feature names got a suffix (-1, -2, ...)"));
            }
        }
    }
}

/// Checks that every value is finite, and names the first that is not.
///
/// # Errors
/// The cell, the feature and the value.
pub fn check_finite(modality: &Modality, cells: &[String]) -> Result<()> {
    check_values(modality, cells, |value| {
        (!value.is_finite()).then(|| format!("{value} is not a finite number: mark it as missing or remove the cell"))
    })
}

/// Checks that every value can be a count: finite, not negative, whole.
///
/// # Errors
/// The cell, the feature and the value of the first that is not.
pub fn check_counts(modality: &Modality, cells: &[String]) -> Result<()> {
    const REMEDY: &str = "a count likelihood needs raw counts; give the raw layer, or choose a gaussian likelihood";
    check_values(modality, cells, |value| {
        if !value.is_finite() {
            Some(format!("{value} is not a finite number: {REMEDY}"))
        } else if value < 0.0 {
            Some(format!("{value} is negative: {REMEDY}"))
        } else if value.fract() != 0.0 {
            Some(format!("{value} is not whole: {REMEDY}"))
        } else {
            None
        }
    })
}

fn check_values(modality: &Modality, cells: &[String], wrong: impl Fn(f32) -> Option<String>) -> Result<()> {
    for (row, cell) in cells.iter().enumerate() {
        for (column, value) in modality.matrix.row_entries(row) {
            if let Some(problem) = wrong(value) {
                return Err(Error::Value {
                    modality: modality.name.clone(),
                    cell: cell.clone(),
                    feature: modality.features[column].name.clone(),
                    problem,
                });
            }
        }
    }
    Ok(())
}

/// The cells of which nothing was counted, among those of which something was measured.
pub fn zero_depth_cells(modality: &Modality) -> Vec<usize> {
    let was_measured =
        |cell: usize| modality.measured.as_ref().is_none_or(|measured| measured.cell(cell).contains(&true));
    (0..modality.matrix.rows())
        .filter(|&cell| modality.matrix.row_entries(cell).next().is_none() && was_measured(cell))
        .collect()
}
