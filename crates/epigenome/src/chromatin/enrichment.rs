//! How much more often states lie in annotated places than chance has it: inside intervals, and around anchors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gradome_io::{for_each_line, write_text};

use super::model::StateOrder;
use super::segments::{Segmentation, number_of};
use crate::{Error, Result};

/// Fold enrichments of states, and what ChromHMM prints beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrichment {
    /// How the states are ordered.
    pub order: StateOrder,
    /// Numbers of the states that occur.
    pub states: Vec<usize>,
    /// Names of the annotations, or distances to the anchor (bp).
    pub columns: Vec<String>,
    /// `[states, columns]` share of the column in the state, over the state's share of the genome.
    pub fold: Vec<f64>,
    /// `[states]` share of the segmented genome (%).
    pub genome_percent: Vec<f64>,
    /// `[columns]` share of the segmented genome inside the annotation (%); empty around anchors.
    pub base_percent: Vec<f64>,
}

/// How intervals are compared with a segmentation; the defaults are ChromHMM's.
#[derive(Clone, Debug, PartialEq)]
pub struct OverlapOptions {
    /// Size of the segmentation's bins (bp).
    pub bin_size: i64,
    /// Taken from every start, so that it counts from 0.
    pub offset_start: i64,
    /// Taken from every end, so that it is the last position.
    pub offset_end: i64,
    /// Whether only the middle of an interval counts.
    pub center: bool,
    /// Whether bases that several intervals hold count several times.
    pub count_repeats: bool,
    /// Whether a column of the file weighs intervals; repeats count then.
    pub weighted: bool,
    /// Whether parts of bins count as parts.
    pub base_resolution: bool,
    /// Columns of chromosome, start, end and weight, from 0.
    pub columns: [usize; 4],
}

impl Default for OverlapOptions {
    fn default() -> Self {
        Self {
            bin_size: 200,
            offset_start: 0,
            offset_end: 1,
            center: false,
            count_repeats: false,
            weighted: false,
            base_resolution: true,
            columns: [0, 1, 2, 3],
        }
    }
}

/// How a segmentation is looked at around anchors; the defaults are ChromHMM's.
#[derive(Clone, Debug, PartialEq)]
pub struct NeighborhoodOptions {
    /// Size of the segmentation's bins (bp).
    pub bin_size: i64,
    /// Positions to the left.
    pub left: i64,
    /// Positions to the right.
    pub right: i64,
    /// Distance between positions (bp).
    pub spacing: i64,
    /// Taken from every anchor, so that it counts from 0.
    pub offset: i64,
    /// Whether anchors have a strand, along which left and right are told.
    pub stranded: bool,
    /// Whether a column of the file weighs anchors.
    pub weighted: bool,
    /// Columns of chromosome, position, then strand and weight as far as there are; from 0.
    pub columns: Vec<usize>,
}

impl Default for NeighborhoodOptions {
    fn default() -> Self {
        let (bin_size, left, right, spacing) = (200, 10, 10, 200);
        Self { bin_size, left, right, spacing, offset: 0, stranded: true, weighted: false, columns: vec![0, 1, 2, 3] }
    }
}

/// The state of every bin, 0 where there is none.
struct Labels {
    chromosomes: HashMap<String, Vec<u16>>,
    /// Bins of each state, by number; segments that overlap count all.
    bins: Vec<f64>,
    order: StateOrder,
}

