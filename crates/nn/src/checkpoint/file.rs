//! Safetensors files: written whole or not at all, read without trusting them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use atomicwrites::{AtomicFile, OverwriteBehavior};
use gradome_tape::{Float, Shape, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo, TensorView};

use crate::error::{Error, Result};

/// Bytes of the number at the start of a file that gives the header's size.
const PREFIX: usize = 8;
/// No header of ours comes near this; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Writes a file beside `path`, then puts it in the place of `path`; an error leaves what was there.
pub(crate) fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let io = |error: std::io::Error| Error::file(path, format!("cannot be written: {error}"));
    let written = AtomicFile::new(path, OverwriteBehavior::AllowOverwrite).write(|file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        out.flush().map_err(io)
    });
    written.map_err(|error| match error {
        atomicwrites::Error::Internal(error) => io(error),
        atomicwrites::Error::User(error) => error,
    })
}

/// Writes tensors in the given order under a header with the given texts; the same content gives the same bytes.
pub(crate) fn write_tensors<T: Float>(
    path: &Path,
    texts: &BTreeMap<String, String>,
    tensors: &[(String, &Tensor<T>)],
) -> Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!(texts));
    let mut offset = 0;
    for (name, tensor) in tensors {
        if let Some(at) = tensor.data().iter().position(|v| !v.is_finite()) {
            let problem = format!("tensor '{name}' is {} at element {at}; it was not written", tensor.data()[at]);
            return Err(Error::file(path, problem));
        }
        let end = offset + size_of_val(tensor.data());
        let info = TensorInfo { dtype: dtype::<T>(), shape: tensor.shape().to_vec(), data_offsets: (offset, end) };
        let earlier = header.insert(name.clone(), serde_json::json!(info));
        assert!(earlier.is_none(), "two tensors are called {name}");
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(PREFIX), b' ');
    write_atomically(path, |out| {
        let mut write =
            |bytes: &[u8]| out.write_all(bytes).map_err(|e| Error::file(path, format!("cannot be written: {e}")));
        write(&(header.len() as u64).to_le_bytes())?;
        write(&header)?;
        for (_, tensor) in tensors {
            for &value in tensor.data() {
                // the way over f64 is exact, and the compiler removes the branch
                match dtype::<T>() {
                    Dtype::F32 => write(&(value.to_f64() as f32).to_le_bytes())?,
                    _ => write(&value.to_f64().to_le_bytes())?,
                }
            }
        }
        Ok(())
    })
}

fn dtype<T: Float>() -> Dtype {
    if size_of::<T>() == size_of::<f32>() { Dtype::F32 } else { Dtype::F64 }
}

/// A safetensors file in memory whose header fits its content.
pub(crate) struct TensorFile {
    pub path: PathBuf,
    bytes: Vec<u8>,
    pub texts: BTreeMap<String, String>,
}

impl TensorFile {
    /// Reads a file; the memory it takes is the file's size, whatever the header claims.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |error: std::io::Error| Error::file(path, format!("cannot be read: {error}"));
        let foreign = || Error::file(path, "this is not a safetensors file; expected a checkpoint of gradome");
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut start = Vec::new();
        (&mut file).take(PREFIX as u64 + 1).read_to_end(&mut start).map_err(io)?;
        let [prefix @ .., b'{'] = &start[..] else { return Err(foreign()) };
        let header = u64::from_le_bytes(prefix.try_into().map_err(|_| foreign())?);
        if header > MAX_HEADER {
            return Err(foreign());
        }
        if header + PREFIX as u64 > size {
            let problem = format!("the file is truncated: {size} bytes, but its header alone has {header}");
            return Err(Error::file(path, problem));
        }
        let mut bytes = start;
        file.read_to_end(&mut bytes).map_err(io)?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| match error {
            safetensors::SafeTensorError::MetadataIncompleteBuffer => {
                Error::file(path, "the file is truncated or has bytes beyond its tensors; copy it again")
            }
            error => Error::file(path, format!("the header is damaged: {error}")),
        })?;
        let texts = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { path: path.to_owned(), bytes, texts })
    }

    /// The tensors by name.
    pub fn tensors(&self) -> BTreeMap<String, TensorView<'_>> {
        let file = SafeTensors::deserialize(&self.bytes).expect("the header was read once already");
        file.tensors().into_iter().collect()
    }

    /// A text of the header.
    pub fn text(&self, key: &str) -> Result<&str> {
        let text = self.texts.get(key).map(String::as_str);
        text.ok_or_else(|| Error::file(&self.path, format!("the header has no '{key}'; the file is damaged")))
    }

    /// A value of the header that is kept as JSON.
    pub fn json<V: serde::de::DeserializeOwned>(&self, key: &str) -> Result<V> {
        serde_json::from_str(self.text(key)?)
            .map_err(|error| Error::file(&self.path, format!("'{key}' of the header cannot be used: {error}")))
    }

    /// The numbers of a tensor that must have the given shape, rounded to `T`.
    pub fn read<T: Float>(&self, name: &str, view: Option<&TensorView<'_>>, shape: Shape) -> Result<Tensor<T>> {
        let error = |problem: String| Err(Error::file(&self.path, format!("tensor '{name}' {problem}")));
        let Some(view) = view else { return error("is missing; the file is of another configuration".into()) };
        if view.shape() != &*shape {
            return error(format!("has shape {:?}, but the configuration needs {shape}", view.shape()));
        }
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => {
                let values = data.as_chunks().0;
                Tensor::from_fn(shape, |i| T::of(f64::from(f32::from_le_bytes(values[i]))))
            }
            Dtype::F64 => {
                let values = data.as_chunks().0;
                Tensor::from_fn(shape, |i| T::of(f64::from_le_bytes(values[i])))
            }
            other => return error(format!("has type {other:?}; expected F32 or F64")),
        };
        match values.data().iter().position(|v| !v.is_finite()) {
            Some(at) => error(format!("is {} at element {at}; expected finite numbers", values.data()[at])),
            None => Ok(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(b"half of the new").unwrap();
            Err(Error::file("x", "disk full"))
        });
        assert!(error.unwrap_err().to_string().contains("disk full"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let texts: BTreeMap<_, _> = (0..20).map(|i| (format!("key{i}"), "text".to_owned())).collect();
        let tensor = Tensor::<f32>::from_fn([3, 5], |i| i as f32 / 7.0);
        let tensors = [("b".to_owned(), &tensor), ("a".to_owned(), &tensor)];
        let bytes = |name: &str| {
            let path = folder.path().join(name);
            write_tensors(&path, &texts, &tensors).unwrap();
            std::fs::read(path).unwrap()
        };
        assert_eq!(bytes("one"), bytes("two"));
    }
}
