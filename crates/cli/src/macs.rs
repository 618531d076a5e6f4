//! `gradome macs`: what MACS3 is called for, in its own words.

mod arguments;
mod page;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gradome::epigenome::macs::{Calls, MacsConfig, MacsResult, Reads, RunDescription, call_peaks};
use gradome::io::genome::{Fragments, ReadFormat, ReadsOptions, Tags};
use gradome::io::write_atomic;

use crate::console::print;
use crate::error::{Result, wrong};
use arguments::{Callpeak, Format};

/// Call peaks with the words, files and results of MACS3.
#[derive(Args)]
pub struct Macs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Callpeak(Box<Callpeak>),
}

impl Macs {
    pub fn run(&self) -> Result<()> {
        let Command::Callpeak(callpeak) = &self.command;
        callpeak.run()
    }
}

impl Callpeak {
    fn run(&self) -> Result<()> {
        let config = self.settings(barcodes(self.barcodes.as_deref())?)?;
        config.validate()?;
        std::fs::create_dir_all(&self.outdir)
            .map_err(|error| wrong(format!("--outdir {}: {error}", self.outdir.display())))?;
        let (treatment, format) = self.read(&self.treatment)?;
        let control = match &self.control[..] {
            [] => None,
            files => Some(self.read(files)?.0),
        };
        log::info!("treatment {}", size(&treatment));
        match &control {
            Some(control) => log::info!("control {}", size(control)),
            None => log::info!("no control: the background is the treatment's own over {} bp", config.large_local),
        }
        if matches!(treatment, Reads::Cells(_)) && self.keep_dup != "all" {
            log::info!("fragments of cells are never duplicates of each other: --keep-dup is 'all'");
        }
        let result = call_peaks(treatment, control, &config)?;
        for note in &result.notes {
            log::warn!("{note}");
        }
        match (&result.model, result.paired) {
            (Some(model), _) => {
                log::info!("fragment size {} bp from {} paired peaks", result.fragment_size, model.pairs)
            }
            (None, true) => log::info!("mean fragment size {:.1} bp", result.fragment_size),
            (None, false) => log::info!("fragment size {} bp, as given", result.fragment_size),
        }
        log::info!("{} {} called", result.calls.len(), self.noun(&result));
        let run = RunDescription {
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            name: self.name.clone(),
            format: format.into(),
            treatment_files: shown(&self.treatment),
            control_files: shown(&self.control),
            per_million: self.spmr,
        };
        let peaks = self.write(&result, &config, &run)?;
        print(format_args!("{}\n", peaks.display()));
        Ok(())
    }

    fn noun(&self, result: &MacsResult) -> &'static str {
        match result.calls {
            Calls::Narrow(_) if self.call_summits => "summits",
            Calls::Narrow(_) => "peaks",
            Calls::Broad(_) => "broad regions",
        }
    }

    /// Reads files of one sample and pools them; also what the format is called.
    fn read(&self, files: &[PathBuf]) -> Result<(Reads, &'static str)> {
        let mut all: Option<(Reads, &'static str)> = None;
        for file in files {
            let more = self.read_file(file)?;
            let Some((pooled, _)) = &mut all else {
                all = Some(more);
                continue;
            };
            match (pooled, more.0) {
                (Reads::Single(pooled), Reads::Single(more)) => pooled.append(more)?,
                (Reads::Pairs(pooled), Reads::Pairs(more)) => pooled.append(more)?,
                (Reads::Cells(pooled), Reads::Cells(more)) => pooled.append(more)?,
                _ => return Err(wrong(format!("{}: is not of the format of the files before", file.display()))),
            }
        }
        all.ok_or_else(|| wrong("give at least one file"))
    }

    fn read_file(&self, path: &Path) -> Result<(Reads, &'static str)> {
        let (format, name) = match self.format {
            Format::Auto => match ReadFormat::detect(path)? {
                ReadFormat::Bam => (ReadFormat::Bam, "AUTO"),
                _ => (ReadFormat::Bed, "AUTO"),
            },
            Format::Bed => (ReadFormat::Bed, "BED"),
            Format::Bam => (ReadFormat::Bam, "BAM"),
            Format::Bedpe => (ReadFormat::Bedpe, "BEDPE"),
            Format::Bampe => (ReadFormat::Bampe, "BAMPE"),
            Format::Frag => (ReadFormat::Frag, "FRAG"),
        };
        log::debug!("reading {} as {format:?}", path.display());
        // as in MACS, reads without a strand column count as forward ones
        let options = ReadsOptions { strandless_is_forward: true, ..ReadsOptions::default() };
        let reads = match format {
            ReadFormat::Bed | ReadFormat::Bam => Reads::Single(Tags::read(path, format, &options)?),
            ReadFormat::Bedpe | ReadFormat::Bampe => Reads::Pairs(Fragments::read(path, format, &options)?),
            ReadFormat::Frag => Reads::Cells(Fragments::read(path, format, &options)?),
        };
        Ok((reads, name))
    }

    /// Writes all files, each whole or not at all; gives the path of the peaks.
    fn write(&self, result: &MacsResult, config: &MacsConfig, run: &RunDescription) -> Result<PathBuf> {
        let (name, track_line) = (&self.name, self.trackline);
        let file = |ending: &str| self.outdir.join(format!("{name}_{ending}"));
        if self.bdg {
            let (treatment, lambda) = (file("treat_pileup.bdg"), file("control_lambda.bdg"));
            write_atomic(&treatment, |treatment| {
                let both = write_atomic(&lambda, |lambda| {
                    result.write_bedgraphs(treatment, lambda, name, self.spmr, track_line)
                });
                both.map_err(std::io::Error::other)
            })?;
        }
        write_atomic(&file("peaks.xls"), |to| result.write_xls(to, run, config))?;
        if !self.no_report {
            page::page(result, run, config)?.write(&file("report.html"))?;
        }
        match result.calls {
            Calls::Narrow(_) => {
                write_atomic(&file("summits.bed"), |to| result.write_summits(to, name, config, track_line))?;
                let peaks = file("peaks.narrowPeak");
                result.write_peaks(&peaks, name, config, track_line)?;
                Ok(peaks)
            }
            Calls::Broad(_) => {
                result.write_gapped_peaks(&file("peaks.gappedPeak"), name, config, track_line)?;
                let peaks = file("peaks.broadPeak");
                result.write_peaks(&peaks, name, config, track_line)?;
                Ok(peaks)
            }
        }
    }
}

/// The lines of a file of barcodes.
fn barcodes(file: Option<&Path>) -> Result<Option<BTreeSet<String>>> {
    let Some(file) = file else { return Ok(None) };
    let text =
        std::fs::read_to_string(file).map_err(|error| wrong(format!("--barcodes {}: {error}", file.display())))?;
    let barcodes: BTreeSet<String> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if barcodes.is_empty() {
        return Err(wrong(format!("--barcodes {}: holds no barcode, one a line", file.display())));
    }
    Ok(Some(barcodes))
}

fn shown(files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|file| file.display().to_string()).collect()
}

fn size(reads: &Reads) -> String {
    match reads {
        Reads::Single(tags) => format!("{} reads on {} chromosomes", tags.total(), tags.chromosomes.len()),
        Reads::Pairs(all) | Reads::Cells(all) => {
            format!("{} fragments on {} chromosomes", all.total(), all.chromosomes.len())
        }
    }
}
