//! From a table of files to observations: signal averaged in bins, reads counted in bins.

use std::path::{Path, PathBuf};

use gradome_io::genome::{BigWig, ChromSizes, Gaps, read_bedgraph};

use super::bin_counts::{Counts, Told};
use super::cell_mark_table::CellMarkTable;
use super::data::{ChromatinData, ChromatinSequence};
use super::{BinariseOptions, ReadFiles};
use crate::{Error, Result};

/// How files become observations.
#[derive(Clone, Debug)]
pub struct SignalOptions {
    /// Size of a bin (bp); a last part of a bin is left out.
    pub bin_size: u32,
    /// Lengths of chromosomes; without them those of the first bigWig file.
    pub sizes: Option<ChromSizes>,
    /// How far a read is shifted from its 5' end (bp), half a fragment.
    pub shift: u32,
    /// Whether values are counts: means of signal are rounded.
    pub counts: bool,
    /// Whether values are arcsinh-transformed.
    pub arcsinh: bool,
}

/// What a file's name says it is.
enum Kind {
    BigWig,
    BedGraph,
    Reads(ReadFiles),
}

impl Kind {
    fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.trim_end_matches(".gz");
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        Ok(match () {
            () if ends(&[".bw", ".bigwig"]) => Self::BigWig,
            () if ends(&[".bedgraph", ".bdg", ".bg"]) => Self::BedGraph,
            () if ends(&[".bam"]) => Self::Reads(ReadFiles::Bam),
            () if ends(&[".bed", ".tagalign"]) => Self::Reads(ReadFiles::Bed),
            () => {
                return Err(Error::Data(format!(
                    "{}: a name must end in .bigWig, .bw, .bedGraph, .bdg, .bed, .tagAlign or .bam",
                    path.display()
                )));
            }
        })
    }
}

/// `[chromosomes][bins]` of one mark; nothing where it was not measured.
type Bins = Vec<Option<Vec<f32>>>;

impl ChromatinData {
    /// Reads every file of a table of cell types, marks and files; also gives what is worth knowing.
    ///
    /// Reads (BED, tagAlign, BAM) are counted in the bin in which their shifted 5' ends lie, several files together.
    /// Signal (bigWig, bedGraph) is averaged in bins, base pairs without a record counting as zero, several files
    /// averaged. A mark that has no file in a cell type, or whose signal does not know a chromosome, was not measured
    /// there; a chromosome on which a cell type has nothing at all is left out.
    ///
    /// # Errors
    /// Names a file that cannot be read or told by its name, and says when no chromosome's length is known or the table
    /// has controls, which play no part here.
    pub fn read_signals(table: &CellMarkTable, folder: &Path, options: &SignalOptions) -> Result<(Self, Vec<String>)> {
        if options.bin_size == 0 {
            return Err(Error::Data("bins of 0 bp hold nothing".into()));
        }
        if table.has_controls() {
            return Err(Error::Data(
                "the table has a column of controls, which play no part in counts and signals: leave it out, or \
                 binarise with `gradome chromhmm BinarizeBed`"
                    .into(),
            ));
        }
        let mut files: Vec<PathBuf> = table.files.values().flatten().map(|file| folder.join(file)).collect();
        files.sort();
        let sizes = match &options.sizes {
            Some(sizes) => sizes.clone(),
            None => sizes_of(&files)?,
        };
        let marks: Vec<String> = table.marks.iter().cloned().collect();
        let (mut data, mut notes) = (Self::default(), Vec::new());
        for cell in &table.cells {
            let mut of_marks: Vec<Bins> = Vec::with_capacity(marks.len());
            for mark in &marks {
                let Some(files) = table.files.get(&(cell.clone(), mark.clone())) else {
                    notes.push(format!("{cell} {mark}: no file, counts as not measured"));
                    of_marks.push(vec![None; sizes.len()]);
                    continue;
                };
                let files: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
                of_marks.push(read_mark(&files, &sizes, options, &format!("{cell} {mark}"), &mut notes)?);
            }
            for (place, (chromosome, _)) in sizes.iter().enumerate() {
                let columns: Vec<Option<&Vec<f32>>> = of_marks.iter().map(|mark| mark[place].as_ref()).collect();
                let bins = columns.iter().flatten().next().map_or(0, |column| column.len());
                if columns.iter().flatten().all(|column| column.iter().all(|&value| value == 0.0)) {
                    notes.push(format!("{cell} {chromosome}: has no signal of any mark and is left out"));
                    continue;
                }
                let value = |bin: usize, column: &Option<&Vec<f32>>| {
                    let value = column.map_or(f32::NAN, |column| column[bin]);
                    if options.arcsinh { value.asinh() } else { value }
                };
                let values = (0..bins).flat_map(|bin| columns.iter().map(move |column| value(bin, column))).collect();
                let (cell, chromosome) = (cell.clone(), chromosome.to_owned());
                data.sequences.push(ChromatinSequence { cell, chromosome, values });
            }
        }
        data.marks = marks;
        data.bin_size = u64::from(options.bin_size);
        data.validate()?;
        Ok((data, notes))
    }
}

