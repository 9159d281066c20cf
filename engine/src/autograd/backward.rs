//! Going back through the graph.

use super::context::GradientContext;
use super::gradients::{Gradients, Sums};
use super::node::{Kind, Node, WayBack};
use super::whole::Whole;
use crate::device::Origin;
use crate::tensor::Variable;
use crate::{Error, Result, Tensor};
use std::collections::BinaryHeap;
use std::sync::Arc;

impl Tensor {
    /// Goes back through the graph from this tensor, which must have one element, and returns the
    /// gradients of the leaves. Saved values are freed on the way; the graph is consumed.
    ///
    /// # Errors
    /// If the tensor is not tracked, has several elements, or its graph was consumed already.
    pub fn backward(&self) -> Result<Gradients> {
        let mut gradients = Gradients::default();
        self.backward_into(&mut gradients)?;
        Ok(gradients)
    }

    /// The same as [`Tensor::backward`], added to the gradients that are there: accumulation over
    /// several micro-batches.
    ///
    /// # Errors
    /// As [`Tensor::backward`].
    pub fn backward_into(&self, gradients: &mut Gradients) -> Result<()> {
        self.go_back(self.start()?, gradients, None)
    }

    /// The same as [`Tensor::backward_into`]. On the way it calls `hook` once for each of `leaves`, as soon as
    /// its gradient is whole, with the leaf's place among them and the gradient; `None` if none has reached it.
    /// So what is done with gradients can begin while others are still being made, such as sending them to
    /// another machine.
    ///
    /// A gradient is whole when nothing that is still to be visited adds to it: after the first op that used
    /// the leaf. One that the graph does not use is whole at once.
    ///
    /// ```
    /// use neutreno_engine::{Device, Gradients, Tensor};
    /// let device = Device::cpu();
    /// let [first, second] = [3.0, 4.0].map(|x| Tensor::new(&[x], [1], &device).tracked());
    /// let loss = first.exp().log().multiply(&second).sum_all();
    /// let (mut gradients, mut told) = (Gradients::default(), Vec::new());
    /// loss.backward_with_hook(&mut gradients, &[&first, &second], |leaf, gradient| {
    ///     told.push((leaf, gradient.expect("both are used").to_scalar().unwrap()));
    /// })?;
    /// assert_eq!(told, [(1, 3.0), (0, 4.0)]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::backward`]; also if a part that is run again ([`recompute`](crate::autograd::recompute))
    /// uses one of the leaves only the second time.
    ///
    /// # Panics
    /// If one of `leaves` is not [tracked](Tensor::tracked) or a result of an op.
    #[track_caller]
    pub fn backward_with_hook(
        &self,
        gradients: &mut Gradients,
        leaves: &[&Tensor],
        mut hook: impl FnMut(usize, Option<Tensor>),
    ) -> Result<()> {
        for (number, leaf) in leaves.iter().enumerate() {
            let is_leaf = leaf.variable.as_ref().is_some_and(|v| Node::of(v).kind == Kind::Leaf);
            assert!(is_leaf, "number {number} of the leaves, {}, is none", leaf.shape());
        }
        let variable = self.start()?;
        let whole = Whole::new(Node::of(variable), leaves, &mut hook);
        let done = self.go_back(variable, gradients, Some(whole));
        match gradients.sums.end_of_whole() {
            true => fail("a part that was run again used a leaf that it did not use before"),
            false => done,
        }
    }

    /// Where going back starts, if it can.
    fn start(&self) -> Result<&Variable> {
        let Some(variable) = &self.variable else {
            return fail("this tensor does not depend on any tracked tensor");
        };
        if self.elements() != 1 {
            return fail("it starts from one number, such as a mean; this tensor has several");
        }
        Ok(variable)
    }

    fn go_back(
        &self,
        start: &Variable,
        gradients: &mut Gradients,
        mut whole: Option<Whole>,
    ) -> Result<()> {
        let one = Tensor::full(1.0, self.shape(), self.device());
        gradients.sums.add(start, one);
        let outside = visit(vec![Node::of(start)], &mut gradients.sums, 0, whole.as_mut())?;
        debug_assert!(outside.is_empty(), "every node's number is at least 0");
        if let Some(whole) = whole {
            whole.tell_rest(&mut gradients.sums);
        }
        Ok(())
    }
}

impl Gradients {
    /// The gradient of a leaf, of the leaf's shape; `None` if none reached it.
    ///
    /// There are no second derivatives: a `backward` that comes to this tensor is an error. To use it as
    /// a constant in what is differentiated, [`detach`](Tensor::detach) it.
    pub fn get(&self, leaf: &Tensor) -> Option<Tensor> {
        self.constant(leaf).map(Node::no_way_back)
    }
}

/// Visits the nodes that `roots` depend on, whose own gradients are among the sums, but for those made
/// before node number `first`. Of these it returns which were reached: their gradients are among the
/// sums, and perhaps not whole. On the way `whole` tells of leaves, if any are watched.
pub(super) fn visit(
    roots: Vec<Arc<Node>>,
    sums: &mut Sums,
    first: u64,
    mut whole: Option<&mut Whole>,
) -> Result<Vec<Arc<Node>>> {
    let mut outside = Vec::new();
    let mut waiting: BinaryHeap<ById> = roots.into_iter().map(ById).collect();
    let mut visited = u64::MAX;
    while let Some(ById(node)) = waiting.pop() {
        if node.kind == Kind::Leaf || node.id == visited {
            continue;
        }
        visited = node.id;
        if let Some(whole) = &mut whole {
            whole.tell_before(node.id, sums);
        }
        if node.id < first {
            outside.push(node);
            continue;
        }
        if node.kind == Kind::Gradient {
            return fail(
                "it depends on a gradient that came out of a backward, and there are no second \
                 derivatives; detach the gradient to use it as a constant",
            );
        }
        let Some(WayBack { step, record }) = node.take() else {
            return fail(
                "its graph was consumed by an earlier backward, and no graph is kept; run forward \
                 again, or add up the losses and go back once",
            );
        };
        if !record.saved.is_intact() {
            let name = step.name();
            return fail(&format!("a tensor that {name} saved was changed after its forward"));
        }
        let results = step.results(record.shapes.len());
        let of_outputs = (0..results).map(|output| sums.take((node.id, output))).collect();
        let origin = Origin::Program;
        let mut context = GradientContext { of_outputs, record: &record, sums, origin };
        let reached = step.backward(&record.saved, &mut context)?;
        waiting.extend(reached.into_iter().map(ById));
        waiting.extend(record.inputs.iter().flatten().map(|input| ById(Node::of(input))));
    }
    Ok(outside)
}

fn fail<R>(message: &str) -> Result<R> {
    Err(Error::Backward(message.into()))
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
