//! Attention over what a cache keeps of one sequence, on the CPU: of few queries part by part, and of many
//! like attention in training.

use super::few_queries::{self, FewQueries};
use crate::device::cpu::few_rows::Single;
use crate::device::cpu::half::{Bf16, F16};
use crate::device::cpu::scratch::cut;
use crate::half::Half;
use crate::ops::attention::fused::{self, Operands, Sizes};
use crate::ops::cache::CacheRead;

/// So many queries of one sequence are few.
pub(super) const FEW: usize = 8;

/// How many numbers of working memory it takes.
pub(super) fn scratch(sizes: &Sizes, threads: usize) -> usize {
    if sizes.queries <= FEW {
        return few_queries::scratch(sizes, threads);
    }
    let unpacked = sizes.keys * sizes.kv_heads * sizes.head_size;
    2 * unpacked + sizes.queries * sizes.heads + fused::scratch(sizes, false, threads)
}

/// The output for queries q over the words of keys and values, which have `context` rows for each head.
pub(super) fn attend(
    half: Option<Half>,
    sizes: &Sizes,
    context: usize,
    [q, k, v]: [&[f32]; 3],
    output: &mut [f32],
    mut scratch: &mut [f32],
) {
    if sizes.queries <= FEW {
        let [k, v] = [k, v].map(bytemuck::cast_slice);
        let few = FewQueries { sizes: *sizes, q, k, v };
        return match half {
            None => few.attend::<Single>(output, scratch),
            Some(Half::Bf16) => few.attend::<Bf16>(output, scratch),
            Some(Half::F16) => few.attend::<F16>(output, scratch),
        };
    }
    let log_sums = cut(&mut scratch, sizes.queries * sizes.heads);
    let (heads, size, positions) = (sizes.kv_heads, sizes.head_size, sizes.keys);
    let [k, v] = [k, v].map(|words| {
        let numbers = cut(&mut scratch, positions * heads * size);
        CacheRead { half, context, heads, size, first: 0, positions }.read(words, numbers);
        &*numbers
    });
    fused::forward(sizes, Operands { q, k, v, first: None }, output, log_sums, scratch);
}
