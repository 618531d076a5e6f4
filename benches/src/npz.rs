//! Arrays in NumPy's `.npz` archives.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// An error of any crate, with its own text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// An archive of arrays.
pub struct Npz(zip::ZipArchive<File>);

/// An array: its sizes, and its values, row-major whichever way they are stored.
pub type Array = (Vec<usize>, Vec<f64>);

impl Npz {
    /// Opens an archive.
    ///
    /// # Errors
    /// When the file cannot be read or is no archive.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self(zip::ZipArchive::new(File::open(path)?)?))
    }

    /// The names of all arrays.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.file_names().filter_map(|name| name.strip_suffix(".npy"))
    }

    /// An array of numbers.
    ///
    /// # Errors
    /// When there is none of that name, or it holds no little-endian numbers in format version 1.0.
    pub fn get(&mut self, name: &str) -> Result<Array> {
        let mut bytes = Vec::new();
        self.0.by_name(&format!("{name}.npy"))?.read_to_end(&mut bytes)?;
        numbers(&bytes).ok_or_else(|| format!("'{name}' is no array of little-endian numbers").into())
    }
}

fn numbers(bytes: &[u8]) -> Option<Array> {
    const PREFIX: usize = 10;
    let length = usize::from(u16::from_le_bytes(bytes.get(8..PREFIX)?.try_into().ok()?));
    let header = std::str::from_utf8(bytes.get(PREFIX..PREFIX + length)?).ok()?;
    if !bytes.starts_with(b"\x93NUMPY\x01") {
        return None;
    }
    let data = &bytes[PREFIX + length..];
    let kind = header.split_once("'descr': '")?.1.split_once('\'')?.0;
    let stored: Vec<f64> = match kind {
        "<f8" => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        "<f4" => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        "<i8" => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        "<i4" => data.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
        "|u1" | "|b1" => data.iter().map(|b| f64::from(*b)).collect(),
        _ => return None,
    };
    let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
    let sizes: Vec<usize> = shape.split(',').filter_map(|size| size.trim().parse().ok()).collect();
    if stored.len() != sizes.iter().product::<usize>() {
        return None;
    }
    if let ([rows, columns], true) = (&sizes[..], header.contains("'fortran_order': True")) {
        let values = (0..stored.len()).map(|i| stored[i % columns * rows + i / columns]).collect();
        return Some((sizes, values));
    }
    Some((sizes, stored))
}
