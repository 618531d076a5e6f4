//! The one door to HDF5: every read is checked against what the file really stores.
//!
//! `hdf5_pure` promises errors, not panics, on damaged files. Should it panic all the same, `guarded`
//! turns that into an error here, the only place where its code is entered.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use hdf5_pure::{AttrValue, DType, Dataset, File, Group, Layout, VlenStringReadOptions};

use crate::{Error, Result};

/// The first eight bytes of an HDF5 file.
pub(crate) const HDF5_MAGIC: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Deflate cannot shrink data by more than 1032:1; the other filters in use shrink less.
const MOST_SHRINK: u64 = 1032;
/// Claimed bytes that need no proof, for small datasets whose storage was never filled.
const FREE_BYTES: u64 = 1 << 20;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Group,
    Array,
}

/// What the elements of an array are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Integer,
    Float,
    /// An enumeration of FALSE and TRUE.
    Boolean,
    Text,
    Other,
}

/// Runs a read and turns a panic of the HDF5 library into an error.
pub(crate) fn guarded<T>(file: &str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Error::file(file, "the HDF5 structure is damaged beyond reading: copy or download the file again"))
    })
}

/// An open HDF5 file.
pub(crate) struct Hdf {
    name: String,
    file: File,
}

impl Hdf {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        // Opening by ourselves first keeps "no such file" apart from "not HDF5".
        std::fs::File::open(path).map_err(|source| Error::Io { file: name.clone(), source })?;
        let file = File::open_streaming(path).map_err(|source| not_hdf5(&name, &source))?;
        Ok(Self { name, file })
    }

    pub(crate) fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let file = File::from_bytes(bytes).map_err(|source| not_hdf5(name, &source))?;
        Ok(Self { name: name.into(), file })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn file_size(&self) -> u64 {
        self.file.file_size()
    }

    pub(crate) fn error(&self, place: &str, problem: impl Into<String>) -> Error {
        Error::place(&self.name, place, problem)
    }

    fn failed(&self, place: &str, source: &hdf5_pure::Error) -> Error {
        self.error(place, format!("cannot be read ({source}): the file is damaged, copy or download it again"))
    }

    /// What stands at `path`, if anything does.
    pub(crate) fn node(&self, path: &str) -> Option<Node> {
        if self.file.dataset(path).is_ok() {
            Some(Node::Array)
        } else if self.group(path).is_ok() {
            Some(Node::Group)
        } else {
            None
        }
    }

    fn group(&self, path: &str) -> std::result::Result<Group, hdf5_pure::Error> {
        if path.is_empty() { Ok(self.file.root()) } else { self.file.group(path) }
    }

    fn array(&self, path: &str) -> Result<Dataset> {
        self.file.dataset(path).map_err(|source| match self.group(path) {
            Ok(_) => self.error(path, "is a group where an array was expected"),
            Err(_) => self.error(path, format!("is missing or cannot be read ({source})")),
        })
    }

    /// Names of the arrays and groups in a group, sorted.
    pub(crate) fn children(&self, path: &str) -> Result<Vec<String>> {
        let group = self.group(path).map_err(|source| self.failed(path, &source))?;
        let mut names = group.datasets().map_err(|source| self.failed(path, &source))?;
        names.extend(group.groups().map_err(|source| self.failed(path, &source))?);
        names.sort();
        Ok(names)
    }

    fn attribute(&self, path: &str, name: &str) -> Option<AttrValue> {
        let attributes = match self.file.dataset(path) {
            Ok(array) => array.attrs(),
            Err(_) => self.group(path).and_then(|group| group.attrs()),
        };
        attributes.ok()?.remove(name)
    }

    /// A text attribute of a group or array, if it has one.
    pub(crate) fn text_attribute(&self, path: &str, name: &str) -> Option<String> {
        self.attribute(path, name)?.as_str().map(str::to_owned)
    }

    /// A text-list attribute of a group or array, if it has one.
    pub(crate) fn texts_attribute(&self, path: &str, name: &str) -> Option<Vec<String>> {
        self.attribute(path, name)?.as_strings().map(<[String]>::to_vec)
    }

    /// A size-list attribute of a group or array, if it has one.
    pub(crate) fn sizes_attribute(&self, path: &str, name: &str) -> Option<Vec<u64>> {
        self.attribute(path, name)?.to_u64s()
    }

    pub(crate) fn shape(&self, path: &str) -> Result<Vec<u64>> {
        self.array(path)?.shape().map_err(|source| self.failed(path, &source))
    }

    pub(crate) fn element(&self, path: &str) -> Result<Element> {
        Ok(match self.array(path)?.dtype().map_err(|source| self.failed(path, &source))? {
            DType::F32 | DType::F64 => Element::Float,
            DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::U8 | DType::U16 | DType::U32 | DType::U64 => {
                Element::Integer
            }
            DType::Enum(names) if names == ["FALSE", "TRUE"] => Element::Boolean,
            DType::String | DType::VariableLengthString => Element::Text,
            _ => Element::Other,
        })
    }

    /// Opens an array after checking that the size it claims can come out of the bytes it stores.
    fn checked(&self, path: &str) -> Result<Dataset> {
        let array = self.array(path)?;
        let fail = |source: hdf5_pure::Error| self.failed(path, &source);
        let shape = array.shape().map_err(fail)?;
        let width = array.element_size().map_err(fail)?;
        let claimed = shape.iter().try_fold(width, |bytes, &length| bytes.checked_mul(length)).unwrap_or(u64::MAX);
        if claimed <= FREE_BYTES {
            return Ok(array);
        }
        let (stored, shrink) = match array.layout().map_err(fail)? {
            Layout::Compact { size } => (size, 1),
            Layout::Contiguous { address: Some(_), size } => (size.min(self.file_size()), 1),
            Layout::Chunked { .. } => {
                let chunks = array.chunks().map_err(fail)?;
                let stored = chunks.iter().fold(0u64, |sum, chunk| sum.saturating_add(chunk.storage_size));
                (stored.min(self.file_size()), MOST_SHRINK)
            }
            _ => (0, 1),
        };
        if claimed > stored.saturating_mul(shrink) {
            return Err(self.error(
                path,
                format!("claims {shape:?} values but stores only {stored} bytes: the file is truncated or damaged"),
            ));
        }
        Ok(array)
    }

    fn expect(&self, path: &str, allowed: &[Element], what: &str) -> Result<()> {
        let element = self.element(path)?;
        if allowed.contains(&element) {
            Ok(())
        } else {
            Err(self.error(path, format!("holds {element:?} elements where {what} were expected")))
        }
    }

    /// All values as f32; integers and booleans are converted.
    pub(crate) fn f32s(&self, path: &str) -> Result<Vec<f32>> {
        self.expect(path, &[Element::Integer, Element::Float, Element::Boolean], "numbers")?;
        self.checked(path)?.read_f32().map_err(|source| self.failed(path, &source))
    }

    /// A two-dimensional array of numbers, to be read some rows at a time.
    pub(crate) fn rows(&self, path: &str) -> Result<Rows<'_>> {
        self.expect(path, &[Element::Integer, Element::Float, Element::Boolean], "numbers")?;
        let array = self.checked(path)?;
        let chunk = array.chunk_shape().map_err(|source| self.failed(path, &source))?;
        let chunk_rows = chunk.and_then(|shape| shape.first().copied()).unwrap_or(1).max(1);
        Ok(Rows { hdf: self, path: path.into(), array, chunk_rows })
    }

    /// All values as f64; integers and booleans are converted.
    pub(crate) fn f64s(&self, path: &str) -> Result<Vec<f64>> {
        self.expect(path, &[Element::Integer, Element::Float, Element::Boolean], "numbers")?;
        self.checked(path)?.read_f64().map_err(|source| self.failed(path, &source))
    }

    /// All values of an integer or boolean array.
    pub(crate) fn integers(&self, path: &str) -> Result<Vec<i64>> {
        self.expect(path, &[Element::Integer, Element::Boolean], "whole numbers")?;
        self.checked(path)?.read_i64().map_err(|source| self.failed(path, &source))
    }

    /// All values of a text array.
    pub(crate) fn texts(&self, path: &str) -> Result<Vec<String>> {
        self.expect(path, &[Element::Text], "texts")?;
        let array = self.checked(path)?;
        let fail = |source: hdf5_pure::Error| self.failed(path, &source);
        if array.dtype().map_err(fail)? == DType::VariableLengthString {
            // Many elements may point at one stored text, so the sum is bounded as well.
            let most = self.file_size().saturating_add(FREE_BYTES);
            let options =
                VlenStringReadOptions::new().with_max_payload_bytes(usize::try_from(most).unwrap_or(usize::MAX));
            array.read_vlen_strings(options).map_err(fail)
        } else {
            array.read_string().map_err(fail)
        }
    }
}

/// An array that is read some rows at a time.
pub(crate) struct Rows<'a> {
    hdf: &'a Hdf,
    path: String,
    array: Dataset,
    chunk_rows: u64,
}

impl Rows<'_> {
    /// Rows `start..start + count` as f32, row by row; integers and booleans are converted.
    pub(crate) fn read(&self, start: usize, count: usize) -> Result<Vec<f32>> {
        let values = self.array.read_f32_rows(start as u64, count as u64);
        values.map_err(|source| self.hdf.failed(&self.path, &source))
    }

    /// About `most` rows, in whole chunks so that none is decompressed twice.
    pub(crate) fn whole_chunks(&self, most: usize) -> usize {
        let chunk = usize::try_from(self.chunk_rows).unwrap_or(usize::MAX);
        (most / chunk).max(1).saturating_mul(chunk)
    }
}

fn not_hdf5(name: &str, source: &hdf5_pure::Error) -> Error {
    Error::file(name, format!("is not a whole HDF5 file ({source}): it is truncated or of another format"))
}
