//! Rectangles of a matrix that tasks write side by side.

use std::marker::PhantomData;

/// A rectangle of a row-major matrix, written by one task.
pub(crate) struct Tile<'a, T> {
    start: *mut T,
    stride: usize,
    rows: usize,
    columns: usize,
    matrix: PhantomData<&'a mut [T]>,
}

// SAFETY: tiles do not overlap, so each is like a mutable slice of its own.
unsafe impl<T: Send> Send for Tile<'_, T> {}

impl<T> Tile<'_, T> {
    /// A row of the rectangle.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "no row {row} in a tile of {}", self.rows);
        // SAFETY: `tiles` made this rectangle inside the matrix and apart from all others; `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.columns) }
    }
}

/// Cuts a matrix of rows of `width` in rectangles of `rows` x `columns` (fewer columns at the right end): bands of rows
/// first, within them from left to right.
///
/// # Panics
/// When the matrix is not made of whole bands.
pub(crate) fn tiles<T>(matrix: &mut [T], width: usize, rows: usize, columns: usize) -> Vec<Tile<'_, T>> {
    let band = rows * width;
    if band == 0 {
        return Vec::new();
    }
    assert_eq!(matrix.len() % band, 0, "a matrix of {} elements has no bands of {band}", matrix.len());
    matrix
        .chunks_exact_mut(band)
        .flat_map(|band| {
            let start = band.as_mut_ptr();
            (0..width).step_by(columns).map(move |left| Tile {
                // SAFETY: `left < width`, within the first row of the band.
                start: unsafe { start.add(left) },
                stride: width,
                rows,
                columns: columns.min(width - left),
                matrix: PhantomData,
            })
        })
        .collect()
}
