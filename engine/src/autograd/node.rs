//! What the graph of ops that made a tensor consists of.

use super::context::GradientContext;
use super::record::{Record, Saved};
use crate::tensor::Variable;
use crate::{Result, Tensor};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A leaf, a gradient, or one op that was run on tracked tensors.
pub(super) struct Node {
    /// Counts up: an op's number is larger than those of its inputs.
    pub id: u64,
    /// That of an op; taken when the node is visited.
    way_back: Mutex<Option<WayBack>>,
    pub kind: Kind,
}

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is differentiated with respect to.
    Leaf,
    /// An op, or a part of the graph that is run again.
    Step,
    /// A gradient that came out: there is no way back through how it was made.
    Gradient,
}

/// What is needed to go back through a node.
pub(super) struct WayBack {
    pub step: Box<dyn Step>,
    pub record: Record,
}

/// How a node's gradients are handed on to its inputs: by an op, or by a part of the graph that is
/// run again.
pub(super) trait Step: Send + Sync {
    /// The name that messages show.
    fn name(&self) -> &'static str;

    /// The nodes beside its inputs that it may leave gradients for.
    fn uses(&self) -> &[Arc<Node>] {
        &[]
    }

    /// How many of `outputs` have gradients.
    fn results(&self, outputs: usize) -> usize;

    /// Makes the gradients of the inputs; returns the nodes, other than theirs, that it has left
    /// gradients for.
    fn backward(&self, saved: &Saved, context: &mut GradientContext) -> Result<Vec<Arc<Node>>>;
}

impl Node {
    pub fn leaf() -> Arc<Node> {
        Node::new(Kind::Leaf, None)
    }

    /// The gradient that came out of a backward, as what no other goes back through.
    pub fn no_way_back(mut gradient: Tensor) -> Tensor {
        gradient.variable = Some(Node::new(Kind::Gradient, None).output(0));
        gradient
    }

    pub fn of_step(step: Box<dyn Step>, record: Record) -> Arc<Node> {
        Node::new(Kind::Step, Some(WayBack { step, record }))
    }

    fn new(kind: Kind, way_back: Option<WayBack>) -> Arc<Node> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let id = CREATED.fetch_add(1, Ordering::Relaxed);
        Arc::new(Node { id, kind, way_back: Mutex::new(way_back) })
    }

    /// The node of a tensor that is a result of one.
    pub fn of(variable: &Variable) -> Arc<Node> {
        Node::of_any(variable.node.clone())
    }

    /// The node that this is.
    pub fn of_any(node: Arc<dyn Any + Send + Sync>) -> Arc<Node> {
        node.downcast().expect("only this module makes nodes")
    }

    /// The nodes that gradients go to from here; none for what is no op, and once it was taken.
    pub fn uses(&self) -> Vec<Arc<Node>> {
        let uses = |way: &WayBack| {
            let inputs = way.record.inputs.iter().flatten().map(Node::of);
            inputs.chain(way.step.uses().iter().cloned()).collect()
        };
        self.look(uses).unwrap_or_default()
    }

    /// Its output of that number.
    pub fn output(self: &Arc<Node>, number: usize) -> Variable {
        let (slot, is_leaf) = ((self.id, number), self.kind == Kind::Leaf);
        Variable { node: self.clone(), slot, parts: None, is_leaf }
    }

    /// Looks at what is needed to go back; `None` for what is no op, and once it was taken.
    pub fn look<R>(&self, look: impl FnOnce(&WayBack) -> R) -> Option<R> {
        self.way_back.lock().expect("no code panics with it").as_ref().map(look)
    }

    pub fn take(&self) -> Option<WayBack> {
        self.way_back.lock().expect("no code panics with it").take()
    }
}

impl Drop for Node {
    /// Frees a long chain of nodes in a loop: by recursion it could overflow the stack.
    fn drop(&mut self) {
        let mut ways: Vec<WayBack> = self.take().into_iter().collect();
        while let Some(way) = ways.pop() {
            for input in way.record.inputs.into_iter().flatten() {
                let node = Node::of(&input);
                drop(input);
                ways.extend(Arc::into_inner(node).and_then(|node| node.take()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Device, Tensor};

    /// Each node holds the one before it: by recursion their end would take a stack as deep.
    #[test]
    fn a_long_chain_goes_without_a_deep_stack() {
        let chain = || {
            let mut x = Tensor::full(1.0, [1], &Device::cpu()).tracked();
            for _ in 0..50_000 {
                x = x.scale(1.0);
            }
            drop(x);
        };
        let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(chain).unwrap();
        thread.join().unwrap();
    }
}
