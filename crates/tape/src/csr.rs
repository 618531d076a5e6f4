//! The pattern of a sparse matrix by compressed rows.

use std::sync::{Arc, OnceLock};

use thiserror::Error;

/// Which elements of a `[rows, cols]` matrix are stored, row by row; clones share the memory.
///
/// The values are an array of their own, in the same order, so that they may be constants or have a gradient; see
/// [`Var::sparse_matmul`](crate::Var::sparse_matmul). SciPy: `indptr` and `indices` of a `csr_matrix`. Columns need not
/// be sorted; what is stored twice adds up.
///
/// ```
/// use gradome_tape::{Csr, Tape, Tensor};
/// // [[1, 0, 2], [0, 3, 0]]
/// let pattern = Csr::new(2, 3, vec![0, 2, 3], vec![0, 2, 1])?;
/// let tape = Tape::<f32>::new();
/// let values = tape.constant(&Tensor::new([3], &[1.0, 2.0, 3.0]));
/// let x = tape.variable(&Tensor::new([3, 1], &[1.0, 10.0, 100.0]));
/// assert_eq!(values.sparse_matmul(&pattern, x).value().data(), &[201.0, 30.0]);
/// # Ok::<(), gradome_tape::CsrError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Csr {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rows: usize,
    cols: usize,
    indptr: Vec<usize>,
    indices: Vec<u32>,
    transposed: OnceLock<Transposed>,
}

/// The pattern by columns, and where each of its elements stands by rows.
#[derive(Debug)]
pub(crate) struct Transposed {
    pub indptr: Vec<usize>,
    pub indices: Vec<u32>,
    pub origin: Vec<u32>,
}

/// What is wrong with the parts of a sparse matrix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CsrError {
    /// The row starts do not have one entry more than there are rows.
    #[error("a sparse matrix of {rows} rows needs {} row starts, not {found}", rows + 1)]
    RowStarts {
        /// Rows of the matrix.
        rows: usize,
        /// Row starts given.
        found: usize,
    },
    /// The first row does not start at 0.
    #[error("the first row of a sparse matrix starts at {0}, not at 0")]
    FirstRow(usize),
    /// A row ends before it starts.
    #[error("row {row} of a sparse matrix starts at {start} and ends at {end}")]
    RowOrder {
        /// The row.
        row: usize,
        /// Its start.
        start: usize,
        /// Its end.
        end: usize,
    },
    /// The last row does not end where the column indices end.
    #[error("the rows of a sparse matrix end at element {end}, but there are {found} column indices")]
    Elements {
        /// The last row's end.
        end: usize,
        /// Column indices given.
        found: usize,
    },
    /// A column is outside of the matrix.
    #[error("row {row} of a sparse matrix has an element in column {column}, but there are {cols} columns")]
    Column {
        /// The row.
        row: usize,
        /// The column index.
        column: u32,
        /// Columns of the matrix.
        cols: usize,
    },
    /// More elements than indices of 32 bits can number.
    #[error("a sparse matrix with {0} elements is too large: at most 2^32 - 1 can be numbered")]
    TooLarge(usize),
}

impl Csr {
    /// A pattern from row starts (`[rows + 1]`) and column indices (`[elements]`).
    ///
    /// # Errors
    /// When the parts do not describe a matrix: the message says which row is wrong and how.
    pub fn new(rows: usize, cols: usize, indptr: Vec<usize>, indices: Vec<u32>) -> Result<Self, CsrError> {
        if Some(indptr.len()) != rows.checked_add(1) {
            return Err(CsrError::RowStarts { rows, found: indptr.len() });
        }
        if indptr[0] != 0 {
            return Err(CsrError::FirstRow(indptr[0]));
        }
        if let Some(row) = (0..rows).find(|&row| indptr[row + 1] < indptr[row]) {
            return Err(CsrError::RowOrder { row, start: indptr[row], end: indptr[row + 1] });
        }
        if indptr[rows] != indices.len() {
            return Err(CsrError::Elements { end: indptr[rows], found: indices.len() });
        }
        if u32::try_from(indices.len()).is_err() {
            return Err(CsrError::TooLarge(indices.len()));
        }
        if let Some(at) = indices.iter().position(|&column| column as usize >= cols) {
            let row = indptr.partition_point(|&start| start <= at) - 1;
            return Err(CsrError::Column { row, column: indices[at], cols });
        }
        Ok(Self { inner: Arc::new(Inner { rows, cols, indptr, indices, transposed: OnceLock::new() }) })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.inner.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.inner.cols
    }

    /// The number of stored elements.
    pub fn elements(&self) -> usize {
        self.inner.indices.len()
    }

    /// `[rows + 1]` where each row starts, and the end of the last.
    pub fn indptr(&self) -> &[usize] {
        &self.inner.indptr
    }

    /// `[elements]` the columns of the stored elements.
    pub fn indices(&self) -> &[u32] {
        &self.inner.indices
    }

    /// The pattern by columns, built when it is first needed; within a column elements are in the order of rows.
    pub(crate) fn transposed(&self) -> &Transposed {
        self.inner.transposed.get_or_init(|| {
            let mut indptr = vec![0; self.cols() + 1];
            for &column in self.indices() {
                indptr[column as usize + 1] += 1;
            }
            for column in 0..self.cols() {
                indptr[column + 1] += indptr[column];
            }
            let mut next = indptr.clone();
            let (mut indices, mut origin) = (vec![0; self.elements()], vec![0; self.elements()]);
            for row in 0..self.rows() {
                for at in self.indptr()[row]..self.indptr()[row + 1] {
                    let place = &mut next[self.indices()[at] as usize];
                    indices[*place] = row as u32;
                    origin[*place] = at as u32;
                    *place += 1;
                }
            }
            Transposed { indptr, indices, origin }
        })
    }
}
