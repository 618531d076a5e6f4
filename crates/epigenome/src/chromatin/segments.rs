//! Segmentations as files: segments, browser tracks, posteriors and states line by line, named as ChromHMM names them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gradome_io::genome::ChromSizes;
use gradome_io::genome::binarised::Binarised;
use gradome_io::{for_each_line, write_text};

use super::colours::diverse_colours;
use super::decode::runs;
use super::model::{ChromHmmModel, StateOrder};
use crate::{Error, Result};

/// A stretch of a chromosome in one state, in bp from 0, the end not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Name of the chromosome.
    pub chromosome: String,
    /// First position (bp).
    pub start: u64,
    /// Position behind the last (bp).
    pub end: u64,
    /// Label of the state, `E7`.
    pub state: String,
}

/// The segmentation of one cell type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// What its files' names begin with, `GM12878_10`.
    pub prefix: String,
    /// The segments in order.
    pub segments: Vec<Segment>,
}

/// Which rule gives each bin its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decoding {
    /// The state with the largest posterior probability, as in ChromHMM.
    #[default]
    Posterior,
    /// The most probable path of states.
    Viterbi,
}

/// What is written of a segmentation.
#[derive(Clone, Debug)]
pub struct SegmentationFiles<'a> {
    /// The folder to write to; `POSTERIOR` and `STATEBYLINE` are made in it.
    pub folder: &'a Path,
    /// Stands behind the number of states in the names; may be empty.
    pub name: &'a str,
    /// Size of a bin (bp).
    pub bin_size: u64,
    /// Where chromosomes end; the last segment is cut there.
    pub sizes: Option<&'a ChromSizes>,
    /// Whether `*_segments.bed` is written.
    pub segments: bool,
    /// Whether posterior probabilities are written, with four decimals.
    pub posteriors: bool,
    /// Whether the state of each bin is written on a line of its own.
    pub states_by_line: bool,
    /// Whether files are gzipped.
    pub gzip: bool,
    /// Which rule gives each bin its state.
    pub decoding: Decoding,
}

/// What can say in which state each bin of some sequences is.
pub trait Annotates {
    /// The number of states.
    fn states(&self) -> usize;

    /// How the states are ordered.
    fn order(&self) -> StateOrder;

    /// Cell type and chromosome of each sequence.
    fn sequences(&self) -> Vec<(&str, &str)>;

    /// The state of each bin `[bins]` of a sequence.
    ///
    /// # Errors
    /// When the model cannot have made the sequence.
    fn decode(&self, sequence: usize, decoding: Decoding) -> Result<Vec<u16>>;

    /// Hands the probability of each state `[states]` at every bin of a sequence to `take`, in order.
    ///
    /// # Errors
    /// When the model cannot have made the sequence.
    fn posteriors(&self, sequence: usize, take: &mut dyn FnMut(&[f64])) -> Result<()>;
}

/// A model of calls, and calls.
struct Calls<'a> {
    model: &'a ChromHmmModel,
    data: &'a Binarised,
}

impl Annotates for Calls<'_> {
    fn states(&self) -> usize {
        self.model.states()
    }

    fn order(&self) -> StateOrder {
        self.model.order
    }

    fn sequences(&self) -> Vec<(&str, &str)> {
        self.data.sequences.iter().map(|s| (s.cell.as_str(), s.chromosome.as_str())).collect()
    }

    fn decode(&self, sequence: usize, decoding: Decoding) -> Result<Vec<u16>> {
        match decoding {
            Decoding::Posterior => self.model.best_states(self.data, sequence),
            Decoding::Viterbi => Ok(self.model.best_path(self.data, sequence)?.0),
        }
    }

    fn posteriors(&self, sequence: usize, take: &mut dyn FnMut(&[f64])) -> Result<()> {
        self.model.posteriors(self.data, sequence, take)
    }
}

