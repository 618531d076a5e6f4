//! Shapes of up to six axes, row-major, kept inline so that recording an op allocates nothing for them.

use std::fmt;
use std::ops::Deref;

/// The largest number of axes a [`Shape`] can have.
pub const MAX_RANK: usize = 6;

/// The sizes of an array's axes, outermost first (row-major); a scalar has none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    sizes: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape with the given axis sizes.
    ///
    /// # Panics
    /// When there are more than [`MAX_RANK`] axes.
    pub fn new(sizes: &[usize]) -> Self {
        assert!(sizes.len() <= MAX_RANK, "a shape has at most {MAX_RANK} axes, not {}", sizes.len());
        let mut all = [1; MAX_RANK];
        all[..sizes.len()].copy_from_slice(sizes);
        Self { sizes: all, rank: sizes.len() as u8 }
    }

    /// The shape of a single number.
    pub fn scalar() -> Self {
        Self::new(&[])
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The number of elements: the product of the axis sizes, 1 for a scalar.
    pub fn len(&self) -> usize {
        self.iter().product()
    }

    /// Whether there is no element (some axis has size 0).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the last axis, 1 for a scalar.
    pub fn last_size(&self) -> usize {
        self.last().copied().unwrap_or(1)
    }

    /// The position of an axis given from the front (`0..rank`) or, negative, from the back.
    ///
    /// # Panics
    /// When there is no such axis; the message names `op`.
    pub fn axis(&self, axis: isize, op: &str) -> usize {
        let rank = self.rank() as isize;
        let at = if axis < 0 { axis + rank } else { axis };
        assert!((0..rank).contains(&at), "{op}: no axis {axis} in shape {self}");
        at as usize
    }

    /// The same shape with the size of one axis replaced.
    pub fn with(&self, axis: usize, size: usize) -> Self {
        let mut out = *self;
        out.sizes[axis] = size;
        out
    }

    /// The same shape without one axis.
    pub fn without(&self, axis: usize) -> Self {
        let mut sizes: smallvec::SmallVec<[usize; MAX_RANK]> = self.iter().copied().collect();
        sizes.remove(axis);
        Self::new(&sizes)
    }

    /// The same shape with a new axis before position `axis`.
    pub fn inserted(&self, axis: usize, size: usize) -> Self {
        let mut sizes: smallvec::SmallVec<[usize; MAX_RANK + 1]> = self.iter().copied().collect();
        sizes.insert(axis, size);
        Self::new(&sizes)
    }

    /// The elements before, along and after one axis: an index is `(before, at, after)`.
    pub fn split_at_axis(&self, axis: usize) -> (usize, usize, usize) {
        (self[..axis].iter().product(), self[axis], self[axis + 1..].iter().product())
    }

    /// The row-major strides.
    pub fn strides(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for axis in (0..self.rank()).rev() {
            strides[axis] = step;
            step *= self.sizes[axis];
        }
        strides
    }

    /// The common shape of two operands, as NumPy broadcasts: aligned at the last axis, sizes equal or 1.
    ///
    /// # Panics
    /// When the shapes do not broadcast; the message names `op` and both shapes.
    pub fn broadcast(&self, other: &Self, op: &str) -> Self {
        if self == other {
            return *self;
        }
        let rank = self.rank().max(other.rank());
        let mut out = Self { sizes: [1; MAX_RANK], rank: rank as u8 };
        for back in 1..=rank {
            let size = |s: &Self| if back <= s.rank() { s.sizes[s.rank() - back] } else { 1 };
            let (a, b) = (size(self), size(other));
            assert!(a == b || a == 1 || b == 1, "{op}: {self} x {other}: shapes do not broadcast");
            out.sizes[rank - back] = if a == 1 { b } else { a };
        }
        out
    }

    /// Strides that read an array of this shape as if it had the larger shape `to`; 0 along repeated axes.
    pub(crate) fn strides_in(&self, to: &Self) -> [usize; MAX_RANK] {
        let own = self.strides();
        let mut strides = [0; MAX_RANK];
        let lead = to.rank() - self.rank();
        for axis in 0..self.rank() {
            if self.sizes[axis] != 1 {
                strides[axis + lead] = own[axis];
            }
        }
        strides
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.sizes[..self.rank as usize]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Self::new(sizes)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Self::new(&sizes)
    }
}

impl From<usize> for Shape {
    fn from(size: usize) -> Self {
        Self::new(&[size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_aligns_at_the_last_axis() {
        let a = Shape::new(&[4, 1, 3]);
        let b = Shape::new(&[5, 1]);
        assert_eq!(&*a.broadcast(&b, "add"), &[4, 5, 3]);
        assert_eq!(b.strides_in(&Shape::new(&[4, 5, 3])), [0, 1, 0, 0, 0, 0]);
    }

    #[test]
    #[should_panic(expected = "add: [2, 3] x [2, 4]: shapes do not broadcast")]
    fn shapes_that_do_not_broadcast_are_named() {
        Shape::new(&[2, 3]).broadcast(&Shape::new(&[2, 4]), "add");
    }
}
