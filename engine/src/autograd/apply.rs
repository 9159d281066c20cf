//! Running ops, and recording them.

use super::context::GradientContext;
use super::node::{Node, Step};
use super::op::{Op, Saves};
use super::record::{Record, Saved};
use crate::computation::{Computation, Nodes};
use crate::device::Origin;
use crate::finite::look;
use crate::tensor::{check, launch_from};
use crate::{Result, Shape, Tensor};
use std::sync::{Arc, Mutex};

impl Tensor {
    /// The same numbers as a new variable to differentiate with respect to: a leaf of the graph.
    pub fn tracked(&self) -> Tensor {
        let mut leaf = self.clone();
        leaf.variable = Some(Node::leaf().output(0));
        leaf
    }
}

/// Runs `body` without recording a graph: for evaluation, where nothing is to be saved. It holds for
/// what `body` does on this thread and through [`Device::install`](crate::Device::install), and for
/// no other thread.
///
/// ```
/// use neutreno_engine::{Device, Tensor, no_grad};
/// let x = Tensor::new(&[3.0], [1], &Device::cpu()).tracked();
/// assert!(!no_grad(|| &x * &x).is_tracked());
/// ```
pub fn no_grad<R>(body: impl FnOnce() -> R) -> R {
    Computation { records: false, ..Computation::current() }.run(body)
}

/// Whether an op on these tensors is going to be recorded.
pub fn is_recording(inputs: &[&Tensor]) -> bool {
    Computation::records() && inputs.iter().any(|input| input.is_tracked())
}

/// Runs `body` without recording a graph. Also returns the nodes that going back through it would come to
/// if it were recorded: those of the tracked tensors that its ops use.
pub(super) fn no_grad_with_uses<R>(body: impl FnOnce() -> R) -> (R, Vec<Arc<Node>>) {
    let uses = Arc::new(Mutex::new(Nodes::new()));
    let noting = Computation { records: false, uses: Some(uses.clone()), ..Computation::current() };
    let result = noting.run(body);
    let used = std::mem::take(&mut *uses.lock().expect("no code panics with it"));
    let mut used: Vec<Arc<Node>> = used.into_iter().map(Node::of_any).collect();
    used.sort_unstable_by_key(|node| node.id);
    used.dedup_by_key(|node| node.id);
    (result, used)
}

/// Notes that these tensors are used where nothing is recorded, if somebody collects what is.
pub(super) fn note_uses(inputs: &[&Tensor]) {
    if let Some(uses) = Computation::uses() {
        let nodes = inputs.iter().filter_map(|input| input.variable.as_ref());
        let nodes = nodes.map(|variable| variable.node.clone());
        uses.lock().expect("no code panics with it").extend(nodes);
    }
}

/// Runs an op and, if an input is tracked, records it: how an op of one's own is used.
///
/// # Panics
/// At the caller's line: if the inputs do not fit, or an input is tracked and the op has no
/// derivative.
#[track_caller]
pub fn apply<const N: usize>(op: impl Op, inputs: &[&Tensor]) -> [Tensor; N] {
    taken(apply_boxed(Box::new(op), inputs))
}

/// The same as [`apply`] for the engine's own ops: how every method of [`Tensor`] that is an op works.
#[track_caller]
pub(crate) fn apply_built_in<const N: usize>(op: impl Op, inputs: &[&Tensor]) -> [Tensor; N] {
    taken(apply_from(Origin::Engine, Box::new(op), inputs))
}

#[track_caller]
fn taken<const N: usize>(results: Vec<Tensor>) -> [Tensor; N] {
    let count = results.len();
    match results.try_into() {
        Ok(results) => results,
        Err(_) => panic!("an op of {count} results is taken to have {N}"),
    }
}

/// The same as [`apply`] for an op whose type is not known where it is used.
///
/// # Panics
/// As [`apply`].
#[track_caller]
pub fn apply_boxed(op: Box<dyn Op>, inputs: &[&Tensor]) -> Vec<Tensor> {
    apply_from(Origin::Program, op, inputs)
}

/// The same as [`apply`] for an op from wherever it may be.
#[track_caller]
pub(crate) fn apply_from(origin: Origin, op: Box<dyn Op>, inputs: &[&Tensor]) -> Vec<Tensor> {
    let shapes = check(&*op, inputs);
    let device = inputs.first().expect("an op has inputs").device();
    let mut outputs: Vec<Tensor> =
        shapes.iter().map(|shape| Tensor::uninitialized(*shape, device)).collect();
    let destinations: Vec<(&Tensor, bool)> = outputs.iter().map(|tensor| (tensor, false)).collect();
    launch_from(origin, &*op, inputs, &destinations);
    let results = op.results();
    look(op.name(), inputs, &outputs[..results]);
    if is_recording(inputs) {
        if let Some(reason) = op.no_derivative() {
            panic!("{} has no derivative ({reason}); detach its input first", op.name());
        }
        let node = record(origin, op, inputs, &outputs, shapes);
        for (output, tensor) in outputs.iter_mut().take(results).enumerate() {
            tensor.variable = Some(node.output(output));
        }
    } else {
        note_uses(inputs);
    }
    outputs.truncate(results);
    outputs
}

fn record(
    origin: Origin,
    op: Box<dyn Op>,
    inputs: &[&Tensor],
    outputs: &[Tensor],
    shapes: Vec<Shape>,
) -> Arc<Node> {
    let Saves { inputs: saved_inputs, outputs: saved_outputs } = op.saves();
    let saved_inputs = saved_inputs.iter().map(|index| inputs[*index]);
    let saved = saved_inputs.chain(saved_outputs.iter().map(|index| &outputs[*index]));
    let record = Record {
        inputs: inputs.iter().map(|input| input.variable.clone()).collect(),
        saved: Saved::new(saved, inputs),
        shapes,
        device: inputs[0].device().clone(),
    };
    Node::of_step(Box::new(OpStep { op, origin }), record)
}

/// The step back through an op.
struct OpStep {
    op: Box<dyn Op>,
    origin: Origin,
}

impl Step for OpStep {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn results(&self, _outputs: usize) -> usize {
        self.op.results()
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) -> Result<Vec<Arc<Node>>> {
        context.origin = self.origin;
        self.op.backward(saved, context);
        Ok(Vec::new())
    }
}
