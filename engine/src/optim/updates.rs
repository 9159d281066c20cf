//! How many updates were made. A step that a factor of 0 leaves out is none ([`Clip`]); only the
//! device knows of it at first, so the device counts such steps, and the host, which never waits for
//! the latest steps, learns of them late. What follows from the number, such as AdamW's corrections,
//! the host makes in f64 for every number that is possible, and the kernel takes the right one.

use super::Clip;
use crate::device::{Cost, Kernel, Reading, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::tensor::launch_into;
use crate::{Device, Shape, Tensor, uniforms};
use std::array::from_fn;
use std::collections::VecDeque;
use std::fmt;

/// The numbers that are possible: the host does not know of the latest three steps.
pub(super) const POSSIBLE: usize = 4;

/// The number of updates of an optimiser or an average.
pub(super) struct Updates {
    /// The steps, those that were left out included.
    steps: u64,
    /// The steps that were left out, counted on the device.
    left_out: Tensor,
    /// How many of these the host knows of.
    known: u64,
    /// What `left_out` was after each of the latest steps, on its way to the host.
    late: VecDeque<Reading>,
}

impl Updates {
    /// None as yet.
    pub fn new(device: &Device) -> Updates {
        let left_out = Tensor::zeros([1], device);
        Updates { steps: 0, left_out, known: 0, late: VecDeque::new() }
    }

    /// What `value` makes of the number of updates so far: of each number that is possible, beginning
    /// with the most.
    pub fn possible<T>(&self, value: impl Fn(u64) -> T) -> [T; POSSIBLE] {
        from_fn(|more| value(self.steps.saturating_sub(self.known + more as u64)))
    }

    /// The least number that is possible. It never falls.
    pub fn least(&self) -> u64 {
        let [.., least] = self.possible(|updates| updates);
        least
    }

    /// What a kernel finds the right one of [`Updates::possible`] with: the number of steps that were
    /// left out, on the device, and how many of these the host knew of.
    pub fn left_out(&self) -> (&Tensor, u64) {
        (&self.left_out, self.known)
    }

    /// After a step. Once nothing follows from the number any more, `settled`, the host need not
    /// learn of it.
    pub fn advance(&mut self, clip: Option<&Clip>, settled: bool) {
        self.steps += 1;
        let Some(Clip { factor, .. }) = clip else { return };
        launch_into(&Count, &[factor], &[(&self.left_out, true)]);
        if settled {
            return self.late.clear();
        }
        self.late.push_back(self.left_out.read());
        while self.late.len() >= POSSIBLE {
            // A device that has failed says so where the program waits.
            if let Some(left_out) = self.late.pop_front().and_then(Reading::wait_untold) {
                self.known = left_out[0] as u64;
            }
        }
    }

    /// How many were made. Waits for the device.
    pub fn made(&self) -> crate::Result<u64> {
        Ok(self.steps - self.left_out.to_scalar()? as u64)
    }

    /// Goes on from that many.
    pub fn set(&mut self, made: u64) {
        self.late.clear();
        (self.steps, self.known) = (made, 0);
        self.left_out.overwrite(&[0.0]);
    }
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Updates({} steps, {} known to be left out)", self.steps, self.known)
    }
}

/// The place in [`Updates::possible`], on the CPU.
pub(super) fn chosen(left_out: f32, known: u64) -> usize {
    (left_out as usize - known as usize).min(POSSIBLE - 1)
}

/// Adds 1 where the factor is 0.
#[derive(Clone, Debug)]
struct Count;

impl Kernel for Count {
    fn name(&self) -> &'static str {
        "clip: count"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, _inputs: &[Shape]) -> Cost {
        Cost::elementwise(1, 1, 2)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        if inputs[0][0] == 0.0 {
            outputs[0][0] += 1.0;
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        gpu.dispatch_rows("clip_count", &[&inputs[0]], &[&outputs[0]], uniforms! {}, 1);
    }
}
