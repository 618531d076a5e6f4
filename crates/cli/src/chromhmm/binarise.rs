//! `BinarizeBed` and `BinarizeBam`.

use std::path::{Path, PathBuf};

use gradome::epigenome::chromatin::{BinariseOptions, CellMarkTable, ReadFiles, binarise};
use gradome::io::genome::ChromSizes;

use super::words::{Command, Word, Words, switch, value};
use crate::console::print;
use crate::error::{Result, wrong};

const POSITIONALS: [&str; 4] = ["CHROMOSOME_LENGTHS", "READ_DIR", "CELL_MARK_TABLE", "OUT_DIR"];

const COLUMNS: Word = value("-colfields", "CHR,START,END,STRAND", "columns from 0 [0,1,2 and the 6th or last]");
const PAIRED: Word = switch("-paired", "reads are of pairs: one fragment a proper pair, counted at its middle");
const MIXED: Word = switch("-mixed", "pairs as with -paired, and single reads");

/// The words of both commands, with those of one.
macro_rules! words {
    ($($more:expr),*) => {
        &[
            value("-b", "BP", "size of a bin [200]"),
            value("-c", "DIR", "folder of control files [that of the reads]"),
            switch("-center", "count a read where its middle lies, without a shift"),
            value("-e", "N", "taken from every end [1]"),
            value("-f", "FOLD", "fold over the background that a call needs [0]"),
            value("-g", "READS", "reads that a call needs [0]"),
            switch("-gzip", "gzip what is written"),
            value("-n", "BP", "shift from the 5' end [100]"),
            value("-o", "DIR", "write the control's counts there too"),
            value("-p", "P", "tail probability of the Poisson background [0.0001]"),
            switch("-peaks", "records are peaks: every bin that one touches is called"),
            value("-s", "N", "taken from every start [0]"),
            switch("-stacked", "marks of different cell types become marks of one genome"),
            switch("-strictthresh", "calls need a tail below the probability"),
            value("-t", "DIR", "write the counts there too"),
            value("-u", "N", "added to the control of every bin [1]"),
            value("-w", "BINS", "bins on either side over which the control is summed [5]"),
            $($more),*
        ]
    };
}

const SPLIT: &str = "memory is in proportion to bins x marks of one cell type, so no part has to be done by itself";
const REFUSED: &[(&str, &str)] =
    &[("-splitrows", SPLIT), ("-splitcols", SPLIT), ("-i", SPLIT), ("-j", SPLIT), ("-k", SPLIT), ("-m", SPLIT)];

pub const BED: Command = Command {
    name: "BinarizeBed",
    about: "Turns reads in BED files (plain or gzipped) into presence calls of marks.",
    positionals: &POSITIONALS,
    words: words![COLUMNS],
    refused: REFUSED,
};

pub const BAM: Command = Command {
    name: "BinarizeBam",
    about: "Turns reads in BAM files into presence calls of marks; every mapped record counts.",
    positionals: &POSITIONALS,
    words: words![PAIRED, MIXED],
    refused: REFUSED,
};

pub fn bed(words: &Words) -> Result<()> {
    run(words, ReadFiles::Bed)
}

pub fn bam(words: &Words) -> Result<()> {
    match (words.has("-paired"), words.has("-mixed")) {
        (true, true) => Err(wrong("BinarizeBam: -paired and -mixed exclude each other")),
        (true, false) if words.has("-n") => Err(wrong("BinarizeBam: -paired leaves nothing to shift by -n")),
        (true, false) => run(words, ReadFiles::PairedBam),
        (false, true) => run(words, ReadFiles::MixedBam),
        (false, false) => run(words, ReadFiles::Bam),
    }
}

fn run(words: &Words, reads: ReadFiles) -> Result<()> {
    let [sizes, folder, table, out] = &words.positionals[..] else { return Err(wrong("four arguments are needed")) };
    let defaults = BinariseOptions::default();
    let columns = match words.numbers("-colfields")?.as_deref() {
        None => None,
        Some(&[chromosome, start, end, strand]) => Some([chromosome, start, end, strand]),
        // without a strand: a column that no line has
        Some(&[chromosome, start, end]) if words.has("-center") || words.has("-peaks") => {
            Some([chromosome, start, end, usize::MAX])
        }
        Some(_) => return Err(wrong("-colfields: give chromosome,start,end,strand (the strand not with -center)")),
    };
    let options = BinariseOptions {
        reads,
        bin_size: words.number("-b", defaults.bin_size)?,
        shift: words.number("-n", defaults.shift)?,
        center: words.has("-center"),
        peaks: words.has("-peaks"),
        offset_start: words.number("-s", defaults.offset_start)?,
        offset_end: words.number("-e", defaults.offset_end)?,
        columns,
        poisson: words.number("-p", defaults.poisson)?,
        strict: words.has("-strictthresh"),
        fold: words.number("-f", defaults.fold)?,
        signal: words.number("-g", defaults.signal)?,
        control_flank: words.number("-w", defaults.control_flank)?,
        control_pseudocount: words.number("-u", defaults.control_pseudocount)?,
        stacked: words.has("-stacked"),
        signal_folder: words.text("-t").map(PathBuf::from),
        control_signal_folder: words.text("-o").map(PathBuf::from),
        gzip: words.has("-gzip"),
    };
    options.validate()?;
    let sizes = ChromSizes::read(Path::new(sizes))?;
    let table = CellMarkTable::read(Path::new(table), options.stacked)?;
    let reads = Path::new(folder);
    let controls = words.text("-c").map_or(reads, Path::new);
    let (written, notes) = binarise(&sizes, &table, (reads, controls), Path::new(out), &options)?;
    for note in notes {
        log::warn!("{note}");
    }
    for path in written {
        print(format_args!("{}\n", path.display()));
    }
    Ok(())
}
