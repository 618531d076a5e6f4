//! Arrays in memory or in files, and batches of their rows.
//!
//! A [`Dataset`] holds arrays side by side, a row for each sample. A [`DataLoader`] gives its batches epoch by epoch and
//! reads them ahead on a thread of its own; files are read by positions, never as a whole.
//!
//! ```
//! use gradome_nn::data::{DataLoader, Dataset, LoaderConfig};
//! use gradome_tape::Tensor;
//!
//! let x = Tensor::<f32>::from_fn([10, 3], |i| i as f32);
//! let y = Tensor::from_fn([10, 1], |i| i as f32);
//! let data = Dataset::new([("x", x.into()), ("y", y.into())])?;
//! let loader = DataLoader::new(data, LoaderConfig { batch_size: 4, ..LoaderConfig::default() })?;
//! for epoch in 0..2 {
//!     for batch in loader.epoch(epoch) {
//!         let batch = batch?;
//!         let [x, y] = &batch.arrays[..] else { unreachable!("there are two arrays") };
//!         assert_eq!(x.at(&[0, 0]), 3.0 * y.at(&[0, 0]));
//!     }
//! }
//! # Ok::<(), gradome_nn::Error>(())
//! ```
//!
//! The [`Trainer`](crate::Trainer) keeps its own order of examples, so that a run can be resumed in the middle of an
//! epoch; a task takes the rows it is asked for from a [`Dataset`]:
//!
//! ```
//! use gradome_nn::data::{ArrayFile, Dataset};
//! use gradome_nn::trainer::{Loss, Progress, Scores, Task};
//! use gradome_nn::{Linear, ModelCard, ParamStore, Result, Step, Trainer, TrainerConfig};
//! use gradome_tape::Tensor;
//!
//! struct Line { layer: Linear, data: Dataset<f32> }
//!
//! impl Task<f32> for Line {
//!     fn rows(&self) -> usize {
//!         self.data.rows()
//!     }
//!     fn loss<'t>(&self, step: Step<'_, 't, f32>, rows: &[usize], _: &Progress) -> Result<Loss<'t, f32>> {
//!         let batch = self.data.batch(rows)?;
//!         let error = self.layer.forward(step, step.tape.constant(&batch[0])) - step.tape.constant(&batch[1]);
//!         Ok(Loss::new(error.square().mean()))
//!     }
//!     fn validate(&self, _: &ParamStore<f32>) -> Result<Option<Scores>> {
//!         Ok(None)
//!     }
//! }
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("heights.f32");
//! # std::fs::write(&path, [1f32, 3.0, 5.0, 7.0].map(f32::to_le_bytes).concat()).unwrap();
//! let heights = ArrayFile::raw(&path, gradome_nn::data::Dtype::F32, &[4, 1])?;
//! let positions = Tensor::new([4, 1], &[0.0, 1.0, 2.0, 3.0]);
//! let mut store = ParamStore::new(0);
//! let task = Line {
//!     layer: Linear::new(&mut store.scope("line"), 1, 1),
//!     data: Dataset::new([("position", positions.into()), ("height", heights.into())])?,
//! };
//! let config = TrainerConfig { max_epochs: 500, learning_rate: 0.05, ..TrainerConfig::default() };
//! let card = ModelCard { operator: "line".into(), config: Default::default(), metadata: Default::default() };
//! Trainer::new(config, card)?.quiet(true).train(&task, &mut store)?;
//! assert!((store.get(task.layer.weight).item() - 2.0).abs() < 0.05);
//! # Ok::<(), gradome_nn::Error>(())
//! ```

mod file;
mod loader;
mod npy;

use gradome_tape::{Float, Shape, Tensor};

use crate::error::{Error, Result};

pub use file::{ArrayFile, Dtype};
pub use loader::{Batch, Batches, DataLoader, LoaderConfig};

/// An array whose first axis counts samples.
#[derive(Clone, Debug)]
pub enum Array<T: Float> {
    /// In memory.
    Memory(Tensor<T>),
    /// In a file, which is read row by row.
    File(ArrayFile),
}

impl<T: Float> From<Tensor<T>> for Array<T> {
    fn from(tensor: Tensor<T>) -> Self {
        Self::Memory(tensor)
    }
}

impl<T: Float> From<ArrayFile> for Array<T> {
    fn from(file: ArrayFile) -> Self {
        Self::File(file)
    }
}

impl<T: Float> Array<T> {
    /// The axis sizes, `[rows, ..]`.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Memory(tensor) => tensor.shape(),
            Self::File(file) => file.shape(),
        }
    }

    fn read(&self, rows: &[usize], shape: Shape) -> Result<Tensor<T>> {
        let mut out = Tensor::zeros(shape);
        let width = shape.without(0).len();
        match self {
            Self::Memory(tensor) if width > 0 => {
                for (to, &row) in out.data_mut().chunks_exact_mut(width).zip(rows) {
                    to.copy_from_slice(&tensor.data()[row * width..][..width]);
                }
            }
            Self::Memory(_) => {}
            Self::File(file) => file.read(rows, out.data_mut())?,
        }
        Ok(out)
    }
}

/// Named arrays side by side: row i of each belongs to sample i.
#[derive(Clone, Debug)]
pub struct Dataset<T: Float> {
    arrays: Vec<Array<T>>,
    rows: usize,
}

impl<T: Float> Dataset<T> {
    /// Puts arrays side by side.
    ///
    /// # Errors
    /// When there is none, one is a single number without an axis, or the numbers of rows differ; the error names the
    /// array.
    pub fn new<'a>(arrays: impl IntoIterator<Item = (&'a str, Array<T>)>) -> Result<Self> {
        let mut first: Option<(&str, usize)> = None;
        let mut own = Vec::new();
        for (name, array) in arrays {
            let Some(&rows) = array.shape().first() else {
                return Err(Error::data(name, "is a single number; expected an axis of samples"));
            };
            match first {
                Some((other, expected)) if expected != rows => {
                    let problem = format!("has {rows} rows, but {other} has {expected}; give both the same samples");
                    return Err(Error::data(name, problem));
                }
                _ => first = Some((name, rows)),
            }
            own.push(array);
        }
        let Some((_, rows)) = first else { return Err(Error::data("data set", "holds no array; give at least one")) };
        Ok(Self { arrays: own, rows })
    }

    /// The number of samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The arrays, in the order they were given.
    pub fn arrays(&self) -> &[Array<T>] {
        &self.arrays
    }

    /// The given rows of every array, `[rows, ..]` each, in the order of the arrays; rows may repeat.
    ///
    /// # Errors
    /// When a file cannot be read; the error names the file and the byte.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn batch(&self, rows: &[usize]) -> Result<Vec<Tensor<T>>> {
        if let Some(row) = rows.iter().find(|&&row| row >= self.rows) {
            panic!("data set: row {row} of {}", self.rows);
        }
        self.arrays.iter().map(|array| array.read(rows, array.shape().with(0, rows.len()))).collect()
    }
}
