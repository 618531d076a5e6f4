//! `gradome apply contextual-epigenomics`: predictions of a trained model as a table or a track.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use gradome::epigenome::contextual::{ContextualEpigenomicsConfig, Level, Predictions, TrainedContextualEpigenomics};
use gradome::io::genome::{ChromSizes, ChromosomeSignal, Run, Signal, Window};
use gradome::io::write_atomic;

use super::inputs::{Sources, window_names};
use crate::console::print;
use crate::error::{Result, wrong};
use crate::track::{TrackFormat, write_track};

/// Apply a trained contextual model to windows of a genome.
///
/// Tracks are matched by name. Positions past the ends of chromosomes are left out of the output.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome apply contextual-epigenomics --model run/model.safetensors --marks GM12878_chr12_binary.txt.gz \\
      --out predictions.tsv
  gradome apply contextual-epigenomics --model run/model.safetensors --track atac=atac.bw --genome hg38.fa \\
      --head H3K27ac --out H3K27ac.bedGraph")]
pub struct ApplyContextual {
    /// The trained model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    sources: Sources,
    /// Positions of a window [default: as many as in training]
    #[arg(long, value_name = "N")]
    length: Option<usize>,
    /// The task to write; tables may hold all of one level [default: all]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    head: Option<String>,
    /// The file to write: .tsv, or .bedGraph, .bw or .bigWig for one task at positions
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
}

impl ApplyContextual {
    pub fn run(&self) -> Result<()> {
        let name = self.out.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let format = TrackFormat::of(&self.out);
        if format.is_none() && !name.ends_with(".tsv") {
            let out = self.out.display();
            return Err(wrong(format!("--out {out}: the name must end in .tsv, .bedGraph, .bw or .bigWig")));
        }
        let model = TrainedContextualEpigenomics::load(&self.model)?;
        let config = model.config();
        let heads = chosen(config, self.head.as_deref(), format.is_some())?;
        let tracks = self.sources.tracks()?;
        let records = self.sources.records()?;
        let length = self.length.unwrap_or(config.max_length);
        let bp = length * config.bin_size;
        let bin = if self.sources.marks.is_empty() { 1 } else { config.bin_size };
        let windows = self.sources.cut(&tracks, records.as_deref(), bp, bin)?;
        let mut given = tracks.windows(config, &windows, self.sources.genome.as_deref(), false)?;
        let names = window_names(records.as_deref(), &windows);
        given.context = self.sources.context(&names, Some(&config.context_names))?.0;
        let found = model.predict(&given)?;
        if let Some(format) = format {
            let signal = signal(&windows, &found.heads[heads[0]], &given.mask, config.bin_size);
            let known = tracks.chromosomes();
            let sizes = (!known.is_empty()).then(|| ChromSizes::new(known)).transpose()?;
            write_track(&self.out, format, sizes.as_ref(), 4, signal)?;
        } else {
            write_predictions(&self.out, config, &heads, &windows, &found, &given.mask, None)?;
        }
        print(format_args!("{}\n", self.out.display()));
        Ok(())
    }
}

/// The numbers of the tasks to write, all of one level.
fn chosen(config: &ContextualEpigenomicsConfig, name: Option<&str>, track: bool) -> Result<Vec<usize>> {
    let names = || config.heads.iter().map(|head| head.name.as_str()).collect::<Vec<_>>().join(", ");
    let heads: Vec<usize> = match name {
        Some(name) => {
            let found = config.heads.iter().position(|head| head.name == name);
            vec![found.ok_or_else(|| wrong(format!("--head {name}: the model has no such task; it has {}", names())))?]
        }
        None => (0..config.heads.len()).collect(),
    };
    let level = config.heads[heads[0]].level;
    if heads.iter().any(|&head| config.heads[head].level != level) {
        return Err(wrong(format!("some tasks are at positions, some on windows; give --head: {}", names())));
    }
    if track && (heads.len() > 1 || level == Level::Window || config.heads[heads[0]].outputs > 1) {
        return Err(wrong(format!("a track holds one value a position; give --head with one task of {}", names())));
    }
    Ok(heads)
}

/// Predictions at positions as a track, chromosomes in the order of their first window; where windows overlap the first
/// one along the chromosome holds.
fn signal(windows: &[Window], values: &[f32], mask: &[f32], bin: usize) -> Signal {
    let length = values.len() / windows.len().max(1);
    let mut signal = Signal::default();
    for (number, window) in windows.iter().enumerate() {
        let at = signal.chromosomes.iter().position(|c| c.name == window.chromosome).unwrap_or_else(|| {
            let name = window.chromosome.clone();
            signal.chromosomes.push(ChromosomeSignal { name, ..ChromosomeSignal::default() });
            signal.chromosomes.len() - 1
        });
        for i in (0..length).filter(|i| mask.get(number * length + i) != Some(&0.0)) {
            let start = window.start + (i * bin) as i64;
            if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + bin as i64)) {
                signal.chromosomes[at].runs.push(Run { start, end, value: values[number * length + i] });
            }
        }
    }
    for chromosome in &mut signal.chromosomes {
        chromosome.runs.sort_by_key(|run| run.start);
        let mut free = 0;
        chromosome.runs.retain(|run| {
            let fits = run.start >= free;
            free = if fits { run.end } else { free };
            fits
        });
    }
    signal
}

/// Writes a table: chromosome, start, end and a column for each output of the chosen tasks, then what is known of them.
pub fn write_predictions(
    path: &Path,
    config: &ContextualEpigenomicsConfig,
    heads: &[usize],
    windows: &[Window],
    found: &Predictions,
    mask: &[f32],
    known: Option<&[Vec<f32>]>,
) -> Result<()> {
    let at_positions = config.heads[heads[0]].level == Level::Position;
    let length = windows.first().map_or(1, |window| (window.end - window.start) as usize / config.bin_size);
    let rows = if at_positions { length } else { 1 };
    write_atomic(path, |to| {
        write!(to, "chromosome\tstart\tend")?;
        for &head in heads {
            let head = &config.heads[head];
            for output in 0..head.outputs {
                let suffix = if head.outputs > 1 { format!("_{output}") } else { String::new() };
                write!(to, "\t{}{suffix}", head.name)?;
            }
        }
        if known.is_some() {
            for &head in heads {
                for target in 0..config.heads[head].targets() {
                    let suffix = if config.heads[head].targets() > 1 { format!("_{target}") } else { String::new() };
                    write!(to, "\tknown_{}{suffix}", config.heads[head].name)?;
                }
            }
        }
        writeln!(to)?;
        for (number, window) in windows.iter().enumerate() {
            for row in 0..rows {
                let at = number * rows + row;
                if at_positions && mask.get(at) == Some(&0.0) {
                    continue;
                }
                let bp = (window.end - window.start) / rows as i64;
                let start = window.start + row as i64 * bp;
                write!(to, "{}\t{start}\t{}", window.chromosome, start + bp)?;
                for &head in heads {
                    let outputs = config.heads[head].outputs;
                    for value in &found.heads[head][at * outputs..(at + 1) * outputs] {
                        write!(to, "\t{value:.5}")?;
                    }
                }
                for (&head, known) in heads.iter().filter_map(|head| Some((head, &known?[*head]))) {
                    let targets = config.heads[head].targets();
                    for value in &known[at * targets..(at + 1) * targets] {
                        write!(to, "\t{}", if value.is_nan() { String::new() } else { value.to_string() })?;
                    }
                }
                writeln!(to)?;
            }
        }
        Ok(())
    })?;
    Ok(())
}
