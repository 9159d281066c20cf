//! The ops: one file each, with the shader of the same name beside it in `shaders/`.

mod broadcast;
mod elementwise;
mod rows;

use crate::autograd::{Saved, Saves, Sinks};
use crate::device::Kernel;
use crate::proof::{Array64, Case};
use elementwise::Elementwise;

/// A kernel with a derivative and a proof of both.
///
/// The reference is written from the formula alone, in plain f64 loops, and shares no code with
/// the kernels. The cases say at which inputs to check; every device is checked at each of them,
/// forward and backward, with the op in the middle of a graph.
pub trait Op: Kernel {
    /// How many of the kernel's outputs are results. Those after them are only saved.
    fn results(&self) -> usize {
        1
    }

    /// Which inputs and outputs the derivative needs.
    fn saves(&self) -> Saves;

    /// Why there is no derivative, for an op that has none. Using it on a tracked tensor panics
    /// with this reason, so no gradient is cut off silently.
    fn no_derivative(&self) -> Option<&'static str> {
        None
    }

    /// Makes the gradients of the inputs that are wanted from those of the results.
    fn backward(&self, saved: &Saved, sinks: &mut Sinks);

    /// The results (without what is only saved), from the formula, in f64.
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64>;

    /// Where to check it.
    fn cases() -> Vec<Case>
    where
        Self: Sized;
}

/// An op's name and its cases.
pub struct Registration {
    /// The name of the op, of its file and of its shader.
    pub name: &'static str,
    /// Makes its cases.
    pub cases: fn() -> Vec<Case>,
}

macro_rules! ops {
    ($($name:ident: $op:ty,)*) => {
        $(pub mod $name;)*

        /// All ops.
        pub const OPS: &[Registration] = &[
            $(Registration { name: stringify!($name), cases: <$op as Op>::cases },)*
        ];
    };
}

ops! {
    add: add::Add,
    argmax: argmax::Argmax,
    attention: attention::Attention,
    concatenate: concatenate::Concatenate,
    copy: copy::Copy,
    cross_entropy: cross_entropy::CrossEntropy,
    divide: divide::Divide,
    dropout: dropout::Dropout,
    exp: Elementwise<exp::Exp>,
    fill: fill::Fill,
    gather: gather::Gather,
    gelu: Elementwise<gelu::Gelu>,
    gelu_tanh: Elementwise<gelu_tanh::GeluTanh>,
    layer_norm: layer_norm::LayerNorm,
    linear: linear::Linear,
    linear_cross_entropy: linear_cross_entropy::LinearCrossEntropy,
    log: Elementwise<log::Log>,
    log_softmax: log_softmax::LogSoftmax,
    matmul: matmul::MatMul,
    max: max::Max,
    multiply: multiply::Multiply,
    permute: permute::Permute,
    power: Elementwise<power::Power>,
    relu: Elementwise<relu::Relu>,
    resize_bilinear: resize_bilinear::ResizeBilinear,
    rms_norm: rms_norm::RmsNorm,
    rope: rope::Rope,
    scale: scale::Scale,
    sigmoid: Elementwise<sigmoid::Sigmoid>,
    silu: Elementwise<silu::Silu>,
    slice: slice::Slice,
    softmax: softmax::Softmax,
    sqrt: Elementwise<sqrt::Sqrt>,
    subtract: subtract::Subtract,
    sum: sum::Sum,
    swiglu: swiglu::Swiglu,
    tanh: Elementwise<tanh::Tanh>,
}
