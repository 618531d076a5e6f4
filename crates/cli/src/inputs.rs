//! The files a model is trained on or applied to, read into one data set of aligned cells.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use gradome::io::{Dataset, Kind, Modality, ReadOptions, align, make_names_unique, read};
use gradome::multiomics::Likelihood;

use crate::error::{Result, wrong};

/// Where each modality comes from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Input")]
pub struct Inputs {
    /// RNA counts: .h5ad, 10x folder or .h5, .mtx[.gz], .csv[.gz] or .tsv[.gz]
    #[arg(long, value_name = "FILE")]
    rna: Option<PathBuf>,
    /// Surface protein counts (antibody tags), in any of these formats
    #[arg(long, value_name = "FILE")]
    protein: Option<PathBuf>,
    /// Open chromatin, in any of these formats
    #[arg(long, value_name = "FILE")]
    atac: Option<PathBuf>,
    /// Any other modality, with its likelihood where a model is trained; may be repeated
    #[arg(long, value_name = "NAME=FILE:LIKELIHOOD")]
    modality: Vec<Named>,
    /// One file with everything: the flags above then name places in it (X, layers/NAME, raw/X, obsm/NAME)
    ///
    /// RNA is X unless --rna says otherwise or another modality is there.
    #[arg(long, value_name = "FILE")]
    h5ad: Option<PathBuf>,
    /// The column of cell annotations (obs) that names each cell's batch, whose effect is taken out
    #[arg(long, value_name = "COLUMN")]
    pub batch: Option<String>,
    /// Which side of text matrices is the cells
    #[arg(long, value_enum, default_value_t = Orientation::Auto)]
    orientation: Orientation,
    /// Compare barcodes between files without a -1 at their end
    #[arg(long)]
    ignore_suffix: bool,
}

/// Which side of a text matrix is the cells.
#[derive(Clone, Copy, ValueEnum)]
pub enum Orientation {
    /// As the names beside a .mtx file say; rows are cells in .csv and .tsv
    Auto,
    /// Rows are cells
    CellsByFeatures,
    /// Rows are features
    FeaturesByCells,
}

/// `NAME=FILE:LIKELIHOOD`; what stands behind the last colon is a likelihood unless it looks like part of a path.
#[derive(Clone)]
struct Named {
    name: String,
    file: PathBuf,
    likelihood: Option<Likelihood>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, file)) = text.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty())
        else {
            return Err("write NAME=FILE:LIKELIHOOD, as in metabolites=levels.csv:gaussian".into());
        };
        let (file, likelihood) = match file.rsplit_once(':') {
            Some((file, word)) if !word.contains(['/', '\\', '.']) => (file, Some(word.parse()?)),
            _ => (file, None),
        };
        Ok(Self { name: name.into(), file: file.into(), likelihood })
    }
}

/// One modality to read.
struct Source {
    name: String,
    kind: Kind,
    /// A file, or with `--h5ad` a place.
    at: PathBuf,
    likelihood: Option<Likelihood>,
}

/// What was read.
pub struct Loaded {
    /// Cells that all inputs have; modalities under the user's names.
    pub data: Dataset,
    /// For each modality the likelihood that `--modality` gave it.
    pub likelihoods: Vec<Option<Likelihood>>,
}

impl Inputs {
    /// Open chromatin alone: of a file, or of a place in an .h5ad.
    pub fn of_atac(file: &Path, place: Option<&str>, orientation: Orientation) -> Self {
        let (atac, h5ad) = match place {
            Some(place) => (place.into(), Some(file.to_owned())),
            None => (file.to_owned(), None),
        };
        Self {
            rna: None,
            protein: None,
            atac: Some(atac),
            modality: Vec::new(),
            h5ad,
            batch: None,
            orientation,
            ignore_suffix: false,
        }
    }

    /// Reads every modality and joins them on their barcodes.
    pub fn load(&self) -> Result<Loaded> {
        let sources = self.sources()?;
        let mut inputs = Vec::new();
        for source in &sources {
            inputs.push(self.read_one(source)?);
        }
        let (data, alignment) = align(&inputs, self.ignore_suffix)?;
        if inputs.len() > 1 {
            let partial = alignment.before.iter().any(|&before| before != alignment.shared);
            log::log!(if partial { log::Level::Warn } else { log::Level::Info }, "{alignment}");
        }
        for note in &data.notes {
            log::info!("{note}");
        }
        Ok(Loaded { data, likelihoods: sources.into_iter().map(|source| source.likelihood).collect() })
    }

