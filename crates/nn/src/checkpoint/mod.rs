//! Trained models in files that say what they are.
//!
//! A checkpoint is a [safetensors](https://huggingface.co/docs/safetensors) file: arrays under their dotted paths, and
//! in the header's metadata the texts `format` (`gradome-checkpoint`), `format_version`, `gradome_version`, `operator`,
//! `parameters` (how many numbers are trained), and as JSON `config` and `metadata`.

pub(crate) mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gradome_tape::{Float, Tensor};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::operator::Operator;
use crate::store::ParamStore;
use file::{TensorFile, write_tensors};

const FORMAT: &str = "gradome-checkpoint";
/// Raised when a reader of an earlier version could not make sense of a file.
const FORMAT_VERSION: u32 = 1;
/// Tensors of an unfinished training run stand under this; dotted paths have no slash.
pub(crate) const RUN_PREFIX: &str = "run/";
/// The header's text that holds the state of an unfinished training run.
pub(crate) const RUN_KEY: &str = "run";

/// What a model is, beside its arrays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCard {
    /// The operator's name, `multiomics-vae`.
    pub operator: String,
    /// Its configuration.
    pub config: Value,
    /// What else is worth keeping: names of features, of batches, where the data came from.
    pub metadata: BTreeMap<String, Value>,
}

impl ModelCard {
    /// The card of an operator with a configuration.
    ///
    /// # Errors
    /// When the configuration cannot be written as JSON.
    pub fn new<O: Operator>(config: &O::Config) -> Result<Self> {
        let config = serde_json::to_value(config).map_err(|e| Error::config("", e.to_string()))?;
        Ok(Self { operator: O::NAME.into(), config, metadata: BTreeMap::new() })
    }

    /// Adds an entry to the metadata.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

/// A model read from a checkpoint.
pub struct Checkpoint<O: Operator, T: Float> {
    /// The operator.
    pub operator: O,
    /// Its configuration.
    pub config: O::Config,
    /// Its arrays.
    pub store: ParamStore<T>,
    /// What else was kept with it.
    pub metadata: BTreeMap<String, Value>,
}

impl<O: Operator, T: Float> Checkpoint<O, T> {
    /// Reads a model; arrays of the other precision are rounded to `T`.
    ///
    /// # Errors
    /// When the file is not a checkpoint, is damaged, or is of another operator or a newer version; when its
    /// configuration is wrong; when an array is missing, extra, misshapen or holds a value that is not finite.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = open(path.as_ref())?;
        let operator = file.text("operator")?;
        if operator != O::NAME {
            return Err(Error::file(&file.path, format!("this checkpoint is of '{operator}', not of '{}'", O::NAME)));
        }
        let config: O::Config = file.json("config")?;
        let mut store = ParamStore::new(0);
        let operator = O::new(&config, &mut store)
            .map_err(|error| Error::file(&file.path, format!("its configuration cannot be built: {error}")))?;
        read_store(&file, &mut store)?;
        Ok(Self { operator, config, store, metadata: file.json("metadata")? })
    }
}

/// Writes a model's arrays and card; the file appears whole or not at all.
///
/// # Errors
/// When the file cannot be written or an array holds a value that is not finite; what was there before stays.
pub fn save<T: Float>(path: impl AsRef<Path>, card: &ModelCard, store: &ParamStore<T>) -> Result<()> {
    write_tensors(path.as_ref(), &texts(card, store), &arrays(store))
}

pub(crate) fn arrays<T: Float>(store: &ParamStore<T>) -> Vec<(String, &Tensor<T>)> {
    store.entries().map(|(_, entry)| (entry.path.clone(), &entry.value)).collect()
}

pub(crate) fn texts<T: Float>(card: &ModelCard, store: &ParamStore<T>) -> BTreeMap<String, String> {
    let texts = [
        ("format", FORMAT.to_owned()),
        ("format_version", FORMAT_VERSION.to_string()),
        ("gradome_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("operator", card.operator.clone()),
        ("parameters", store.parameter_count().to_string()),
        ("config", card.config.to_string()),
        ("metadata", serde_json::json!(card.metadata).to_string()),
    ];
    texts.into_iter().map(|(key, text)| (key.to_owned(), text)).collect()
}

/// Opens a file and makes sure that it is a checkpoint this version understands.
pub(crate) fn open(path: &Path) -> Result<TensorFile> {
    let file = TensorFile::open(path)?;
    if file.texts.get("format").map(String::as_str) != Some(FORMAT) {
        return Err(Error::file(
            path,
            "this safetensors file is not a checkpoint of gradome: no 'format' in its header",
        ));
    }
    match file.json::<u32>("format_version")? {
        FORMAT_VERSION => Ok(file),
        newer if newer > FORMAT_VERSION => {
            let by = file.text("gradome_version")?;
            let problem =
                format!("written by gradome {by} in format {newer}, this is format {FORMAT_VERSION}; update gradome");
            Err(Error::file(path, problem))
        }
        unknown => Err(Error::file(path, format!("format version {unknown} does not exist; the file is damaged"))),
    }
}

/// Fills every array of a store from a file that must hold exactly those.
pub(crate) fn read_store<T: Float>(file: &TensorFile, store: &mut ParamStore<T>) -> Result<()> {
    let tensors = file.tensors();
    let ids: Vec<_> = store.entries().map(|(id, entry)| (id, entry.path.clone())).collect();
    let paths: BTreeSet<&String> = ids.iter().map(|(_, path)| path).collect();
    if let Some(extra) = tensors.keys().find(|name| !name.starts_with(RUN_PREFIX) && !paths.contains(name)) {
        let problem = format!("tensor '{extra}' does not belong to the model; the file is of another configuration");
        return Err(Error::file(&file.path, problem));
    }
    let mut values = Vec::with_capacity(ids.len());
    for (id, path) in &ids {
        values.push(file.read(path, tensors.get(path), store.get(*id).shape())?);
    }
    for ((id, _), value) in ids.into_iter().zip(values) {
        store.set(id, value);
    }
    Ok(())
}

/// What a checkpoint says about itself.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The operator's name, configuration and metadata.
    #[serde(flatten)]
    pub card: ModelCard,
    /// The version of gradome that wrote it.
    pub gradome_version: String,
    /// How many numbers training changes.
    pub parameters: usize,
    /// Whether it holds the state of a training run that has not ended, and can be resumed.
    pub unfinished: bool,
    /// The model's arrays, by path.
    pub tensors: Vec<TensorSummary>,
}

/// One array of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorSummary {
    /// The dotted path.
    pub path: String,
    /// The axis sizes.
    pub shape: Vec<usize>,
    /// `F32` or `F64`.
    pub precision: String,
}

/// Reads what a checkpoint of any operator says about itself.
///
/// # Errors
/// When the file is not a checkpoint, is damaged or of a newer version.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
    let file = open(path.as_ref())?;
    let model = file.tensors().into_iter().filter(|(name, _)| !name.starts_with(RUN_PREFIX));
    let tensors = model
        .map(|(path, view)| TensorSummary {
            path,
            shape: view.shape().to_vec(),
            precision: format!("{:?}", view.dtype()),
        })
        .collect();
    Ok(Inspection {
        card: ModelCard {
            operator: file.text("operator")?.to_owned(),
            config: file.json("config")?,
            metadata: file.json("metadata")?,
        },
        gradome_version: file.text("gradome_version")?.to_owned(),
        parameters: file.json("parameters")?,
        unfinished: file.texts.contains_key(RUN_KEY),
        tensors,
    })
}