impl Labels {
    fn of(segmentation: &Segmentation, bin_size: i64) -> Result<Self> {
        let largest = segmentation.largest_state();
        if bin_size < 1 || largest == 0 || largest > usize::from(u16::MAX) {
            return Err(Error::Data(format!(
                "bins of {bin_size} bp and states up to {largest}: both must be positive"
            )));
        }
        let size = bin_size as u64;
        let mut labels = Self { chromosomes: HashMap::new(), bins: vec![0.0; largest + 1], order: StateOrder::User };
        for segment in &segmentation.segments {
            if !segment.start.is_multiple_of(size) {
                return Err(Error::Data(format!(
                    "segment {}:{}-{} does not start at a multiple of the bin size {size}: give the size that the \
                     segmentation was made with (-b), or -b 1 for one that was lifted over",
                    segment.chromosome, segment.start, segment.end
                )));
            }
            let (first, last) = ((segment.start / size) as usize, ((segment.end - 1) / size) as usize);
            // no chromosome is longer than 2^32 bp
            if last > u32::MAX as usize {
                return Err(Error::Data(format!("segment end {} is beyond any chromosome", segment.end)));
            }
            let chromosome = labels.chromosomes.entry(segment.chromosome.clone()).or_default();
            if chromosome.len() <= last {
                chromosome.resize(last + 1, 0);
            }
            let state = number_of(&segment.state);
            chromosome[first..=last].fill(state as u16);
            labels.bins[state] += (last + 1 - first) as f64;
            labels.order = StateOrder::of_label(&segment.state);
        }
        Ok(labels)
    }

    /// Shares of columns over shares of the genome, from tallies `[columns][states + 1]`.
    fn enrichment(&self, columns: Vec<String>, tallies: &[Vec<f64>], with_base: bool) -> Enrichment {
        let genome: f64 = self.bins.iter().sum();
        let states: Vec<usize> = (1..self.bins.len()).filter(|&state| self.bins[state] > 0.0).collect();
        let sums: Vec<f64> = tallies.iter().map(|tally| tally.iter().sum()).collect();
        let mut fold = Vec::with_capacity(states.len() * columns.len());
        for &state in &states {
            for (tally, sum) in tallies.iter().zip(&sums) {
                fold.push((tally[state] / sum) / (self.bins[state] / genome));
            }
        }
        Enrichment {
            order: self.order,
            fold,
            columns,
            genome_percent: states.iter().map(|&state| 100.0 * (self.bins[state] / genome)).collect(),
            states,
            base_percent: if with_base { sums.iter().map(|sum| 100.0 * (sum / genome)).collect() } else { Vec::new() },
        }
    }
}

/// One interval or anchor of a file.
fn field<'a>(fields: &[&'a str], column: usize) -> Result<&'a str, String> {
    fields.get(column).copied().ok_or_else(|| format!("has {} columns, column {} is needed", fields.len(), column + 1))
}

fn position(fields: &[&str], column: usize) -> Result<i64, String> {
    let text = field(fields, column)?;
    // what does not fit into 40 bits is on no chromosome
    let value = text.parse::<i64>().ok().filter(|value| value.abs() < 1 << 40);
    value.ok_or_else(|| format!("column {} ('{text}') is not a position", column + 1))
}

fn weight(fields: &[&str], column: usize) -> Result<f64, String> {
    let text = field(fields, column)?;
    let value = text.parse::<f64>().ok().filter(|value| (0.0..f64::INFINITY).contains(value));
    value.ok_or_else(|| format!("column {} ('{text}') is not a weight of 0 or more", column + 1))
}

/// The annotation files of a folder, or the one file; names and paths, sorted.
///
/// # Errors
/// When there is none.
pub fn annotation_files(path: &Path, list: Option<&Path>) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    if let Some(list) = list {
        for_each_line(list, |line| {
            if !line.trim().is_empty() {
                files.push((line.trim().to_owned(), path.join(line.trim())));
            }
            Ok(())
        })?;
        return Ok(files);
    }
    if !path.is_dir() {
        return Ok(vec![(path.display().to_string(), path.to_owned())]);
    }
    let failed = |e: std::io::Error| Error::Data(format!("{}: {e}", path.display()));
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            files.push((name, entry.path()));
        }
    }
    if files.is_empty() {
        return Err(Error::Data(format!("{}: holds no files", path.display())));
    }
    files.sort();
    Ok(files)
}

