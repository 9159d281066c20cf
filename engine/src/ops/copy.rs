//! Copy: y = x, or y += x. What sums of gradients are made with.
//!
//! Derivative: dx = dy. Saves nothing. Cost an element: 8 bytes (12 when adding).

use crate::autograd::{GradientContext, Op, Saved, Saves};
pub use crate::device::Copy;
use crate::proof::{Array64, Case, Proven};

impl Op for Copy {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
        let gradient = context.take_of_output(0);
        context.accumulate(0, gradient);
    }
}

impl Proven for Copy {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![inputs[0].clone()]
    }

    fn cases() -> Vec<Case> {
        [1, 3, 65, 20_000].map(|n| Case::new(format!("{n}"), Copy).input([n])).into()
    }
}
