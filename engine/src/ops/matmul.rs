//! Matrix product: y = a b, where either operand may be meant transposed, for a batch of matrices.
//!
//! Derivative: da = dy bᵀ, db = aᵀ dy: the same kernel with other transposes, so nothing is ever
//! copied into another order. Saves a and b. Cost of a product of m × k by k × n: 2 m k n flops and
//! 4 (m k + k n + m n) bytes.

use super::sum::sum_to;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::products::{self, MatrixMut};
use crate::device::cpu::tasks::Tasks;
use crate::device::gpu::products::{Batch, Matrix, Product, Tiling};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::tensor::launch;
use crate::{Shape, Tensor};
use rayon::prelude::*;

impl Tensor {
    /// The matrix product of the last two axes: (…, m, k) by (…, k, n) gives (…, m, n). The axes
    /// before them are a batch; those of size 1, and those missing on the left, are repeated.
    ///
    /// # Panics
    /// If an operand has fewer than two axes or the sizes do not fit.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let a = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2], &device);
    /// let b = Tensor::new(&[1.0, 0.0, 0.0, 10.0], [2, 2], &device);
    /// assert_eq!(a.matmul(&b).to_vec()?, [1.0, 20.0, 3.0, 40.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        self.matmul_with(other, false, false)
    }

    /// The same with operands that are meant transposed: a of shape (…, k, m) if `transpose_self`,
    /// b of shape (…, n, k) if `transpose_other`.
    ///
    /// # Panics
    /// As [`Tensor::matmul`].
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let a = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2], &device);
    /// assert_eq!(a.matmul_with(&a, false, true).to_vec()?, [5.0, 11.0, 11.0, 25.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn matmul_with(
        &self,
        other: &Tensor,
        transpose_self: bool,
        transpose_other: bool,
    ) -> Tensor {
        let kernel = MatMul { transpose: [transpose_self, transpose_other], ..MatMul::default() };
        let shape = self.shape();
        if shape.rank() > 2 && other.shape().rank() == 2 && !transpose_self {
            // One matrix for the whole batch: one tall product.
            let [product] =
                apply_built_in(kernel, &[&self.reshape([shape.rows(), shape.last()]), other]);
            let columns = product.shape().last();
            return product.into_shape(shape.with(shape.rank() - 1, columns));
        }
        let [product] = apply_built_in(kernel, &[self, other]);
        product
    }
}

/// y = a b, each operand transposed first if so wished.
#[derive(Clone, Debug, Default)]
pub struct MatMul {
    /// Whether a and b are meant transposed.
    pub transpose: [bool; 2],
    /// How a GPU does it.
    pub tiling: Tiling,
}

/// The sizes of a batch of products.
struct Sizes {
    rows: usize,
    columns: usize,
    depth: usize,
    /// The axes of the batch.
    lead: Shape,
    batch: Batch,
}

impl Sizes {
    fn batches(&self) -> usize {
        self.lead.elements()
    }

    /// Where the operands of product number `index` begin.
    fn offsets(&self, index: usize) -> [usize; 2] {
        let (mut rest, mut offsets) = (index, [0, 0]);
        for axis in (0..4).rev() {
            let along = rest % self.batch.sizes[axis];
            rest /= self.batch.sizes[axis];
            offsets[0] += along * self.batch.left[axis];
            offsets[1] += along * self.batch.right[axis];
        }
        offsets
    }
}

impl MatMul {
    fn sizes(&self, inputs: &[Shape]) -> Result<Sizes, String> {
        let [a, b] = [inputs[0], inputs[1]];
        if a.rank() < 2 || b.rank() < 2 {
            return Err("a matrix has two axes".into());
        }
        let lead = |shape: &Shape| Shape::new(&shape[..shape.rank() - 2]);
        let matrix = |shape: &Shape, transpose: bool| match (&shape[shape.rank() - 2..], transpose)
        {
            (&[rows, columns], false) | (&[columns, rows], true) => (rows, columns),
            _ => unreachable!("a slice of two"),
        };
        let (rows, depth) = matrix(&a, self.transpose[0]);
        let (depth_of_b, columns) = matrix(&b, self.transpose[1]);
        if depth != depth_of_b {
            return Err(format!("{rows} × {depth} by {depth_of_b} × {columns} does not fit"));
        }
        let common = lead(&a).broadcast(&lead(&b)).ok_or("the leading axes do not fit")?;
        let strides = |shape: &Shape, size: usize| {
            let padded = lead(shape).padded(4);
            let strides = padded.strides();
            [0, 1, 2, 3].map(|axis| if padded[axis] == 1 { 0 } else { strides[axis] * size })
        };
        let sizes = common.padded(4);
        let batch = Batch {
            sizes: [0, 1, 2, 3].map(|axis| sizes[axis]),
            left: strides(&a, rows * depth),
            right: strides(&b, depth * columns),
        };
        Ok(Sizes { rows, columns, depth, lead: common, batch })
    }

