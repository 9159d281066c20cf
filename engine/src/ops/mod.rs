//! The ops: one file each, most with a shader of the same name in `shaders/`; some share one.

mod broadcast;
pub mod cache;
pub mod elementwise;
pub mod half_matrix;
pub mod linear_merged;
mod operators;
pub mod rope_and_cache;
mod row_function;
mod rows;
mod shapes;
mod tensor_or_number;
mod variance;

use crate::proof::{Case, Proven};
use elementwise::Elementwise;
use row_function::RowFunction;

pub use tensor_or_number::TensorOrNumber;

/// An op's name and its cases.
pub struct Registration {
    /// The name of the op and of its file.
    pub name: &'static str,
    cases: fn() -> Vec<Case>,
}

impl Registration {
    /// Makes its cases.
    pub fn cases(&self) -> Vec<Case> {
        (self.cases)().into_iter().map(Case::built_in).collect()
    }
}

macro_rules! ops {
    ($($name:ident: $op:ty,)*) => {
        $(pub mod $name;)*

        /// All ops.
        pub const OPS: &[Registration] = &[
            $(Registration { name: stringify!($name), cases: <$op as Proven>::cases },)*
        ];
    };
}

ops! {
    abs: Elementwise<abs::Abs>,
    add: add::Add,
    add_rms_norm: add_rms_norm::AddRmsNorm,
    argmax: argmax::Argmax,
    attention: attention::Attention,
    cached_attention: cached_attention::CachedAttention,
    clamp: Elementwise<clamp::Clamp>,
    compare: compare::Compare,
    concatenate: concatenate::Concatenate,
    copy: copy::Copy,
    cos: Elementwise<cos::Cos>,
    cross_entropy: cross_entropy::CrossEntropy,
    cumsum: cumsum::Cumsum,
    divide: divide::Divide,
    dropout: dropout::Dropout,
    exp: Elementwise<exp::Exp>,
    fill: fill::Fill,
    fused_linear: fused_linear::FusedLinear,
    gather: gather::Gather,
    gelu: Elementwise<gelu::Gelu>,
    gelu_tanh: Elementwise<gelu_tanh::GeluTanh>,
    half_rows: half_rows::HalfRows,
    layer_norm: layer_norm::LayerNorm,
    linear: linear::Linear,
    linear_cross_entropy: linear_cross_entropy::LinearCrossEntropy,
    linear_half: linear_half::LinearHalf,
    log: Elementwise<log::Log>,
    log_softmax: RowFunction<log_softmax::LogSoftmax>,
    matmul: matmul::MatMul,
    max: max::Max,
    maximum: maximum::Maximum,
    minimum: minimum::Minimum,
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
    sin: Elementwise<sin::Sin>,
    slice: slice::Slice,
    softmax: RowFunction<softmax::Softmax>,
    split_heads: split_heads::SplitHeads,
    sqrt: Elementwise<sqrt::Sqrt>,
    subtract: subtract::Subtract,
    sum: sum::Sum,
    swiglu: swiglu::Swiglu,
    swiglu_halves: swiglu_halves::SwigluHalves,
    tanh: Elementwise<tanh::Tanh>,
    where_: where_::Where,
}
