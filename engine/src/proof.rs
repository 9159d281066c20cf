//! The proof of an op: its kernels against a reference written from the formula in plain f64.
//!
//! [`Proven`] is what an op says for it, [`prove`] checks one case on one device.

mod check;

pub use check::{difference, prove};

use crate::autograd::Op;
use crate::device::Origin;
use crate::random::Key;
use crate::{Device, Shape, Tensor};

/// An op with a proof of its results and of its derivative.
///
/// The reference is written from the formula alone, in plain f64 loops, and shares no code with
/// the kernels. The cases say at which inputs to check; every device is checked at each of them,
/// forward and backward, with the op in the middle of a graph.
pub trait Proven: Op {
    /// The results (without what is only saved), from the formula, in f64.
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64>;

    /// Where to check it.
    fn cases() -> Vec<Case>
    where
        Self: Sized;
}

/// An array of f64 on the host: what references compute with.
#[derive(Clone, Debug, PartialEq)]
pub struct Array64 {
    /// The shape.
    pub shape: Shape,
    /// The numbers, row-major.
    pub data: Vec<f64>,
    /// The size of what was summed to make an element: results are compared relative to the
    /// larger of this and the largest element.
    pub magnitude: f64,
}

impl Array64 {
    /// An array with the numbers given.
    ///
    /// # Panics
    /// If they do not fill the shape.
    pub fn new(data: Vec<f64>, shape: impl Into<Shape>) -> Array64 {
        let shape = shape.into();
        assert_eq!(data.len(), shape.elements(), "numbers for {shape}");
        Array64 { shape, data, magnitude: 0.0 }
    }

    /// An array whose element at `index` (row-major) is `element(index)`.
    pub fn from_fn(shape: impl Into<Shape>, element: impl FnMut(usize) -> f64) -> Array64 {
        let shape = shape.into();
        Array64::new((0..shape.elements()).map(element).collect(), shape)
    }

    /// The same number everywhere.
    pub fn full(shape: Shape, value: f64) -> Array64 {
        Array64::from_fn(shape, |_| value)
    }

    /// Each element changed by `f`.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array64 {
        Array64::from_fn(self.shape, |index| f(self.data[index]))
    }

    /// f(a, b) for each pair of elements, with broadcasting.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    pub fn zip(&self, other: &Array64, f: impl Fn(f64, f64) -> f64) -> Array64 {
        let shape = self.shape.broadcast(&other.shape).expect("shapes that broadcast");
        let at = |array: &Array64, mut index: usize| {
            let sizes = array.shape.padded(shape.rank());
            let (mut position, mut stride) = (0, 1);
            for axis in (0..shape.rank()).rev() {
                let along = index % shape[axis];
                index /= shape[axis];
                position += along % sizes[axis] * stride;
                stride *= sizes[axis];
            }
            array.data[position]
        };
        Array64::from_fn(shape, |index| f(at(self, index), at(other, index)))
    }

    /// Row `index` of the last axis.
    pub fn row(&self, index: usize) -> &[f64] {
        let width = self.shape.last();
        &self.data[index * width..(index + 1) * width]
    }

    /// The same with a magnitude.
    pub fn with_magnitude(self, magnitude: f64) -> Array64 {
        Array64 { magnitude, ..self }
    }

    fn scale(&self) -> f64 {
        self.data.iter().fold(self.magnitude, |largest, value| largest.max(value.abs()))
    }
}

/// Inputs and constants at which to check an op.
pub struct Case {
    /// What is special about it.
    pub label: String,
    make: Box<dyn Fn() -> Box<dyn Proven> + Send + Sync>,
    origin: Origin,
    inputs: Vec<Array64>,
    tolerance: f64,
    forward_only: bool,
}

impl Case {
    /// A case of `op`, without inputs as yet.
    pub fn new(label: impl Into<String>, op: impl Proven + Clone) -> Case {
        Case {
            label: label.into(),
            make: Box::new(move || Box::new(op.clone())),
            origin: Origin::Program,
            inputs: Vec::new(),
            tolerance: 1e-5,
            forward_only: false,
        }
    }

    /// Adds an input of uniform numbers in [−1, 1).
    pub fn input(self, shape: impl Into<Shape>) -> Case {
        self.between(shape, -1.0, 1.0)
    }

    /// Adds an input of uniform numbers in [low, high).
    pub fn between(self, shape: impl Into<Shape>, low: f32, high: f32) -> Case {
        let shape = shape.into();
        let key = Key::new(1).named(&self.label).fold(self.inputs.len() as u64);
        self.values(&key.uniforms(shape.elements(), low, high), shape)
    }

    /// Adds an input of distinct numbers in [low, high), in random order, equally far apart: for
    /// ops with kinks at ties.
    pub fn distinct(self, shape: impl Into<Shape>, low: f32, high: f32) -> Case {
        let shape = shape.into();
        let count = shape.elements();
        let key = Key::new(2).named(&self.label).fold(self.inputs.len() as u64);
        let step = (high - low) / count as f32;
        let value = |rank: &usize| low + step * (*rank as f32 + 0.5);
        let values: Vec<f32> = key.permutation(count).iter().map(value).collect();
        self.values(&values, shape)
    }

    /// Adds an input with the numbers given.
    pub fn values(mut self, values: &[f32], shape: impl Into<Shape>) -> Case {
        self.inputs.push(Array64::new(values.iter().map(|v| f64::from(*v)).collect(), shape));
        self
    }

    /// Sets the error allowed, relative to the size of what is summed (default 1e-5).
    pub fn tolerance(self, tolerance: f64) -> Case {
        Case { tolerance, ..self }
    }

    /// Checks results only: for inputs where differences of the reference mean nothing.
    pub fn forward_only(self) -> Case {
        Case { forward_only: true, ..self }
    }

    /// The same for an op of the engine's.
    pub(crate) fn built_in(self) -> Case {
        Case { origin: Origin::Engine, ..self }
    }

    /// The shapes of the inputs.
    pub fn input_shapes(&self) -> Vec<Shape> {
        self.inputs.iter().map(|input| input.shape).collect()
    }

    /// The op, to run or time it.
    pub fn op(&self) -> Box<dyn Proven> {
        (self.make)()
    }

    /// The inputs on a device.
    pub fn tensors(&self, device: &Device) -> Vec<Tensor> {
        let narrow =
            |array: &Array64| -> Vec<f32> { array.data.iter().map(|v| *v as f32).collect() };
        self.inputs.iter().map(|array| Tensor::new(&narrow(array), array.shape, device)).collect()
    }
}
