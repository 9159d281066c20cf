//! The graph of ops that made a tensor, to look at.

use super::gradients::{Gradients, Slot};
use super::node::{Kind, Node, WayBack};
use crate::tensor::Variable;
use crate::{Error, Result, Shape, Tensor};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// What a graph consists of, in the order in which it was computed: each node stands after its inputs.
///
/// ```
/// use neutreno_engine::autograd::Graph;
/// use neutreno_engine::{Device, Tensor};
/// let x = Tensor::new(&[3.0, 4.0], [2], &Device::cpu()).tracked();
/// let loss = (&x * &x).sum_all();
/// let mut graph = Graph::of(&loss)?.with_name("x", &x);
/// let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
/// assert_eq!(names, ["x", "multiply", "sum"]);
///
/// let gradients = graph.backward(&loss)?; // as `loss.backward()`
/// assert_eq!(gradients.get(&x).unwrap().to_vec()?, [6.0, 8.0]);
/// assert_eq!(graph.nodes()[0].gradient_norms, [Some(10.0)]);
/// assert!(graph.svg().starts_with("<svg"));
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<GraphNode>,
    /// What the gradients of each node's results are called.
    ids: Vec<Option<u64>>,
}

/// A node of a [`Graph`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GraphNode {
    /// Which kind it is of.
    pub kind: NodeKind,
    /// The op's name, or the leaf's, if it was given one.
    pub name: String,
    /// For each input of an op, the place of its node in [`Graph::nodes`], and which of that node's results it
    /// is.
    pub inputs: Vec<(usize, usize)>,
    /// The shapes of its results.
    pub shapes: Vec<Shape>,
    /// The memory, in bytes, that is taken until backward has come here because this op saved it. What several
    /// ops saved is counted at the first of them. Leaves are not counted: they are there anyway.
    pub saved_bytes: u64,
    /// For each result, the Euclidean norm of the loss's gradient, √Σ(dL/dy)²; none before
    /// [`Graph::backward`], and where no gradient came.
    pub gradient_norms: Vec<Option<f64>>,
}

/// What a node of a [`Graph`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// What is differentiated with respect to, such as a parameter.
    Leaf,
    /// An input that is not tracked, such as data.
    Constant,
    /// An op, or a part of the graph that is run again on the way back.
    Op,
}

impl Graph {
    /// The graph that made `tensor`. It shows leaves as `leaf`, constants as `constant`; whole numbers, such as
    /// tokens, are not tensors and not shown.
    ///
    /// # Errors
    /// If the tensor is not tracked, or a backward has consumed its graph.
    pub fn of(tensor: &Tensor) -> Result<Graph> {
        let Some(variable) = &tensor.variable else {
            return Err(Error::Backward(
                "this tensor does not depend on any tracked tensor".into(),
            ));
        };
        let mut graph = Graph { nodes: Vec::new(), ids: Vec::new() };
        let mut places = HashMap::new();
        let mut saved = Saving::default();
        let shape = tensor.shape();
        for node in in_order(variable) {
            match node.look(|way| graph.add_op(&node, way, &mut places, &mut saved)) {
                Some(()) => {}
                // Leaves are added with the first op that uses them, which knows their shapes.
                None if node.kind == Kind::Leaf && variable.slot.0 != node.id => {}
                None if node.kind == Kind::Leaf => {
                    graph.add(NodeKind::Leaf, Some(node.id), "leaf", vec![shape]);
                }
                None => {
                    let reason =
                        "its graph was consumed by an earlier backward, or comes to a gradient";
                    return Err(Error::Backward(reason.into()));
                }
            }
        }
        Ok(graph)
    }

    /// The same, with a leaf's name. A tensor that is not in the graph changes nothing.
    #[must_use]
    pub fn with_name(mut self, name: &str, leaf: &Tensor) -> Graph {
        let id = leaf.variable.as_ref().map(|variable| variable.slot.0);
        for (node, of) in self.nodes.iter_mut().zip(&self.ids) {
            if node.kind == NodeKind::Leaf && *of == id {
                node.name = name.to_owned();
            }
        }
        self
    }

