//! Matrices of cells by features: sparse rows, or dense where most values are set.

/// A compressed sparse row matrix.
///
/// Within a row the column indices rise strictly and no stored value is zero, so two matrices
/// with the same values are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct CsrMatrix {
    rows: usize,
    columns: usize,
    indptr: Vec<usize>,
    indices: Vec<u32>,
    data: Vec<f32>,
}

impl CsrMatrix {
    /// Builds a matrix from the three arrays of the CSR form.
    ///
    /// Columns may come in any order; entries of one place are summed and zeros dropped, as SciPy does.
    ///
    /// # Errors
    /// Says which array breaks which rule: `indptr` starts at 0, never falls and ends at the number
    /// of entries; `indices` are below `columns`.
    pub fn new(
        rows: usize,
        columns: usize,
        indptr: Vec<usize>,
        indices: Vec<u32>,
        data: Vec<f32>,
    ) -> Result<Self, String> {
        if indptr.len() != rows.saturating_add(1) {
            return Err(format!("indptr has {} entries, {rows} rows need one more than rows", indptr.len()));
        }
        if indices.len() != data.len() {
            return Err(format!("{} indices but {} values", indices.len(), data.len()));
        }
        if indptr[0] != 0 || indptr[rows] != data.len() {
            return Err(format!(
                "indptr runs from {} to {}, it must run from 0 to the number of entries {}",
                indptr[0],
                indptr[rows],
                data.len()
            ));
        }
        if let Some(row) = (0..rows).find(|&row| indptr[row + 1] < indptr[row]) {
            return Err(format!("indptr falls from {} to {} at row {row}", indptr[row], indptr[row + 1]));
        }
        if let Some(at) = indices.iter().position(|&index| index as usize >= columns) {
            return Err(format!("index {} at entry {at} is outside the {columns} columns", indices[at]));
        }
        let mut matrix = Self { rows, columns, indptr, indices, data };
        if !matrix.is_canonical() {
            matrix.canonicalise();
        }
        Ok(matrix)
    }

    fn is_canonical(&self) -> bool {
        self.data.iter().all(|&value| value != 0.0)
            && (0..self.rows).all(|row| self.row(row).0.is_sorted_by(|a, b| a < b))
    }

    /// Sorts each row, sums repeated places, drops zeros.
    fn canonicalise(&mut self) {
        let mut indptr = Vec::with_capacity(self.rows + 1);
        indptr.push(0);
        let mut row_entries: Vec<(u32, f32)> = Vec::new();
        let mut kept = 0;
        for row in 0..self.rows {
            let range = self.indptr[row]..self.indptr[row + 1];
            row_entries.clear();
            row_entries.extend(range.map(|entry| (self.indices[entry], self.data[entry])));
            row_entries.sort_by_key(|entry| entry.0);
            row_entries.dedup_by(|next, first| {
                let same = next.0 == first.0;
                if same {
                    first.1 += next.1;
                }
                same
            });
            for &(column, value) in row_entries.iter().filter(|entry| entry.1 != 0.0) {
                self.indices[kept] = column;
                self.data[kept] = value;
                kept += 1;
            }
            indptr.push(kept);
        }
        self.indices.truncate(kept);
        self.data.truncate(kept);
        self.indptr = indptr;
    }

    /// Number of rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Number of stored, non-zero values.
    pub fn nnz(&self) -> usize {
        self.data.len()
    }

    /// Start of each row in `indices` and `data`, and the end of the last: `[rows + 1]`.
    pub fn indptr(&self) -> &[usize] {
        &self.indptr
    }

