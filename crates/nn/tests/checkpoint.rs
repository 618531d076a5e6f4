//! Checkpoints: what is written comes back, and what is damaged is refused with its reason.

use std::path::{Path, PathBuf};

use gradome_nn::{Checkpoint, Linear, ModelCard, Operator, ParamStore, Result, Step, checkpoint};
use gradome_tape::{Float, Tape, Tensor, Var};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A linear layer.
struct Line(Linear);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LineConfig {
    inputs: usize,
    slope: f64,
}

impl Default for LineConfig {
    fn default() -> Self {
        Self { inputs: 3, slope: 0.1 + 0.2 }
    }
}

impl Operator for Line {
    const NAME: &'static str = "line";
    type Config = LineConfig;
    type Batch = Tensor<f64>;
    type Input<'t, T: Float> = Var<'t, T>;
    type Output<'t, T: Float> = Var<'t, T>;

    fn new<T: Float>(config: &LineConfig, store: &mut ParamStore<T>) -> Result<Self> {
        if config.inputs == 0 {
            return Err(gradome_nn::Error::config("inputs", "0 is too small"));
        }
        Ok(Self(Linear::new(&mut store.scope("line"), config.inputs, 2)))
    }

    fn sample(config: &LineConfig, _: u64) -> Tensor<f64> {
        Tensor::zeros([2, config.inputs])
    }

    fn input<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &Tensor<f64>) -> Result<Var<'t, T>> {
        Ok(tape.constant(&batch.cast()))
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &Var<'t, T>) -> Result<Var<'t, T>> {
        Ok(self.0.forward(step, *input))
    }
}

struct Other;

impl Operator for Other {
    const NAME: &'static str = "circle";
    type Config = ();
    type Batch = ();
    type Input<'t, T: Float> = ();
    type Output<'t, T: Float> = ();

    fn new<T: Float>((): &(), _: &mut ParamStore<T>) -> Result<Self> {
        Ok(Self)
    }

    fn sample((): &(), _: u64) {}

    fn input<T: Float>(&self, _: &Tape<T>, (): &()) -> Result<()> {
        Ok(())
    }

    fn forward<T: Float>(&self, _: Step<'_, '_, T>, (): &()) -> Result<()> {
        Ok(())
    }
}

fn written<T: Float>(folder: &Path) -> (PathBuf, ParamStore<T>) {
    let mut store = ParamStore::new(5);
    Line::new(&LineConfig::default(), &mut store).unwrap();
    let card = ModelCard::new::<Line>(&LineConfig::default()).unwrap().with("genes", json!(["CD3E", "MS4A1"]));
    let path = folder.join("model.safetensors");
    checkpoint::save(&path, &card, &store).unwrap();
    (path, store)
}

fn comes_back_bit_for_bit<T: Float>() {
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = written::<T>(folder.path());
    let loaded = Checkpoint::<Line, T>::load(&path).unwrap();
    assert_eq!(loaded.config, LineConfig::default());
    assert_eq!(loaded.metadata["genes"], json!(["CD3E", "MS4A1"]));
    assert_eq!(loaded.store.entries().count(), 2);
    for (id, entry) in store.entries() {
        let other = loaded.store.get(loaded.store.find(&entry.path).unwrap());
        let bits = |t: &Tensor<T>| t.to_f64().into_iter().map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(store.get(id)), bits(other), "{}", entry.path);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left in the folder");
}

#[test]
fn a_model_comes_back_bit_for_bit() {
    comes_back_bit_for_bit::<f32>();
    comes_back_bit_for_bit::<f64>();
}

#[test]
fn a_file_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = written::<f32>(folder.path());
    let said = checkpoint::inspect(&path).unwrap();
    assert_eq!(said.card.operator, "line");
    assert_eq!(said.card.config, json!({ "inputs": 3, "slope": 0.1 + 0.2 }));
    assert_eq!(said.parameters, 8);
    assert!(!said.unfinished);
    let tensors: Vec<_> = said.tensors.iter().map(|t| (&*t.path, &*t.shape, &*t.precision)).collect();
    assert_eq!(tensors, [("line.bias", &[2][..], "F32"), ("line.weight", &[3, 2][..], "F32")]);
}

#[test]
fn a_model_of_another_precision_is_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = written::<f64>(folder.path());
    let loaded = Checkpoint::<Line, f32>::load(&path).unwrap();
    for ((_, wide), (_, narrow)) in store.entries().zip(loaded.store.entries()) {
        assert_eq!(wide.value.cast::<f32>(), narrow.value);
    }
}

#[test]
fn a_model_that_is_not_finite_is_not_written_and_the_old_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = written::<f32>(folder.path());
    let before = std::fs::read(&path).unwrap();
    let id = store.find("line.weight").unwrap();
    store.get_mut(id).data_mut()[4] = f32::NAN;
    let card = ModelCard::new::<Line>(&LineConfig::default()).unwrap();
    let error = checkpoint::save(&path, &card, &store).unwrap_err().to_string();
    assert!(error.contains("'line.weight' is NaN at element 4"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_folder_that_cannot_take_the_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = written::<f32>(folder.path());
    let card = ModelCard::new::<Line>(&LineConfig::default()).unwrap();
    let error = checkpoint::save(path.join("inside-a-file.safetensors"), &card, &store).unwrap_err().to_string();
    assert!(error.contains("inside-a-file.safetensors: cannot be written"), "{error}");
}

/// The header and the bytes after it of a file.
fn split(path: &Path) -> (Value, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), bytes[8 + length..].to_vec())
}

