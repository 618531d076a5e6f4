//! `gradome apply chromatin-states`: segments of other data with a trained model.

use std::path::PathBuf;

use clap::Args;
use gradome::epigenome::chromatin::{ChromatinData, Emission, TrainedChromatinStates};
use gradome::io::write_text;

use super::inputs::{Sources, Wanted};
use super::output::Decode;
use super::page::{self, Likelihood, Report};
use crate::Global;
use crate::console::print;
use crate::error::{Result, wrong};
use crate::run_dir::{REPORT_FILE, may_use};

/// Segment the genome of cell types with a trained model of chromatin states.
///
/// Marks are matched by name. Leaves in --out: CELL_N_segments.bed, CELL_N_dense.bed and CELL_N_expanded.bed of each cell
/// type, POSTERIOR/ where it is asked for, likelihood.tsv (how well the model explains each chromosome) and report.html.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome apply chromatin-states --model run/model.safetensors --calls binary/ --out K562
  gradome apply chromatin-states --model run/model.safetensors --table cellmark.txt --sizes hg38.sizes \\
      --decode viterbi --posteriors --out K562")]
pub struct ApplyChromatin {
    /// The trained model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    sources: Sources,
    /// Take all data as of this cell type of a model with emissions of each cell type's own
    #[arg(long, value_name = "CELL", help_heading = "Input")]
    as_cell: Option<String>,
    #[command(flatten)]
    decode: Decode,
    /// The folder to write to; made when it is missing
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Write over what an earlier run left in the folder; other files stay
    #[arg(long, help_heading = "Output")]
    overwrite: bool,
}

impl ApplyChromatin {
    pub fn run(&self, global: &Global) -> Result<()> {
        may_use(&self.out, self.overwrite, "give another --out, or --overwrite")?;
        let model = TrainedChromatinStates::load(&self.model)?;
        let (emission, header) = (model.config().emission, model.header());
        let bin = u32::try_from(header.bin_size).unwrap_or(u32::MAX);
        if let Some(given) = self.sources.bin.filter(|given| *given != bin) {
            return Err(wrong(format!("--bin {given}: the model was trained on bins of {bin} bp")));
        }
        if emission == Emission::Bernoulli && self.sources.table.is_some() {
            return Err(wrong("the model is of calls: binarise with `gradome chromhmm BinarizeBed` and give --calls"));
        }
        if emission != Emission::Bernoulli && self.sources.table.is_none() {
            return Err(wrong("the model is of counts or signal: give --table"));
        }
        let counts = matches!(emission, Emission::Poisson | Emission::NegativeBinomial);
        let sizes = self.sources.chromosome_sizes()?;
        let data = self.sources.read(&Wanted { bin, counts, arcsinh: header.arcsinh })?;
        let data = data.with_marks(&header.marks)?;
        let model = self.model_of_cell(model, &data)?;
        let mut likelihoods = Vec::new();
        for sequence in &data.sequences {
            let one =
                ChromatinData { marks: data.marks.clone(), bin_size: data.bin_size, sequences: vec![sequence.clone()] };
            likelihoods.push(Likelihood {
                cell: sequence.cell.clone(),
                chromosome: sequence.chromosome.clone(),
                bins: data.bins_of(sequence),
                ln_likelihood: model.ln_likelihood(&one)?,
            });
        }
        std::fs::create_dir_all(&self.out).map_err(|error| wrong(format!("{}: {error}", self.out.display())))?;
        let cells = self.decode.write(&model, &data, (&self.out, sizes.as_ref()))?;
        write_text(&self.out.join("likelihood.tsv"), |to| {
            writeln!(to, "cell\tchromosome\tbins\tln_likelihood\tper_bin")?;
            likelihoods.iter().try_for_each(|Likelihood { cell, chromosome, bins, ln_likelihood }| {
                writeln!(to, "{cell}\t{chromosome}\t{bins}\t{ln_likelihood}\t{}", ln_likelihood / *bins as f64)
            })
        })?;
        let report = self.out.join(REPORT_FILE);
        let about = Report {
            model: &model,
            fit: None,
            scores: &[],
            errors: None,
            data: &data,
            cells: &cells,
            likelihoods: &likelihoods,
        };
        page::page(&about, global.seed)?.write(&report)?;
        for cell in &cells {
            print(format_args!("{}\n", self.out.join(format!("{}_segments.bed", cell.prefix)).display()));
        }
        print(format_args!("{}\n", report.display()));
        Ok(())
    }

    /// The model, or that of one of its cell types where it was asked for.
    fn model_of_cell(&self, model: TrainedChromatinStates, data: &ChromatinData) -> Result<TrainedChromatinStates> {
        let known = &model.header().cells;
        match (&self.as_cell, model.config().cell_types > 1) {
            (Some(_), false) => Err(wrong("--as-cell: all cell types of the model share their emissions")),
            (Some(cell), true) => Ok(model.of_cell(cell)?),
            (None, own) => match data.cells().into_iter().find(|cell| own && !known.contains(cell)) {
                Some(cell) => Err(wrong(format!(
                    "the model has emissions of {}, none of {cell}; give --as-cell with the one most like it",
                    known.join(", ")
                ))),
                None => Ok(model),
            },
        }
    }
}
