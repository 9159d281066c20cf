//! Gradients in the making, and those that came out.

use crate::Tensor;
use crate::device::Copy;
use crate::tensor::{Variable, launch, launch_into};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells parameters from others of the same names and shapes: what was made for one model must not
/// change another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Identity(u64);

impl Identity {
    pub fn new() -> Identity {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Identity(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Gradients of the leaves of a graph, by handle.
#[derive(Default)]
pub struct Gradients {
    pub(super) sums: Sums,
    /// Memory that provided gradients are windows of, and whose gradients they are.
    flat: Vec<(Vec<Tensor>, Identity)>,
}

impl Gradients {
    /// The gradient of a leaf, of the leaf's shape, as a constant; `None` if none reached it.
    pub(crate) fn constant(&self, leaf: &Tensor) -> Option<Tensor> {
        self.sums.of_leaf(leaf)
    }

    /// Gradients for two sets of parameters, such as those of two models, that one backward pass fills.
    /// Each optimiser takes from them what is its own.
    ///
    /// ```
    /// use neutreno_engine::optim::{Optimizer, Sgd, SgdSettings};
    /// use neutreno_engine::{Builder, Device, Initial, Parameters};
    /// let device = Device::cpu();
    /// let make = |p: &mut Builder| p.parameter("x", [1], Initial::Full(3.0), false);
    /// let [(x, one), (y, other)] = [1, 2].map(|seed| Parameters::build(&device, seed, make));
    /// let mut optimizers = [&one, &other].map(|all| Sgd::new(all, SgdSettings::default()));
    ///
    /// let mut gradients = one.gradients().and(other.gradients());
    /// (&x * &y).sum_all().backward_into(&mut gradients)?;
    /// optimizers[0].step(&one, &gradients, 0.1, None);
    /// optimizers[1].step(&other, &gradients, 0.2, None);
    /// approx::assert_relative_eq!(x.to_scalar()?, 2.7);
    /// approx::assert_relative_eq!(y.to_scalar()?, 2.4);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If both hold gradients of the same tensor.
    #[must_use]
    #[track_caller]
    pub fn and(mut self, other: Gradients) -> Gradients {
        for (slot, sum) in other.sums.of {
            let taken = self.sums.of.insert(slot, sum).is_some();
            assert!(!taken, "both hold gradients of the same parameters");
        }
        self.flat.extend(other.flat);
        self
    }

    /// Forgets all sums; memory given from outside is kept and overwritten next.
    pub fn clear(&mut self) {
        self.sums.of.retain(|_, sum| sum.fixed);
        self.sums.of.values_mut().for_each(|sum| sum.written = false);
    }

    /// Has the gradient of `leaf` made in the memory of `tensor`.
    pub(crate) fn provide(&mut self, leaf: &Tensor, tensor: Tensor) {
        if let Some(variable) = &leaf.variable {
            self.sums.of.insert(variable.slot, Sum { tensor, written: false, fixed: true });
        }
    }

    /// Says that the memory provided for the gradient of `leaf` holds it.
    pub(crate) fn note_provided(&mut self, leaf: &Tensor) {
        let sum = leaf.variable.as_ref().and_then(|variable| self.sums.of.get_mut(&variable.slot));
        if let Some(sum) = sum {
            sum.written = true;
        }
    }

    /// Remembers the memory that what was provided are windows of, and for which parameters.
    pub(crate) fn provide_flat(&mut self, flat: Vec<Tensor>, parameters: Identity) {
        self.flat.push((flat, parameters));
    }

    /// The memory that what was provided are windows of, if that was for these parameters.
    pub(crate) fn flat(&self, parameters: Identity) -> Option<&[Tensor]> {
        let found = self.flat.iter().find(|(_, theirs)| *theirs == parameters);
        found.map(|(flat, _)| flat.as_slice())
    }
}

/// A node and one of its outputs: what names a gradient.
pub(super) type Slot = (u64, usize);

/// The sums of gradients so far, by what they are gradients of.
#[derive(Default)]
pub(super) struct Sums {
    of: HashMap<Slot, Sum>,
    /// Who looks at each sum that is complete, if someone does.
    watch: Option<Watch>,
    /// Those of leaves that were said to be whole.
    whole: HashSet<Slot>,
    /// Whether one of these was added to.
    added_late: bool,
}

/// What looks at complete sums.
pub(super) type Watch = Box<dyn FnMut(Slot, &Tensor) + Send + Sync>;

/// A gradient in the making.
struct Sum {
    tensor: Tensor,
    /// Whether it holds a sum already; if not, what is there is arbitrary.
    written: bool,
    /// Whether the memory was given from outside: it must be used and may be added to.
    fixed: bool,
}

impl Sum {
    /// Whether nobody minds if this memory is changed.
    fn is_ours(&self) -> bool {
        self.fixed || self.tensor.is_exclusive()
    }
}

impl Sums {
    /// Gives up a sum that is complete.
    pub fn take(&mut self, slot: Slot) -> Option<Tensor> {
        let tensor = self.of.remove(&slot)?.tensor;
        if let Some(watch) = &mut self.watch {
            watch(slot, &tensor);
        }
        Some(tensor)
    }

    /// The gradient of a leaf so far, of the leaf's shape, as a constant; `None` if none reached it.
    pub fn of_leaf(&self, leaf: &Tensor) -> Option<Tensor> {
        let sum = self.of.get(&leaf.variable.as_ref()?.slot)?;
        sum.written.then(|| sum.tensor.reshape(leaf.shape()))
    }

    /// Notes that nothing will be added to the gradient of a leaf.
    pub fn note_whole(&mut self, slot: Slot) {
        self.whole.insert(slot);
    }

    /// Forgets which gradients are whole; returns whether one of them was added to.
    pub fn end_of_whole(&mut self) -> bool {
        self.whole.clear();
        std::mem::take(&mut self.added_late)
    }

    fn note_part(&mut self, slot: Slot) {
        if !self.whole.is_empty() {
            self.added_late |= self.whole.contains(&slot);
        }
    }

    /// Has `watch` look at each sum that is complete from here on, but for those of leaves; or nobody.
    pub fn watch(&mut self, watch: Option<Watch>) {
        self.watch = watch;
    }

    /// Those that hold something.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Tensor)> {
        let written = self.of.iter().filter(|(_, sum)| sum.written);
        written.map(|(slot, sum)| (*slot, &sum.tensor))
    }

    /// The memory in which a kernel may make its part of a sum, and whether it has to add to what
    /// is there; `None` if it has to make it elsewhere, to be added by [`Sums::add`].
    pub fn memory(&self, variable: &Variable, can_add: bool) -> Option<(Tensor, bool)> {
        let Some(sum) = self.of.get(&variable.slot) else {
            return self.memory_of_parts(variable, can_add);
        };
        let fits = if sum.written { can_add && sum.is_ours() } else { sum.fixed };
        fits.then(|| (sum.tensor.clone(), sum.written))
    }

    /// The same of tensors that are one, if memory was given for the gradient of each, one after another.
    fn memory_of_parts(&self, variable: &Variable, can_add: bool) -> Option<(Tensor, bool)> {
        let sums = variable.parts.as_ref()?.iter().map(|slot| self.of.get(slot));
        let sums: Vec<&Sum> = sums.collect::<Option<_>>()?;
        let written = sums[0].written;
        let alike = sums.iter().all(|sum| sum.fixed && sum.written == written);
        let tensors: Vec<&Tensor> = sums.iter().map(|sum| &sum.tensor).collect();
        let whole = Tensor::adjacent(&tensors)?;
        (alike && (can_add || !written)).then_some((whole, written))
    }

    /// Takes note of a part that a kernel has made: in the sum's own memory, or elsewhere.
    pub fn made(&mut self, variable: &Variable, tensor: Tensor) {
        if self.made_in_parts(variable, &tensor) {
            return;
        }
        self.note_part(variable.slot);
        match self.of.get_mut(&variable.slot) {
            Some(sum) if sum.tensor.shares_memory(&tensor) => sum.written = true,
            _ => self.add(variable, tensor),
        }
    }

    /// Whether it was made in the memory of the gradients of tensors that are one; these then are there.
    fn made_in_parts(&mut self, variable: &Variable, tensor: &Tensor) -> bool {
        let Some(slots) = &variable.parts else { return false };
        let first = self.of.get(&slots[0]);
        if !first.is_some_and(|sum| sum.fixed && sum.tensor.shares_memory(tensor)) {
            return false;
        }
        for slot in &**slots {
            self.note_part(*slot);
            self.of.get_mut(slot).expect("all were there").written = true;
        }
        true
    }

    /// Adds a part, without a copy if possible.
    pub fn add(&mut self, variable: &Variable, tensor: Tensor) {
        let slot = variable.slot;
        self.note_part(slot);
        let Some(sum) = self.of.get_mut(&slot) else {
            self.of.insert(slot, Sum { tensor, written: true, fixed: false });
            return;
        };
        let tensor = tensor.into_shape(sum.tensor.shape());
        if sum.is_ours() {
            launch_into(&Copy, &[&tensor], &[(&sum.tensor, sum.written)]);
        } else if tensor.is_exclusive() {
            // Somebody else holds the sum so far: add it to the newcomer instead.
            launch_into(&Copy, &[&sum.tensor], &[(&tensor, true)]);
            sum.tensor = tensor;
        } else {
            let [total] = launch(&Copy, &[&sum.tensor], tensor.device());
            launch_into(&Copy, &[&tensor], &[(&total, true)]);
            sum.tensor = total;
        }
        sum.written = true;
    }
}
