//! What differentiation needs of an op.

use super::context::GradientContext;
use super::record::Saved;
use crate::device::Kernel;

/// A kernel with a derivative.
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

    /// Makes the gradients of the inputs that need one from those of the results.
    fn backward(&self, saved: &Saved, context: &mut GradientContext);
}

/// Which of an op's inputs and outputs its derivative needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Saves {
    /// Numbers of inputs.
    pub inputs: &'static [usize],
    /// Numbers of outputs, those that callers do not see included.
    pub outputs: &'static [usize],
}