impl SegmentationFiles<'_> {
    fn suffix(&self) -> &'static str {
        if self.gzip { ".gz" } else { "" }
    }

    /// The names' beginning for a cell type.
    fn prefix(&self, cell: &str, states: usize) -> String {
        let parts = [cell, &states.to_string(), self.name];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
    }

    /// Decodes every sequence of calls, in the order of the data, and writes what was asked for.
    ///
    /// # Errors
    /// When the model cannot have made a sequence, a chromosome ends before its bins do (another assembly or size of
    /// bins), or a file cannot be written.
    pub fn write(&self, model: &ChromHmmModel, data: &Binarised) -> Result<Vec<Segmentation>> {
        self.write_annotation(&Calls { model, data })
    }

    /// Decodes every sequence that something annotates, and writes what was asked for.
    ///
    /// # Errors
    /// As [`SegmentationFiles::write`].
    pub fn write_annotation(&self, of: &dyn Annotates) -> Result<Vec<Segmentation>> {
        for (wanted, folder) in [(self.posteriors, "POSTERIOR"), (self.states_by_line, "STATEBYLINE")] {
            let folder = self.folder.join(folder);
            if wanted {
                std::fs::create_dir_all(&folder).map_err(|e| Error::Data(format!("{}: {e}", folder.display())))?;
            }
        }
        let letter = of.order().letter();
        let mut cells: Vec<Segmentation> = Vec::new();
        for (number, (cell, chromosome)) in of.sequences().into_iter().enumerate() {
            let states = of.decode(number, self.decoding)?;
            let prefix = self.prefix(cell, of.states());
            let place = cells.iter().position(|cell| cell.prefix == prefix).unwrap_or_else(|| {
                cells.push(Segmentation { prefix: prefix.clone(), segments: Vec::new() });
                cells.len() - 1
            });
            let segments = self.segments_of(letter, (cell, chromosome), &states)?;
            cells[place].segments.extend(segments);
            let named = |folder: &str, what: &str| {
                let file = format!("{prefix}_{chromosome}_{what}.txt{}", self.suffix());
                self.folder.join(folder).join(file)
            };
            if self.posteriors {
                write_posteriors(&named("POSTERIOR", "posterior"), of, (number, cell, chromosome))?;
            }
            if self.states_by_line {
                write_text(&named("STATEBYLINE", "statebyline"), |to| {
                    writeln!(to, "{cell}\t{chromosome}")?;
                    writeln!(to, "MaxState {letter}")?;
                    states.iter().try_for_each(|state| writeln!(to, "{}", state + 1))
                })?;
            }
        }
        if self.segments {
            for cell in &cells {
                cell.write(&self.folder.join(format!("{}_segments.bed{}", cell.prefix, self.suffix())))?;
            }
        }
        Ok(cells)
    }

    fn segments_of(&self, letter: char, (cell, chromosome): (&str, &str), states: &[u16]) -> Result<Vec<Segment>> {
        let end = states.len() as u64 * self.bin_size;
        let size = self.sizes.and_then(|sizes| sizes.get(chromosome)).map_or(end, u64::from);
        let last = states.len().saturating_sub(1) as u64 * self.bin_size;
        if last >= size {
            return Err(Error::Data(format!(
                "{cell} {chromosome}: {} bins of {} bp end past the chromosome's {size} bp: is the bin size right (-b), \
                 and are the lengths those of the assembly that was binarised?",
                states.len(),
                self.bin_size
            )));
        }
        let segment = |(first, behind, state): (usize, usize, u16)| Segment {
            chromosome: chromosome.to_owned(),
            start: first as u64 * self.bin_size,
            end: (behind as u64 * self.bin_size).min(size),
            state: format!("{letter}{}", state + 1),
        };
        Ok(runs(states).map(segment).collect())
    }
}

/// A posterior as ChromHMM prints it: at most four decimals, none that are zero at the end.
fn print_posterior(p: f64, to: &mut Vec<u8>) -> io::Result<()> {
    if p < 0.00005 {
        return to.write_all(b"0");
    }
    write!(to, "{p:.4}")?;
    while to.last() == Some(&b'0') {
        to.pop();
    }
    if to.last() == Some(&b'.') {
        to.pop();
    }
    Ok(())
}

fn write_posteriors(path: &Path, of: &dyn Annotates, (number, cell, chromosome): (usize, &str, &str)) -> Result<()> {
    write_text(path, |to| {
        let labels: Vec<String> = (1..=of.states()).map(|s| format!("{}{s}", of.order().letter())).collect();
        writeln!(to, "{cell}\t{chromosome}\n{}", labels.join("\t"))?;
        let mut line = Vec::new();
        let mut outcome = Ok(());
        let swept = of.posteriors(number, &mut |row| {
            let mut write = || {
                line.clear();
                for (state, &p) in row.iter().enumerate() {
                    if state > 0 {
                        line.push(b'\t');
                    }
                    print_posterior(p, &mut line)?;
                }
                line.push(b'\n');
                to.write_all(&line)
            };
            if outcome.is_ok() {
                outcome = write();
            }
        });
        swept.map_err(io::Error::other)?;
        outcome
    })?;
    Ok(())
}

