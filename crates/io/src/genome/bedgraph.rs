//! Signal as text (bedGraph, <https://genome.ucsc.edu/goldenPath/help/bedgraph.html>).

use std::{io::Read, path::Path};

use super::{
    ChromSizes, ChromosomeSignal, Run, Signal,
    rows::{Places, for_each_row},
    signal::check_run,
};
use crate::{Result, text::open_raw, write::write_text};

/// Reads bedGraph; its records must be sorted by position, chromosome after chromosome, and may not overlap.
///
/// With `sizes`, records past a chromosome's end and unknown chromosomes are errors.
///
/// # Errors
/// The line that cannot be understood, is out of order, overlaps the one before it, or has no finite value.
pub fn read_bedgraph(path: &Path, sizes: Option<&ChromSizes>) -> Result<Signal> {
    bedgraph_from(&path.display().to_string(), open_raw(path)?, sizes)
}

/// As [`read_bedgraph`], from any source; `file` names it in errors.
///
/// # Errors
/// As [`read_bedgraph`].
pub fn bedgraph_from(file: &str, source: impl Read, sizes: Option<&ChromSizes>) -> Result<Signal> {
    let mut signal = Signal::default();
    let mut places = Places::default();
    for_each_row(file, source, |row| {
        let (chromosome, start, end) = row.interval(sizes)?;
        let run = Run { start, end, value: row.number(3, "value")? as f32 };
        let place = places.of(chromosome, &mut signal.chromosomes, |name| ChromosomeSignal {
            size: sizes.and_then(|sizes| sizes.get(&name)),
            name,
            runs: Vec::new(),
        });
        if place + 1 != signal.chromosomes.len() {
            return Err(format!("{chromosome} comes back after another chromosome: sort by chromosome and position"));
        }
        let runs = &mut signal.chromosomes[place].runs;
        check_run(chromosome, run, runs.last().map_or(0, |last| last.end))?;
        runs.push(run);
        Ok(())
    })?;
    Ok(signal)
}

/// Writes bedGraph, atomically; gzipped when the name ends in `.gz`.
///
/// Values stand with so many `decimals`, or with as few digits as give them back exactly. `header` is a line above the
/// records, such as `track type=bedGraph`.
///
/// # Errors
/// Runs that are out of order, overlap or are not finite; what the system says.
pub fn write_bedgraph(path: &Path, header: Option<&str>, decimals: Option<usize>, signal: &Signal) -> Result<()> {
    signal.chromosomes.iter().try_for_each(ChromosomeSignal::validate)?;
    write_text(path, |to| {
        if let Some(header) = header {
            writeln!(to, "{header}")?;
        }
        for chromosome in &signal.chromosomes {
            let name = &chromosome.name;
            for Run { start, end, value } in &chromosome.runs {
                match decimals {
                    Some(decimals) => writeln!(to, "{name}\t{start}\t{end}\t{value:.decimals$}")?,
                    None => writeln!(to, "{name}\t{start}\t{end}\t{value}")?,
                }
            }
        }
        Ok(())
    })
}
