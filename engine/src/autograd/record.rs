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
    values: Vec<Value>,
    shapes: Vec<Shape>,
}

struct Value {
    tensor: Tensor,
    /// How often its memory had been written then.
    version: u64,
    /// Whether it is a leaf, whose memory is there with or without the graph.
    is_leaf: bool,
}

impl Saved {
    /// Values to save, and the shapes of all inputs.
    pub(super) fn new<'a>(
        values: impl IntoIterator<Item = &'a Tensor>,
        inputs: &[&Tensor],
    ) -> Saved {
        let value = |tensor: &Tensor| Value {
            tensor: tensor.detach(),
            version: tensor.version(),
            is_leaf: tensor.variable.as_ref().is_some_and(|variable| variable.is_leaf),
        };
        Saved {
            values: values.into_iter().map(value).collect(),
            shapes: inputs.iter().map(|input| input.shape()).collect(),
        }
    }

    /// Saved value number `index`.
    pub fn get(&self, index: usize) -> &Tensor {
        &self.values[index].tensor
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
        self.values.iter().all(|value| value.tensor.version() == value.version)
    }

    /// What takes memory because it was saved: all but leaves.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Tensor> {
        self.values.iter().filter(|value| !value.is_leaf).map(|value| &value.tensor)
    }
}