impl Segmentation {
    /// Reads a four-column file of segments.
    ///
    /// # Errors
    /// Names the line whose positions cannot be understood or whose end is not behind its start.
    pub fn read(path: &Path) -> Result<Self> {
        let mut segments = Vec::new();
        for_each_line(path, |line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if fields.is_empty() {
                return Ok(());
            }
            let [chromosome, start, end, state, ..] = fields[..] else {
                return Err("has fewer than four columns: chromosome, start, end, state".into());
            };
            let position = |text: &str| text.parse::<u64>().map_err(|_| format!("'{text}' is not a position"));
            let (start, end) = (position(start)?, position(end)?);
            if end <= start {
                return Err(format!("end {end} is not behind start {start}"));
            }
            let numbered = state.get(1..).and_then(|number| number.parse::<usize>().ok());
            if numbered.is_none_or(|number| number == 0) {
                return Err(format!("state '{state}' is not a letter and a number from 1, as in E7"));
            }
            segments.push(Segment { chromosome: chromosome.into(), start, end, state: state.into() });
            Ok(())
        })?;
        if segments.is_empty() {
            return Err(Error::Data(format!("{}: holds no segments", path.display())));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = name.trim_end_matches(".gz").trim_end_matches(".bed").trim_end_matches("_segments").to_owned();
        Ok(Self { prefix, segments })
    }

    /// Writes the four-column file (`*_segments.bed`).
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_text(path, |to| {
            self.segments.iter().try_for_each(|s| writeln!(to, "{}\t{}\t{}\t{}", s.chromosome, s.start, s.end, s.state))
        })?;
        Ok(())
    }

    /// The largest number among the states' labels.
    pub(super) fn largest_state(&self) -> usize {
        self.segments.iter().map(|s| number_of(&s.state)).max().unwrap_or(0)
    }

    /// Writes the tracks for genome browsers, `PREFIX_dense.bed` with all states in a row and `PREFIX_expanded.bed` with
    /// a row a state; gives their paths.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_browser_tracks(
        &self,
        folder: &Path,
        states: usize,
        order: StateOrder,
        header: bool,
        gzip: bool,
    ) -> Result<[PathBuf; 2]> {
        let colours = diverse_colours(states.max(self.largest_state()));
        let colour = |state: usize| colours[state - 1].map(|part| part.to_string()).join(",");
        let name = &self.prefix;
        let suffix = if gzip { ".gz" } else { "" };
        let path = |what: &str| folder.join(format!("{name}_{what}.bed{suffix}"));
        let (dense, expanded) = (path("dense"), path("expanded"));
        let (description, on) = (format!("{name} ({} ordered)", order.word()), "itemRgb=\"On\"");
        write_text(&dense, |to| {
            if header {
                writeln!(to, "track name=\"{name}\" description=\"{description}\" visibility=1 {on}")?;
            }
            self.segments.iter().try_for_each(|s| {
                let state = number_of(&s.state);
                let (chromosome, start, end, colour) = (&s.chromosome, s.start, s.end, colour(state));
                writeln!(to, "{chromosome}\t{start}\t{end}\t{state}\t0\t.\t{start}\t{end}\t{colour}")
            })
        })?;
        // by state, then by chromosome; the browser shows the last first
        let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
        let mut places = BTreeMap::<_, Vec<(u64, u64)>>::new();
        for s in &self.segments {
            let end = ends.entry(&s.chromosome).or_default();
            *end = s.end.max(*end);
            let key = (std::cmp::Reverse(number_of(&s.state)), s.chromosome.as_str());
            places.entry(key).or_default().push((s.start, s.end));
        }
        write_text(&expanded, |to| {
            if header && let Some((first, end)) = ends.first_key_value() {
                writeln!(to, "track name=\"Expanded_{name}\" description=\"{description}\" visibility=2 {on}")?;
                writeln!(to, "browser position {first}:1-{}", (*end as f64 * 0.001) as u64 + 1)?;
            }
            for ((std::cmp::Reverse(state), chromosome), segments) in &places {
                let end = ends[chromosome];
                // a last block of one base makes the browser show the row to the chromosome's end
                let blocks: Vec<(u64, u64)> = segments.iter().copied().chain([(end - 1, end)]).collect();
                let first = segments[0].0;
                let (count, colour) = (blocks.len() + 1, colour(*state));
                write!(to, "{chromosome}\t0\t{end}\t{state}\t0\t.\t{first}\t{end}\t{colour}\t{count}\t0")?;
                blocks.iter().try_for_each(|block| write!(to, ",{}", block.1 - block.0))?;
                write!(to, "\t0")?;
                blocks.iter().try_for_each(|block| write!(to, ",{}", block.0))?;
                writeln!(to)?;
            }
            Ok(())
        })?;
        Ok([dense, expanded])
    }
}

/// The number of a state's label, 0 when there is none.
pub(super) fn number_of(label: &str) -> usize {
    label.get(1..).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posteriors_are_printed_as_chromhmm_prints_them() {
        let printed = |p: f64| {
            let mut text = Vec::new();
            print_posterior(p, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(
            ["0.0039", "0.177", "1", "0", "0.5"].map(str::to_owned),
            [0.00392, 0.17698, 0.99999, 2e-5, 0.5].map(printed)
        );
    }
}
