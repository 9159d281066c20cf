//! Reverse-mode differentiation.
//!
//! Each op on tracked tensors leaves a node: the op, links to the nodes of its inputs, and
//! the values that its derivative needs. [`Tensor::backward`] visits the nodes from the loss to the
//! leaves. When a node's turn comes, the gradients of all its uses have been summed, so its op hands
//! its own gradient on to its inputs, once ([`GradientContext`]). A node is always made after its
//! inputs, so "latest first" is the right order.
//!
//! [`Tensor::backward`]: crate::Tensor::backward

mod apply;
mod backward;
mod context;
mod gradients;
mod graph;
mod graph_svg;
mod joined;
mod node;
mod op;
mod recompute;
mod record;
mod whole;

pub use apply::{apply, apply_boxed, is_recording, no_grad};
pub(crate) use apply::{apply_built_in, apply_from};
pub use context::GradientContext;
pub use gradients::Gradients;
pub(crate) use gradients::Identity;
pub use graph::{Graph, GraphNode, NodeKind};
pub use op::{Op, Saves};
pub use recompute::recompute;
pub use record::Saved;
