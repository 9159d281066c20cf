//! Matrices of weights: parameters, or in half precision for models that are only read.

use crate::engine::ops::fused_linear::{LinearLayer, Weight};
use crate::engine::ops::half_matrix::HalfMatrix;
use crate::engine::{Builder, Device, Ids, Initial, Shape, Tensor};

/// A matrix that rows are multiplied with, or that rows are taken from.
pub(super) enum Matrix {
    Full(Tensor),
    Half(HalfMatrix),
}

impl Matrix {
    /// x Wᵀ.
    #[track_caller]
    pub fn linear(&self, x: &Tensor) -> Tensor {
        LinearLayer { weight: self.weight(), bias: None }.forward(x)
    }

    /// It as the engine takes it.
    pub fn weight(&self) -> Weight<'_> {
        match self {
            Matrix::Full(weight) => Weight::Full(weight),
            Matrix::Half(weight) => Weight::Half(weight),
        }
    }

    /// The rows of the ids.
    #[track_caller]
    pub fn embedding(&self, ids: &Ids) -> Tensor {
        match self {
            Matrix::Full(rows) => rows.embedding(ids),
            Matrix::Half(rows) => rows.embedding(ids),
        }
    }

    /// All numbers in f32.
    pub fn to_tensor(&self) -> Tensor {
        match self {
            Matrix::Full(tensor) => tensor.clone(),
            Matrix::Half(matrix) => matrix.to_tensor(),
        }
    }
}

/// Reads a matrix by its name and shape onto a device.
pub(super) type Read<'a> = &'a dyn Fn(&str, [usize; 2], &Device) -> HalfMatrix;

/// Where a model's constructor gets its parameters and matrices.
pub(super) struct Source<'a> {
    builder: &'a mut Builder,
    /// Where matrices are in half precision.
    read: Option<Read<'a>>,
}

impl<'a> Source<'a> {
    pub fn new(builder: &'a mut Builder, read: Option<Read<'a>>) -> Source<'a> {
        Source { builder, read }
    }

    pub fn builder(&mut self) -> &mut Builder {
        self.builder
    }

    #[track_caller]
    pub fn parameter(&mut self, name: &str, shape: impl Into<Shape>, initial: Initial) -> Tensor {
        self.builder.parameter(name, shape, initial, false)
    }

    /// A matrix (rows, columns), normal at first if it is to be learnt.
    #[track_caller]
    pub fn matrix(&mut self, name: &str, shape: [usize; 2], deviation: f32) -> Matrix {
        if let Some(read) = self.read {
            return Matrix::Half(read(name, shape, self.builder.device()));
        }
        let initial = Initial::Normal { deviation };
        Matrix::Full(self.builder.parameter(name, shape, initial, true))
    }
}
