//! An array with a shape, shared without copies.

use std::fmt;
use std::sync::Arc;

use crate::float::Float;
use crate::kernels::buffer::Buffer;
use crate::shape::Shape;

/// A row-major array with a shape; clones share the memory.
///
/// ```
/// use gradome_tape::Tensor;
/// let m = Tensor::<f32>::new([2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// assert_eq!(m.at(&[1, 0]), 4.0);
/// ```
#[derive(Clone)]
pub struct Tensor<T: Float> {
    shape: Shape,
    data: Arc<Buffer<T>>,
}

impl<T: Float> Tensor<T> {
    /// An array with the given values in row-major order.
    ///
    /// # Panics
    /// When the number of values is not the product of the sizes.
    pub fn new(shape: impl Into<Shape>, values: &[T]) -> Self {
        let shape = shape.into();
        assert_eq!(shape.len(), values.len(), "a tensor of shape {shape} does not hold {} values", values.len());
        Self::from_buffer(shape, Buffer::from_slice(values))
    }

    /// An array filled with one value.
    pub fn full(shape: impl Into<Shape>, value: T) -> Self {
        let shape = shape.into();
        let mut data = Buffer::zeroed(shape.len());
        if value != T::ZERO {
            data.fill(value);
        }
        Self::from_buffer(shape, data)
    }

    /// An array of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
        Self::full(shape, T::ZERO)
    }

    /// An array whose element number `i` (row-major) is `f(i)`.
    pub fn from_fn(shape: impl Into<Shape>, f: impl FnMut(usize) -> T) -> Self {
        let shape = shape.into();
        let mut data = Buffer::zeroed(shape.len());
        for (slot, value) in data.iter_mut().zip((0..).map(f)) {
            *slot = value;
        }
        Self::from_buffer(shape, data)
    }

    /// A single number.
    pub fn scalar(value: T) -> Self {
        Self::full(Shape::scalar(), value)
    }

    /// An array with the values of a slice of f64, rounded to this precision.
    ///
    /// # Panics
    /// When the number of values is not the product of the sizes.
    pub fn from_f64(shape: impl Into<Shape>, values: &[f64]) -> Self {
        let shape = shape.into();
        assert_eq!(shape.len(), values.len(), "a tensor of shape {shape} does not hold {} values", values.len());
        Self::from_fn(shape, |i| T::of(values[i]))
    }

    pub(crate) fn from_buffer(shape: Shape, data: Buffer<T>) -> Self {
        Self::from_shared(shape, Arc::new(data))
    }

    pub(crate) fn from_shared(shape: Shape, data: Arc<Buffer<T>>) -> Self {
        debug_assert_eq!(shape.len(), data.len());
        Self { shape, data }
    }

    pub(crate) fn share(&self) -> &Arc<Buffer<T>> {
        &self.data
    }

    /// The axis sizes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The values, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The values, to change; copied first when another handle shares them.
    pub fn data_mut(&mut self) -> &mut [T] {
        if Arc::get_mut(&mut self.data).is_none() {
            self.data = Arc::new(Buffer::from_slice(&self.data));
        }
        Arc::get_mut(&mut self.data).expect("the copy made above has one owner")
    }

    /// The values widened to f64.
    pub fn to_f64(&self) -> Vec<f64> {
        self.data.iter().map(|v| v.to_f64()).collect()
    }

    /// The same values in another precision.
    pub fn cast<U: Float>(&self) -> Tensor<U> {
        Tensor::from_fn(self.shape, |i| U::of(self.data[i].to_f64()))
    }

    /// The same values under another shape.
    ///
    /// # Panics
    /// When the number of elements differs.
    pub fn reshaped(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.len(), self.shape.len(), "reshape: {} to {shape}: element counts differ", self.shape);
        Self { shape, data: Arc::clone(&self.data) }
    }

    /// The only element.
    ///
    /// # Panics
    /// When there is not exactly one element.
    pub fn item(&self) -> T {
        assert_eq!(self.data.len(), 1, "item: shape {} does not hold one element", self.shape);
        self.data[0]
    }

    /// The element at an index per axis.
    ///
    /// # Panics
    /// When the index does not fit the shape.
    pub fn at(&self, index: &[usize]) -> T {
        assert_eq!(index.len(), self.shape.rank(), "at: index {index:?} into shape {}", self.shape);
        let strides = self.shape.strides();
        let mut offset = 0;
        for (axis, &i) in index.iter().enumerate() {
            assert!(i < self.shape[axis], "at: index {index:?} is outside of shape {}", self.shape);
            offset += i * strides[axis];
        }
        self.data[offset]
    }
}

impl<T: Float> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        write!(f, "Tensor<{}>{} {:?}", T::NAME, self.shape, &self.data[..self.data.len().min(SHOWN)])?;
        if self.data.len() > SHOWN { write!(f, "…") } else { Ok(()) }
    }
}

impl<T: Float> PartialEq for Tensor<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.data() == other.data()
    }
}
