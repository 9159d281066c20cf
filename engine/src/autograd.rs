//! Reverse-mode differentiation.
//!
//! Each op on tracked tensors leaves a node: the op, links to the nodes of its inputs, and the
//! values that its derivative needs. [`Tensor::backward`] visits the nodes from the loss to the
//! leaves. When a node's turn comes, the gradients of all its uses have been summed, so it hands
//! its own gradient on to its inputs, once. A node is always made after its inputs, so "latest
//! first" is the right order.

mod recompute;

pub use recompute::recompute;

use crate::finite::look;
use crate::ops::Op;
use crate::ops::copy::Copy;
use crate::tensor::{check, launch, launch_into};
use crate::{Device, Error, Kernel, Result, Shape, Tensor};
use std::cell::Cell;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A tensor's place in the graph: one output of a node.
#[derive(Clone)]
pub(crate) struct Variable {
    node: Arc<Node>,
    output: usize,
}

struct Node {
    /// Counts up: an op's number is larger than those of its inputs.
    id: u64,
    /// `None` for a leaf; taken when the node is visited.
    record: Mutex<Option<Record>>,
    is_leaf: bool,
}

/// What is needed to go back through one op, or through a part that is run again.
struct Record {
    step: Step,
    inputs: Vec<Option<Variable>>,
    saved: Saved,
    shapes: Vec<Shape>,
    device: Device,
}

enum Step {
    Op(Box<dyn Op>),
    Again(recompute::Body),
}

impl Node {
    fn new(record: Option<Record>) -> Arc<Node> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let id = CREATED.fetch_add(1, Ordering::Relaxed);
        Arc::new(Node { id, is_leaf: record.is_none(), record: Mutex::new(record) })
    }

    fn take(&self) -> Option<Record> {
        self.record.lock().expect("no code panics with it").take()
    }
}

impl Drop for Node {
    /// Frees a long chain of nodes in a loop: by recursion it could overflow the stack.
    fn drop(&mut self) {
        let mut records: Vec<Record> = self.take().into_iter().collect();
        while let Some(record) = records.pop() {
            for input in record.inputs.into_iter().flatten() {
                records.extend(Arc::into_inner(input.node).and_then(|node| node.take()));
            }
        }
    }
}

impl Variable {
    pub fn leaf() -> Variable {
        Variable { node: Node::new(None), output: 0 }
    }

    fn slot(&self) -> (u64, usize) {
        (self.node.id, self.output)
    }
}

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Runs `body` without recording a graph: for evaluation, where nothing is to be saved.
///
/// ```
/// use neutreno_engine::{Device, Tensor, no_grad};
/// let x = Tensor::new(&[3.0], [1], &Device::cpu()).tracked();
/// assert!(!no_grad(|| &x * &x).is_tracked());
/// ```
pub fn no_grad<R>(body: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(false));
    body()
}

fn is_enabled() -> bool {
    ENABLED.get()
}

/// Whether an op on these tensors is going to be recorded.
pub fn is_recording(inputs: &[&Tensor]) -> bool {
    is_enabled() && inputs.iter().any(|input| input.is_tracked())
}

/// Runs an op and, if an input is tracked, records it. This is how every method of
/// [`Tensor`] that is an op works, and how an op of one's own is used.
///
/// # Panics
/// At the caller's line: if the inputs do not fit, or an input is tracked and the op has no
/// derivative.
#[track_caller]
pub fn apply<const N: usize>(op: impl Op, inputs: &[&Tensor]) -> [Tensor; N] {
    let outputs = apply_boxed(Box::new(op), inputs);
    outputs.try_into().expect("as many results as the caller takes")
}

/// The same as [`apply`] for an op whose type is not known where it is used.
///
/// # Panics
/// As [`apply`].
#[track_caller]
pub fn apply_boxed(op: Box<dyn Op>, inputs: &[&Tensor]) -> Vec<Tensor> {
    let shapes = check(&*op, inputs);
    let device = inputs.first().expect("an op has inputs").device();
    let mut outputs: Vec<Tensor> =
        shapes.iter().map(|shape| Tensor::uninitialized(*shape, device)).collect();
    let destinations: Vec<(&Tensor, bool)> = outputs.iter().map(|tensor| (tensor, false)).collect();
    launch_into(&*op, inputs, &destinations);
    let results = op.results();
    look(op.name(), inputs, &outputs[..results]);
    if is_recording(inputs) {
        if let Some(reason) = op.no_derivative() {
            panic!("{} has no derivative ({reason}); detach its input first", op.name());
        }
        let node = record(op, inputs, &outputs, shapes);
        for (output, tensor) in outputs.iter_mut().take(results).enumerate() {
            tensor.variable = Some(Variable { node: node.clone(), output });
        }
    }
    outputs.truncate(results);
    outputs
}

