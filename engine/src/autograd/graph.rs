//! The graph of ops that made a tensor.

use super::context::GradientContext;
use crate::tensor::Variable;
use crate::{Device, Result, Shape, Tensor};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A leaf, or one op that was run on tracked tensors.
pub(super) struct Node {
    /// Counts up: an op's number is larger than those of its inputs.
    pub id: u64,
    /// `None` for a leaf; taken when the node is visited.
    record: Mutex<Option<Record>>,
    pub is_leaf: bool,
}

/// What is needed to go back through a node.
pub(super) struct Record {
    pub step: Box<dyn Step>,
    pub inputs: Vec<Option<Variable>>,
    pub saved: Saved,
    /// The shapes of the outputs, those that are only saved included.
    pub shapes: Vec<Shape>,
    pub device: Device,
}

/// How a node's gradients are handed on to its inputs: by an op, or by a part of the graph that is
/// run again.
pub(super) trait Step: Send + Sync {
    /// The name that messages show.
    fn name(&self) -> &'static str;

    /// How many of `outputs` have gradients.
    fn results(&self, outputs: usize) -> usize;

    /// Makes the gradients of the inputs.
    fn backward(&self, saved: &Saved, context: &mut GradientContext) -> Result<()>;
}

/// One output of one node: what names a gradient.
pub(super) type Slot = (u64, usize);

impl Node {
    pub fn new(record: Option<Record>) -> Arc<Node> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let id = CREATED.fetch_add(1, Ordering::Relaxed);
        Arc::new(Node { id, is_leaf: record.is_none(), record: Mutex::new(record) })
    }

    pub fn take(&self) -> Option<Record> {
        self.record.lock().expect("no code panics with it").take()
    }
}

impl Drop for Node {
    /// Frees a long chain of nodes in a loop: by recursion it could overflow the stack.
    fn drop(&mut self) {
        let mut records: Vec<Record> = self.take().into_iter().collect();
        while let Some(record) = records.pop() {
            for input in record.inputs.into_iter().flatten() {
                records.extend(Arc::into_inner(node(&input)).and_then(|node| node.take()));
            }
        }
    }
}

/// The node that a tensor is a result of.
pub(super) fn node(variable: &Variable) -> Arc<Node> {
    variable.node.clone().downcast().expect("only this module makes nodes")
}

/// What names a tensor's gradient.
pub(super) fn slot(variable: &Variable) -> Slot {
    let node: &Node = variable.node.downcast_ref().expect("only this module makes nodes");
    (node.id, variable.output)
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
