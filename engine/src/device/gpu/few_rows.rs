//! Products of few rows on a GPU: how `few_rows.wgsl` is dispatched.

use super::binding::Binding;
use super::recorder::Recorder;
use crate::half::Half;
use crate::uniforms;

/// y = x Wᵀ + b, with x of (rows, inputs), W of (outputs, inputs) and y of (rows, outputs).
#[derive(Clone, Copy, Debug)]
pub struct FewRows<'a> {
    /// The rows.
    pub x: &'a Binding,
    /// The matrix, in f32 or packed.
    pub weight: &'a Binding,
    /// How it is packed.
    pub half: Option<Half>,
    /// A row that is added to every row.
    pub bias: Option<&'a Binding>,
    /// Where the result goes.
    pub y: &'a Binding,
    /// The number of rows, of outputs and of inputs.
    pub sizes: [usize; 3],
}

impl FewRows<'_> {
    /// Whether so many rows are few: whether this is faster than a product in tiles. What is a program
    /// on the CPU makes tiles of eight rows.
    pub fn are_few(rows: usize, gpu: &Recorder) -> bool {
        rows <= if gpu.is_software() { 2 } else { 8 }
    }

    /// Records the dispatch.
    pub fn record(&self, gpu: &mut Recorder) {
        let [rows, outputs, inputs] = self.sizes;
        let groups = rows * outputs.div_ceil(4);
        let (has_bias, is_f16) = (self.bias.is_some(), self.half == Some(Half::F16));
        let uniforms = uniforms! { groups, rows, outputs, inputs, has_bias, is_f16 };
        let entry_point = match self.half {
            Some(_) => "few_rows_half",
            None if inputs.is_multiple_of(4) => "few_rows_vectors",
            None => "few_rows_numbers",
        };
        let operands = [self.x, self.weight, self.bias.unwrap_or(self.weight)];
        gpu.dispatch(entry_point, &operands, &[self.y], uniforms, groups, 0);
    }
}