    fn sources(&self) -> Result<Vec<Source>> {
        let usual = [(Kind::Rna, &self.rna), (Kind::Protein, &self.protein), (Kind::Atac, &self.atac)];
        let mut sources: Vec<Source> = usual
            .into_iter()
            .filter_map(|(kind, at)| {
                Some(Source { name: kind.modality_name(), kind, at: at.clone()?, likelihood: None })
            })
            .collect();
        sources.extend(self.modality.iter().map(|named| Source {
            name: named.name.clone(),
            kind: Kind::Other(named.name.clone()),
            at: named.file.clone(),
            likelihood: named.likelihood,
        }));
        let x = Path::new("X");
        if self.h5ad.is_some() && self.rna.is_none() && sources.iter().all(|source| source.at != x) {
            sources.insert(0, Source { name: "rna".into(), kind: Kind::Rna, at: x.into(), likelihood: None });
        }
        if sources.is_empty() {
            return Err(wrong("no input; give --rna, --protein, --atac or --modality with a file, or --h5ad"));
        }
        Ok(sources)
    }

    fn read_one(&self, source: &Source) -> Result<Dataset> {
        let (file, places) = match &self.h5ad {
            Some(file) => (file, vec![source.at.to_string_lossy().into_owned()]),
            None => (&source.at, Vec::new()),
        };
        let orientation = match self.orientation {
            Orientation::Auto => gradome::io::Orientation::Auto,
            Orientation::CellsByFeatures => gradome::io::Orientation::CellsByFeatures,
            Orientation::FeaturesByCells => gradome::io::Orientation::FeaturesByCells,
        };
        let mut data = read(file, &ReadOptions { places, orientation })?;
        let mut modality =
            pick(&mut data, source).map_err(|problem| wrong(format!("{}: {problem}", file.display())))?;
        modality.name.clone_from(&source.name);
        modality.kind.clone_from(&source.kind);
        modality.features.iter_mut().for_each(|feature| feature.kind.clone_from(&source.kind));
        let renamed = make_names_unique(&mut modality.features);
        if renamed > 0 {
            data.notes.push(format!(
                "{}: {renamed} features have a name that others have; they got -1, -2, ... behind it",
                source.name
            ));
        }
        if data.cells.is_empty() || modality.features.is_empty() {
            let problem = format!(
                "{} cells, {} features: there is nothing to learn from",
                data.cells.len(),
                modality.features.len()
            );
            return Err(wrong(format!("{}: {problem}", file.display())));
        }
        let (cells, features) = modality.matrix.shape();
        log::debug!("{}: {} of {cells} cells and {features} features", file.display(), source.name);
        data.modalities = vec![modality];
        Ok(data)
    }
}

/// Takes the modality of the wanted kind, or the only one there is.
fn pick(data: &mut Dataset, source: &Source) -> Result<Modality, String> {
    let names: Vec<String> =
        data.modalities.iter().map(|m| format!("{} ({} features)", m.name, m.features.len())).collect();
    let wanted = |m: &Modality| m.kind == source.kind || m.name == source.name;
    let at = match data.modalities.iter().position(wanted) {
        Some(at) => at,
        None if names.len() == 1 => 0,
        None => return Err(format!("holds no {}; it holds {}", source.name, names.join(", "))),
    };
    if names.len() > 1 {
        let others: Vec<&str> =
            names.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, name)| name.as_str()).collect();
        data.notes.push(format!("{}: the file also holds {}", source.name, others.join(", ")));
    }
    Ok(data.modalities.swap_remove(at))
}

/// The batches of a column: their names, and the number of each cell's.
pub fn batches(data: &Dataset, column: &str) -> Result<(Vec<String>, Vec<u32>)> {
    let (names, codes) = data.column(column)?.labels();
    let missing = codes.iter().filter(|code| code.is_none()).count();
    if missing > 0 {
        return Err(wrong(format!("annotation '{column}': {missing} cells have no batch; name one or remove them")));
    }
    // categories that no cell has are not batches
    let mut used: Vec<u32> = codes.iter().copied().flatten().collect();
    let of_cell = used.clone();
    used.sort_unstable();
    used.dedup();
    let number = |code: &u32| used.binary_search(code).map_or(0, |at| at as u32);
    Ok((used.iter().map(|&code| names[code as usize].clone()).collect(), of_cell.iter().map(number).collect()))
}