/// The lengths of the chromosomes of the first bigWig file.
fn sizes_of(files: &[PathBuf]) -> Result<ChromSizes> {
    for file in files {
        if matches!(Kind::of(file)?, Kind::BigWig) {
            return Ok(BigWig::open(file)?.sizes().clone());
        }
    }
    Err(Error::Data("no chromosome's length is known: give chromosome sizes, or bigWig files, which have them".into()))
}

/// The bins of one mark of one cell type.
fn read_mark(
    files: &[PathBuf],
    sizes: &ChromSizes,
    options: &SignalOptions,
    what: &str,
    notes: &mut Vec<String>,
) -> Result<Bins> {
    let mut counts: Option<Counts> = None;
    let (mut signal, mut signals) = (vec![None; sizes.len()], 0usize);
    let counting = BinariseOptions {
        bin_size: i64::from(options.bin_size),
        shift: i64::from(options.shift),
        ..BinariseOptions::default()
    };
    let mut told = Told::default();
    for file in files {
        match Kind::of(file)? {
            Kind::Reads(reads) => {
                let counts = counts.get_or_insert_with(|| Counts::new(sizes, &counting));
                counts.read(file, sizes, &BinariseOptions { reads, ..counting.clone() }, &mut told)?;
            }
            kind => {
                let bins = read_signal(file, &kind, sizes, options)?;
                for ((sum, new), (name, _)) in signal.iter_mut().zip(bins).zip(sizes.iter()) {
                    if new.is_none() {
                        notes.push(format!("{what}: {} has no {name}, which counts as not measured", file.display()));
                    }
                    add(sum, new, signals == 0);
                }
                signals += 1;
            }
        }
    }
    if let Some(counts) = counts {
        let listed = || files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        if signals > 0 {
            return Err(Error::Data(format!("{what}: {} mix reads and signal", listed())));
        }
        if told.counted == 0 {
            return Err(Error::Data(format!(
                "{what}: no read of {} lies on a chromosome whose length is given: are they named alike, and are there \
                 reads?",
                listed()
            )));
        }
        if told.beyond + told.elsewhere > 0 {
            notes.push(format!(
                "{what}: left out {} reads past a chromosome's whole bins and {} on chromosomes without a length",
                told.beyond, told.elsewhere
            ));
        }
        return Ok(counts.bins.into_iter().map(|bins| Some(bins.into_iter().map(|n| n as f32).collect())).collect());
    }
    for value in signal.iter_mut().flatten().flatten() {
        *value /= signals as f32;
        if options.counts {
            if *value < 0.0 {
                return Err(Error::Data(format!("{what}: a signal of {value} is no count; use Gaussian emissions")));
            }
            *value = value.round();
        }
    }
    Ok(signal)
}

/// Adds a file's bins to the sum; what one of several files does not know is not known.
fn add(sum: &mut Option<Vec<f32>>, new: Option<Vec<f32>>, first: bool) {
    *sum = match (sum.take(), new) {
        (None, new) if first => new,
        (Some(mut sum), Some(new)) => {
            sum.iter_mut().zip(new).for_each(|(sum, new)| *sum += new);
            Some(sum)
        }
        _ => None,
    };
}

/// The mean signal of one file in bins.
fn read_signal(file: &Path, kind: &Kind, sizes: &ChromSizes, options: &SignalOptions) -> Result<Bins> {
    let bin = options.bin_size;
    let whole = |size: u32| 0..size / bin * bin;
    let mut all = Vec::with_capacity(sizes.len());
    if let Kind::BigWig = kind {
        let reader = BigWig::open(file)?;
        for (name, size) in sizes.iter() {
            let own = reader.sizes().get(name);
            if let Some(own) = own.filter(|own| *own != size) {
                return Err(Error::Data(format!(
                    "{}: {name} has {own} bp there and {size} bp otherwise: two assemblies",
                    file.display()
                )));
            }
            all.push(match own {
                Some(_) => Some(reader.read(name, whole(size))?.bin_means(whole(size), bin, Gaps::Zero)?),
                None => None,
            });
        }
        return Ok(all);
    }
    let signal = read_bedgraph(file, Some(sizes))?;
    for (name, size) in sizes.iter() {
        let means = signal.chromosome(name).map(|c| c.bin_means(whole(size), bin, Gaps::Zero));
        all.push(means.transpose()?);
    }
    Ok(all)
}
