//! Gather: y\[i, k, j\] = x\[i, ids\[k\], j\] (NumPy's `take`, PyTorch's `index_select`). Along the
//! first axis of a matrix it is the embedding of tokens.
//!
//! Derivative: dx\[i, t, j\] = Σ dy\[i, k, j\] over all k with ids\[k\] = t. It is gathered too: the
//! host sorts the positions by id once, and each id that occurs sums its positions in their
//! order, so no two threads add to the same number and the bits never change. Saves nothing but
//! the ids. Cost an element: 8 bytes forward; 1 flop and 4 bytes backward, and 4 bytes for each
//! element of x unless the gradient is added to one that exists.

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd;
use crate::device::cpu::tasks::both;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Ids, Shape, Tensor, uniforms};
use std::ops::Range;

impl Tensor {
    /// What lies at `ids` along `axis` (negative: from the end), whose place in the shape the
    /// shape of `ids` takes. Ids may repeat.
    ///
    /// # Panics
    /// If there is no such axis, or an id is not below its size.
    ///
    /// ```
    /// use neutreno_engine::{Device, Ids, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// let columns = Ids::new(vec![2, 0, 2, 1], [4]);
    /// assert_eq!(x.gather(&columns, 1).to_vec()?, [3.0, 1.0, 3.0, 2.0, 6.0, 4.0, 6.0, 5.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn gather(&self, ids: &Ids, axis: isize) -> Tensor {
        let shape = self.shape();
        let axis = shape.resolve(axis, "gather");
        let size = shape[axis];
        if let Some((_, id)) = ids.first_outside(size) {
            panic!("gather: id {id} is not below {size}, the size of axis {axis} of {shape}");
        }
        gather(self, ids, axis)
    }

    /// The rows of this matrix (vocabulary, width) that belong to `ids`: shape of `ids` + (width).
    ///
    /// # Panics
    /// If the tensor is not a matrix, or an id is not below the vocabulary's size.
    ///
    /// ```
    /// use neutreno_engine::{Device, Ids, Tensor};
    /// let weight = Tensor::new(&[0.0, 0.1, 1.0, 1.1, 2.0, 2.1], [3, 2], &Device::cpu());
    /// let tokens = Ids::new(vec![2, 0], [2]);
    /// assert_eq!(weight.embedding(&tokens).to_vec()?, [2.0, 2.1, 0.0, 0.1]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn embedding(&self, ids: &Ids) -> Tensor {
        let shape = self.shape();
        assert!(shape.rank() == 2, "embedding: the weight must be a matrix, not {shape}");
        if let Some((_, id)) = ids.first_outside(shape[0]) {
            panic!("embedding: id {id} is outside the vocabulary of {}", shape[0]);
        }
        gather(self, ids, 0)
    }
}

#[track_caller]
fn gather(x: &Tensor, ids: &Ids, axis: usize) -> Tensor {
    let shape = x.shape();
    let sizes = [&shape[..axis], &ids.shape(), &shape[axis + 1..]].concat();
    let (before, count, after) = shape.around(axis);
    let [y] = apply_built_in(Gather { ids: ids.clone() }, &[&x.reshape([before, count, after])]);
    y.reshape(&sizes[..])
}

/// y\[i, k, j\] = x\[i, ids\[k\], j\].
#[derive(Clone, Debug)]
pub struct Gather {
    /// Each below the size of the middle axis.
    pub ids: Ids,
}

