//! What elementwise ops of several operands share: operands of different shapes are repeated along
//! axes of size 1 and along axes missing on the left, as in NumPy.

use crate::device::cpu::simd::for_chunks;
use crate::device::{Cost, View, ViewMut};
use crate::gpu::{Binding, Recorder, Uniform};
use crate::proof::{Case, Proven};
use crate::shape::MAX_RANK;
use crate::{Shape, uniforms};

/// The common shape of the operands.
pub(super) fn shapes(inputs: &[Shape]) -> Result<Vec<Shape>, String> {
    let shape = common(inputs);
    shape.map(|shape| vec![shape]).ok_or_else(|| "the shapes do not broadcast".into())
}

fn common(inputs: &[Shape]) -> Option<Shape> {
    inputs[1..].iter().try_fold(inputs[0], |shape, input| shape.broadcast(input))
}

/// One operation for each element.
pub(super) fn cost(inputs: &[Shape]) -> Cost {
    let elements = common(inputs).map_or(0, |shape| shape.elements());
    let read: usize = inputs.iter().map(|input| input.elements()).sum();
    Cost::elementwise(elements, 1, read + elements)
}

/// Records a broadcasting shader.
pub(super) fn dispatch(
    entry_point: &str,
    inputs: &[Binding],
    outputs: &[Binding],
    gpu: &mut Recorder,
) {
    let (inputs, output): (Vec<&Binding>, _) = (inputs.iter().collect(), &outputs[0]);
    let uniforms = uniforms(&output.shape, &inputs);
    let elements = output.shape.elements();
    gpu.dispatch_elements(entry_point, &inputs, &[output], &uniforms, elements);
}

/// Equal shapes and every way of repeating an operand.
pub(super) const SHAPES: [(&[usize], &[usize]); 9] = [
    (&[1], &[1]),
    (&[17], &[17]),
    (&[3, 5], &[5]),
    (&[5], &[3, 5]),
    (&[2, 3, 1], &[1, 4]),
    (&[3, 1, 2], &[3, 2, 2]),
    (&[4, 3], &[]),
    (&[65, 257], &[257]),
    (&[63, 1, 65], &[1, 7, 1]),
];

/// These shapes with the right operand in [low, high).
pub(super) fn cases<O: Proven + Clone>(op: impl Fn() -> O, [low, high]: [f32; 2]) -> Vec<Case> {
    let case = |(a, b)| Case::new(format!("{a:?} and {b:?}"), op()).input(a).between(b, low, high);
    SHAPES.map(case).into()
}

/// How far apart, in `operand`, neighbours along each axis of `shape` lie: 0 where it is repeated.
fn strides(operand: &Shape, shape: &Shape) -> Shape {
    let padded = operand.padded(shape.rank());
    let mut strides = padded.strides();
    for axis in 0..shape.rank() {
        if padded[axis] == 1 {
            strides = strides.with(axis, 0);
        }
    }
    strides
}

/// output = f(left, right), element by element.
pub(super) fn zip(
    output: &mut ViewMut,
    left: &View,
    right: &View,
    f: impl Fn(f32, f32) -> f32 + Sync,
) {
    let shape = output.shape;
    let [l, r] = [left.data, right.data];
    if left.shape == right.shape {
        return for_chunks(output, |start, chunk| {
            let operands = l[start..].iter().zip(&r[start..]);
            chunk.iter_mut().zip(operands).for_each(|(y, (a, b))| *y = f(*a, *b));
        });
    }
    let walk = Walk::new(&shape, [&left.shape, &right.shape]);
    for_chunks(output, |start, chunk| {
        walk.runs(start, chunk.len(), |at, [a, b], count| {
            let chunk = &mut chunk[at..at + count];
            match walk.inner {
                [1, 1] => {
                    let operands = l[a..].iter().zip(&r[b..]);
                    chunk.iter_mut().zip(operands).for_each(|(y, (a, b))| *y = f(*a, *b));
                }
                [1, _] => chunk.iter_mut().zip(&l[a..]).for_each(|(y, a)| *y = f(*a, r[b])),
                [_, 1] => chunk.iter_mut().zip(&r[b..]).for_each(|(y, b)| *y = f(l[a], *b)),
                _ => chunk.fill(f(l[a], r[b])),
            }
        });
    });
}

