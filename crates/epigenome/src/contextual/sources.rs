//! From files to windows: signal tracks, presence calls and DNA.

use std::path::{Path, PathBuf};

use gradome_io::genome::binarised::{Binarised, MISSING, PRESENT};
use gradome_io::genome::{BedRecord, BigWig, ChromSizes, Gaps, PastEnd, Signal, Window, read_bedgraph, read_windows};

use super::config::{ContextualEpigenomicsConfig, Level};
use super::data::{ContextualWindows, base_code, target_size};
use crate::{Error, Result};

/// Base pairs of a bin of ChromHMM's presence calls.
pub const MARK_BIN: usize = 200;

/// Where the values of a track come from.
enum Source {
    BedGraph(Signal),
    BigWig(Box<BigWig>),
    /// The number of a mark in a table.
    Mark(usize, usize),
}

/// Named signals along the genome, from bedGraph, bigWig and ChromHMM's binarised text.
#[derive(Default)]
pub struct Tracks {
    tracks: Vec<(String, Source)>,
    tables: Vec<Binarised>,
    sizes: Option<ChromSizes>,
}

impl Tracks {
    /// No tracks. Chromosomes end where `sizes` says; without it where bigWig files and presence calls end.
    pub fn new(sizes: Option<ChromSizes>) -> Self {
        Self { sizes, ..Self::default() }
    }

    fn add(&mut self, name: &str, source: Source) -> Result<()> {
        if self.find(name).is_some() {
            return Err(Error::Data(format!("there are two tracks called '{name}'; give each a name of its own")));
        }
        self.tracks.push((name.to_owned(), source));
        Ok(())
    }

    /// Adds a signal: bigWig where the name ends in `.bw` or `.bigWig`, else bedGraph, gzipped or not.
    ///
    /// # Errors
    /// When the file cannot be read, or the name is taken.
    pub fn add_signal(&mut self, name: &str, file: &Path) -> Result<()> {
        let extension = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let source = if extension == "bw" || extension == "bigwig" {
            Source::BigWig(Box::new(BigWig::open(file)?))
        } else {
            Source::BedGraph(read_bedgraph(file, self.sizes.as_ref())?)
        };
        self.add(name, source)
    }

    /// Adds every mark of ChromHMM's binarised text, one file a chromosome; all of one cell type.
    ///
    /// # Errors
    /// When a file cannot be read, two files have the same chromosome, or a mark's name is taken.
    pub fn add_marks(&mut self, files: &[PathBuf]) -> Result<()> {
        let table = Binarised::read(files)?;
        for (i, sequence) in table.sequences.iter().enumerate() {
            if table.sequences[..i].iter().any(|other| other.chromosome == sequence.chromosome) {
                let problem =
                    format!("{} stands in two files of presence calls; give one cell type", sequence.chromosome);
                return Err(Error::Data(problem));
            }
        }
        for (mark, name) in table.marks.iter().enumerate() {
            self.add(name, Source::Mark(self.tables.len(), mark))?;
        }
        self.tables.push(table);
        Ok(())
    }

