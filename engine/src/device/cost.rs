//! The work of a kernel.

/// The work of one kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that must be read or written at least once.
    pub bytes: u64,
}

impl Cost {
    /// The cost of `per_element` operations for each of `elements`, with `moved` numbers of four
    /// bytes read or written in all.
    pub fn elementwise(elements: usize, per_element: u64, moved: usize) -> Cost {
        Cost { flops: elements as u64 * per_element, bytes: 4 * moved as u64 }
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        // Sizes that nobody has are planned too, to be refused.
        self.flops = self.flops.saturating_add(other.flops);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}