fn record(
    op: Box<dyn Op>,
    inputs: &[&Tensor],
    outputs: &[Tensor],
    shapes: Vec<Shape>,
) -> Arc<Node> {
    let Saves { inputs: saved_inputs, outputs: saved_outputs } = op.saves();
    let saved = saved_inputs
        .iter()
        .map(|index| inputs[*index])
        .chain(saved_outputs.iter().map(|index| &outputs[*index]))
        .map(|tensor| (tensor.detach(), tensor.version()))
        .collect();
    let variables = inputs.iter().map(|input| input.variable.clone()).collect();
    Node::new(Some(Record {
        step: Step::Op(op),
        inputs: variables,
        saved: Saved { tensors: saved, shapes: inputs.iter().map(|input| input.shape()).collect() },
        shapes,
        device: inputs[0].device().clone(),
    }))
}

/// Which of an op's inputs and outputs its derivative needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Saves {
    /// Numbers of inputs.
    pub inputs: &'static [usize],
    /// Numbers of outputs, those that callers do not see included.
    pub outputs: &'static [usize],
}

/// The values that an op saved: first the inputs it named, then the outputs.
pub struct Saved {
    tensors: Vec<(Tensor, u64)>,
    shapes: Vec<Shape>,
}

impl Saved {
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

    fn is_intact(&self) -> bool {
        self.tensors.iter().all(|(tensor, version)| tensor.version() == *version)
    }
}

/// Gradients of the leaves of a graph, by handle.
#[derive(Default)]
pub struct Gradients {
    slots: HashMap<(u64, usize), Slot>,
    /// Memory that provided slots are windows of.
    flat: Vec<Tensor>,
}

/// A gradient in the making.
struct Slot {
    tensor: Tensor,
    /// Whether it holds a sum already; if not, what is there is arbitrary.
    written: bool,
    /// Whether the memory was given from outside: it must be used and may be added to.
    fixed: bool,
}

impl Gradients {
    /// The gradient of a leaf, of the leaf's shape; `None` if none reached it.
    pub fn get(&self, leaf: &Tensor) -> Option<Tensor> {
        let slot = self.slots.get(&leaf.variable.as_ref()?.slot())?;
        slot.written.then(|| slot.tensor.reshape(leaf.shape()))
    }

    /// Forgets all sums; memory given from outside is kept and overwritten next.
    pub fn clear(&mut self) {
        self.slots.retain(|_, slot| slot.fixed);
        self.slots.values_mut().for_each(|slot| slot.written = false);
    }

    /// Has the gradient of `leaf` made in the memory of `tensor`.
    pub(crate) fn provide(&mut self, leaf: &Tensor, tensor: Tensor) {
        if let Some(variable) = &leaf.variable {
            self.slots.insert(variable.slot(), Slot { tensor, written: false, fixed: true });
        }
    }

    /// Remembers the memory that what was provided are windows of.
    pub(crate) fn provide_flat(&mut self, flat: Vec<Tensor>) {
        self.flat = flat;
    }

    /// The memory that what was provided are windows of.
    pub(crate) fn flat(&self) -> &[Tensor] {
        &self.flat
    }
}

/// Goes back through the graph of `loss`.
pub(crate) fn backward(loss: &Tensor, gradients: &mut Gradients) -> Result<()> {
    let Some(root) = &loss.variable else {
        return wrong("this tensor does not depend on any tracked tensor");
    };
    if loss.elements() != 1 {
        return wrong("it starts from one number, such as a mean; this tensor has several");
    }
    let one = Tensor::full(1.0, loss.shape(), loss.device());
    Sink::new(root, &mut gradients.slots).give(one);
    go_back(vec![root.node.clone()], &mut gradients.slots)
}

/// Visits the nodes that `roots` depend on, whose own gradients are in their slots.
fn go_back(roots: Vec<Arc<Node>>, slots: &mut HashMap<(u64, usize), Slot>) -> Result<()> {
    let mut waiting: BinaryHeap<ById> = roots.into_iter().map(ById).collect();
    let mut visited = u64::MAX;
    while let Some(ById(node)) = waiting.pop() {
        if node.is_leaf || node.id == visited {
            continue;
        }
        visited = node.id;
        let Some(record) = node.take() else {
            return wrong("its graph was consumed by an earlier backward; run forward again");
        };
        if !record.saved.is_intact() {
            let name = record.step.name();
            return wrong(&format!("a tensor that {name} saved was changed after its forward"));
        }
        let outputs = (0..record.step.results(&record.shapes))
            .map(|output| slots.remove(&(node.id, output)).map(|slot| slot.tensor))
            .collect();
        let mut sinks = Sinks { outputs, record: &record, slots };
        match &record.step {
            Step::Op(op) => op.backward(&record.saved, &mut sinks),
            Step::Again(body) => recompute::backward(body, &mut sinks)?,
        }
        waiting.extend(record.inputs.iter().flatten().map(|input| ById(input.node.clone())));
    }
    Ok(())
}

fn wrong(message: &str) -> Result<()> {
    Err(Error::Backward(message.into()))
}

impl Step {
    fn name(&self) -> &'static str {
        match self {
            Step::Op(op) => op.name(),
            Step::Again(_) => "a part that is run again",
        }
    }

    fn results(&self, shapes: &[Shape]) -> usize {
        match self {
            Step::Op(op) => op.results(),
            Step::Again(_) => shapes.len(),
        }
    }
}

