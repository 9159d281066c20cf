//! Parameter groups: which parameters are learnt, and how fast.

/// How an optimiser treats a parameter. Those that it treats alike lie together in flat pieces.
///
/// ```
/// use neutreno_engine::{Builder, Device, Group, Initial, Parameters};
/// let make = |p: &mut Builder| {
///     ["encoder", "head"].map(|name| p.parameter(name, [2], Initial::Ones, true))
/// };
/// // Fine-tuning: the encoder stays as it is, the head learns ten times as fast as the optimiser is
/// // told, and without weight decay.
/// let group = |name: &str, _, _| match name {
///     "encoder" => Group::FROZEN,
///     _ => Group { rate: 10.0, decay: 0.0, ..Group::default() },
/// };
/// let ([encoder, head], parameters) =
///     Parameters::build_with_groups(&Device::cpu(), 1, group, make);
/// assert!(!encoder.is_tracked() && head.is_tracked());
/// assert_eq!((parameters.count(), parameters.learnt_count()), (4, 2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Whether it is learnt. One that is not is a constant: no gradient is made for it, and no
    /// optimiser has a state for it or changes it.
    pub learnt: bool,
    /// What the learning rate is multiplied by; not negative.
    pub rate: f64,
    /// What the optimiser's weight decay is multiplied by; not negative.
    pub decay: f64,
}

impl Group {
    /// Those that are not learnt.
    pub const FROZEN: Group = Group { learnt: false, rate: 0.0, decay: 0.0 };

    /// Those that learn as the optimiser is told, with weight decay or without.
    pub fn with_decay(decay: bool) -> Group {
        Group { decay: f64::from(u8::from(decay)), ..Group::default() }
    }

    pub(super) fn is_valid(&self) -> bool {
        [self.rate, self.decay].iter().all(|factor| factor.is_finite() && *factor >= 0.0)
    }
}

impl Default for Group {
    /// Learnt at the optimiser's learning rate, with its weight decay.
    fn default() -> Group {
        Group { learnt: true, rate: 1.0, decay: 1.0 }
    }
}
