//! Fill: the same number everywhere.
//!
//! There are no inputs, so there is nothing to differentiate. Cost an element: 4 bytes.

use crate::Shape;
use crate::autograd::{GradientContext, Op, Saved, Saves};
pub use crate::device::Fill;
use crate::proof::{Array64, Case, Proven};

impl Op for Fill {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("it has no inputs")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {}
}

impl Proven for Fill {
    fn reference(&self, _inputs: &[Array64]) -> Vec<Array64> {
        vec![Array64::full(self.shape, f64::from(self.value))]
    }

    fn cases() -> Vec<Case> {
        let case = |n| Case::new(format!("{n}"), Fill { value: -2.5, shape: Shape::from([n]) });
        // The last has more workgroups than a grid on a GPU may be wide.
        [1, 63, 20_000, 66_000 * 64].map(case).into()
    }
}
