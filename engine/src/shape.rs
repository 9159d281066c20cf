//! The sizes of a tensor along its axes.

use std::fmt;
use std::ops::Deref;

/// The most axes that a tensor can have.
pub const MAX_RANK: usize = 6;

/// The sizes of a tensor along its axes, outermost first; no axes at all for a scalar.
///
/// ```
/// use neutreno_engine::Shape;
/// let shape = Shape::from([2, 3, 4]);
/// assert_eq!(shape.elements(), 24);
/// assert_eq!(shape.axis(-1), Some(2));
/// assert_eq!(shape.to_string(), "[2, 3, 4]");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    sizes: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The shape with the sizes given.
    ///
    /// # Panics
    /// If there are more than [`MAX_RANK`] axes.
    #[track_caller]
    pub fn new(sizes: &[usize]) -> Shape {
        assert!(sizes.len() <= MAX_RANK, "a tensor has at most {MAX_RANK} axes, not {sizes:?}");
        let mut shape = Shape { sizes: [1; MAX_RANK], rank: sizes.len() };
        shape.sizes[..sizes.len()].copy_from_slice(sizes);
        shape
    }

    /// The number of elements: the product of the sizes.
    ///
    /// # Panics
    /// If it is more than a `usize` holds.
    #[track_caller]
    pub fn elements(&self) -> usize {
        product(self)
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The axis meant by `axis`, which counts from the end if negative; `None` if there is none.
    pub fn axis(&self, axis: isize) -> Option<usize> {
        let axis = if axis < 0 { axis + self.rank as isize } else { axis };
        (0..self.rank as isize).contains(&axis).then_some(axis as usize)
    }

    /// The same for the method of that name, which can not do without the axis.
    ///
    /// # Panics
    /// At the caller's line, if there is none.
    #[track_caller]
    pub(crate) fn resolve(&self, axis: isize, name: &str) -> usize {
        // Not in a closure: a panic there would name this line.
        let Some(resolved) = self.axis(axis) else {
            panic!("{name}: there is no axis {axis} in {self}");
        };
        resolved
    }

    /// The size of the last axis, and 1 for a scalar.
    pub fn last(&self) -> usize {
        self.iter().last().copied().unwrap_or(1)
    }

    /// How many rows of the last axis there are.
    ///
    /// # Panics
    /// As [`Shape::elements`].
    #[track_caller]
    pub fn rows(&self) -> usize {
        product(&self[..self.rank.saturating_sub(1)])
    }

    /// Sizes before, at and after `axis`: any reduction over it is a loop over these three.
    ///
    /// # Panics
    /// As [`Shape::elements`].
    #[track_caller]
    pub fn around(&self, axis: usize) -> (usize, usize, usize) {
        (product(&self[..axis]), self[axis], product(&self[axis + 1..]))
    }

    /// The sizes of a shape of three axes: that of an op which works along the middle one.
    pub(crate) fn three_axes(&self) -> Result<[usize; 3], String> {
        match self[..] {
            [before, count, after] => Ok([before, count, after]),
            _ => Err(format!("{self} does not have three axes: before, along and after")),
        }
    }

    /// How many elements apart neighbours along each axis lie.
    pub fn strides(&self) -> Shape {
        let mut strides = *self;
        let mut step = 1;
        for axis in (0..self.rank).rev() {
            strides.sizes[axis] = step;
            // Only where there are no elements to step over can it be too large.
            step = step.saturating_mul(self.sizes[axis]);
        }
        strides
    }

    /// The same axes with the size of one of them changed.
    pub fn with(&self, axis: usize, size: usize) -> Shape {
        let mut shape = *self;
        shape.sizes[..self.rank][axis] = size;
        shape
    }

    /// The shape that both fit when axes of size 1, and axes missing on the left, are repeated;
    /// `None` if they do not fit.
    ///
    /// ```
    /// # use neutreno_engine::Shape;
    /// let fit = Shape::from([4, 1, 3]).broadcast(&Shape::from([5, 3]));
    /// assert_eq!(fit, Some(Shape::from([4, 5, 3])));
    /// assert_eq!(Shape::from([4]).broadcast(&Shape::from([3])), None);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank.max(other.rank);
        let (left, right) = (self.padded(rank), other.padded(rank));
        let mut shape = left;
        for axis in 0..rank {
            shape.sizes[axis] = match (left[axis], right[axis]) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(shape)
    }

    /// The shape with axes of size 1 put before the first, to `rank` axes in all.
    pub fn padded(&self, rank: usize) -> Shape {
        let mut shape = Shape::new(&[1; MAX_RANK][..rank]);
        shape.sizes[rank - self.rank..rank].copy_from_slice(self);
        shape
    }
}

#[track_caller]
fn product(sizes: &[usize]) -> usize {
    if sizes.contains(&0) {
        return 0;
    }
    match sizes.iter().try_fold(1, |product: usize, size| product.checked_mul(*size)) {
        Some(product) => product,
        None => panic!("{sizes:?} are more elements than can be counted"),
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.sizes[..self.rank]
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    #[track_caller]
    fn from(sizes: [usize; N]) -> Shape {
        Shape::new(&sizes)
    }
}

impl From<&[usize]> for Shape {
    #[track_caller]
    fn from(sizes: &[usize]) -> Shape {
        Shape::new(sizes)
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        *shape
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}", &self[..])
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_elements_are_none_whatever_the_other_sizes() {
        let shape = Shape::from([1 << 40, 1 << 40, 0]);
        assert_eq!(shape.elements(), 0);
        assert_eq!(shape.strides()[0], 0);
    }

    #[test]
    #[should_panic(expected = "[4294967296, 4294967296] are more elements than can be counted")]
    fn a_shape_that_can_not_be_counted_is_refused() {
        Shape::from([1 << 32, 1 << 32]).elements();
    }
}
