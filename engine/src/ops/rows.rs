//! What ops on the rows of a tensor share: the parts of a weight's gradient that come from blocks
//! of rows, and derivative kernels of which only some outputs are needed.

use super::sum::{columns_scratch, sum_columns};
use crate::device::ViewMut;
use crate::device::cpu::scratch::cut;
use crate::proof::{Case, Proven};
use crate::{Shape, Tensor};

/// The rows of a workgroup on a GPU, over which one part of a weight's gradient is summed.
pub(super) const BLOCK: usize = 8;

/// Runs `body`, which works along the last axis, along `axis` instead.
#[track_caller]
pub(super) fn along(
    x: &Tensor,
    axis: isize,
    name: &str,
    body: impl FnOnce(&Tensor) -> Tensor,
) -> Tensor {
    let shape = x.shape();
    let axis = shape.resolve(axis, name);
    if axis + 1 == shape.rank() {
        return body(x);
    }
    body(&x.transpose(axis as isize, -1)).transpose(axis as isize, -1)
}

/// Rows of many lengths, and of extreme numbers.
pub(super) fn cases<O: Proven + Clone>(op: O) -> Vec<Case> {
    let case = |shape: &[usize], size: f32| {
        Case::new(format!("{shape:?} up to {size}"), op.clone()).between(shape, -size, size)
    };
    let shapes: [&[usize]; 7] =
        [&[1, 1], &[3], &[17], &[2, 3, 5], &[63, 65], &[3, 257], &[1_030, 17]];
    let mut cases: Vec<Case> = shapes.iter().map(|shape| case(shape, 1.0)).collect();
    cases.push(case(&[5, 33], 1e3));
    cases
}

/// The outputs of a kernel that makes only those that are needed, each at its number.
pub(super) fn needed<T, const N: usize>(
    needs: [bool; N],
    outputs: impl IntoIterator<Item = T>,
) -> [Option<T>; N] {
    let mut outputs = outputs.into_iter();
    needs.map(|needed| if needed { outputs.next() } else { None })
}

/// The numbers of the inputs whose gradients are needed: the targets of such a kernel.
pub(super) fn targets(needs: &[bool]) -> Vec<usize> {
    (0..needs.len()).filter(|input| needs[*input]).collect()
}

/// The elements of an output and whether to add to them; none if it is not needed.
pub(super) fn elements<'a>(output: Option<&'a mut ViewMut>) -> (&'a mut [f32], bool) {
    output.map_or((&mut [], false), |output| (&mut *output.data, output.add))
}

/// y\[j\] = Σ parts\[i, j\] in order, or += where the output says so. The working memory is that of
/// [`parts_scratch`].
pub(super) fn sum_parts(parts: &[f32], y: &mut ViewMut, mut scratch: &mut [f32]) {
    if !y.add {
        return sum_columns(parts, y, scratch);
    }
    let total = cut(&mut scratch, y.len());
    sum_columns(parts, total, scratch);
    y.iter_mut().zip(total).for_each(|(y, total)| *y += *total);
}

/// The working memory of [`sum_parts`].
pub(super) fn parts_scratch(parts: usize, width: usize) -> usize {
    width + columns_scratch(parts, width)
}

/// The problem with a tensor that an op on rows can not take.
pub(super) fn check_rows(x: &Shape) -> Result<(), String> {
    if x.rank() == 0 || x.last() == 0 {
        return Err("there is nothing along the last axis".into());
    }
    Ok(())
}

/// The problem with a weight that is not one number for each column of `x`.
pub(super) fn check_weight(name: &str, x: &Shape, weight: &Shape) -> Result<(), String> {
    check_rows(x)?;
    if weight[..] != [x.last()] {
        return Err(format!("the {name} must have shape [{}], the last axis of x", x.last()));
    }
    Ok(())
}
