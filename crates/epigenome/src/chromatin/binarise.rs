//! From reads to presence calls: counts in bins against a Poisson background or a control, as ChromHMM calls them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gradome_io::genome::ChromSizes;
use gradome_io::genome::binarised::{ABSENT, MISSING, PRESENT, write_binarised};
use gradome_io::write_text;

use super::CellMarkTable;
use super::bin_counts::{Counts, Told};
use crate::{Error, Result};

/// Which files hold the reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFiles {
    /// BED, plain or gzipped.
    Bed,
    /// BAM, every mapped record as a read.
    Bam,
    /// BAM of pairs, one fragment a proper pair.
    PairedBam,
    /// BAM of pairs and single reads.
    MixedBam,
}

/// How reads become calls; the defaults are ChromHMM's.
#[derive(Clone, Debug, PartialEq)]
pub struct BinariseOptions {
    /// Which files hold the reads.
    pub reads: ReadFiles,
    /// Size of a bin (bp); a last part of a bin is left out.
    pub bin_size: i64,
    /// How far a read is shifted from its 5' end (bp), half a fragment.
    pub shift: i64,
    /// Whether a read counts where its middle lies, without a shift.
    pub center: bool,
    /// Whether records are peaks: every bin that one touches is present.
    pub peaks: bool,
    /// Taken from every start, so that it counts from 0.
    pub offset_start: i64,
    /// Taken from every end, so that it is the last position.
    pub offset_end: i64,
    /// Columns of chromosome, start, end and strand in BED, from 0; the strand may otherwise stand 4th to 6th.
    pub columns: Option<[usize; 4]>,
    /// Tail probability of a Poisson background that a present bin has.
    pub poisson: f64,
    /// Whether a call needs a tail below that probability; otherwise the count before it is enough.
    pub strict: bool,
    /// Fold over the background that a present bin needs.
    pub fold: f64,
    /// Reads that a present bin needs.
    pub signal: f64,
    /// Bins on either side over which the control is summed.
    pub control_flank: usize,
    /// Added to the control's count of every bin.
    pub control_pseudocount: u32,
    /// Marks of different cell types become marks of one genome.
    pub stacked: bool,
    /// Where counts are written too; not when absent.
    pub signal_folder: Option<PathBuf>,
    /// Where counts of the control are written too; not when absent.
    pub control_signal_folder: Option<PathBuf>,
    /// Whether files are gzipped.
    pub gzip: bool,
}

impl Default for BinariseOptions {
    fn default() -> Self {
        Self {
            reads: ReadFiles::Bed,
            bin_size: 200,
            shift: 100,
            center: false,
            peaks: false,
            offset_start: 0,
            offset_end: 1,
            columns: None,
            poisson: 1e-4,
            strict: false,
            fold: 0.0,
            signal: 0.0,
            control_flank: 5,
            control_pseudocount: 1,
            stacked: false,
            signal_folder: None,
            control_signal_folder: None,
            gzip: false,
        }
    }
}

/// The count from which a bin over a background of so many expected reads is called.
///
/// Poisson probabilities are added until they exceed one less the tail; that many is the strict threshold, one fewer
/// ChromHMM's own.
fn threshold(expected: f64, options: &BinariseOptions) -> u32 {
    let (mut reads, mut below, mut ln_factorial) = (0u32, 0.0, 0.0);
    // far beyond the mean nothing is left to add, whatever rounding says
    let most = (expected * 2.0 + 1000.0) as u32;
    while below <= 1.0 - options.poisson && reads < most {
        let n = f64::from(reads);
        // no reads are expected where there are none: the term of 0 reads is all
        let ln_power = if reads == 0 { 0.0 } else { expected.ln() * n };
        below += (ln_power - expected - ln_factorial).exp();
        reads += 1;
        ln_factorial += f64::from(reads).ln();
    }
    if !options.strict {
        reads = reads.saturating_sub(1);
    }
    let fold = (options.fold * expected).ceil() as u32;
    fold.max(reads).max(1).max(options.signal.ceil() as u32)
}

/// Sums over a window of bins, cut at the ends, with a count added to each bin.
fn windowed(bins: &[u32], flank: usize, pseudocount: u32) -> Vec<u32> {
    let mut sums = vec![0u64];
    for &count in bins {
        sums.push(sums[sums.len() - 1] + u64::from(count) + u64::from(pseudocount));
    }
    let window = |bin: usize| sums[(bin + flank + 1).min(bins.len())] - sums[bin.saturating_sub(flank)];
    (0..bins.len()).map(|bin| u32::try_from(window(bin)).unwrap_or(u32::MAX)).collect()
}

