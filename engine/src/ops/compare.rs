//! Comparisons: y = 1 where a relation holds between a and b, else 0, with broadcasting.
//!
//! What comes out is a mask, a constant: it does not change when the numbers change a little, so there
//! is no derivative, and no graph of what was compared. Cost an element: 1 flop, 12 bytes. On a GPU it
//! is up to the driver how a NaN compares.

use super::{TensorOrNumber, broadcast};
use crate::autograd::{GradientContext, Op, Saved, Saves};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::tensor::launch;
use crate::{Shape, Tensor};

impl Tensor {
    /// The mask of where x > `other`: 1 there and 0 elsewhere, a constant even if x is tracked
    /// (PyTorch's `gt`). Axes of size 1 are repeated to fit. Masks are for [`Tensor::where_`],
    /// [`Tensor::masked_fill`], and to multiply by.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &device);
    /// let y = Tensor::new(&[3.0, 2.0, 1.0], [3], &device);
    /// assert_eq!(x.greater(&y).to_vec()?, [0.0, 0.0, 1.0]);
    /// assert_eq!(x.greater(1.0).to_vec()?, [0.0, 1.0, 1.0]);
    /// assert_eq!(x.greater(&y).sum_all().to_scalar()?, 1.0);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn greater(&self, other: impl TensorOrNumber) -> Tensor {
        compare(&other.tensor(self.device()), Compare::Less, self)
    }

    /// The mask of where x ≥ `other`, as [`Tensor::greater`] (PyTorch's `ge`).
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// # use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &Device::cpu());
    /// assert_eq!(x.greater_equal(2.0).to_vec()?, [0.0, 1.0, 1.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn greater_equal(&self, other: impl TensorOrNumber) -> Tensor {
        compare(&other.tensor(self.device()), Compare::LessEqual, self)
    }

    /// The mask of where x < `other`, as [`Tensor::greater`] (PyTorch's `lt`).
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// # use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &Device::cpu());
    /// assert_eq!(x.less(2.0).to_vec()?, [1.0, 0.0, 0.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn less(&self, other: impl TensorOrNumber) -> Tensor {
        compare(self, Compare::Less, &other.tensor(self.device()))
    }

    /// The mask of where x ≤ `other`, as [`Tensor::greater`] (PyTorch's `le`).
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// # use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &Device::cpu());
    /// assert_eq!(x.less_equal(2.0).to_vec()?, [1.0, 1.0, 0.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn less_equal(&self, other: impl TensorOrNumber) -> Tensor {
        compare(self, Compare::LessEqual, &other.tensor(self.device()))
    }

    /// The mask of where x = `other`, as [`Tensor::greater`] (PyTorch's `eq`).
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// # use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &Device::cpu());
    /// assert_eq!(x.equal(2.0).to_vec()?, [0.0, 1.0, 0.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn equal(&self, other: impl TensorOrNumber) -> Tensor {
        compare(self, Compare::Equal, &other.tensor(self.device()))
    }

    /// The mask of where x ≠ `other`, as [`Tensor::greater`] (PyTorch's `ne`).
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// # use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &Device::cpu());
    /// assert_eq!(x.not_equal(2.0).to_vec()?, [1.0, 0.0, 1.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn not_equal(&self, other: impl TensorOrNumber) -> Tensor {
        compare(self, Compare::NotEqual, &other.tensor(self.device()))
    }
}

#[track_caller]
fn compare(left: &Tensor, relation: Compare, right: &Tensor) -> Tensor {
    let [mask] = launch(&relation, &[left, right], left.device());
    mask
}

/// y = 1 where a relation holds between a and b, else 0.
#[derive(Clone, Copy, Debug)]
pub enum Compare {
    /// a < b.
    Less,
    /// a ≤ b.
    LessEqual,
    /// a = b.
    Equal,
    /// a ≠ b.
    NotEqual,
}

impl Kernel for Compare {
    fn name(&self) -> &'static str {
        "compare"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        broadcast::shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        broadcast::cost(inputs)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let ([a, b], y) = ([&inputs[0], &inputs[1]], &mut outputs[0]);
        let mask = |holds: bool| if holds { 1.0 } else { 0.0 };
        match self {
            Compare::Less => broadcast::zip(y, a, b, |a, b| mask(a < b)),
            Compare::LessEqual => broadcast::zip(y, a, b, |a, b| mask(a <= b)),
            Compare::Equal => broadcast::zip(y, a, b, |a, b| mask(a == b)),
            Compare::NotEqual => broadcast::zip(y, a, b, |a, b| mask(a != b)),
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let entry_point = match self {
            Compare::Less => "broadcast_less",
            Compare::LessEqual => "broadcast_less_equal",
            Compare::Equal => "broadcast_equal",
            Compare::NotEqual => "broadcast_not_equal",
        };
        broadcast::dispatch(entry_point, inputs, outputs, gpu);
    }
}

impl Op for Compare {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("which number is larger does not change when they change a little")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {}
}

impl Proven for Compare {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let holds = |a: f64, b: f64| match self {
            Compare::Less => b - a > 0.0,
            Compare::LessEqual => b - a >= 0.0,
            Compare::Equal => b - a == 0.0,
            Compare::NotEqual => b - a != 0.0,
        };
        vec![inputs[0].zip(&inputs[1], |a, b| f64::from(u8::from(holds(a, b))))]
    }

    fn cases() -> Vec<Case> {
        let relations =
            [Compare::Less, Compare::LessEqual, Compare::Equal, Compare::NotEqual].into_iter();
        let cases = relations.flat_map(|relation| {
            let mut cases = broadcast::cases(|| relation, [-1.0, 1.0]);
            let [left, right] = [[1.0, -2.0, 0.0, 1e30, 1e-30], [1.0, 2.0, -0.0, -1e30, 0.0]];
            let few = Case::new("equal elements", relation).values(&left, [5]).values(&right, [5]);
            cases.push(few);
            cases.into_iter().map(move |mut case| {
                case.label = format!("{relation:?}, {}", case.label);
                case.tolerance(0.0)
            })
        });
        cases.collect()
    }
}
