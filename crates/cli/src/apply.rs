//! `gradome apply`: what a trained model says of other cells.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gradome::epigenome::peaks::{FnoPeakCaller, PeakCaller};
use gradome::io::{Dataset, Kind, Matrix, Modality, write_h5ad};
use gradome::multiomics::{Decode, MultiOmicsData, TrainedMultiOmicsVae, View};

use crate::Global;
use crate::chromatin::ApplyChromatin;
use crate::console::print;
use crate::contextual::ApplyContextual;
use crate::error::{Result, wrong};
use crate::inputs::{Inputs, batches};
use crate::peaks::ApplyPeaks;
use crate::prepare::{binarise, check};
use crate::scale::ApplyScale;
use crate::table::write_table;

/// Apply a trained model to files.
#[derive(Args)]
pub struct Apply {
    #[command(subcommand)]
    operator: Operator,
}

#[derive(Subcommand)]
enum Operator {
    MultiomicsVae(Box<ApplyVae>),
    ContextualEpigenomics(Box<ApplyContextual>),
    PeakCaller(Box<ApplyPeaks>),
    FnoPeakCaller(Box<ApplyPeaks>),
    Scale(Box<ApplyScale>),
    ChromatinStates(Box<ApplyChromatin>),
}

impl Apply {
    pub fn run(&self, global: &Global) -> Result<()> {
        match &self.operator {
            Operator::MultiomicsVae(vae) => vae.run(global),
            Operator::ContextualEpigenomics(contextual) => contextual.run(),
            Operator::PeakCaller(peaks) => peaks.run::<PeakCaller>(),
            Operator::FnoPeakCaller(peaks) => peaks.run::<FnoPeakCaller>(),
            Operator::Scale(scale) => scale.run(),
            Operator::ChromatinStates(states) => states.run(global),
        }
    }
}

/// Apply a trained multi-omics model to cells.
///
/// Features are matched by name; modalities and features that the files lack count as not measured and can be filled
/// in. A model that was trained with batches needs each cell's batch: --batch COLUMN, or --as-batch NAME for cells of a
/// new batch that is most like a known one.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome apply multiomics-vae --model run/model.safetensors --rna new.h5ad \\
      --output latent --out latent.csv
  gradome apply multiomics-vae --model run/model.safetensors --rna new.h5ad \\
      --output impute --of protein --out proteins.h5ad
  gradome apply multiomics-vae --model run/model.safetensors --h5ad cite.h5ad --protein obsm/protein_expression \\
      --batch donor --output normalized --of rna --out rna.csv.gz")]
struct ApplyVae {
    /// The trained model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    /// Take all cells as of this batch of the model
    #[arg(long, value_name = "NAME", conflicts_with = "batch", help_heading = "Input")]
    as_batch: Option<String>,
    /// What to compute
    #[arg(long, value_enum, help_heading = "Output")]
    output: Output,
    /// The modality to impute or normalise; may be left out when the model has one [default: the one that is not given]
    #[arg(long, value_name = "MODALITY", help_heading = "Output")]
    of: Option<String>,
    /// Latent states drawn of each cell [default: 0 for values, that is the posterior mean alone; 25 for likelihoods]
    #[arg(long, value_name = "N", help_heading = "Output")]
    samples: Option<usize>,
    /// The file to write: .csv, .csv.gz or .h5ad
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
}

/// What to compute.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The latent state of each cell: the posterior mean, z1, z2, ...
    Latent,
    /// Expected values of a modality, measured or not
    Impute,
    /// Values of a modality that compare between cells: counts per 10,000, the foreground of proteins
    Normalized,
    /// How well the model explains each cell, in nats: ELBO, importance-weighted bound, KL, and each modality's part
    LogLikelihood,
}

/// Latent states behind each likelihood, unless asked otherwise.
const LIKELIHOOD_SAMPLES: usize = 25;

