//! The derivative of a linear layer: dx = dy W and dW = dyᵀ x, each a product.
//!
//! Where the weight is that of several layers, a GPU makes one product for all of them, and the CPU one
//! for each, the last layer's first, as going back through one after another does: the bits are the same.

use super::layers::Layers;
use crate::Shape;
use crate::device::cpu::products::{Matrix, MatrixMut, multiply_parallel, parallel_scratch};
use crate::device::gpu::products::Tiling;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::ops::matmul::MatMul;
use std::ops::Range;

/// What the gradient is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// x, from dy (rows, outputs) and W (outputs, inputs).
    Input,
    /// W, from dy (rows, outputs) and x (rows, inputs).
    Weight,
}

/// The product that makes it.
#[derive(Clone, Debug)]
pub(super) struct Gradient {
    pub of: Of,
    pub layers: Layers,
    pub tiling: Tiling,
}

impl Gradient {
    /// The product for all layers.
    fn product(&self) -> MatMul {
        MatMul { transpose: [self.of == Of::Weight, false], tiling: self.tiling }
    }

    /// The rows, columns and depth of the product for one layer.
    fn sizes(&self, inputs: [Shape; 2], part: &Range<usize>) -> [usize; 3] {
        let [rows, width] = [inputs[0][0], inputs[1][1]];
        match self.of {
            Of::Input => [rows, width, part.len()],
            Of::Weight => [part.len(), width, rows],
        }
    }
}

impl Kernel for Gradient {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        self.product().shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        self.product().cost(inputs)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        let of = |part| parallel_scratch(self.sizes([inputs[0], inputs[1]], &part), false);
        self.layers.columns(inputs[0][1]).map(of).max().or(Some(0))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [rows, count] = [inputs[0].shape[0], inputs[0].shape[1]];
        let width = inputs[1].shape[1];
        let add = outputs[0].add;
        let [gradient, scratch] = outputs else { unreachable!("it and the working memory") };
        for (number, part) in self.layers.columns(count).rev().enumerate() {
            let dy = Matrix::strided(&inputs[0][part.start..], rows, part.len(), count);
            let of_part = part.start * width..part.end * width;
            match self.of {
                Of::Input => {
                    let weight = Matrix::new(&inputs[1][of_part], part.len(), width);
                    let dx = MatrixMut::new(gradient, rows, width);
                    multiply_parallel(dx, dy, weight, 1.0, add || number > 0, scratch);
                }
                Of::Weight => {
                    let x = Matrix::new(&inputs[1], rows, width);
                    let weight = MatrixMut::new(&mut gradient[of_part], part.len(), width);
                    multiply_parallel(weight, dy.transposed(), x, 1.0, add, scratch);
                }
            }
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        self.product().gpu(inputs, outputs, gpu);
    }
}