/// Orders nodes by their number.
struct ById(Arc<Node>);

impl Ord for ById {
    fn cmp(&self, other: &ById) -> std::cmp::Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &ById) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &ById) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

/// Where an op's derivative finds the gradients of its outputs and leaves those of its inputs.
pub struct Sinks<'a> {
    outputs: Vec<Option<Tensor>>,
    record: &'a Record,
    slots: &'a mut HashMap<(u64, usize), Slot>,
}

impl Sinks<'_> {
    /// Whether anyone wants the gradient of input number `input`; nobody does of an optional input
    /// that was not given.
    pub fn wants(&self, input: usize) -> bool {
        self.record.inputs.get(input).is_some_and(Option::is_some)
    }

    /// The gradient of result number `output`; zeros if nothing used it.
    pub fn gradient(&mut self, output: usize) -> Tensor {
        let shape = self.record.shapes[output];
        let device = &self.record.device;
        self.outputs[output].get_or_insert_with(|| Tensor::zeros(shape, device)).reshape(shape)
    }

    /// Gives up the handle to the gradient of result number `output`, so that whoever gets it may
    /// change its memory.
    pub fn take_gradient(&mut self, output: usize) -> Tensor {
        let gradient = self.gradient(output);
        self.outputs[output] = None;
        gradient
    }

    /// Passes `tensor` on as the gradient of input number `input`, without a copy if possible.
    pub fn give(&mut self, input: usize, tensor: Tensor) {
        if let Some(variable) = &self.record.inputs[input] {
            let tensor = tensor.into_shape(self.record.saved.input_shape(input));
            Sink::new(variable, self.slots).give(tensor);
        }
    }

    /// Runs a kernel whose outputs are the gradients of `targets`, input by input. Each is written
    /// or added where it belongs. Call it only for gradients that are wanted.
    ///
    /// # Panics
    /// If the kernel's inputs do not fit.
    pub fn run(&mut self, kernel: &dyn Kernel, inputs: &[&Tensor], targets: &[usize]) {
        let shapes = check(kernel, inputs);
        let device = &self.record.device;
        let mut places: Vec<(Tensor, bool)> = Vec::with_capacity(targets.len());
        let mut used: Vec<(u64, usize)> = Vec::new();
        for (output, (target, shape)) in targets.iter().zip(&shapes).enumerate() {
            let slot = self.slot(*target);
            let existing = match self.slots.get(&slot) {
                Some(found) if !used.contains(&slot) && found.accepts(kernel.adds(output)) => {
                    Some((found.tensor.reshape(*shape), found.written))
                }
                _ => None,
            };
            used.push(slot);
            places.push(existing.unwrap_or_else(|| (Tensor::uninitialized(*shape, device), false)));
        }
        let destinations: Vec<(&Tensor, bool)> =
            places.iter().map(|(tensor, add)| (tensor, *add)).collect();
        launch_into(kernel, inputs, &destinations);
        for (target, (tensor, _)) in targets.iter().zip(places) {
            self.settle(*target, tensor);
        }
    }

    fn slot(&self, input: usize) -> (u64, usize) {
        let variable = self.record.inputs[input].as_ref();
        variable.expect("run is called for wanted gradients only").slot()
    }

    /// Takes note of a gradient that a kernel made: in its slot's memory, or beside it.
    fn settle(&mut self, input: usize, tensor: Tensor) {
        match self.slots.get_mut(&self.slot(input)) {
            Some(slot) if slot.tensor.shares_memory(&tensor) => slot.written = true,
            _ => self.give(input, tensor),
        }
    }
}

impl Slot {
    /// Whether a kernel may make its result in this slot's memory.
    fn accepts(&self, can_add: bool) -> bool {
        let ours = self.fixed || self.tensor.is_exclusive();
        if self.written { can_add && ours } else { self.fixed }
    }
}

/// One slot, found or to be made.
struct Sink<'a> {
    key: (u64, usize),
    slots: &'a mut HashMap<(u64, usize), Slot>,
}

impl<'a> Sink<'a> {
    fn new(variable: &Variable, slots: &'a mut HashMap<(u64, usize), Slot>) -> Sink<'a> {
        Sink { key: variable.slot(), slots }
    }

    fn give(self, tensor: Tensor) {
        let Some(slot) = self.slots.get_mut(&self.key) else {
            self.slots.insert(self.key, Slot { tensor, written: true, fixed: false });
            return;
        };
        let tensor = tensor.into_shape(slot.tensor.shape());
        if slot.fixed || slot.tensor.is_exclusive() {
            launch_into(&Copy, &[&tensor], &[(&slot.tensor, slot.written)]);
        } else if tensor.is_exclusive() {
            // Somebody else holds the sum so far: add it to the newcomer instead.
            launch_into(&Copy, &[&slot.tensor], &[(&tensor, true)]);
            slot.tensor = tensor;
        } else {
            let [sum] = launch(&crate::ops::add::Add, &[&slot.tensor, &tensor], tensor.device());
            slot.tensor = sum;
        }
        slot.written = true;
    }
}
