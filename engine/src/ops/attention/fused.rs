//! The forward computation, for [`attention`](super) and for that over a cache.

use super::sizes::{Blocks, TILE};
use super::values::Coefficients;
use crate::gpu::{Binding, Recorder};
use crate::uniforms;

pub use super::cpu_forward::{Operands, add_fidelity, forward, scratch};
pub use super::sizes::Sizes;

/// Records the dispatch; the inputs are q, k, v, the first values and the coefficients, the outputs o and
/// the logarithms of sums.
pub(super) fn record(
    sizes: &Sizes,
    coefficients: Coefficients,
    inputs: [&Binding; 5],
    outputs: [&Binding; 2],
    gpu: &mut Recorder,
) {
    let mut uniforms = sizes.uniforms().to_vec();
    uniforms.extend(uniforms! {
        mixes: coefficients.mixes(),
        has_fidelity: coefficients.fidelity_acts(),
    });
    let entry_point = match sizes.blocks() {
        Blocks::Registers32 => "attention_tiles_32",
        Blocks::Registers64 => "attention_tiles_64",
        Blocks::Registers128 => "attention_tiles_128",
        Blocks::Memory => "attention_forward",
    };
    let groups = sizes.batch * sizes.heads * sizes.queries.div_ceil(TILE);
    gpu.dispatch(entry_point, &inputs, &outputs, &uniforms, groups, sizes.gpu_flops(2));
}

/// The same for plain attention of which only the output is wanted.
pub fn record_plain(sizes: &Sizes, [q, k, v]: [&Binding; 3], output: &Binding, gpu: &mut Recorder) {
    let log_sums = gpu.scratch(sizes.rows());
    record(sizes, Coefficients::PLAIN, [q, k, v, v, q], [output, &log_sums], gpu);
}
