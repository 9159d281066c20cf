// 4. Strides
//
// A tensor lies in memory as one line of numbers. Its strides say how far apart
// neighbours lie along each axis: an element's place is the sum of index · stride over
// all axes. So a transposed tensor needs no copy: the same memory is seen with other
// strides.
//
// Mend the three functions below.

#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl View {
    /// A view of numbers in row-major order: along the last axis neighbours lie side by side.
    pub fn new(shape: &[usize]) -> View {
        let mut strides = vec![1; shape.len()];
        // SOLUTION
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        // INSTEAD
        // for axis in 1..shape.len() {
        //     strides[axis] = strides[axis - 1] * shape[axis - 1];
        // }
        // END
        View { shape: shape.to_vec(), strides }
    }

    /// Where in memory the element of this index lies.
    pub fn place(&self, index: &[usize]) -> usize {
        // SOLUTION
        index.iter().zip(&self.strides).map(|(index, stride)| index * stride).sum()
        // INSTEAD
        // let mut place = 0;
        // for (index, size) in index.iter().zip(&self.shape) {
        //     place = place * size + index;
        // }
        // place
        // END
    }

    /// The same memory with two axes exchanged.
    pub fn transposed(&self, a: usize, b: usize) -> View {
        let mut view = self.clone();
        view.shape.swap(a, b);
        // SOLUTION
        view.strides.swap(a, b);
        // INSTEAD
        // view.strides = View::new(&view.shape).strides;
        // END
        view
    }
}

// HINT
// In the shape [2, 3] a step along the last axis is 1. A step along the first skips a
// row: how many numbers is that? Go through the axes from the last to the first.
// HINT
// `place` may use nothing but index and strides, or it is wrong for a transposed view.
// And `transposed` moves no numbers: whatever belonged to axis a belongs to axis b
// now.