impl Kernel for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [_, count, _] = inputs[0].three_axes()?;
        if let Some((_, id)) = self.ids.first_outside(count) {
            return Err(format!("id {id} is not below {count}"));
        }
        Ok(vec![inputs[0].with(1, self.ids.shape().elements())])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].with(1, self.ids.shape().elements()).elements();
        Cost::elementwise(elements, 0, 2 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (_, count, after) = inputs[0].shape.around(1);
        let (x, ids) = (inputs[0].data, self.ids.as_slice());
        simd::for_rows(&mut outputs[0], after, |first, rows| {
            for (row, y) in (first..).zip(rows.chunks_exact_mut(after)) {
                let from = row / ids.len() * count + ids[row % ids.len()] as usize;
                y.copy_from_slice(&x[from * after..(from + 1) * after]);
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (before, count, after) = inputs[0].shape.around(1);
        let ids = gpu.ids(&self.ids);
        let elements = before * ids.shape.elements() * after;
        let uniforms = uniforms! { elements, count, after, ids: ids.shape.elements() };
        let (inputs, outputs) = ([&inputs[0], &ids], [&outputs[0]]);
        gpu.dispatch_elements("gather_forward", &inputs, &outputs, uniforms, elements);
    }
}

/// dx from dy.
#[derive(Clone, Debug)]
struct GatherBackward {
    /// The size of the middle axis of x.
    count: usize,
    /// How many different ids occur.
    occurring: usize,
    /// These ids, ascending; then zeros, so that the memory does not depend on their number.
    distinct: Ids,
    /// Where the positions of each begin in `order`, and where the last ones end; then zeros.
    starts: Ids,
    /// The positions in the ids, sorted by id and then by position.
    order: Ids,
}

impl GatherBackward {
    /// Sorts the positions by counting, so that equal ids keep their order.
    fn new(ids: &[u32], count: usize) -> GatherBackward {
        let mut next = vec![0; count + 1];
        ids.iter().for_each(|id| next[*id as usize + 1] += 1);
        let (mut distinct, mut starts) = (Vec::new(), vec![0]);
        for id in 0..count {
            let occurs = next[id + 1] > 0;
            next[id + 1] += next[id];
            if occurs {
                distinct.push(id as u32);
                starts.push(next[id + 1]);
            }
        }
        let occurring = distinct.len();
        distinct.resize(ids.len(), 0);
        starts.resize(ids.len() + 1, 0);
        let mut order = vec![0; ids.len()];
        for (position, id) in (0..).zip(ids) {
            let end = &mut next[*id as usize];
            order[*end as usize] = position;
            *end += 1;
        }
        let ids = |data: Vec<u32>| {
            let length = data.len();
            Ids::new(data, [length])
        };
        let [distinct, starts, order] = [distinct, starts, order].map(ids);
        GatherBackward { count, occurring, distinct, starts, order }
    }

    /// The positions of occurring id number `index`.
    fn positions(&self, index: usize) -> &[u32] {
        let starts = self.starts.as_slice();
        &self.order.as_slice()[starts[index] as usize..starts[index + 1] as usize]
    }
}

/// The ids that one task adds up the gradients of.
const IDS_A_TASK: usize = 8;

impl GatherBackward {
    /// Adds the gradients of the occurring ids with numbers in `range` to their rows of dx, which
    /// begins at row `first`: half of them on another thread, as long as there are many.
    fn add(&self, range: Range<usize>, first: usize, dx: &mut [f32], dy: &[f32], after: usize) {
        let ids = self.distinct.as_slice();
        if range.len() > IDS_A_TASK {
            let middle = range.start + range.len() / 2;
            let split = ids[middle] as usize;
            let (low, high) = dx.split_at_mut((split - first) * after);
            both(
                || self.add(range.start..middle, first, low, dy, after),
                || self.add(middle..range.end, split, high, dy, after),
            );
            return;
        }
        for number in range {
            let row = ids[number] as usize - first;
            let dx = &mut dx[row * after..(row + 1) * after];
            simd::vectorized(|| {
                for position in self.positions(number) {
                    let dy = &dy[*position as usize * after..][..after];
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
                }
            });
        }
    }
}

impl Kernel for GatherBackward {
    fn name(&self) -> &'static str {
        "gather_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0].with(1, self.count)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let written = inputs[0].with(1, self.count).elements();
        Cost::elementwise(inputs[0].elements(), 1, inputs[0].elements() + written)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (_, picked, after) = inputs[0].shape.around(1);
        let (dy, dx) = (inputs[0].data, &mut outputs[0]);
        if !dx.add {
            simd::for_chunks(dx, |_, chunk| chunk.fill(0.0));
        }
        if dx.is_empty() || picked == 0 {
            return;
        }
        let blocks = dx.chunks_exact_mut(self.count * after);
        for (dx, dy) in blocks.zip(dy.chunks_exact(picked * after)) {
            self.add(0..self.occurring, 0, dx, dy, after);
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (before, picked, after) = inputs[0].shape.around(1);
        let dx = &outputs[0];
        if !dx.add {
            gpu.fill(dx, 0.0);
        }
        let [distinct, starts, order] =
            [&self.distinct, &self.starts, &self.order].map(|ids| gpu.ids(ids));
        let (count, occurring) = (self.count, self.occurring);
        let pairs = before * occurring;
        let uniforms = uniforms! { pairs, count, after, ids: picked, occurring };
        let inputs = [&inputs[0], &distinct, &starts, &order];
        gpu.dispatch_rows("gather_backward", &inputs, &[dx], uniforms, pairs);
    }
}

impl Op for Gather {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let kernel = GatherBackward::new(self.ids.as_slice(), saved.input_shape(0)[1]);
        context.accumulate_with(&kernel, &[&gradient], &[0]);
    }
}

impl Proven for Gather {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let (_, count, after) = inputs[0].shape.around(1);
        let ids = self.ids.as_slice();
        let element = |index: usize| {
            let (row, column) = (index / after, index % after);
            let from = row / ids.len() * count + ids[row % ids.len()] as usize;
            inputs[0].data[from * after + column]
        };
        vec![Array64::from_fn(inputs[0].shape.with(1, ids.len()), element)]
    }

    fn cases() -> Vec<Case> {
        let case = |shape: [usize; 3], ids: Vec<u32>| {
            let op = Gather { ids: Ids::new(&ids[..], [ids.len()]) };
            Case::new(format!("{} of {shape:?}", ids.len()), op).input(shape)
        };
        // Multiplying by 7 and squaring leaves some ids out and repeats others.
        let many = |count: u32, size: u32| (0..count).map(|i| i * i * 7 % size).collect();
        vec![
            case([1, 1, 1], vec![0]),
            case([1, 5, 3], vec![4, 1, 4, 4]),
            case([3, 4, 1], vec![3, 3, 0]),
            case([2, 3, 5], vec![1]),
            case([1, 257, 65], many(700, 257)),
            case([17, 63, 3], many(100, 63)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn sorts_positions_by_id() {
        let kernel = GatherBackward::new(&[3, 1, 3, 0, 1, 3], 5);
        assert_eq!(kernel.distinct.as_slice()[..kernel.occurring], [0, 1, 3]);
        assert_eq!(kernel.positions(0), [3]);
        assert_eq!(kernel.positions(1), [1, 4]);
        assert_eq!(kernel.positions(2), [0, 2, 5]);
    }

    #[test]
    #[should_panic(expected = "id 9 is outside the vocabulary of 3")]
    fn unknown_token() {
        Tensor::zeros([3, 2], &Device::cpu()).embedding(&Ids::new(vec![1, 9], [2]));
    }
}
