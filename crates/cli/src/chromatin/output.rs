//! What both jobs write: segments and tracks of browsers, tables of a model.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gradome::epigenome::chromatin::{
    Annotates, ChromatinData, Decoding, Emission, Segmentation, SegmentationFiles, StateOrder, TrainedChromatinStates,
};
use gradome::io::genome::ChromSizes;
use gradome::io::write_text;

use crate::error::{Result, wrong};

/// How bins get their states and what is written of them.
#[derive(Args, Clone)]
#[command(next_help_heading = "Output")]
pub struct Decode {
    /// How each bin gets its state
    #[arg(long, value_enum, default_value_t = Rule::Posterior)]
    decode: Rule,
    /// Temperature of the smoothed path: 1 gives posteriors, 0.01 nearly the most probable path
    #[arg(long, value_name = "T", default_value_t = 0.1)]
    temperature: f64,
    /// Write the probability of every state at every bin too (those of the smoothed path with --decode smoothed)
    #[arg(long)]
    posteriors: bool,
    /// Gzip segments, tracks and posteriors
    #[arg(long)]
    gzip: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rule {
    /// The state with the largest posterior probability, as ChromHMM
    Posterior,
    /// The most probable path of states
    Viterbi,
    /// The largest share of the paths near the most probable one, by --temperature
    Smoothed,
}

impl Decode {
    /// Segments every sequence and writes segments, tracks and posteriors into a folder.
    pub fn write(
        &self,
        model: &TrainedChromatinStates,
        data: &ChromatinData,
        (folder, sizes): (&Path, Option<&ChromSizes>),
    ) -> Result<Vec<Segmentation>> {
        if self.temperature.is_nan() || self.temperature <= 0.0 {
            return Err(wrong(format!("--temperature {}: give more than 0", self.temperature)));
        }
        let temperature = (self.decode == Rule::Smoothed).then_some(self.temperature);
        let annotation = model.annotate(data, temperature)?;
        let files = SegmentationFiles {
            folder,
            name: "",
            bin_size: data.bin_size,
            sizes,
            segments: true,
            posteriors: self.posteriors,
            states_by_line: false,
            gzip: self.gzip,
            decoding: if self.decode == Rule::Viterbi { Decoding::Viterbi } else { Decoding::Posterior },
        };
        let cells = files.write_annotation(&annotation)?;
        for cell in &cells {
            cell.write_browser_tracks(folder, annotation.states(), StateOrder::Emission, true, self.gzip)?;
        }
        Ok(cells)
    }
}

/// What a state is expected to emit, in words.
pub fn unit(emission: Emission) -> &'static str {
    match emission {
        Emission::Bernoulli => "probability",
        Emission::Poisson | Emission::NegativeBinomial => "mean_count",
        Emission::Gaussian => "mean",
    }
}

/// Writes the tables of a model: emissions with their errors, transitions, and ChromHMM's model file for calls.
pub fn write_tables(model: &TrainedChromatinStates, errors: Option<&[f64]>, folder: &Path) -> Result<Vec<PathBuf>> {
    let (states, marks) = (model.states(), &model.header().marks);
    let mut written = Vec::new();
    let models = model.models_of_calls()?;
    for (calls, cell) in models.iter().zip(&model.header().cells) {
        let cell = if models.len() > 1 { format!("{cell}_") } else { String::new() };
        let path = |what: &str| folder.join(format!("{cell}{what}_{states}.txt"));
        calls.write(&path("model"))?;
        calls.write_emissions(&path("emissions"), &model.mark_order())?;
        written.push(path("model"));
    }
    let (expected, spread, (_, transitions)) = (model.expected(), model.spread(), model.chain());
    let table = folder.join("emissions.tsv");
    write_text(&table, |to| {
        let emission = model.config().emission;
        write!(to, "cell\tstate\tmark\t{}", unit(emission))?;
        to.write_all(match emission {
            Emission::NegativeBinomial => b"\tdispersion",
            Emission::Gaussian => b"\tvariance",
            _ => b"",
        })?;
        writeln!(to, "{}", if errors.is_some() { "\tstandard_error" } else { "" })?;
        for (i, value) in expected.iter().enumerate() {
            let (mark, state, cell) = (i % marks.len(), i / marks.len() % states, i / marks.len() / states);
            let cell = if model.config().cell_types > 1 { &model.header().cells[cell] } else { "all" };
            write!(to, "{cell}\tE{}\t{}\t{value}", state + 1, marks[mark])?;
            if let Some(spread) = &spread {
                write!(to, "\t{}", spread[if spread.len() == expected.len() { i } else { mark }])?;
            }
            match errors.map(|errors| errors[i]) {
                Some(error) if error.is_nan() => writeln!(to, "\t")?,
                Some(error) => writeln!(to, "\t{error}")?,
                None => writeln!(to)?,
            }
        }
        Ok(())
    })?;
    let path = folder.join(format!("transitions_{states}.txt"));
    write_text(&path, |to| {
        write!(to, "State (from\\to) (Emission order)")?;
        (1..=states).try_for_each(|state| write!(to, "\t{state}"))?;
        writeln!(to)?;
        for (from, row) in transitions.chunks_exact(states).enumerate() {
            write!(to, "{}", from + 1)?;
            row.iter().try_for_each(|p| write!(to, "\t{p}"))?;
            writeln!(to)?;
        }
        Ok(())
    })?;
    written.extend([table, path]);
    Ok(written)
}
