//! The table of a binarisation: which file holds which mark of which cell type.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use gradome_io::for_each_line;

use crate::{Error, Result};

/// The table that says which file holds which mark of which cell type, and which its control.
#[derive(Clone, Debug, Default)]
pub struct CellMarkTable {
    pub(super) cells: BTreeSet<String>,
    pub(super) marks: BTreeSet<String>,
    /// Files of each cell type and mark.
    pub(super) files: HashMap<(String, String), Vec<String>>,
    controls: HashMap<(String, String), Vec<String>>,
    /// Cell types of which some file has no control.
    without: BTreeSet<String>,
}

impl CellMarkTable {
    /// Reads the table: cell type, mark, file, and optionally the control's file, with tabs between.
    ///
    /// # Errors
    /// Names the line with fewer than three columns, and an empty table.
    pub fn read(path: &Path, stacked: bool) -> Result<Self> {
        let mut table = Self::default();
        for_each_line(path, |line| {
            if line.trim().is_empty() {
                return Ok(());
            }
            let fields: Vec<&str> = line.split('\t').map(str::trim).filter(|field| !field.is_empty()).collect();
            let [cell, mark, file, ref rest @ ..] = fields[..] else {
                return Err("has fewer than three columns: cell type, mark, file, with tabs between".into());
            };
            let (cell, mark) =
                if stacked { ("genome".to_owned(), format!("{cell}_{mark}")) } else { (cell.into(), mark.into()) };
            let key = (cell.clone(), mark.clone());
            let once = |files: &mut Vec<String>, file: &str| {
                if !files.iter().any(|known| known == file) {
                    files.push(file.to_owned());
                }
            };
            match rest.first() {
                Some(control) => once(table.controls.entry(key.clone()).or_default(), control),
                None => drop(table.without.insert(cell.clone())),
            }
            once(table.files.entry(key).or_default(), file);
            table.cells.insert(cell);
            table.marks.insert(mark);
            Ok(())
        })?;
        if table.cells.is_empty() {
            return Err(Error::Data(format!("{}: names no files", path.display())));
        }
        Ok(table)
    }

    /// Whether some file has a control.
    pub(super) fn has_controls(&self) -> bool {
        !self.controls.is_empty()
    }

    /// The controls of a cell type: one column for all marks where all share the same files' set of one, else one each.
    pub(super) fn controls_of(&self, cell: &str, marks: &[String]) -> Option<Vec<Option<&Vec<String>>>> {
        let of = |mark: &String| self.controls.get(&(cell.to_owned(), mark.clone()));
        let all: BTreeSet<&String> = marks.iter().filter_map(of).flatten().collect();
        match all.len() {
            0 => None,
            1 if !self.without.contains(cell) => Some(vec![marks.iter().find_map(of)]),
            _ => Some(marks.iter().map(of).collect()),
        }
    }
}
