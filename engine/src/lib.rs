//! The engine: tensors, reverse-mode derivatives, devices, ops and optimisers.

pub mod random;
