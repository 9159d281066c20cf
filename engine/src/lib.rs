//! The engine of neutreno: tensors, reverse-mode derivatives, devices, ops and optimisers.
//!
//! Read [`shape`], [`tensor`] and [`autograd`] first, then a few ops with their shaders, in this order:
//! [`ops::silu`], [`ops::softmax`], attention made of small ops ([`Tensor::attention_unfused`]),
//! [`ops::rms_norm`], and attention fused into one op ([`ops::attention`]). The other ops are made the
//! same way.

pub mod autograd;
pub mod checkpoint;
mod computation;
mod debug;
pub mod device;
mod error;
pub mod finite;
pub mod half;
mod ids;
mod memory_use;
pub mod ops;
pub mod optim;
mod parameters;
pub mod proof;
pub mod random;
pub mod shape;
pub mod tensor;

pub use autograd::{Gradients, no_grad};
pub use device::{Cost, Device, Kernel, Reading, gpu};
pub use error::{Error, Result};
pub use ids::Ids;
pub use parameters::{Blocks, Builder, Group, Initial, Parameters, Part, Piece};
pub use shape::Shape;
pub use tensor::Tensor;