    /// Column of each stored value.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The stored values.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Columns and values of one row.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.indptr[row]..self.indptr[row + 1];
        (&self.indices[range.clone()], &self.data[range])
    }

    /// Puts matrices of `rows` rows beside one another.
    pub(crate) fn beside(rows: usize, parts: &[Self]) -> Self {
        let mut joined = CsrBuilder::new(parts.iter().map(|part| part.columns).sum());
        for row in 0..rows {
            let mut offset = 0;
            let mut entries = Vec::new();
            for part in parts {
                let (columns, values) = part.row(row);
                entries.extend(columns.iter().map(|column| column + offset).zip(values.iter().copied()));
                offset += part.columns as u32;
            }
            joined.push_sparse(entries.into_iter());
        }
        joined.finish()
    }

    /// Turns rows into columns by one counting pass.
    #[must_use]
    pub fn transpose(&self) -> Self {
        let mut indptr = vec![0; self.columns + 1];
        for &column in &self.indices {
            indptr[column as usize + 1] += 1;
        }
        for column in 0..self.columns {
            indptr[column + 1] += indptr[column];
        }
        let mut next = indptr.clone();
        let mut indices = vec![0; self.nnz()];
        let mut data = vec![0.0; self.nnz()];
        for row in 0..self.rows {
            let (columns, values) = self.row(row);
            for (&column, &value) in columns.iter().zip(values) {
                let slot = &mut next[column as usize];
                indices[*slot] = row as u32;
                data[*slot] = value;
                *slot += 1;
            }
        }
        Self { rows: self.columns, columns: self.rows, indptr, indices, data }
    }
}

/// Collects a sparse matrix row by row.
#[derive(Debug)]
pub(crate) struct CsrBuilder {
    matrix: CsrMatrix,
}

impl CsrBuilder {
    pub(crate) fn new(columns: usize) -> Self {
        Self { matrix: CsrMatrix { rows: 0, columns, indptr: vec![0], indices: Vec::new(), data: Vec::new() } }
    }

    /// Adds a row given as `[columns]` dense values.
    pub(crate) fn push_dense(&mut self, row: &[f32]) {
        self.push_sparse(row.iter().enumerate().map(|(column, &value)| (column as u32, value)));
    }

    /// Adds a row whose columns rise; zeros are dropped.
    pub(crate) fn push_sparse(&mut self, row: impl Iterator<Item = (u32, f32)>) {
        for (column, value) in row.filter(|entry| entry.1 != 0.0) {
            self.matrix.indices.push(column);
            self.matrix.data.push(value);
        }
        self.matrix.indptr.push(self.matrix.data.len());
        self.matrix.rows += 1;
    }

    pub(crate) fn finish(self) -> CsrMatrix {
        self.matrix
    }

    /// Sparse if at most `DENSE_FROM` of the values are set, else dense.
    pub(crate) fn finish_as_matrix(self) -> Matrix {
        let csr = self.finish();
        let places = (csr.rows * csr.columns) as f64;
        if csr.nnz() as f64 <= DENSE_FROM * places { Matrix::Sparse(csr) } else { Matrix::Sparse(csr).into_dense() }
    }
}

/// A sparse value takes an index and a value, twice the room of a dense one.
const DENSE_FROM: f64 = 0.5;

/// A matrix of single-precision values, `[rows, columns]`; in a modality `[cells, features]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Matrix {
    /// Row-major values.
    Dense {
        /// Number of rows.
        rows: usize,
        /// Number of columns.
        columns: usize,
        /// `[rows, columns]`, row by row.
        data: Vec<f32>,
    },
    /// Compressed sparse rows.
    Sparse(CsrMatrix),
}

