//! Arrays aligned to a cache line, handed out and taken back by a pool.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use crate::float::Float;

/// One cache line, and the width of an AVX-512 register, in bytes.
const ALIGNMENT: usize = 64;

/// An aligned array of floats; dropping it gives the memory back to the pool it came from.
pub struct Buffer<T: Float> {
    data: NonNull<T>,
    len: usize,
    capacity: usize,
    pool: Option<Pool<T>>,
}

// SAFETY: a buffer owns its memory alone, as a Vec does, and T is plain data.
unsafe impl<T: Float> Send for Buffer<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Float> Sync for Buffer<T> {}

impl<T: Float> Buffer<T> {
    fn layout(capacity: usize) -> Layout {
        Layout::array::<T>(capacity)
            .and_then(|layout| layout.align_to(ALIGNMENT))
            .unwrap_or_else(|_| panic!("an array of {capacity} elements does not fit in memory"))
    }

    /// A zeroed array that belongs to no pool.
    pub fn zeroed(len: usize) -> Self {
        Self::allocate(len, len)
    }

    /// An array with the values of a slice, that belongs to no pool.
    pub fn from_slice(values: &[T]) -> Self {
        let mut buffer = Self::zeroed(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    fn allocate(len: usize, capacity: usize) -> Self {
        if capacity == 0 {
            return Self { data: NonNull::dangling(), len: 0, capacity: 0, pool: None };
        }
        let layout = Self::layout(capacity);
        // SAFETY: the layout has a non-zero size.
        let raw = unsafe { alloc_zeroed(layout) };
        let Some(data) = NonNull::new(raw.cast::<T>()) else { handle_alloc_error(layout) };
        Self { data, len, capacity, pool: None }
    }
}

impl<T: Float> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.capacity == 0 {
            return;
        }
        match self.pool.take() {
            Some(pool) => pool.give_back(self.data, self.capacity),
            // SAFETY: allocated above with this layout, and dropped once.
            None => unsafe { dealloc(self.data.as_ptr().cast(), Self::layout(self.capacity)) },
        }
    }
}

impl<T: Float> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len <= capacity` elements were initialised (zeroed) at allocation.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T: Float> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

/// The memory of tapes: a free list of buffers by size class, so that a repeated step asks the system for none.
///
/// Clones share one list. Sizes are rounded up to eight classes an octave: at most 1/8 is unused.
#[derive(Clone)]
pub struct Pool<T: Float> {
    shared: Arc<Mutex<Free<T>>>,
}

struct Free<T: Float> {
    /// Lists by the index of the size class.
    by_class: Vec<Vec<NonNull<T>>>,
    created: usize,
}

// SAFETY: the pointers in the list are owned by the list alone.
unsafe impl<T: Float> Send for Free<T> {}

impl<T: Float> Default for Pool<T> {
    fn default() -> Self {
        Self { shared: Arc::new(Mutex::new(Free { by_class: Vec::new(), created: 0 })) }
    }
}

impl<T: Float> Pool<T> {
    /// An array of `len` elements whose values are whatever its last user left.
    pub(crate) fn take(&self, len: usize) -> Buffer<T> {
        if len == 0 {
            return Buffer::zeroed(0);
        }
        let (class, capacity) = size_class(len);
        let reused = {
            let mut free = self.lock();
            let reused = free.by_class.get_mut(class).and_then(Vec::pop);
            if reused.is_none() {
                free.created += 1;
            }
            reused
        };
        let mut buffer = match reused {
            Some(data) => Buffer { data, len, capacity, pool: None },
            None => Buffer::allocate(len, capacity),
        };
        buffer.pool = Some(self.clone());
        buffer
    }

    /// An array of `len` zeros.
    pub(crate) fn take_zeroed(&self, len: usize) -> Buffer<T> {
        let mut buffer = self.take(len);
        buffer.fill(T::ZERO);
        buffer
    }

    /// How many buffers this pool has asked the system for so far.
    pub fn created(&self) -> usize {
        self.lock().created
    }

    fn give_back(&self, data: NonNull<T>, capacity: usize) {
        let (class, _) = size_class(capacity);
        let mut free = self.lock();
        if free.by_class.len() <= class {
            free.by_class.resize_with(class + 1, Vec::new);
        }
        free.by_class[class].push(data);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Free<T>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Float> Drop for Free<T> {
    fn drop(&mut self) {
        for (class, list) in self.by_class.iter().enumerate() {
            for data in list {
                // SAFETY: each was allocated with this class' capacity and is in the list once.
                unsafe { dealloc(data.as_ptr().cast(), Buffer::<T>::layout(class_capacity(class))) };
            }
        }
    }
}

/// The size class that serves `len` elements, by number, and its capacity: multiples of 16 up to 256, then eight
/// classes an octave.
fn size_class(len: usize) -> (usize, usize) {
    let step = (len.next_power_of_two() / 16).max(16);
    let steps = len.div_ceil(step);
    (steps + 8 * (step.trailing_zeros() as usize - 4), steps * step)
}

/// The capacity of a size class.
fn class_capacity(class: usize) -> usize {
    let octave = class.saturating_sub(9) / 8;
    (class - 8 * octave) * (16 << octave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_serves_the_next_request_of_its_class() {
        let pool = Pool::<f32>::default();
        let first = pool.take(1000).as_ptr();
        let again = pool.take(990);
        assert_eq!(again.as_ptr(), first);
        assert_eq!(again.len(), 990);
        assert_eq!(pool.created(), 1);
    }

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        for len in (256..5000).chain([100_000, 1 << 20, (1 << 20) + 1]) {
            let (class, capacity) = size_class(len);
            assert!(capacity >= len && (capacity - len) * 8 <= len, "{len} -> {capacity}");
            assert_eq!(class_capacity(class), capacity, "class {class} of {len}");
            assert_eq!(size_class(capacity), (class, capacity));
        }
    }

    #[test]
    fn a_class_has_one_capacity() {
        let mut capacities = std::collections::BTreeMap::new();
        for len in 1..5000 {
            let (class, capacity) = size_class(len);
            assert_eq!(*capacities.entry(class).or_insert(capacity), capacity, "class {class}");
            assert_eq!(class_capacity(class), capacity, "class {class} of {len}");
        }
    }

    #[test]
    fn buffers_start_at_a_cache_line() {
        assert_eq!(Pool::<f64>::default().take(3).as_ptr() as usize % ALIGNMENT, 0);
    }
}