    fn fitting(&self, a: Shape, b: Shape) -> Sizes {
        self.sizes(&[a, b]).expect("shapes that were checked")
    }
}

/// So many products or more are made one a task; fewer, each on all threads.
const MANY: usize = 8;

impl Kernel for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let Sizes { rows, columns, lead, .. } = self.sizes(inputs)?;
        let sizes: Vec<usize> = lead.iter().copied().chain([rows, columns]).collect();
        Ok(vec![Shape::new(&sizes)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let sizes = self.fitting(inputs[0], inputs[1]);
        let outputs = sizes.batches() * sizes.rows * sizes.columns;
        let moved = inputs[0].elements() + inputs[1].elements() + outputs;
        Cost::elementwise(outputs, 2 * sizes.depth as u64, moved)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        let sizes = self.fitting(inputs[0], inputs[1]);
        let Sizes { rows, columns, depth, .. } = sizes;
        Some(match sizes.batches() {
            0..MANY => products::parallel_scratch([rows, columns, depth], self.transpose[1]),
            _ => 0,
        })
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let sizes = self.fitting(inputs[0].shape, inputs[1].shape);
        let Sizes { rows, columns, depth, .. } = sizes;
        let add = outputs[0].add;
        let operand = |input: usize, offset: usize| {
            let transpose = self.transpose[input];
            let [m, n] = [[rows, depth], [depth, columns]][input];
            let [m, n] = if transpose { [n, m] } else { [m, n] };
            products::Matrix::new(&inputs[input][offset..], m, n).transposed_if(transpose)
        };
        let operands = |index: usize| {
            let [a, b] = sizes.offsets(index);
            (operand(0, a), operand(1, b))
        };
        let matrix = (rows * columns).max(1);
        let [y, scratch] = outputs else { unreachable!("y and the working memory") };
        if sizes.batches() >= MANY {
            y.par_chunks_mut(matrix).enumerate().each(|(index, y)| {
                let (a, b) = operands(index);
                products::multiply(MatrixMut::new(y, rows, columns), a, b, 1.0, add);
            });
        } else {
            y.chunks_mut(matrix).enumerate().for_each(|(index, y)| {
                let (a, b) = operands(index);
                let y = MatrixMut::new(y, rows, columns);
                products::multiply_parallel(y, a, b, 1.0, add, scratch);
            });
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let Sizes { rows, columns, depth, batch, .. } =
            self.fitting(inputs[0].shape, inputs[1].shape);
        let operand = |input: usize, [m, n]: [usize; 2]| {
            let transpose = self.transpose[input];
            let [m, n] = if transpose { [n, m] } else { [m, n] };
            Matrix::new(&inputs[input], m, n).transposed_if(transpose)
        };
        let (left, right) = (operand(0, [rows, depth]), operand(1, [depth, columns]));
        let output = Matrix::new(&outputs[0], rows, columns);
        let (add, tiling) = (outputs[0].add, self.tiling);
        Product { add, batch, tiling, ..Product::new(output, left, right) }.record(gpu);
    }
}

impl Op for MatMul {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0, 1], outputs: &[] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let [a, b] = [saved.get(0), saved.get(1)];
        let [transpose_a, transpose_b] = self.transpose;
        let products = [
            match transpose_a {
                false => ([&gradient, b], [false, !transpose_b]),
                true => ([b, &gradient], [transpose_b, true]),
            },
            match transpose_b {
                false => ([a, &gradient], [!transpose_a, false]),
                true => ([&gradient, a], [true, transpose_a]),
            },
        ];
        for (input, (operands, transpose)) in products.into_iter().enumerate() {
            if !context.needs(input) {
                continue;
            }
            let kernel = MatMul { transpose, tiling: self.tiling };
            let shape = saved.input_shape(input);
            let lead = |shape: Shape| shape[..shape.rank() - 2].iter().product::<usize>();
            if lead(shape) == lead(gradient.shape()) {
                context.accumulate_with(&kernel, &operands, &[input]);
            } else {
                // One operand served several products.
                let [repeated] = launch(&kernel, &operands, gradient.device());
                context.accumulate(input, sum_to(&repeated, shape));
            }
        }
    }
}