/// The walk through operands in the order of the output, in runs along the last axis.
pub(super) struct Walk<const OPERANDS: usize> {
    shape: Shape,
    strides: [Shape; OPERANDS],
    /// The strides along the last axis: 1, or 0 where an operand is repeated.
    pub inner: [usize; OPERANDS],
}

impl<const OPERANDS: usize> Walk<OPERANDS> {
    pub fn new(shape: &Shape, operands: [&Shape; OPERANDS]) -> Walk<OPERANDS> {
        // Axes of size 1 go: at the end, they would cut the walk into runs of one element.
        let long = |sizes: Shape| {
            let kept = sizes.iter().zip(shape.iter()).filter(|(_, along)| **along != 1);
            Shape::new(&kept.map(|(size, _)| *size).collect::<Vec<_>>())
        };
        let strides = operands.map(|operand| long(strides(operand, shape)));
        let inner = strides.map(|strides| strides.iter().last().copied().unwrap_or(0));
        Walk { shape: long(*shape), strides, inner }
    }

    /// Calls `body(position in the chunk, positions in the operands, count)` for each run.
    #[inline(always)]
    pub fn runs(
        &self,
        start: usize,
        count: usize,
        mut body: impl FnMut(usize, [usize; OPERANDS], usize),
    ) {
        let width = self.shape.last();
        let mut done = 0;
        while done < count {
            let index = start + done;
            let run = (width - index % width).min(count - done);
            body(done, self.positions(index), run);
            done += run;
        }
    }

    fn positions(&self, mut index: usize) -> [usize; OPERANDS] {
        let mut positions = [0; OPERANDS];
        for axis in (0..self.shape.rank()).rev() {
            let along = index % self.shape[axis];
            index /= self.shape[axis];
            for (position, strides) in positions.iter_mut().zip(&self.strides) {
                *position += along * strides[axis];
            }
        }
        positions
    }
}

/// The names of the axes' sizes in the shader.
const SIZES: [&str; MAX_RANK] = ["size_0", "size_1", "size_2", "size_3", "size_4", "size_5"];

/// And of the operands' strides.
const STRIDES: [[&str; MAX_RANK]; 3] = [
    ["a_0", "a_1", "a_2", "a_3", "a_4", "a_5"],
    ["b_0", "b_1", "b_2", "b_3", "b_4", "b_5"],
    ["c_0", "c_1", "c_2", "c_3", "c_4", "c_5"],
];

/// The uniforms of a broadcasting shader: elements, whether
/// all operands have as many, then for each of six axes its size, and the
/// strides of each operand.
fn uniforms(shape: &Shape, operands: &[&Binding]) -> Vec<Uniform> {
    let missing = MAX_RANK - shape.rank();
    let are_equal = operands.iter().all(|operand| operand.shape == *shape);
    let mut uniforms = uniforms! { elements: shape.elements(), are_equal }.to_vec();
    let mut push = |names: &[&'static str; MAX_RANK], along: &Shape, beyond: usize| {
        let size = |axis: usize| axis.checked_sub(missing).map_or(beyond, |axis| along[axis]);
        uniforms.extend(names.iter().enumerate().map(|(axis, name)| (*name, size(axis).into())));
    };
    push(&SIZES, shape, 1);
    for (names, operand) in STRIDES.iter().zip(operands) {
        push(names, &strides(&operand.shape, shape), 0);
    }
    uniforms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_of_repeated_axes_are_zero() {
        let shape = Shape::from([4, 2, 3]);
        assert_eq!(strides(&Shape::from([2, 1]), &shape), Shape::from([0, 1, 0]));
    }
}