    /// The same, with the names of several leaves, such as all of [`Parameters`](crate::Parameters).
    ///
    /// ```
    /// use neutreno_engine::autograd::Graph;
    /// use neutreno_engine::{Device, Initial, Parameters, Tensor};
    /// let device = Device::cpu();
    /// let (weight, parameters) = Parameters::build(&device, 1, |builder| {
    ///     builder.parameter("weight", [2, 3], Initial::Ones, true)
    /// });
    /// let x = Tensor::zeros([4, 3], &device);
    /// let graph = Graph::of(&x.linear(&weight, None).sum_all())?.with_names(parameters.iter());
    /// assert!(graph.svg().contains("weight"));
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[must_use]
    pub fn with_names<'a>(self, names: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Graph {
        names.into_iter().fold(self, |graph, (name, leaf)| graph.with_name(name, leaf))
    }

    /// The nodes, each after its inputs.
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// The memory, in bytes, that backward's values take in all.
    pub fn saved_bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.saved_bytes).sum()
    }

    /// Does what [`Tensor::backward`] does, and keeps the norms of all gradients on the way. Each is read back,
    /// so it is slower.
    ///
    /// # Errors
    /// As [`Tensor::backward`], or if the device failed.
    pub fn backward(&mut self, loss: &Tensor) -> Result<Gradients> {
        let norms: Arc<Mutex<HashMap<Slot, Result<f64>>>> = Arc::default();
        let seen = norms.clone();
        let mut gradients = Gradients::default();
        gradients.sums.watch(Some(Box::new(move |slot, tensor| {
            seen.lock().expect("no code panics with it").insert(slot, norm(tensor));
        })));
        let done = loss.backward_into(&mut gradients);
        gradients.sums.watch(None);
        done?;
        let mut norms = std::mem::take(&mut *norms.lock().expect("no code panics with it"));
        for (slot, tensor) in gradients.sums.iter() {
            norms.insert(slot, norm(tensor));
        }
        for (node, id) in self.nodes.iter_mut().zip(&self.ids) {
            let Some(id) = id else { continue };
            for (output, gradient_norm) in node.gradient_norms.iter_mut().enumerate() {
                *gradient_norm = norms.remove(&(*id, output)).transpose()?;
            }
        }
        Ok(gradients)
    }

    fn add(
        &mut self,
        kind: NodeKind,
        id: Option<u64>,
        name: &str,
        shapes: Vec<Shape>,
    ) -> &mut GraphNode {
        self.ids.push(id);
        self.nodes.push(GraphNode {
            kind,
            name: name.to_owned(),
            inputs: Vec::new(),
            gradient_norms: vec![None; shapes.len()],
            shapes,
            saved_bytes: 0,
        });
        self.nodes.last_mut().expect("it was added")
    }

    fn add_op(
        &mut self,
        node: &Node,
        way: &WayBack,
        places: &mut HashMap<u64, usize>,
        saved: &mut Saving,
    ) {
        let WayBack { step, record } = way;
        let inputs = record.inputs.iter().enumerate().map(|(number, variable)| {
            let shape = || vec![record.saved.input_shape(number)];
            let next = self.nodes.len();
            let Some(variable) = variable else {
                self.add(NodeKind::Constant, None, "constant", shape());
                return (next, 0);
            };
            let (id, output) = variable.slot;
            let place = *places.entry(id).or_insert(next);
            if place == next {
                self.add(NodeKind::Leaf, Some(id), "leaf", shape());
            }
            (place, output)
        });
        let inputs: Vec<(usize, usize)> = inputs.collect();
        let results = step.results(record.shapes.len());
        places.insert(node.id, self.nodes.len());
        let shapes = record.shapes[..results].to_vec();
        let bytes = record.saved.kept().map(|tensor| saved.bytes(tensor)).sum();
        let op = self.add(NodeKind::Op, Some(node.id), step.name(), shapes);
        (op.inputs, op.saved_bytes) = (inputs, bytes);
    }
}

/// All nodes that a tensor depends on, first those that were made first.
fn in_order(variable: &Variable) -> Vec<Arc<Node>> {
    let mut found = HashSet::from([variable.slot.0]);
    let mut nodes = vec![Node::of(variable)];
    let mut next = 0;
    while let Some(node) = nodes.get(next) {
        let inputs = node.look(|way| {
            way.record.inputs.iter().flatten().map(Node::of).collect::<Vec<Arc<Node>>>()
        });
        nodes.extend(inputs.into_iter().flatten().filter(|node| found.insert(node.id)));
        next += 1;
    }
    nodes.sort_unstable_by_key(|node| node.id);
    nodes
}

