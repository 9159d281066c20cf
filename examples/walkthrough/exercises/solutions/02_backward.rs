// 2. Backward, in the right order
//
// A number that was computed is a node of a graph: it knows from which other nodes it
// came. The backward pass goes from the result to the leaves and finds for every node
// the derivative of the result. A node can be handed on only when its own derivative
// is complete, so the order matters.
//
// Mend both functions below.

pub enum Node {
    Leaf(f64),
    /// The sum of two other nodes, by their indices.
    Add(usize, usize),
    /// Their product.
    Multiply(usize, usize),
}
use Node::{Add, Leaf, Multiply};

impl Node {
    pub fn inputs(&self) -> Vec<usize> {
        match *self {
            Leaf(_) => vec![],
            Add(a, b) | Multiply(a, b) => vec![a, b],
        }
    }
}

/// The nodes that `result` is made of, itself as the last, each after those that it is made of. Nodes may
/// lie in `nodes` in any order.
pub fn order(nodes: &[Node], result: usize) -> Vec<usize> {
    // SOLUTION
    fn visit(nodes: &[Node], node: usize, order: &mut Vec<usize>) {
        if order.contains(&node) {
            return;
        }
        for input in nodes[node].inputs() {
            visit(nodes, input, order);
        }
        order.push(node);
    }
    let mut order = Vec::new();
    visit(nodes, result, &mut order);
    order
    // INSTEAD
    // let _ = result;
    // (0..nodes.len()).collect()
    // END
}

/// The derivative of the node `result` by each node.
pub fn gradients(nodes: &[Node], result: usize) -> Vec<f64> {
    let order = order(nodes, result);
    let mut values = vec![0.0; nodes.len()];
    for &node in &order {
        values[node] = match nodes[node] {
            Leaf(value) => value,
            Add(a, b) => values[a] + values[b],
            Multiply(a, b) => values[a] * values[b],
        };
    }
    let mut gradients = vec![0.0; nodes.len()];
    gradients[result] = 1.0;
    // SOLUTION
    for &node in order.iter().rev() {
        let gradient = gradients[node];
        match nodes[node] {
            Leaf(_) => {}
            Add(a, b) => {
                gradients[a] += gradient;
                gradients[b] += gradient;
            }
            Multiply(a, b) => {
                gradients[a] += gradient * values[b];
                gradients[b] += gradient * values[a];
            }
        }
    }
    // INSTEAD
    // for &node in &order {
    //     let gradient = gradients[node];
    //     match nodes[node] {
    //         Leaf(_) => {}
    //         Add(a, b) => {
    //             gradients[a] = gradient;
    //             gradients[b] = gradient;
    //         }
    //         Multiply(a, b) => {
    //             gradients[a] = gradient * values[b];
    //             gradients[b] = gradient * values[a];
    //         }
    //     }
    // }
    // END
    gradients
}

// HINT
// For the order: visit the inputs of a node first, and then put the node itself on the
// list, unless it is there already. A function that calls itself does it.
// HINT
// The backward pass takes the order from its end. And a node that is used twice gets
// something from both uses: what happens to the first when the second is written with
// `=`?