    /// The names of all tracks.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tracks.iter().map(|(name, _)| name.as_str())
    }

    fn find(&self, name: &str) -> Option<&Source> {
        self.tracks.iter().find(|(other, _)| other == name).map(|(_, source)| source)
    }

    /// The chromosomes whose length (bp) is known.
    pub fn chromosomes(&self) -> Vec<(String, u32)> {
        if let Some(sizes) = &self.sizes {
            return sizes.iter().map(|(name, size)| (name.to_owned(), size)).collect();
        }
        let mut known: Vec<(String, u32)> = Vec::new();
        let mut add = |name: &str, size: u32| {
            if known.iter().all(|(other, _)| other != name) {
                known.push((name.to_owned(), size));
            }
        };
        for (_, source) in &self.tracks {
            if let Source::BigWig(file) = source {
                file.sizes().iter().for_each(|(name, size)| add(name, size));
            }
        }
        for sequence in self.tables.iter().flat_map(|table| &table.sequences) {
            let size = u32::try_from(sequence.patterns.len() * MARK_BIN).unwrap_or(u32::MAX);
            add(&sequence.chromosome, size);
        }
        known
    }

    /// Windows of so many base pairs side by side over all chromosomes whose length is known; the last reaches past the
    /// end.
    ///
    /// # Errors
    /// When no length is known.
    pub fn tile(&self, bp: usize) -> Result<Vec<Window>> {
        let chromosomes = self.chromosomes();
        if chromosomes.is_empty() {
            return Err(Error::Data("no chromosome's length is known; give chromosome sizes or windows".into()));
        }
        let starts = |size: u32| (0..i64::from(size)).step_by(bp.max(1));
        let window =
            |chromosome: &str, start: i64| Window { chromosome: chromosome.to_owned(), start, end: start + bp as i64 };
        Ok(chromosomes.iter().flat_map(|(name, size)| starts(*size).map(move |start| window(name, start))).collect())
    }

    /// The mean of a track in each bin of a window; NaN where it is not measured or the chromosome has ended.
    fn bins(&self, name: &str, window: &Window, bin: usize) -> Result<Vec<f32>> {
        let source = self.find(name).ok_or_else(|| {
            let all: Vec<&str> = self.names().collect();
            Error::Data(format!("there is no track '{name}'; there are {}", all.join(", ")))
        })?;
        let bins = ((window.end - window.start) / bin as i64) as usize;
        let mut values = vec![f32::NAN; bins];
        if let Source::Mark(table, mark) = *source {
            if bin != MARK_BIN || window.start % MARK_BIN as i64 != 0 {
                let problem = format!(
                    "{}:{}-{}: presence calls are in bins of {MARK_BIN} bp; give bins of that size and windows that start \
                     at a multiple of it",
                    window.chromosome, window.start, window.end
                );
                return Err(Error::Data(problem));
            }
            let table = &self.tables[table];
            let Some(sequence) = table.sequences.iter().position(|s| s.chromosome == window.chromosome) else {
                return Err(Error::Data(format!("the presence calls have no chromosome {}", window.chromosome)));
            };
            let first = window.start / MARK_BIN as i64;
            for (i, value) in values.iter_mut().enumerate() {
                let at = first + i as i64;
                if at >= 0 && (at as usize) < table.sequences[sequence].patterns.len() {
                    *value = match table.calls(sequence, at as usize)[mark] {
                        MISSING => f32::NAN,
                        call => f32::from(u8::from(call == PRESENT)),
                    };
                }
            }
            return Ok(values);
        }
        // whole bins inside of the chromosome
        let size = self.size_of(&window.chromosome);
        let first = (-window.start).max(0).div_euclid(bin as i64) + i64::from((-window.start).max(0) % bin as i64 != 0);
        let last = size.map_or(bins as i64, |size| (i64::from(size) - window.start).div_euclid(bin as i64));
        let (first, last) = (first.min(bins as i64), last.clamp(0, bins as i64));
        if first >= last {
            return Ok(values);
        }
        let at = |i: i64| u32::try_from(window.start + i * bin as i64);
        let (Ok(start), Ok(end), Ok(bp)) = (at(first), at(last), u32::try_from(bin)) else {
            return Err(Error::Data(format!("{}:{} is past any chromosome's end", window.chromosome, window.end)));
        };
        let found = match source {
            Source::BedGraph(signal) => match signal.chromosome(&window.chromosome) {
                Some(chromosome) => chromosome.bin_means(start..end, bp, Gaps::Zero)?,
                None => vec![0.0; (last - first) as usize],
            },
            Source::BigWig(file) => file.read(&window.chromosome, start..end)?.bin_means(start..end, bp, Gaps::Zero)?,
            Source::Mark(..) => unreachable!("presence calls are done with"),
        };
        values[first as usize..last as usize].copy_from_slice(&found);
        Ok(values)
    }

    fn size_of(&self, chromosome: &str) -> Option<u32> {
        self.chromosomes().into_iter().find(|(name, _)| name == chromosome).map(|(_, size)| size)
    }

    /// Puts together what a configured model takes: the DNA of a genome, the tracks it sees, and, where `targets` is
    /// set, the tracks that its heads at positions are named after.
    ///
    /// Windows may reach past the ends of chromosomes: positions there are masked, their bases N. Presence calls and
    /// signals that are not measured are 0 among the inputs and not known among the targets. Heads on whole windows get
    /// targets that are not known; the caller fills them in.
    ///
    /// # Errors
    /// When a track, a chromosome or the genome is missing, windows differ in length or do not fit the bins, or a file is
    /// damaged.
    pub fn windows(
        &self,
        config: &ContextualEpigenomicsConfig,
        windows: &[Window],
        genome: Option<&Path>,
        targets: bool,
    ) -> Result<ContextualWindows> {
        let bin = config.bin_size;
        let bp = windows.first().map_or(0, |window| window.end - window.start);
        for window in windows {
            let own = window.end - window.start;
            if own != bp || own <= 0 || own % bin as i64 != 0 {
                let Window { chromosome, start, end } = window;
                let problem = format!(
                    "{chromosome}:{start}-{end}: windows must all have the length {bp} bp, a multiple of {bin}"
                );
                return Err(Error::Data(problem));
            }
        }
        let length = bp as usize / bin;
        let mut found = ContextualWindows { windows: windows.len(), length, ..ContextualWindows::default() };
        if config.dna {
            let genome = genome.ok_or_else(|| Error::Data("the model reads DNA; give a genome".into()))?;
            let sequences = read_windows(genome, windows, PastEnd::Pad)?;
            found.dna = sequences.iter().flatten().map(|&base| base_code(base)).collect();
        }
        let mut mask = Vec::with_capacity(windows.len() * length);
        for window in windows {
            let size = self.size_of(&window.chromosome).map_or(i64::MAX, i64::from);
            let inside = |i: usize| {
                let start = window.start + (i * bin) as i64;
                start >= 0 && start + bin as i64 <= size
            };
            mask.extend((0..length).map(|i| f32::from(u8::from(inside(i)))));
        }
        for window in windows {
            let columns: Vec<Vec<f32>> =
                config.tracks.iter().map(|name| self.bins(name, window, bin)).collect::<Result<_>>()?;
            for i in 0..length {
                found.tracks.extend(columns.iter().map(|column| if column[i].is_nan() { 0.0 } else { column[i] }));
            }
        }
        if mask.contains(&0.0) {
            found.mask = mask;
        }
        if targets {
            for head in &config.heads {
                let mut values = Vec::with_capacity(windows.len() * target_size(head, length));
                for window in windows {
                    match head.level {
                        Level::Position => values.extend(self.bins(&head.name, window, bin)?),
                        Level::Window => values.extend(vec![f32::NAN; head.targets()]),
                    }
                }
                found.targets.push(values);
            }
        }
        Ok(found)
    }
}

/// A window of so many base pairs around the middle of a record, from a multiple of `bin` on.
pub fn around(record: &BedRecord, bp: usize, bin: usize) -> Window {
    let middle = (i64::from(record.start) + i64::from(record.end)) / 2;
    let start = (middle - bp as i64 / 2).div_euclid(bin.max(1) as i64) * bin.max(1) as i64;
    Window { chromosome: record.chromosome.clone(), start, end: start + bp as i64 }
}
