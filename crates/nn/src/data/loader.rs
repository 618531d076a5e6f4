//! Batches of a data set, read ahead.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use gradome_tape::{Float, Tensor};
use serde::{Deserialize, Serialize};

use super::Dataset;
use crate::error::{Error, Result};
use crate::random::epoch_order;

/// How a data set is cut into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Samples a batch. Default 128.
    pub batch_size: usize,
    /// Whether the samples come in a new random order each epoch. Default true.
    pub shuffle: bool,
    /// Whether a last batch with fewer samples is left out. Default false.
    pub drop_last: bool,
    /// How many batches are read ahead, 1 or more. Default 2.
    pub prefetch: usize,
    /// The seed of the order. Default 0.
    pub seed: u64,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { batch_size: 128, shuffle: true, drop_last: false, prefetch: 2, seed: 0 }
    }
}

/// Gives the batches of a data set, epoch by epoch.
///
/// The order of samples depends on seed and epoch alone. At any time the batch in use, the `prefetch` batches ahead and
/// one window of each file are in memory, and 8 bytes for each sample: its number. PyTorch: `utils.data.DataLoader`.
#[derive(Clone, Debug)]
pub struct DataLoader<T: Float> {
    dataset: Arc<Dataset<T>>,
    config: LoaderConfig,
}

/// Some samples of a data set.
#[derive(Clone, Debug)]
pub struct Batch<T: Float> {
    /// Their rows.
    pub rows: Vec<usize>,
    /// `[samples, ..]` each, in the order of the data set's arrays.
    pub arrays: Vec<Tensor<T>>,
}

impl<T: Float> DataLoader<T> {
    /// A loader of a data set.
    ///
    /// # Errors
    /// When a field of the configuration is wrong; the error names it.
    pub fn new(dataset: Dataset<T>, config: LoaderConfig) -> Result<Self> {
        for (field, value) in [("batch_size", config.batch_size), ("prefetch", config.prefetch)] {
            if value == 0 {
                return Err(Error::config(field, "0 is too small; give 1 or more"));
            }
        }
        Ok(Self { dataset: Arc::new(dataset), config })
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset<T> {
        &self.dataset
    }

    /// How many batches an epoch has.
    pub fn batches(&self) -> usize {
        let (rows, size) = (self.dataset.rows(), self.config.batch_size);
        if self.config.drop_last { rows / size } else { rows.div_ceil(size) }
    }

    /// The batches of an epoch, counted from 0; the same at every call.
    ///
    /// An error in reading a file comes as the last item.
    pub fn epoch(&self, epoch: usize) -> Batches<T> {
        let (dataset, config, batches) = (Arc::clone(&self.dataset), self.config, self.batches());
        // one more batch waits in the reader's hands
        let (sender, receiver) = sync_channel(config.prefetch - 1);
        let reader = std::thread::spawn(move || {
            let order = epoch_order(dataset.rows(), config.shuffle, config.seed, epoch);
            for rows in order.chunks(config.batch_size).take(batches) {
                let batch = dataset.batch(rows).map(|arrays| Batch { rows: rows.to_vec(), arrays });
                let failed = batch.is_err();
                // nobody listens any more when the iterator was dropped
                if sender.send(batch).is_err() || failed {
                    break;
                }
            }
        });
        Batches { receiver: Some(receiver), reader: Some(reader) }
    }
}

/// The batches of an epoch; see [`DataLoader::epoch`].
#[derive(Debug)]
pub struct Batches<T: Float> {
    receiver: Option<Receiver<Result<Batch<T>>>>,
    reader: Option<JoinHandle<()>>,
}

impl<T: Float> Iterator for Batches<T> {
    type Item = Result<Batch<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.receiver.as_ref()?.recv() {
            Ok(batch) => Some(batch),
            Err(_) => {
                self.receiver = None;
                // a reader that panicked must not look like one that came to the end
                if let Some(Err(panic)) = self.reader.take().map(JoinHandle::join) {
                    std::panic::resume_unwind(panic);
                }
                None
            }
        }
    }
}

impl<T: Float> Drop for Batches<T> {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(reader) = self.reader.take() {
            // what it read is not wanted any more, and neither is how it ended
            let _ = reader.join();
        }
    }
}
