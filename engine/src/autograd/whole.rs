//! When the gradients of leaves are whole: while going back is still under way, but comes to nothing that
//! uses them any more.
//!
//! Nodes are visited from the latest to the first, so a leaf's gradient is whole once all nodes from the
//! first one on that uses it are behind. Which one that is, the graph says before anything is visited. Parts
//! that are run again count as one node, and know from their first run what they use.

use super::gradients::Sums;
use super::node::{Kind, Node};
use crate::Tensor;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Is told which leaf's gradient is whole, by its place among those that were asked for, and the gradient.
pub(super) type Hook<'a> = &'a mut dyn FnMut(usize, Option<Tensor>);

/// Leaves whose gradients are watched.
pub(super) struct Whole<'a> {
    /// The numbers of those that are not whole, each with that of the first node that uses it; at the end the
    /// one that is whole next.
    open: Vec<(u64, usize)>,
    leaves: &'a [&'a Tensor],
    hook: Hook<'a>,
}

impl<'a> Whole<'a> {
    /// Watches leaves while `root` and all that it depends on is visited.
    pub fn new(root: Arc<Node>, leaves: &'a [&'a Tensor], hook: Hook<'a>) -> Whole<'a> {
        let first_uses = first_uses(root);
        let first_use = |leaf: &Tensor| {
            let slot = leaf.variable.as_ref().expect("leaves are tracked").slot;
            // One that nothing uses is whole before the latest node.
            first_uses.get(&slot.0).copied().unwrap_or(u64::MAX)
        };
        let mut open: Vec<(u64, usize)> =
            leaves.iter().map(|leaf| first_use(leaf)).zip(0..).collect();
        open.sort_unstable_by_key(|(first, number)| (*first, Reverse(*number)));
        Whole { open, leaves, hook }
    }

    /// Tells of those that are whole when all that is still to be visited are nodes up to this one.
    pub fn tell_before(&mut self, node: u64, sums: &mut Sums) {
        while let Some((_, number)) = self.open.pop_if(|(first, _)| *first > node) {
            self.tell(number, sums);
        }
    }

    /// Tells of the others: nothing is to be visited.
    pub fn tell_rest(mut self, sums: &mut Sums) {
        while let Some((_, number)) = self.open.pop() {
            self.tell(number, sums);
        }
    }

    fn tell(&mut self, number: usize, sums: &mut Sums) {
        let leaf = self.leaves[number];
        sums.note_whole(leaf.variable.as_ref().expect("leaves are tracked").slot);
        (self.hook)(number, sums.of_leaf(leaf).map(Node::no_way_back));
    }
}

/// Of each leaf that `root` depends on, by its number, the number of the first node that uses it.
fn first_uses(root: Arc<Node>) -> HashMap<u64, u64> {
    let mut first_uses = HashMap::new();
    let mut found = HashSet::from([root.id]);
    let mut waiting = vec![root];
    while let Some(node) = waiting.pop() {
        for used in node.uses() {
            if used.kind == Kind::Leaf {
                let first = first_uses.entry(used.id).or_insert(node.id);
                *first = node.id.min(*first);
            } else if found.insert(used.id) {
                waiting.push(used);
            }
        }
    }
    first_uses
}
