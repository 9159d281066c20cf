//! Products of few rows on a GPU: how `few_rows.wgsl` is dispatched.

use super::binding::Binding;
use super::recorder::Recorder;
use crate::half::{Half, format_number};
use crate::uniforms;

/// The most matrices that one dispatch multiplies with: with more, there would be more bindings than
/// every adapter has.
pub const MOST_MATRICES: usize = 3;

/// Products of (rows, inputs) with matrices of (outputs, inputs) each, of which each makes (rows, outputs).
#[derive(Clone, Copy, Debug)]
pub struct FewRows<'a> {
    /// The rows.
    pub x: &'a Binding,
    /// The number of rows and of inputs.
    pub sizes: [usize; 2],
    /// Up to [`MOST_MATRICES`], in f32 or packed.
    pub matrices: &'a [&'a Binding],
    /// How they are packed.
    pub half: Option<Half>,
    /// What is done on the way.
    pub extra: Extra<'a>,
    /// Whether silu of what the first matrix makes, times what the second one makes, is the result.
    pub swiglu: bool,
    /// Where the results go: one for each matrix, or the one.
    pub y: &'a [&'a Binding],
}

/// What is done before or after products.
#[derive(Clone, Copy, Debug)]
pub enum Extra<'a> {
    /// Nothing.
    Nothing,
    /// A row is added to every row.
    Bias(&'a Binding),
    /// As many rows are added.
    Added(&'a Binding),
    /// The rows of x are normalised first, by this weight and epsilon.
    Norm(&'a Binding, f32),
}

impl FewRows<'_> {
    /// Whether so many rows are few: whether this is faster than a product in tiles.
    pub fn are_few(rows: usize, gpu: &Recorder) -> bool {
        rows <= gpu.class().few_rows
    }

    /// Records the dispatch.
    pub fn record(&self, gpu: &mut Recorder) {
        let [rows, inputs] = self.sizes;
        let outputs = |matrix: usize| self.matrices.get(matrix).map_or(0, |w| w.shape[0]);
        let [outputs_0, outputs_1, outputs_2] = [0, 1, 2].map(outputs);
        let made = &[outputs_0, outputs_1, outputs_2][..self.y.len()];
        let groups = rows * made.iter().map(|outputs| outputs.div_ceil(4)).sum::<usize>();
        let (extra_is, extra, epsilon) = match self.extra {
            Extra::Nothing => (0_u32, self.x, 0.0),
            Extra::Bias(bias) => (1, bias, 0.0),
            Extra::Added(rows) => (2, rows, 0.0),
            Extra::Norm(weight, epsilon) => (3, weight, epsilon),
        };
        let (format, swiglu) = (format_number(self.half), self.swiglu);
        let uniforms = uniforms! {
            groups, rows, inputs, outputs_0, outputs_1, outputs_2, format, extra_is, swiglu, epsilon
        };
        let numbers = if self.half.is_some() { 8 } else { 4 };
        let entry_point =
            if inputs.is_multiple_of(numbers) { "few_rows_vectors" } else { "few_rows_words" };
        let matrix = |index: usize| *self.matrices.get(index).unwrap_or(&self.matrices[0]);
        // Bindings that a shader may write to are not to be of the same memory.
        let missing = self.y.len()..MOST_MATRICES;
        let unused: Vec<Binding> = missing.map(|_| gpu.scratch([1])).collect();
        let y: Vec<&Binding> = self.y.iter().copied().chain(&unused).collect();
        let operands = [self.x, extra, matrix(0), matrix(1), matrix(2)];
        gpu.dispatch(entry_point, &operands, &y, uniforms, groups, 0);
    }
}