impl ApplyVae {
    fn run(&self, global: &Global) -> Result<()> {
        let out = self.out.display();
        let h5ad = self.out.extension().is_some_and(|extension| extension == "h5ad");
        let name = self.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !h5ad && !name.ends_with(".csv") && !name.ends_with(".csv.gz") {
            return Err(wrong(format!("--out {out}: the name must end in .csv, .csv.gz or .h5ad")));
        }
        if let Some(folder) = self.out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            return Err(wrong(format!("--out {out}: there is no folder {}", folder.display())));
        }
        let model = TrainedMultiOmicsVae::load(&self.model)?;
        let mut loaded = self.inputs.load()?.data;
        let batch = self.batch(&model, &loaded)?;
        let given: Vec<String> = loaded.modalities.iter().map(|modality| modality.name.clone()).collect();
        for modality in &mut loaded.modalities {
            if let Some(known) = model.config().modalities.iter().find(|known| known.name == modality.name) {
                check(modality, &loaded.cells, known.likelihood)?;
                binarise(modality, known.likelihood);
            }
        }
        let (data, notes) = model.arrange(std::mem::take(&mut loaded.modalities), batch)?;
        for note in notes {
            log::info!("{note}");
        }
        let result = self.compute(&model, &data, &given, global.seed)?;
        self.write(loaded, result, h5ad)?;
        print(format_args!("{out}\n"));
        Ok(())
    }

    /// The number of each cell's batch among the model's.
    fn batch(&self, model: &TrainedMultiOmicsVae, data: &Dataset) -> Result<Vec<u32>> {
        let known = &model.config().batches;
        let number = |name: &str| {
            let found = known.iter().position(|batch| batch == name).map(|at| at as u32);
            found.ok_or_else(|| {
                let remedy = "use --as-batch with the one that is most like these cells";
                wrong(format!("batch '{name}' is not known to the model, which has {}; {remedy}", known.join(", ")))
            })
        };
        match (&self.as_batch, &self.inputs.batch) {
            _ if model.config().batch_count() == 0 => Ok(Vec::new()),
            (Some(name), _) => Ok(vec![number(name)?; data.cells.len()]),
            (None, Some(column)) => {
                let (names, of_cell) = batches(data, column)?;
                let numbers: Vec<u32> = names.iter().map(|name| number(name)).collect::<Result<_>>()?;
                Ok(of_cell.into_iter().map(|batch| numbers[batch as usize]).collect())
            }
            (None, None) => {
                let names = known.join(", ");
                Err(wrong(format!(
                    "the model was trained with batches ({names}); give --batch COLUMN or --as-batch NAME"
                )))
            }
        }
    }

    fn compute(
        &self,
        model: &TrainedMultiOmicsVae,
        data: &MultiOmicsData,
        given: &[String],
        seed: u64,
    ) -> Result<Modality> {
        let cells = data.cells();
        Ok(match self.output {
            Output::Latent => {
                let latent = model.latent(data, &View::default())?;
                let names = (1..=latent.dimensions).map(|i| format!("z{i}"));
                let kind = Kind::Other("latent".into());
                Modality::new("X_latent", kind, names, Matrix::dense(cells, latent.dimensions, latent.mean))
            }
            Output::Impute | Output::Normalized => {
                let at = self.modality(model, given)?;
                let what = if self.output == Output::Impute { Decode::Expected } else { Decode::Normalized };
                let (name, samples) = (&model.config().modalities[at].name, self.samples.unwrap_or(0));
                let matrix = model.decode(data, name, what, &View::default(), samples, seed)?;
                let features = model.features()[at].clone();
                Modality { name: name.clone(), kind: features[0].kind.clone(), features, matrix, measured: None }
            }
            Output::LogLikelihood => {
                let all = model.log_likelihood(data, self.samples.unwrap_or(LIKELIHOOD_SAMPLES), seed)?;
                let parts = model.config().modalities.iter().map(|m| format!("log_likelihood_{}", m.name));
                let names = ["elbo", "importance_weighted", "kl"].map(str::to_owned).into_iter().chain(parts);
                let mut columns = vec![&all.elbo, &all.importance_weighted, &all.kl];
                columns.extend(&all.modalities);
                let values =
                    (0..cells).flat_map(|cell| columns.iter().map(move |column| column[cell] as f32)).collect();
                let matrix = Matrix::dense(cells, columns.len(), values);
                Modality::new("log_likelihood", Kind::Other("log_likelihood".into()), names, matrix)
            }
        })
    }

    /// The modality asked for, or the only one, or the only one that is not given.
    fn modality(&self, model: &TrainedMultiOmicsVae, given: &[String]) -> Result<usize> {
        let names: Vec<&str> = model.config().modalities.iter().map(|modality| modality.name.as_str()).collect();
        let absent: Vec<usize> = (0..names.len()).filter(|&at| given.iter().all(|given| given != names[at])).collect();
        match (&self.of, &absent[..]) {
            (Some(of), _) => names.iter().position(|name| name == of).ok_or_else(|| {
                wrong(format!("--of {of}: the model has no such modality; it has {}", names.join(", ")))
            }),
            (None, _) if names.len() == 1 => Ok(0),
            (None, [only]) => Ok(*only),
            _ => Err(wrong(format!("give --of with the modality to compute: {}", names.join(", ")))),
        }
    }

    fn write(&self, loaded: Dataset, result: Modality, h5ad: bool) -> Result<()> {
        if h5ad {
            // a latent state goes where scanpy looks for it, values of features into X
            let x = matches!(self.output, Output::Impute | Output::Normalized).then(|| result.name.clone());
            let data = Dataset { modalities: vec![result], ..loaded };
            return Ok(write_h5ad(&self.out, &data, x.as_deref())?);
        }
        let header: Vec<String> = result.feature_names().map(str::to_owned).collect();
        let mut row = vec![0.0; header.len()];
        let rows = (0..loaded.cells.len()).map(|cell| {
            result.matrix.read_row(cell, &mut row);
            row.iter().map(f32::to_string).collect()
        });
        write_table(&self.out, &header, &loaded.cells, rows)
    }
}
