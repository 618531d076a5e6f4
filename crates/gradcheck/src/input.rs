//! The point at which a gradient is checked: named arrays with shapes.

use std::fmt;

/// One named array of the point at which a gradient is checked.
///
/// Only inputs that have a gradient are listed; integers, masks and constants stay captured in the
/// closures. Values are in row-major order. Tuples convert, so most calls never name this type:
///
/// ```
/// use gradome_gradcheck::Input;
///
/// let scalar = Input::from(("scale", 2.0));
/// let vector = Input::from(("x", [1.0, 2.0, 3.0]));
/// let matrix = Input::from(("w", [2, 3], vec![0.5; 6]));
/// assert_eq!((scalar.shape.len(), vector.shape[0], matrix.shape[1]), (0, 3, 3));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The name that reports use.
    pub name: String,
    /// Sizes of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values in row-major order, as many as the product of `shape`.
    pub data: Vec<f64>,
}

impl Input {
    /// Names an array of any shape; the check reports a shape that does not fit the data.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, data: impl Into<Vec<f64>>) -> Self {
        Self { name: name.into(), shape: shape.into(), data: data.into() }
    }

    pub(crate) fn place(&self, element: usize) -> Place {
        Place::Element(unravel(&self.shape, element))
    }
}

fn unravel(shape: &[usize], element: usize) -> Vec<usize> {
    let mut rest = element;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let along = rest % size;
            rest /= size;
            along
        })
        .collect();
    index.reverse();
    index
}

impl From<&Input> for Input {
    fn from(input: &Input) -> Self {
        input.clone()
    }
}

impl<N: Into<String>> From<(N, f64)> for Input {
    fn from((name, value): (N, f64)) -> Self {
        Self::new(name, [], [value])
    }
}

impl<N: Into<String>> From<(N, Vec<f64>)> for Input {
    fn from((name, data): (N, Vec<f64>)) -> Self {
        Self::new(name, [data.len()], data)
    }
}

impl<N: Into<String>> From<(N, &[f64])> for Input {
    fn from((name, data): (N, &[f64])) -> Self {
        Self::new(name, [data.len()], data)
    }
}

impl<N: Into<String>, const LEN: usize> From<(N, [f64; LEN])> for Input {
    fn from((name, data): (N, [f64; LEN])) -> Self {
        Self::new(name, [LEN], data)
    }
}

impl<N, S, D> From<(N, S, D)> for Input
where
    N: Into<String>,
    S: Into<Vec<usize>>,
    D: Into<Vec<f64>>,
{
    fn from((name, shape, data): (N, S, D)) -> Self {
        Self::new(name, shape, data)
    }
}

/// Copies a view of any memory layout in logical (row-major) order.
///
/// ```
/// let w = ndarray::array![[1.0, 2.0], [3.0, 4.0]];
/// let transposed = gradome_gradcheck::Input::from(("w", w.t()));
/// assert_eq!(transposed.data, [1.0, 3.0, 2.0, 4.0]);
/// ```
#[cfg(feature = "ndarray")]
impl<N: Into<String>, D: ndarray::Dimension> From<(N, ndarray::ArrayView<'_, f64, D>)> for Input {
    fn from((name, view): (N, ndarray::ArrayView<'_, f64, D>)) -> Self {
        Self::new(name, view.shape(), view.iter().copied().collect::<Vec<_>>())
    }
}

/// Where in an input two derivatives were compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One element, by its index along each axis; empty for a scalar.
    Element(Vec<usize>),
    /// A random direction over the whole input, by its number.
    Probe(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(index) if index.is_empty() => Ok(()),
            Self::Element(index) => write!(f, "{index:?}"),
            Self::Probe(number) => write!(f, " along direction {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unravel;

    #[test]
    fn flat_positions_become_row_major_indices() {
        assert_eq!(unravel(&[2, 3, 4], 23), [1, 2, 3]);
        assert_eq!(unravel(&[2, 3, 4], 5), [0, 1, 1]);
        assert!(unravel(&[], 0).is_empty());
    }
}