/// Binarises all reads of a table into a folder; gives the files written and what is worth knowing.
///
/// Reads that lie beyond a chromosome's end or on one without a length are left out, as in ChromHMM, and counted in the
/// notes. Without control the background is uniform; with control it is the control's count around the bin.
///
/// # Errors
/// Names the line of a file that cannot be understood; says which mark has no read on any chromosome.
pub fn binarise(
    sizes: &ChromSizes,
    table: &CellMarkTable,
    (reads, controls): (&Path, &Path),
    folder: &Path,
    options: &BinariseOptions,
) -> Result<(Vec<PathBuf>, Vec<String>)> {
    options.validate()?;
    let more = [options.signal_folder.as_deref(), options.control_signal_folder.as_deref()];
    for folder in more.into_iter().flatten().chain([folder]) {
        std::fs::create_dir_all(folder).map_err(|e| Error::Data(format!("{}: {e}", folder.display())))?;
    }
    let marks: Vec<String> = table.marks.iter().cloned().collect();
    let (mut written, mut notes) = (Vec::new(), Vec::new());
    for cell in &table.cells {
        let count = |files: Option<&Vec<String>>, folder: &Path, what: &str, notes: &mut Vec<String>| {
            let Some(files) = files else {
                notes.push(format!("{cell} {what}: no file, counts as not measured"));
                return Ok(None);
            };
            let (mut counts, mut told) = (Counts::new(sizes, options), Told::default());
            for file in files {
                counts.read(&folder.join(file), sizes, options, &mut told)?;
            }
            if told.counted == 0 {
                return Err(Error::Data(format!(
                    "{cell} {what}: no read of {} lies on a chromosome whose length is given: are they named alike, \
                     and are there reads?",
                    files.join(", ")
                )));
            }
            if told.beyond + told.elsewhere > 0 {
                notes.push(format!(
                    "{cell} {what}: left out {} reads past a chromosome's whole bins and {} on chromosomes without a length",
                    told.beyond, told.elsewhere
                ));
            }
            Ok(Some(counts))
        };
        let mut of_marks = Vec::with_capacity(marks.len());
        for mark in &marks {
            let files = table.files.get(&(cell.clone(), mark.clone()));
            of_marks.push(count(files, reads, mark, &mut notes)?);
        }
        let mut of_controls = None;
        if let Some(files) = table.controls_of(cell, &marks) {
            let mut all = Vec::with_capacity(files.len());
            for (files, mark) in files.into_iter().zip(&marks) {
                // a mark without a control of its own is compared with the pseudocount alone
                let what = if files.is_some() { "control".to_owned() } else { format!("control of {mark}") };
                all.push(count(files, controls, &what, &mut notes)?);
            }
            of_controls = Some(all);
        }
        let cell = Cell { name: cell, marks: &marks, of_marks, of_controls };
        cell.call(sizes, folder, options, &mut written, &mut notes)?;
    }
    Ok((written, notes))
}

impl BinariseOptions {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// Names the value that is out of range, and options that exclude each other.
    pub fn validate(&self) -> Result<()> {
        let problem = if self.bin_size < 1 {
            format!("a bin size of {}: give 1 bp or more", self.bin_size)
        } else if !(self.poisson > 0.0 && self.poisson < 1.0) {
            format!("a tail probability of {}: give more than 0 and less than 1", self.poisson)
        } else if !(self.fold >= 0.0 && self.signal >= 0.0) {
            "a fold or count below 0".to_owned()
        } else if self.reads == ReadFiles::PairedBam && (self.center || self.peaks) {
            "-paired cannot be joined with -center or -peaks".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::Data(problem))
    }
}

/// All counts of a cell type.
struct Cell<'a> {
    name: &'a str,
    marks: &'a [String],
    /// `[marks]`, none where not measured.
    of_marks: Vec<Option<Counts>>,
    /// One for all marks, or `[marks]`.
    of_controls: Option<Vec<Option<Counts>>>,
}