impl Proven for MatMul {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let [a, b] = [&inputs[0], &inputs[1]];
        let shape = self.shapes(&[a.shape, b.shape]).expect("a case that fits")[0];
        let [rows, columns] = [shape[shape.rank() - 2], shape.last()];
        let depth = a.shape[a.shape.rank() - if self.transpose[0] { 2 } else { 1 }];
        // The batch of a case has at most two axes; those of size 1 are repeated.
        let batch = |array: &Array64, index: usize| {
            let [lead, sizes] = [shape.padded(4), array.shape.padded(4)];
            index / lead[1] % sizes[0] * sizes[1] + index % lead[1] % sizes[1]
        };
        let element = |array: &Array64, first: usize, [i, j]: [usize; 2], transpose: bool| {
            let [i, j] = if transpose { [j, i] } else { [i, j] };
            array.data[first + i * array.shape.last() + j]
        };
        let y = Array64::from_fn(shape, |index| {
            let (matrix, row, column) =
                (index / (rows * columns), index / columns % rows, index % columns);
            let [of_a, of_b] = [a, b].map(|array| {
                let size = array.shape.last() * array.shape[array.shape.rank() - 2];
                batch(array, matrix) * size
            });
            let term = |k: usize| {
                element(a, of_a, [row, k], self.transpose[0])
                    * element(b, of_b, [k, column], self.transpose[1])
            };
            (0..depth).map(term).sum()
        });
        vec![y.with_magnitude(0.25 * depth as f64)]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let tilings = [Tiling::Shared, Tiling::Registers];
        let transposes = [[false, false], [false, true], [true, false], [true, true]];
        let sizes = [[1, 1, 1], [3, 5, 17], [17, 1, 3], [65, 68, 63], [9, 72, 257], [12, 68, 40]];
        for (number, [m, n, k]) in sizes.into_iter().enumerate() {
            for (turn, transpose) in transposes.into_iter().enumerate() {
                let tiling = tilings[(number + turn) % 2];
                let a = if transpose[0] { [k, m] } else { [m, k] };
                let b = if transpose[1] { [n, k] } else { [k, n] };
                let label = format!("{m}×{k} by {k}×{n}, transposed {transpose:?}, {tiling:?}");
                cases.push(Case::new(label, MatMul { transpose, tiling }).input(a).input(b));
            }
        }
        for side in [32, 64, 128] {
            let tiling = Tiling::Squares(side);
            for (transpose, [m, n, k]) in
                transposes.into_iter().zip([[132, 68, 40], [4, 4, 4], [36, 300, 20], [196, 12, 8]])
            {
                let a = if transpose[0] { [k, m] } else { [m, k] };
                let b = if transpose[1] { [n, k] } else { [k, n] };
                let label = format!("{m}×{k} by {k}×{n}, transposed {transpose:?}, {tiling:?}");
                cases.push(Case::new(label, MatMul { transpose, tiling }).input(a).input(b));
            }
            let case = |label: &str, transpose| {
                Case::new(format!("{label}, {tiling:?}"), MatMul { transpose, tiling })
            };
            cases.push(case("long sums", [true, false]).input([2100, 8]).input([2100, 12]));
            cases.push(case("a batch", [false, true]).input([3, 36, 8]).input([3, 12, 8]));
            cases.push(case("repeated", [false, false]).input([2, 3, 4, 8]).input([2, 1, 8, 12]));
            cases.push(case("no vectors", [false, false]).input([5, 8]).input([8, 12]));
        }
        for tiling in tilings {
            let case = |label: &str, transpose| {
                Case::new(format!("{label}, {tiling:?}"), MatMul { transpose, tiling })
            };
            cases.push(case("long sums", [true, false]).input([2100, 5]).input([2100, 4]));
            cases.push(case("a batch", [false, true]).input([11, 7, 9]).input([11, 12, 9]));
            cases.push(case("one for all", [true, false]).input([3, 4, 5]).input([4, 8]));
            cases.push(case("repeated", [false, false]).input([2, 3, 4, 5]).input([2, 1, 5, 3]));
        }
        cases
    }
}
