//! The WGSL compute shaders of neutreno, one file for each op or family of ops and for
//! each optimiser. Each file is valid WGSL as it stands.
//!
//! Conventions that every shader keeps:
//! - entry points are named after the file: `softmax.wgsl` has `softmax_forward`, ...;
//! - in group 0, binding 0 is the uniform structure of scalars (a file has one, or one for each entry
//!   point that needs its own), then come the inputs (`read`), then the outputs (`read_write`), in the kernel's order;
//! - a dispatch over elements has workgroups of 64; one over rows gives each row a workgroup of
//!   `lanes` invocations (`override lanes: u32 = 64u;`), which is set to suit the adapter;
//! - grids wider than the limit continue in y, so an index is made from x, y and
//!   `num_workgroups.x`, and checked against the number of elements or rows;
//! - work that would take long is dispatched in several pieces, and a piece begins at workgroup
//!   `first_group`, the first member of every uniform structure. The one that records dispatches
//!   fills it in; kernels give the members after it.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A shader file.
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// The file's name without `.wgsl`.
    pub name: &'static str,
    /// The WGSL.
    pub source: &'static str,
}

impl Shader {
    /// The names of the file's entry points.
    ///
    /// ```
    /// let copy = neutreno_shaders::SHADERS.iter().find(|shader| shader.name == "copy").unwrap();
    /// assert_eq!(copy.entry_points().collect::<Vec<_>>(), ["copy_forward"]);
    /// ```
    pub fn entry_points(&self) -> impl Iterator<Item = &'static str> {
        self.source.split("@compute").skip(1).filter_map(|text| {
            let (_, rest) = text.split_once("fn ")?;
            rest.split_once('(').map(|(name, _)| name.trim())
        })
    }
}

/// Finds the file that has an entry point.
pub fn with_entry_point(entry_point: &str) -> Option<&'static Shader> {
    static FOUND: LazyLock<HashMap<&str, &Shader>> = LazyLock::new(|| {
        let named = |shader: &'static Shader| shader.entry_points().map(move |name| (name, shader));
        SHADERS.iter().flat_map(named).collect()
    });
    FOUND.get(entry_point).copied()
}

macro_rules! shaders {
    ($($name:ident,)*) => {
        /// All shaders.
        pub const SHADERS: &[Shader] = &[
            $(Shader {
                name: stringify!($name),
                source: include_str!(concat!(stringify!($name), ".wgsl")),
            },)*
        ];
    };
}

shaders! {
    abs,
    adamw,
    argmax,
    attention,
    attention_backward,
    attention_backward_tiles,
    attention_tiles,
    attention_values,
    average,
    broadcast,
    cache,
    cached_attention,
    clamp,
    clip,
    copy,
    cross_entropy,
    cumsum,
    dropout,
    exp,
    few_rows,
    fill,
    gather,
    gelu,
    gelu_tanh,
    half,
    layer_norm,
    linear_cross_entropy,
    log,
    matmul,
    matmul_squares,
    max,
    permute,
    power,
    relu,
    resize_bilinear,
    rms_norm,
    rope,
    rope_and_cache,
    scale,
    sgd,
    sigmoid,
    silu,
    sin,
    slice,
    softmax,
    split_heads,
    sqrt,
    sum,
    swiglu,
    tanh,
    where_,
}
