//! Arrays in files, read by positions.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gradome_tape::{Float, MAX_RANK, Shape};

use super::npy;
use crate::error::{Error, Result};

/// One read takes at most so many bytes, or one row if that is larger.
const WINDOW: usize = 1 << 20;

/// The type of the numbers in a file, little-endian. Integers of 64 bits beyond 2^53 are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    F32,
    F64,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::F64 | Self::U64 | Self::I64 => 8,
        }
    }

    /// Rounds the numbers in `bytes` to `T`.
    fn decode<T: Float>(self, bytes: &[u8], out: &mut [T]) {
        macro_rules! each {
            ($type:ty) => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<{ size_of::<$type>() }>().0) {
                    *out = T::of(<$type>::from_le_bytes(*bytes) as f64);
                }
            };
        }
        match self {
            Self::F32 => each!(f32),
            Self::F64 => each!(f64),
            Self::U8 => each!(u8),
            Self::U16 => each!(u16),
            Self::U32 => each!(u32),
            Self::U64 => each!(u64),
            Self::I8 => each!(i8),
            Self::I16 => each!(i16),
            Self::I32 => each!(i32),
            Self::I64 => each!(i64),
        }
    }
}

/// An array in a file, row-major, of which only the rows that are asked for are read.
///
/// Nothing is mapped and nothing but the header is kept: reading takes a window of 1 MiB, or one row. Clones share the
/// open file; threads may read at the same time.
#[derive(Clone, Debug)]
pub struct ArrayFile {
    path: PathBuf,
    file: Arc<File>,
    dtype: Dtype,
    shape: Shape,
    /// Where the numbers start.
    offset: u64,
}

impl ArrayFile {
    /// Opens a `.npy` file (format versions 1 to 3) of numbers in row-major order. NumPy:
    /// `np.load(path, mmap_mode="r")`.
    ///
    /// # Errors
    /// When the file cannot be opened, is no such file, or holds what cannot be read by rows; the error names the byte
    /// and the field and says what to do.
    pub fn npy(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, size) = open(path)?;
        let header = npy::read_header(path, size, |bytes, at| read_exact_at(&file, bytes, at))?;
        let dtype = header.dtype;
        let shape = row_shape(path, &header.shape)?;
        let array = Self { path: path.to_owned(), file: Arc::new(file), dtype, shape, offset: header.end };
        array.check_size(size, "field 'shape'")
    }

    /// Opens a file of nothing but numbers, little-endian and row-major. NumPy: `np.memmap(path, dtype, shape=shape)`
    /// and `array.tofile(path)`.
    ///
    /// # Errors
    /// When the file cannot be opened or its size is not that of the shape.
    pub fn raw(path: impl AsRef<Path>, dtype: Dtype, shape: &[usize]) -> Result<Self> {
        let path = path.as_ref();
        let (file, size) = open(path)?;
        let shape = row_shape(path, shape)?;
        let array = Self { path: path.to_owned(), file: Arc::new(file), dtype, shape, offset: 0 };
        array.check_size(size, "the shape that was given")
    }

    /// The axis sizes, `[rows, ..]`.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn check_size(self, size: u64, whose: &str) -> Result<Self> {
        let needed = self.shape.len() as u64 * self.dtype.size() as u64;
        let found = size - self.offset;
        if needed == found {
            return Ok(self);
        }
        let (shape, dtype, offset) = (self.shape, self.dtype, self.offset);
        let advice = if found < needed { "the file is truncated, or" } else { "the file holds more, or" };
        let problem = format!(
            "{whose} says {shape} of {dtype:?}, which takes {needed} bytes, but {found} follow byte {offset}; {advice} \
             shape or type are wrong"
        );
        Err(Error::file(&self.path, problem))
    }

    /// Reads the given rows one after the other into `out`.
    pub(super) fn read<T: Float>(&self, rows: &[usize], out: &mut [T]) -> Result<()> {
        let width = self.shape.without(0).len();
        let bytes_per_row = width * self.dtype.size();
        if bytes_per_row == 0 {
            return Ok(());
        }
        // in the order of the file, so that neighbours come with one read
        let mut places: Vec<usize> = (0..rows.len()).collect();
        places.sort_unstable_by_key(|&place| rows[place]);
        let longest = (WINDOW / bytes_per_row).max(1);
        let mut window = Vec::new();
        for run in places.chunk_by(|&a, &b| rows[b] == rows[a] + 1).flat_map(|run| run.chunks(longest)) {
            window.resize(run.len() * bytes_per_row, 0);
            let at = self.offset + rows[run[0]] as u64 * bytes_per_row as u64;
            read_exact_at(&self.file, &mut window, at).map_err(|error| {
                let problem =
                    format!("byte {at}: {} bytes of row {} cannot be read: {error}", window.len(), rows[run[0]]);
                Error::file(&self.path, problem)
            })?;
            for (&place, bytes) in run.iter().zip(window.chunks_exact(bytes_per_row)) {
                self.dtype.decode(bytes, &mut out[place * width..][..width]);
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<(File, u64)> {
    let io = |error: std::io::Error| Error::file(path, format!("cannot be read: {error}"));
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(Error::file(path, "is not a file; give a file of numbers"));
    }
    Ok((file, metadata.len()))
}

/// A shape with an axis of rows whose bytes can be counted.
fn row_shape(path: &Path, sizes: &[usize]) -> Result<Shape> {
    if !(1..=MAX_RANK).contains(&sizes.len()) {
        let problem =
            format!("its shape {sizes:?} has {} axes; expected 1 to {MAX_RANK}, the first of them rows", sizes.len());
        return Err(Error::file(path, problem));
    }
    // no number has more than 16 bytes
    if sizes.iter().try_fold(16_usize, |product, &size| product.checked_mul(size)).is_none() {
        return Err(Error::file(path, format!("its shape {sizes:?} is larger than any memory; the file is damaged")));
    }
    Ok(Shape::new(sizes))
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes = &mut bytes[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}