/// The memory that was seen to be saved so far.
#[derive(Default)]
struct Saving(Vec<Tensor>);

impl Saving {
    /// What this takes that was not saved before.
    fn bytes(&mut self, tensor: &Tensor) -> u64 {
        if self.0.iter().any(|known| known.shares_memory(tensor)) {
            return 0;
        }
        self.0.push(tensor.clone());
        (tensor.elements() * size_of::<f32>()) as u64
    }
}

fn norm(gradient: &Tensor) -> Result<f64> {
    let squares = gradient.to_vec()?.into_iter().map(|value| f64::from(value).powi(2));
    Ok(squares.sum::<f64>().sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::autograd::recompute;

    fn leaf(numbers: &[f32], device: &Device) -> Tensor {
        Tensor::new(numbers, [numbers.len()], device).tracked()
    }

    /// The gradients and their norms are those of backward, with a leaf and an op's result of several uses.
    #[test]
    fn norms_are_those_of_the_gradients() {
        let device = Device::cpu();
        let [x, y] = [[0.5, -1.0, 2.0], [1.0, 3.0, -0.5]].map(|numbers| leaf(&numbers, &device));
        let make = || {
            let product = &x * &y;
            product.exp().add(&product).sum_all()
        };
        let plain = make().backward().unwrap();
        let loss = make();
        let mut graph = Graph::of(&loss).unwrap().with_name("x", &x).with_name("y", &y);
        assert!(graph.nodes().iter().all(|node| node.gradient_norms == [None]));
        let gradients = graph.backward(&loss).unwrap();
        for (name, leaf) in [("x", &x), ("y", &y)] {
            let [gradient, of_graph] =
                [&plain, &gradients].map(|all| all.get(leaf).unwrap().to_vec().unwrap());
            assert_eq!(gradient, of_graph);
            let squares = gradient.iter().map(|value| f64::from(*value).powi(2));
            let node = graph.nodes().iter().find(|node| node.name == name).unwrap();
            assert_eq!(node.gradient_norms, [Some(squares.sum::<f64>().sqrt())]);
        }
        // d(exp p + p)/dp = exp p + 1.
        let products = [0.5f64, -3.0, -1.0].map(|p| (p.exp() + 1.0).powi(2));
        let product = &graph.nodes()[2];
        assert_eq!(
            (product.name.as_str(), &product.inputs[..]),
            ("multiply", &[(0, 0), (1, 0)][..])
        );
        let norm = product.gradient_norms[0].unwrap();
        approx::assert_relative_eq!(norm, products.iter().sum::<f64>().sqrt(), epsilon = 1e-6);
        assert!(Graph::of(&loss).is_err(), "it is consumed");
    }

    /// Two ops save the same result, counted once; leaves are not counted; a part that is run again keeps
    /// nothing of its own.
    #[test]
    fn saved_bytes_are_what_the_graph_keeps() {
        let x = leaf(&[1.0; 100], &Device::cpu());
        let hidden = x.exp(); // saves its result
        let loss = hidden.multiply(&hidden).sum_all(); // saves it too
        let graph = Graph::of(&loss).unwrap();
        let bytes: Vec<u64> = graph.nodes().iter().map(|node| node.saved_bytes).collect();
        assert_eq!((bytes, graph.saved_bytes()), (vec![0, 400, 0, 0], 400));
        let again = recompute(&[&x], |inputs| vec![inputs[0].exp().sum_all()]).remove(0);
        let graph = Graph::of(&again).unwrap();
        assert_eq!((graph.nodes()[1].name.as_str(), graph.saved_bytes()), ("recompute", 0));
    }

    #[test]
    fn what_has_no_graph_is_refused_and_a_leaf_is_one_node() {
        let x = leaf(&[1.0], &Device::cpu());
        assert!(Graph::of(&x.detach()).is_err());
        let graph = Graph::of(&x).unwrap();
        assert_eq!((graph.nodes().len(), graph.nodes()[0].kind), (1, NodeKind::Leaf));
        assert!(graph.svg().contains("leaf"));
    }
}
