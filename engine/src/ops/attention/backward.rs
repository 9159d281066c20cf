//! The derivative of plain attention: what every variant's derivative is made of.

use super::cpu_backward::{self, Operands};
use super::sizes::{Blocks, Sizes, TILE};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder, Uniform};
use crate::ops::rows;
use crate::{Shape, uniforms};

/// Inputs: q, k, v (mixed, if they are), the gradient of o, the logarithms of the sums of
/// exponentials, and the row sums D. Outputs: the gradients of q, k and v that are needed.
#[derive(Clone, Debug)]
pub(super) struct AttentionBackward {
    pub causal: bool,
    pub needs: [bool; 3],
}

impl Kernel for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Sizes::check(inputs, self.causal)?;
        let needed = self.needs.iter().zip(inputs).filter(|(needed, _)| **needed);
        Ok(needed.map(|(_, shape)| *shape).collect())
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let sizes = Sizes::new(&inputs[0], &inputs[1], self.causal);
        let read: usize = inputs.iter().map(Shape::elements).sum();
        let needed = self.needs.iter().zip(inputs).filter(|(needed, _)| **needed);
        let written: usize = needed.map(|(_, shape)| shape.elements()).sum();
        // Five products; besides them a pair costs two differences, an exponential and a product.
        let flops = sizes.pairs() * (10 * sizes.head_size as u64 + 4);
        Cost { flops, bytes: 4 * (read + written) as u64 }
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn scratch(&self, inputs: &[Shape], threads: usize) -> Option<usize> {
        let sizes = Sizes::new(&inputs[0], &inputs[1], self.causal);
        Some(cpu_backward::scratch(&sizes, self.needs, threads))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let sizes = Sizes::new(&inputs[0].shape, &inputs[1].shape, self.causal);
        let from = Operands {
            q: inputs[0].data,
            k: inputs[1].data,
            v: inputs[2].data,
            gradient: inputs[3].data,
            log_sums: inputs[4].data,
            row_sums: inputs[5].data,
        };
        let (scratch, outputs) = outputs.split_last_mut().expect("the working memory");
        cpu_backward::backward(&sizes, from, rows::needed(self.needs, outputs), scratch);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let sizes = Sizes::new(&inputs[0].shape, &inputs[1].shape, self.causal);
        let inputs: Vec<&Binding> = inputs.iter().collect();
        let [dq, dk, dv] = rows::needed(self.needs, outputs);
        let [of_queries, of_keys] = entry_points(sizes.blocks());
        let tiles = |positions: usize| sizes.batch * positions.div_ceil(TILE);
        if let Some(dq) = dq {
            let uniforms = uniforms(&sizes, &[dq]);
            let groups = tiles(sizes.queries) * sizes.heads;
            let flops = sizes.gpu_flops(3);
            gpu.dispatch(of_queries, &inputs, &[dq], &uniforms, groups, flops);
        }
        if dk.is_none() && dv.is_none() {
            return;
        }
        // One kernel makes both; one that is not needed goes to waste.
        let [dk, dv] =
            [dk, dv].map(|output| output.cloned().unwrap_or_else(|| gpu.scratch(inputs[1].shape)));
        let made = [&dk, &dv];
        let uniforms = uniforms(&sizes, &made);
        let groups = tiles(sizes.keys) * sizes.kv_heads;
        let flops = sizes.gpu_flops(4);
        gpu.dispatch(of_keys, &inputs, &made, &uniforms, groups, flops);
    }
}

/// What makes the gradients of queries, and of keys and values.
fn entry_points(blocks: Blocks) -> [&'static str; 2] {
    match blocks {
        Blocks::Registers32 => {
            ["attention_backward_tiles_queries_32", "attention_backward_tiles_keys_32"]
        }
        Blocks::Registers64 => {
            ["attention_backward_tiles_queries_64", "attention_backward_tiles_keys_64"]
        }
        Blocks::Registers128 => {
            ["attention_backward_tiles_queries_128", "attention_backward_tiles_keys_128"]
        }
        Blocks::Memory => ["attention_backward_queries", "attention_backward_keys"],
    }
}

/// The uniforms of both shaders: the sizes, and a bit for each output that is added to what is there.
fn uniforms(sizes: &Sizes, made: &[&Binding]) -> Vec<Uniform> {
    let adds = (0..).zip(made).map(|(bit, output)| usize::from(output.add) << bit).sum::<usize>();
    let mut uniforms = sizes.uniforms().to_vec();
    uniforms.extend(uniforms! { adds });
    uniforms
}