impl Matrix {
    /// Wraps row-major values.
    ///
    /// # Panics
    /// If `data` does not hold `rows * columns` values.
    pub fn dense(rows: usize, columns: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * columns, "dense matrix: {rows} x {columns} does not fit {} values", data.len());
        Self::Dense { rows, columns, data }
    }

    /// Number of rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Dense { rows, columns, .. } => (*rows, *columns),
            Self::Sparse(csr) => csr.shape(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape().0
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.shape().1
    }

    /// Number of values that are not zero.
    pub fn nnz(&self) -> usize {
        match self {
            Self::Dense { data, .. } => data.iter().filter(|&&value| value != 0.0).count(),
            Self::Sparse(csr) => csr.nnz(),
        }
    }

    /// The non-zero places of a row as (column, value), columns rising.
    pub fn row_entries(&self, row: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let (dense, sparse) = match self {
            Self::Dense { columns, data, .. } => {
                let values = &data[row * columns..(row + 1) * columns];
                (Some(values.iter().copied().enumerate().filter(|entry| entry.1 != 0.0)), None)
            }
            Self::Sparse(csr) => {
                let (columns, values) = csr.row(row);
                (None, Some(columns.iter().map(|&column| column as usize).zip(values.iter().copied())))
            }
        };
        dense.into_iter().flatten().chain(sparse.into_iter().flatten())
    }

    /// Writes a row into `out`, `[columns]`, zeros included.
    ///
    /// # Panics
    /// If `out` is not as long as a row.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns(), "read_row: out has another length than a row");
        match self {
            Self::Dense { columns, data, .. } => out.copy_from_slice(&data[row * columns..(row + 1) * columns]),
            Self::Sparse(_) => {
                out.fill(0.0);
                for (column, value) in self.row_entries(row) {
                    out[column] = value;
                }
            }
        }
    }

    /// The sum of each row, `[rows]`: the depth of a cell if values are counts.
    pub fn row_sums(&self) -> Vec<f64> {
        // From +0: `sum` starts at -0, which an empty cell would keep.
        let sum = |row| self.row_entries(row).fold(0.0, |sum, entry| sum + f64::from(entry.1));
        (0..self.rows()).map(sum).collect()
    }

    /// The sum of each column, `[columns]`.
    pub fn column_sums(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.columns()];
        for row in 0..self.rows() {
            for (column, value) in self.row_entries(row) {
                sums[column] += f64::from(value);
            }
        }
        sums
    }

    /// Rows in the given order; an index may repeat.
    ///
    /// # Panics
    /// If an index is not a row.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        match self {
            Self::Dense { columns, data, .. } => {
                let picked = rows.iter().flat_map(|&row| &data[row * columns..(row + 1) * columns]).copied();
                Self::Dense { rows: rows.len(), columns: *columns, data: picked.collect() }
            }
            Self::Sparse(csr) => {
                let mut picked = CsrBuilder::new(csr.columns);
                for &row in rows {
                    let (columns, values) = csr.row(row);
                    picked.push_sparse(columns.iter().copied().zip(values.iter().copied()));
                }
                Self::Sparse(picked.finish())
            }
        }
    }

    /// Columns in the given order, each at most once.
    ///
    /// # Panics
    /// If an index is not a column or repeats.
    #[must_use]
    pub fn select_columns(&self, columns: &[usize]) -> Self {
        let mut place = vec![u32::MAX; self.columns()];
        for (new, &old) in columns.iter().enumerate() {
            assert_eq!(place[old], u32::MAX, "select_columns: column {old} is chosen twice");
            place[old] = new as u32;
        }
        match self {
            Self::Dense { rows, columns: width, data } => {
                let picked = (0..*rows).flat_map(|row| columns.iter().map(move |&column| data[row * width + column]));
                Self::Dense { rows: *rows, columns: columns.len(), data: picked.collect() }
            }
            Self::Sparse(csr) => {
                let mut picked = CsrBuilder::new(columns.len());
                let mut entries: Vec<(u32, f32)> = Vec::new();
                for row in 0..csr.rows {
                    let (old, values) = csr.row(row);
                    entries.clear();
                    entries.extend(old.iter().zip(values).map(|(&old, &value)| (place[old as usize], value)));
                    entries.retain(|entry| entry.0 != u32::MAX);
                    entries.sort_unstable_by_key(|entry| entry.0);
                    picked.push_sparse(entries.iter().copied());
                }
                Self::Sparse(picked.finish())
            }
        }
    }

    /// The same values as row-major storage.
    #[must_use]
    pub fn into_dense(self) -> Self {
        match self {
            Self::Dense { .. } => self,
            Self::Sparse(_) => {
                let (rows, columns) = self.shape();
                let data = self.to_row_major();
                Self::Dense { rows, columns, data }
            }
        }
    }

    /// The same values as compressed sparse rows.
    #[must_use]
    pub fn into_sparse(self) -> CsrMatrix {
        match self {
            Self::Sparse(csr) => csr,
            Self::Dense { rows, columns, data } => {
                let mut builder = CsrBuilder::new(columns);
                for row in 0..rows {
                    builder.push_dense(&data[row * columns..(row + 1) * columns]);
                }
                builder.finish()
            }
        }
    }

    /// All values row by row, `[rows, columns]`.
    pub fn to_row_major(&self) -> Vec<f32> {
        let (rows, columns) = self.shape();
        let mut data = vec![0.0; rows * columns];
        for row in 0..rows {
            self.read_row(row, &mut data[row * columns..(row + 1) * columns]);
        }
        data
    }
}
