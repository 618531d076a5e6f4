//! Finds reference numbers and real data for tests, and compares with them.
//!
//! Reference files are `.safetensors` anywhere below `$GRADOME_GOLDENS` (default: `../shared/goldens` from the
//! workspace's root) whose metadata `operator` says what they test. Real data lies below `$GRADOME_DATA` (default:
//! `../shared/data`). Where a folder is absent tests say that they were skipped, unless `GRADOME_REQUIRE_GOLDENS=1`.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// One reference file.
pub struct Golden {
    /// Where it lies.
    pub path: PathBuf,
    /// The strings of its header.
    pub metadata: HashMap<String, String>,
    arrays: HashMap<String, (Vec<usize>, Vec<f64>)>,
}

/// A folder named by an environment variable or lying beside the workspace.
///
/// # Panics
/// When it is absent although `GRADOME_REQUIRE_GOLDENS` is 1.
fn folder(variable: &str, beside: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = std::env::var_os(variable).map_or_else(|| root.join(beside), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var("GRADOME_REQUIRE_GOLDENS").as_deref() != Ok("1"),
        "{} is no folder; set {variable}",
        path.display()
    );
    eprintln!("skipped: {} is no folder; {variable} names another", path.display());
    None
}

/// A folder of real data, by its path below the data folder; nothing when the data is not here.
///
/// # Panics
/// When the data is absent although `GRADOME_REQUIRE_GOLDENS` is 1, or the folder exists but not this part of it.
pub fn data(part: &str) -> Option<PathBuf> {
    let path = folder("GRADOME_DATA", "../shared/data")?.join(part);
    assert!(path.exists(), "{} is missing from the data folder", path.display());
    Some(path)
}

/// Every reference file of an operator; prints how many there are.
///
/// # Panics
/// When the folder exists and holds none, or a file cannot be read.
pub fn goldens(operator: &str) -> Vec<Golden> {
    let Some(folder) = folder("GRADOME_GOLDENS", "../shared/goldens") else { return Vec::new() };
    let mut paths = Vec::new();
    collect(&folder, &mut paths);
    paths.sort();
    let found: Vec<Golden> = paths.into_iter().filter_map(|path| Golden::read(path, operator)).collect();
    assert!(!found.is_empty(), "{} holds no reference file of '{operator}'", folder.display());
    println!("parity: {} files of {operator}", found.len());
    found
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|e| e == "safetensors") {
            paths.push(path);
        }
    }
}

impl Golden {
    /// Reads a file if it is of the given operator.
    fn read(path: PathBuf, operator: &str) -> Option<Self> {
        let fail = |problem: &dyn std::fmt::Display| -> ! { panic!("{}: {problem}", path.display()) };
        let bytes = std::fs::read(&path).unwrap_or_else(|e| fail(&e));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap_or_else(|e| fail(&e));
        let metadata = header.metadata().clone().unwrap_or_default();
        if metadata.get("operator").is_none_or(|o| o != operator) {
            return None;
        }
        let tensors = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| fail(&e));
        let arrays = tensors
            .iter()
            .map(|(name, view)| {
                let data = view.data();
                let values: Vec<f64> = match view.dtype() {
                    Dtype::F64 => widen(data, f64::from_le_bytes),
                    Dtype::F32 => widen(data, |b| f64::from(f32::from_le_bytes(b))),
                    Dtype::I64 => widen(data, |b| i64::from_le_bytes(b) as f64),
                    Dtype::I32 => widen(data, |b| f64::from(i32::from_le_bytes(b))),
                    Dtype::I8 => widen(data, |b| f64::from(i8::from_le_bytes(b))),
                    Dtype::U8 | Dtype::BOOL => data.iter().map(|&b| f64::from(b)).collect(),
                    other => fail(&format!("{name} is of type {other:?}")),
                };
                (name.to_owned(), (view.shape().to_vec(), values))
            })
            .collect();
        Some(Self { path, metadata, arrays })
    }

    /// The names of all arrays that start with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self.arrays.keys().map(String::as_str).filter(|n| n.starts_with(prefix)).collect();
        names.sort_unstable();
        names
    }

    /// Whether there is such an array.
    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// The values of an array, row-major.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> &[f64] {
        &self.array(name).1
    }

    /// The sizes of an array.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.array(name).0
    }

    fn array(&self, name: &str) -> &(Vec<usize>, Vec<f64>) {
        self.arrays.get(name).unwrap_or_else(|| panic!("{} has no array '{name}'", self.path.display()))
    }

    /// Compares values with an array: the largest difference relative to the array's largest value.
    ///
    /// `floor` is a largest value below which the difference counts absolutely.
    ///
    /// # Panics
    /// When it exceeds the tolerance or the sizes differ.
    pub fn assert_close(&self, name: &str, values: &[f64], tolerance: f64, floor: f64) {
        compare(&format!("{} {name}", self.path.display()), values, self.get(name), tolerance, floor);
    }
}

/// Compares numbers with what is expected: the largest difference relative to the largest number expected, or to 1 where
/// all are smaller. Infinities must be equal.
///
/// # Panics
/// When it exceeds the tolerance, or the sizes differ.
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    compare(what, found, expected, tolerance, 1.0);
}

fn compare(what: &str, found: &[f64], expected: &[f64], tolerance: f64, floor: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: sizes differ");
    let largest = expected.iter().filter(|e| e.is_finite()).fold(floor, |a, e| a.max(e.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        // written so that NaN fails
        let close = found == expected || (found - expected).abs() <= tolerance * largest;
        assert!(
            close,
            "{what} {i} is {found}, expected {expected}; off by {:.2e} of the largest, {largest:.3e}",
            (found - expected).abs() / largest
        );
    }
}

fn widen<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
}