impl Cell<'_> {
    fn call(
        &self,
        sizes: &ChromSizes,
        folder: &Path,
        options: &BinariseOptions,
        written: &mut Vec<PathBuf>,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let any = |counts: &[Option<Counts>], place: usize| {
            counts.iter().flatten().any(|counts| counts.bins[place].iter().any(|&count| count > 0))
        };
        let suffix = if options.gzip { ".gz" } else { "" };
        let with_reads: Vec<usize> = (0..sizes.len()).filter(|&place| any(&self.of_marks, place)).collect();
        let names: Vec<&str> = sizes.iter().map(|(name, _)| name).collect();
        for &place in &with_reads {
            let path =
                |folder: &Path, what: &str| folder.join(format!("{}_{}_{what}.txt{suffix}", self.name, names[place]));
            if let Some(folder) = &options.signal_folder {
                self.write_counts(&path(folder, "signal"), names[place], &self.of_marks, place, true)?;
            }
            if let (Some(folder), Some(controls)) = (&options.control_signal_folder, &self.of_controls) {
                self.write_counts(&path(folder, "controlsignal"), names[place], controls, place, false)?;
            }
        }
        let mut called = Vec::with_capacity(with_reads.len());
        for place in with_reads {
            if self.of_controls.as_ref().is_none_or(|controls| any(controls, place)) {
                called.push(place);
            } else {
                notes.push(format!(
                    "{} {}: has reads but none of the control, so no calls are written for it",
                    self.name, names[place]
                ));
            }
        }
        let calls = self.calls(&called, options);
        for (of, &place) in called.iter().enumerate() {
            let bins = self.of_marks.iter().flatten().next().map_or(0, |counts| counts.bins[place].len());
            let mut rows = vec![ABSENT; bins * self.marks.len()];
            for (mark, calls) in calls.iter().enumerate() {
                for bin in 0..bins {
                    rows[bin * self.marks.len() + mark] = calls.as_ref().map_or(MISSING, |calls| calls[of][bin]);
                }
            }
            let path = folder.join(format!("{}_{}_binary.txt{suffix}", self.name, names[place]));
            write_binarised(&path, (self.name, names[place]), self.marks, rows.chunks_exact(self.marks.len()))?;
            written.push(path);
        }
        Ok(())
    }

    /// `[marks][chromosomes][bins]` calls; none for a mark that was not measured.
    fn calls(&self, places: &[usize], options: &BinariseOptions) -> Vec<Option<Vec<Vec<u8>>>> {
        let call = |mark: usize, counts: &Counts| -> Vec<Vec<u8>> {
            let yes = |present: bool| if present { PRESENT } else { ABSENT };
            let bins = |place: &usize| &counts.bins[*place];
            if options.peaks {
                return places.iter().map(|p| bins(p).iter().map(|&n| yes(n > 0)).collect()).collect();
            }
            let reads: u64 = places.iter().flat_map(bins).map(|&n| u64::from(n)).sum();
            let Some(controls) = &self.of_controls else {
                let all: usize = places.iter().map(|place| bins(place).len()).sum();
                let threshold = threshold(reads as f64 / all as f64, options);
                return places.iter().map(|p| bins(p).iter().map(|&n| yes(n >= threshold)).collect()).collect();
            };
            let control = controls[mark.min(controls.len() - 1)].as_ref();
            let background: Vec<Vec<u32>> = places
                .iter()
                .map(|place| {
                    let none = vec![0; bins(place).len()];
                    let of = control.map_or(&none, |control| &control.bins[*place]);
                    windowed(of, options.control_flank, options.control_pseudocount)
                })
                .collect();
            let sum: u64 = background.iter().flatten().map(|&n| u64::from(n)).sum();
            let ratio = reads as f64 / sum as f64;
            let mut thresholds: HashMap<u32, u32> = HashMap::new();
            let least = (options.signal.ceil() as u32).max(1);
            let mut of = |background: u32| {
                *thresholds.entry(background).or_insert_with(|| match background {
                    0 => least,
                    n => threshold(ratio * f64::from(n), options),
                })
            };
            let pairs = places.iter().zip(&background);
            pairs.map(|(p, around)| bins(p).iter().zip(around).map(|(&n, &b)| yes(n >= of(b))).collect()).collect()
        };
        let marks = self.of_marks.iter().enumerate();
        marks.map(|(mark, counts)| counts.as_ref().map(|counts| call(mark, counts))).collect()
    }

    /// Writes counts; -1 for a mark that was not measured, 0 for a control that is not there.
    fn write_counts(
        &self,
        path: &Path,
        chromosome: &str,
        columns: &[Option<Counts>],
        place: usize,
        of_marks: bool,
    ) -> Result<()> {
        let bins = columns.iter().flatten().next().map_or(0, |counts| counts.bins[place].len());
        let shared = !of_marks && columns.len() == 1;
        write_text(path, |to| {
            let header = if shared { "Control".to_owned() } else { self.marks.join("\t") };
            writeln!(to, "{}\t{chromosome}\n{header}", self.name)?;
            for bin in 0..bins {
                for (column, counts) in columns.iter().enumerate() {
                    let tab = if column > 0 { "\t" } else { "" };
                    match counts {
                        Some(counts) => write!(to, "{tab}{}", counts.bins[place][bin])?,
                        None => write!(to, "{tab}{}", if of_marks { "-1" } else { "0" })?,
                    }
                }
                writeln!(to)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_the_largest_count_that_still_has_the_tail() {
        // at a mean of 1, P(X >= 5) = 3.66e-3 and P(X >= 6) = 5.94e-4
        let options = BinariseOptions { poisson: 3e-3, ..BinariseOptions::default() };
        assert_eq!(threshold(1.0, &options), 5);
        assert_eq!(threshold(1.0, &BinariseOptions { strict: true, ..options.clone() }), 6);
        assert_eq!(threshold(1.0, &BinariseOptions { fold: 9.5, ..options.clone() }), 10);
        assert_eq!(threshold(0.0, &options), 1);
        assert_eq!(threshold(0.0, &BinariseOptions { signal: 2.5, ..options }), 3);
    }

    #[test]
    fn the_control_is_summed_over_its_window_and_cut_at_the_ends() {
        assert_eq!(windowed(&[1, 0, 2, 0], 1, 1), [3, 6, 5, 4]);
        assert_eq!(windowed(&[], 5, 1), [0; 0]);
    }
}
