//! Operands that may be a tensor or a number.

use crate::{Device, Tensor};

/// A tensor, or a number that stands for a tensor of no axes.
pub trait TensorOrNumber {
    /// The tensor, or one of the number on `device`.
    fn tensor(self, device: &Device) -> Tensor;
}

impl TensorOrNumber for &Tensor {
    fn tensor(self, _device: &Device) -> Tensor {
        self.clone()
    }
}

impl TensorOrNumber for Tensor {
    fn tensor(self, _device: &Device) -> Tensor {
        self
    }
}

impl TensorOrNumber for f32 {
    fn tensor(self, device: &Device) -> Tensor {
        Tensor::full(self, [], device)
    }
}