impl Enrichment {
    /// Enrichment of states in the intervals of each file (name, path).
    ///
    /// # Errors
    /// Names the line of a file that cannot be understood, and a file without an interval in the segmentation.
    pub fn overlap(segmentation: &Segmentation, files: &[(String, PathBuf)], options: &OverlapOptions) -> Result<Self> {
        let labels = Labels::of(segmentation, options.bin_size)?;
        let mut tallies = Vec::with_capacity(files.len());
        for (name, path) in files {
            let mut tally = vec![0.0; labels.bins.len()];
            if options.count_repeats || options.weighted {
                tally_each(path, &labels, options, &mut tally)?;
            } else {
                tally_once(path, &labels, options, &mut tally)?;
            }
            /// A smaller overlap (bins) is rounding.
            const NONE: f64 = 1e-8;
            if tally.iter().sum::<f64>() < NONE {
                return Err(Error::Data(format!(
                    "{name}: no interval lies in the segmentation: are chromosomes named alike in both?"
                )));
            }
            tallies.push(tally);
        }
        Ok(labels.enrichment(files.iter().map(|file| file.0.clone()).collect(), &tallies, true))
    }

    /// Enrichment of states at distances from the anchors of a file.
    ///
    /// # Errors
    /// Names the line of the file that cannot be understood; or says that no chromosome is in the segmentation.
    pub fn around(segmentation: &Segmentation, anchors: &Path, options: &NeighborhoodOptions) -> Result<Self> {
        let labels = Labels::of(segmentation, options.bin_size)?;
        if options.left < 0 || options.right < 0 || options.spacing < 1 || options.left + options.right > 1_000_000 {
            return Err(Error::Data("positions to the left and right and their spacing must be positive".into()));
        }
        let mut tallies = vec![vec![0.0; labels.bins.len()]; (options.left + options.right + 1) as usize];
        let column = |place: usize| options.columns.get(place).copied().unwrap_or(place);
        let mut known = false;
        for_each_line(anchors, |line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if fields.is_empty() {
                return Ok(());
            }
            let anchor = position(&fields, column(1))? - options.offset;
            let forward = match options.stranded.then(|| field(&fields, column(2))).transpose()? {
                None | Some("+") => true,
                Some("-") => false,
                Some(other) => {
                    return Err(format!("strand '{other}' must be + or -; give -nostrand where there is none"));
                }
            };
            let of_weight = if options.stranded { 3 } else { 2 };
            let amount = if options.weighted { weight(&fields, column(of_weight))? } else { 1.0 };
            let Some(chromosome) = labels.chromosomes.get(field(&fields, column(0))?) else { return Ok(()) };
            known = true;
            for (place, tally) in tallies.iter_mut().enumerate() {
                let step = if forward { place as i64 - options.left } else { options.right - place as i64 };
                let bin = (anchor + options.spacing * step) / options.bin_size;
                if let Some(&state) = usize::try_from(bin).ok().and_then(|bin| chromosome.get(bin))
                    && state > 0
                {
                    tally[usize::from(state)] += amount;
                }
            }
            Ok(())
        })?;
        if !known {
            return Err(Error::Data(format!(
                "{}: no anchor lies in the segmentation: are chromosomes named alike in both?",
                anchors.display()
            )));
        }
        let columns = (-options.left..=options.right).map(|step| (step * options.spacing).to_string()).collect();
        Ok(labels.enrichment(columns, &tallies, false))
    }

    /// Writes the table as ChromHMM does; `labels` stand behind the state's number, as `1_Tss`.
    ///
    /// The share of the genome is a column of overlaps unless `uniform_scale`.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path, uniform_scale: bool, labels: &HashMap<String, String>) -> Result<()> {
        let genome = !self.base_percent.is_empty() && !uniform_scale;
        write_text(path, |to| {
            write!(to, "State ({} order)", self.order.word())?;
            if genome {
                write!(to, "\tGenome %")?;
            }
            self.columns.iter().try_for_each(|column| write!(to, "\t{column}"))?;
            writeln!(to)?;
            for (row, &state) in self.fold.chunks_exact(self.columns.len()).zip(&self.states) {
                write!(to, "{state}")?;
                if let Some(label) = labels.get(&format!("{}{state}", self.order.letter())) {
                    write!(to, "_{label}")?;
                }
                if genome {
                    let place = self.states.iter().position(|s| *s == state).unwrap_or(0);
                    write!(to, "\t{:.5}", self.genome_percent[place])?;
                }
                row.iter()
                    .try_for_each(|fold| if fold.is_nan() { write!(to, "\tNaN") } else { write!(to, "\t{fold:.5}") })?;
                writeln!(to)?;
            }
            if !self.base_percent.is_empty() {
                write!(to, "{}", if genome { "Base\t100" } else { "Base" })?;
                self.base_percent.iter().try_for_each(|percent| write!(to, "\t{percent:.10}"))?;
                writeln!(to)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// First and last position of an interval.
fn interval(fields: &[&str], options: &OverlapOptions) -> Result<(i64, i64), String> {
    let start = position(fields, options.columns[1])? - options.offset_start;
    let last = position(fields, options.columns[2])? - options.offset_end;
    Ok((start, last))
}

/// Adds the bins from one position to another to the tally, by the state that they are in.
fn add(labels: &[u16], (start, last): (i64, i64), options: &OverlapOptions, amount: f64, tally: &mut [f64]) {
    let size = options.bin_size;
    let first_bin = (start / size).max(0);
    let last_bin = (last / size).min(labels.len() as i64 - 1);
    let state = |bin: i64| usize::try_from(bin).ok().and_then(|bin| labels.get(bin)).map_or(0, |s| usize::from(*s));
    for bin in first_bin..=last_bin {
        if state(bin) > 0 {
            tally[state(bin)] += amount;
        }
    }
    if options.base_resolution {
        let before = (start - first_bin * size) as f64 / size as f64;
        let behind = ((last_bin + 1) * size - last - 1) as f64 / size as f64;
        for (bin, share) in [(first_bin, before), (last_bin, behind)] {
            if share > 0.0 && state(bin) > 0 {
                tally[state(bin)] -= amount * share;
            }
        }
    }
}

/// Every base that any interval holds counts once.
fn tally_once(path: &Path, labels: &Labels, options: &OverlapOptions, tally: &mut [f64]) -> Result<()> {
    let mut intervals: HashMap<String, Vec<(i64, i64)>> = HashMap::new();
    for_each_line(path, |line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields.is_empty() {
            return Ok(());
        }
        let chromosome = field(&fields, options.columns[0])?;
        if !labels.chromosomes.contains_key(chromosome) {
            return Ok(());
        }
        let (mut start, mut last) = interval(&fields, options)?;
        if options.center {
            start = (start + last) / 2;
            last = start;
        }
        intervals.entry(chromosome.to_owned()).or_default().push((start, last));
        Ok(())
    })?;
    let mut names: Vec<&String> = intervals.keys().collect();
    names.sort();
    for name in names {
        let mut of_chromosome = intervals[name].clone();
        of_chromosome.sort_unstable();
        let bins = &labels.chromosomes[name];
        let mut current = of_chromosome[0];
        for next in &of_chromosome[1..] {
            if next.0 <= current.1 {
                current.1 = current.1.max(next.1);
            } else {
                add(bins, current, options, 1.0, tally);
                current = *next;
            }
        }
        add(bins, current, options, 1.0, tally);
    }
    Ok(())
}

/// Every interval counts, with its weight.
fn tally_each(path: &Path, labels: &Labels, options: &OverlapOptions, tally: &mut [f64]) -> Result<()> {
    for_each_line(path, |line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields.is_empty() {
            return Ok(());
        }
        let (start, last) = interval(&fields, options)?;
        let given = options.weighted && fields.len() > options.columns[3];
        let amount = if given { weight(&fields, options.columns[3])? } else { 1.0 / options.bin_size as f64 };
        let Some(bins) = labels.chromosomes.get(field(&fields, options.columns[0])?) else { return Ok(()) };
        if options.center {
            let bin = (start + last) / (2 * options.bin_size);
            if let Some(&state) = usize::try_from(bin).ok().and_then(|bin| bins.get(bin))
                && state > 0
            {
                tally[usize::from(state)] += amount;
            }
        } else {
            add(bins, (start, last), options, amount, tally);
        }
        Ok(())
    })?;
    Ok(())
}
