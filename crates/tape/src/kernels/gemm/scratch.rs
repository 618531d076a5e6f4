//! Packing buffers that a thread keeps from one product to the next.

use std::cell::Cell;

use crate::float::Float;
use crate::kernels::buffer::Buffer;

/// The buffers of one precision that no product of this thread is using.
pub(crate) type Shelf<T> = Cell<Vec<Buffer<T>>>;

/// Runs `work` with an array of `len` elements whose values are arbitrary.
///
/// Calls may nest, also when a thread that waits takes up other work: each has a buffer of its own.
pub(crate) fn with_scratch<T: Float, R>(len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    T::shelf().with(|shelf| {
        let mut free = shelf.take();
        let buffer = free.pop();
        shelf.set(free);
        let mut buffer = buffer.filter(|b| b.len() >= len).unwrap_or_else(|| Buffer::zeroed(len));
        let result = work(&mut buffer[..len]);
        let mut free = shelf.take();
        free.push(buffer);
        shelf.set(free);
        result
    })
}
