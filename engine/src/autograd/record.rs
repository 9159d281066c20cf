//! What a node remembers of its inputs and outputs.

use crate::tensor::Variable;
use crate::{Device, Shape, Tensor};

/// The inputs of a node, what was saved of them and of the outputs, and the outputs' shapes.
pub(super) struct Record {
    pub inputs: Vec<Option<Variable>>,
    pub saved: Saved,
    /// The shapes of the outputs, those that are only saved included.
    pub shapes: Vec<Shape>,
    pub device: Device,
}

/// The values that an op saved: first the inputs it named, then the outputs.
pub struct Saved {
    /// Each with how often its memory had been written then.
    tensors: Vec<(Tensor, u64)>,
    shapes: Vec<Shape>,
}

impl Saved {
    /// Values to save, and the shapes of all inputs.
    pub(super) fn new<'a>(
        values: impl IntoIterator<Item = &'a Tensor>,
        inputs: &[&Tensor],
    ) -> Saved {
        let tensors =
            values.into_iter().map(|tensor| (tensor.detach(), tensor.version())).collect();
        Saved { tensors, shapes: inputs.iter().map(|input| input.shape()).collect() }
    }

    /// Saved value number `index`.
    pub fn get(&self, index: usize) -> &Tensor {
        &self.tensors[index].0
    }

    /// How many inputs the op had.
    pub fn inputs(&self) -> usize {
        self.shapes.len()
    }

    /// The shape of the op's input number `input`, saved or not.
    pub fn input_shape(&self, input: usize) -> Shape {
        self.shapes[input]
    }

    /// Whether nothing that was saved has been changed since.
    pub(super) fn is_intact(&self) -> bool {
        self.tensors.iter().all(|(tensor, version)| tensor.version() == *version)
    }
}