fn joined(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The error of loading a good file after `damage` was done to its header and data.
fn error_after(damage: impl FnOnce(&mut Value, &mut Vec<u8>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = written::<f32>(folder.path());
    let (mut header, mut data) = split(&path);
    damage(&mut header, &mut data);
    std::fs::write(&path, joined(&header, &data)).unwrap();
    error_of::<Line>(&path)
}

fn error_of<O: Operator>(path: &Path) -> String {
    let Err(error) = Checkpoint::<O, f32>::load(path) else { panic!("a damaged file was read") };
    let text = error.to_string();
    assert!(text.starts_with(&path.display().to_string()), "the error does not begin with the path: {text}");
    text
}

#[test]
fn a_rewritten_file_without_damage_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = written::<f32>(folder.path());
    let (header, data) = split(&path);
    std::fs::write(&path, joined(&header, &data)).unwrap();
    assert!(Checkpoint::<Line, f32>::load(&path).is_ok());
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let contents: [&[u8]; 5] =
        [b"", b"{", b"gene\tcount\nCD3E\t4\n", &[0xff; 64], b"\xff\xff\xff\xff\xff\xff\xff\x7f{\"a\":1}"];
    for content in contents {
        std::fs::write(&path, content).unwrap();
        let error = error_of::<Line>(&path);
        assert!(error.contains("not a safetensors file"), "{error}");
    }
    assert!(error_of::<Line>(&folder.path().join("absent")).contains("cannot be read"));
    let error = error_after(|header, _| {
        header.as_object_mut().unwrap().remove("__metadata__");
    });
    assert!(error.contains("not a checkpoint of gradome"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = written::<f32>(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = error_of::<Line>(&path);
        assert!(error.contains("truncated") || length < 9, "{length} bytes: {error}");
    }
    std::fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    assert!(error_of::<Line>(&path).contains("truncated or has bytes beyond"));
}

#[test]
fn a_header_that_claims_more_than_there_is_takes_no_memory() {
    let error = error_after(|header, _| {
        header["line.weight"]["shape"] = json!([1_000_000_000_000_u64, 2]);
        header["line.weight"]["data_offsets"] = json!([0, 8_000_000_000_000_u64]);
    });
    assert!(error.contains("the header is damaged") || error.contains("truncated"), "{error}");
    let error = error_after(|header, _| header["line.weight"]["shape"] = json!([u64::MAX, 4]));
    assert!(error.contains("the header is damaged"), "{error}");
}

#[test]
fn a_checkpoint_of_another_operator_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = written::<f32>(folder.path());
    assert!(error_of::<Other>(&path).contains("this checkpoint is of 'line', not of 'circle'"));
}

#[test]
fn versions_this_one_does_not_know_are_refused() {
    let error = error_after(|header, _| {
        header["__metadata__"]["format_version"] = json!("2");
        header["__metadata__"]["gradome_version"] = json!("7.5.0");
    });
    assert!(error.contains("gradome 7.5.0 in format 2") && error.contains("update"), "{error}");
    let error = error_after(|header, _| header["__metadata__"]["format_version"] = json!("0"));
    assert!(error.contains("format version 0 does not exist"), "{error}");
    let error = error_after(|header, _| header["__metadata__"]["format_version"] = json!("one"));
    assert!(error.contains("'format_version' of the header cannot be used"), "{error}");
}

#[test]
fn a_config_that_cannot_be_used_is_refused() {
    let error = error_after(|header, _| header["__metadata__"]["config"] = json!("{\"inputs\": \"three\"}"));
    assert!(error.contains("'config' of the header cannot be used"), "{error}");
    let error = error_after(|header, _| header["__metadata__"]["config"] = json!("{\"inputs\":0,\"slope\":1.0}"));
    assert!(error.contains("cannot be built") && error.contains("'inputs'"), "{error}");
    let error = error_after(|header, _| {
        header["__metadata__"].as_object_mut().unwrap().remove("config");
    });
    assert!(error.contains("no 'config'"), "{error}");
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let rename = |header: &mut Value, from: &str, to: &str| {
        let info = header.as_object_mut().unwrap().remove(from).unwrap();
        header[to] = info;
    };
    let error = error_after(|header, _| rename(header, "line.weight", "other.weight"));
    assert!(error.contains("tensor 'other.weight' does not belong to the model"), "{error}");
    let error = error_after(|header, _| rename(header, "line.weight", "run/weight"));
    assert!(error.contains("tensor 'line.weight' is missing"), "{error}");
    let error = error_after(|header, data| {
        header["extra"] = json!({ "dtype": "F32", "shape": [1], "data_offsets": [data.len(), data.len() + 4] });
        data.extend([0; 4]);
    });
    assert!(error.contains("tensor 'extra' does not belong to the model"), "{error}");
    let error = error_after(|header, _| header["line.weight"]["shape"] = json!([2, 3]));
    assert!(error.contains("tensor 'line.weight' has shape [2, 3], but the configuration needs [3, 2]"), "{error}");
    let error = error_after(|header, _| header["line.weight"]["dtype"] = json!("I32"));
    assert!(error.contains("tensor 'line.weight' has type I32"), "{error}");
    for value in [f32::NAN, f32::INFINITY] {
        let error = error_after(|header, data| {
            let start = header["line.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
            data[start + 8..start + 12].copy_from_slice(&value.to_le_bytes());
        });
        assert!(error.contains(&format!("tensor 'line.weight' is {value} at element 2")), "{error}");
    }
}
