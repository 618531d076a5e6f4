//! The files that windows are cut from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use gradome::epigenome::contextual::{Tracks, around};
use gradome::io::genome::{BedRecord, ChromSizes, Window, read_bed};
use gradome::io::{Orientation, read_table};

use crate::error::{Result, wrong};

/// Where DNA, tracks and windows come from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Input")]
pub struct Sources {
    /// The genome, FASTA, gzipped or not; a .fai beside it saves reading it whole
    #[arg(long, value_name = "FILE")]
    pub genome: Option<PathBuf>,
    /// A signal track: bigWig (.bw, .bigWig) or bedGraph; may be repeated
    #[arg(long, value_name = "NAME=FILE")]
    track: Vec<String>,
    /// Presence calls of chromatin marks, ChromHMM's binarised text, a file a chromosome; each mark is a track; may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    pub marks: Vec<PathBuf>,
    /// Lengths of chromosomes (chrom.sizes) [default: those of bigWig files and presence calls]
    #[arg(long, value_name = "FILE")]
    sizes: Option<PathBuf>,
    /// Windows of equal length around the middle of these intervals, BED [default: side by side over all chromosomes]
    #[arg(long, value_name = "FILE")]
    pub windows: Option<PathBuf>,
    /// What surrounds the genome, as the activity of transcription factors, a column each: a table (.csv, .tsv) with one
    /// row for all windows, or a row for each that is named as the window (column 4 of --windows, or chr1:100-300);
    /// values should be of about size 1
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
}

impl Sources {
    /// Opens all tracks.
    pub fn tracks(&self) -> Result<Tracks> {
        let sizes = self.sizes.as_deref().map(ChromSizes::read).transpose()?;
        let mut tracks = Tracks::new(sizes);
        if !self.marks.is_empty() {
            tracks.add_marks(&self.marks)?;
        }
        for track in &self.track {
            let Some((name, file)) = track.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty())
            else {
                return Err(wrong(format!("--track {track}: give NAME=FILE")));
            };
            tracks.add_signal(name, Path::new(file))?;
        }
        Ok(tracks)
    }

    /// The intervals that were given, if any.
    pub fn records(&self) -> Result<Option<Vec<BedRecord>>> {
        let Some(file) = &self.windows else { return Ok(None) };
        let records = read_bed(file, None)?;
        if records.is_empty() {
            return Err(wrong(format!("{}: holds no interval", file.display())));
        }
        Ok(Some(records))
    }

    /// The context of each window `[windows, features]` and the names of its features, in the model's order where that
    /// is given.
    pub fn context(&self, names: &[String], known: Option<&[String]>) -> Result<(Vec<f32>, Vec<String>)> {
        let Some(file) = &self.context else {
            return match known {
                Some(known) if !known.is_empty() => {
                    Err(wrong(format!("the model needs a context; give --context with {}", known.join(", "))))
                }
                _ => Ok((Vec::new(), Vec::new())),
            };
        };
        let table = WindowTable::read(file)?;
        let rows = if table.names.len() == 1 { vec![0; names.len()] } else { table.rows(names)? };
        let columns: Vec<String> = known.map_or_else(|| table.columns.clone(), <[String]>::to_vec);
        if columns.is_empty() {
            return Err(wrong(format!(
                "{}: the model was trained without context; leave out --context",
                file.display()
            )));
        }
        let places: Vec<usize> = columns.iter().map(|name| table.column(name)).collect::<Result<_>>()?;
        let values: Vec<f32> =
            rows.iter().flat_map(|&row| places.iter().map(move |&c| (row, c))).map(|at| table.value(at)).collect();
        if let Some(at) = values.iter().position(|value| value.is_nan()) {
            let (row, column) = (&table.names[rows[at / columns.len()]], &columns[at % columns.len()]);
            return Err(wrong(format!("{}: {row} has no {column}; a context has no gaps", file.display())));
        }
        Ok((values, columns))
    }

    /// Windows of so many base pairs.
    pub fn cut(&self, tracks: &Tracks, records: Option<&[BedRecord]>, bp: usize, bin: usize) -> Result<Vec<Window>> {
        match records {
            Some(records) => Ok(records.iter().map(|record| around(record, bp, bin)).collect()),
            None => Ok(tracks.tile(bp)?),
        }
    }
}

/// What tables call the windows: their names (column 4 of BED), or their places.
pub fn window_names(records: Option<&[BedRecord]>, windows: &[Window]) -> Vec<String> {
    let place = |chromosome: &str, start: i64, end: i64| format!("{chromosome}:{start}-{end}");
    match records {
        Some(records) => records
            .iter()
            .map(|r| r.name.clone().unwrap_or_else(|| place(&r.chromosome, r.start.into(), r.end.into())))
            .collect(),
        None => windows.iter().map(|w| place(&w.chromosome, w.start, w.end)).collect(),
    }
}

/// A table with a row for each window.
pub struct WindowTable {
    file: String,
    names: Vec<String>,
    columns: Vec<String>,
    /// `[rows, columns]`; NaN where there is no value.
    values: Vec<f32>,
}

impl WindowTable {
    pub fn read(file: &Path) -> Result<Self> {
        let mut data = read_table(file, Orientation::CellsByFeatures)?;
        let file = file.display().to_string();
        let table = data.modalities.pop().ok_or_else(|| wrong(format!("{file}: holds no column of numbers")))?;
        let mut values = table.matrix.to_row_major();
        if let Some(measured) = &table.measured {
            let known = (0..data.cells.len()).flat_map(|row| measured.cell(row));
            values.iter_mut().zip(known).filter(|(_, known)| !**known).for_each(|(value, _)| *value = f32::NAN);
        }
        Ok(Self { file, columns: table.feature_names().map(str::to_owned).collect(), names: data.cells, values })
    }

    /// The row of each window.
    pub fn rows(&self, windows: &[String]) -> Result<Vec<usize>> {
        let places: HashMap<&str, usize> =
            self.names.iter().enumerate().map(|(row, name)| (name.as_str(), row)).collect();
        let row = |name: &String| {
            let missing = || wrong(format!("{}: has no row '{name}', which is a window", self.file));
            places.get(name.as_str()).copied().ok_or_else(missing)
        };
        windows.iter().map(row).collect()
    }

    pub fn column(&self, name: &str) -> Result<usize> {
        self.columns
            .iter()
            .position(|column| column == name)
            .ok_or_else(|| wrong(format!("{}: has no column '{name}'; it has {}", self.file, self.columns.join(", "))))
    }

    pub fn value(&self, (row, column): (usize, usize)) -> f32 {
        self.values[row * self.columns.len() + column]
    }
}
