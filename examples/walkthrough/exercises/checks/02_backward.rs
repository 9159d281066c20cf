use crate::check::{all_is_right, numbers, wrong};
use crate::exercise::Node::{Add, Leaf, Multiply};
use crate::exercise::{Node, gradients, order};

/// An order must have every node that the result needs, once, after its inputs.
fn check_order(what: &str, nodes: &[Node], result: usize, count: usize) {
    let order = order(nodes, result);
    for (place, node) in order.iter().enumerate() {
        if order[..place].contains(node) {
            wrong(&format!("order, {what}: got {order:?}, which has node {node} twice"));
        }
        for input in nodes[*node].inputs() {
            if !order[..place].contains(&input) {
                wrong(&format!(
                    "order, {what}: got {order:?}, where node {node} comes before node {input}, which it is \
                     made of"
                ));
            }
        }
    }
    if order.last() != Some(&result) || order.len() != count {
        wrong(&format!(
            "order, {what}: got {order:?}, expected {count} nodes and {result} as the last"
        ));
    }
}

fn main() {
    let node = |index| format!("node {index}");
    // (x + y)·z, the sum behind its product.
    let nodes = [Multiply(4, 3), Leaf(2.0), Leaf(3.0), Leaf(4.0), Add(1, 2)];
    check_order("(x + y)·z", &nodes, 0, 5);
    numbers("gradients of (x + y)·z", &gradients(&nodes, 0), &[1.0, 4.0, 4.0, 5.0, 4.0], node);
    // One node that the result does not need.
    let nodes = [Leaf(2.0), Leaf(3.0), Multiply(0, 0), Add(2, 1), Add(0, 0)];
    check_order("x·x + y beside x + x", &nodes, 3, 4);
    // Numbers that are used twice.
    numbers("gradients of x·x + y", &gradients(&nodes, 3), &[4.0, 1.0, 1.0, 1.0, 0.0], node);
    numbers("gradients of x + x", &gradients(&nodes, 4), &[2.0, 0.0, 0.0, 0.0, 1.0], node);
    // s = x·x is used by a sum that is made before the product p = s·x, and lies behind it.
    let nodes = [Leaf(2.0), Add(3, 2), Multiply(3, 0), Multiply(0, 0)];
    check_order("s + s·x with s = x·x", &nodes, 1, 4);
    numbers(
        "gradients of s + s·x with s = x·x",
        &gradients(&nodes, 1),
        &[16.0, 1.0, 1.0, 3.0],
        node,
    );
    all_is_right();
}
