//! `+`, `-`, `*` and `/` for tensors and numbers: other ways to write [`Tensor::add`],
//! [`Tensor::subtract`], [`Tensor::multiply`] and [`Tensor::divide`], and with a number
//! [`Tensor::shift`] and [`Tensor::scale`].
//!
//! ```
//! use neutreno_engine::{Device, Tensor};
//! let device = Device::cpu();
//! let x = Tensor::new(&[1.0, 2.0], [2], &device);
//! let y = Tensor::new(&[10.0, 20.0], [2], &device);
//! assert_eq!((&x + &x * &y).to_vec()?, [11.0, 42.0]);
//! assert_eq!((2.0 * &x - 1.0).to_vec()?, [1.0, 3.0]);
//! assert_eq!(((1.0 - &x) / 2.0).to_vec()?, [0.0, -0.5]);
//! assert_eq!((-x + 1.0 / y).to_vec()?, [-0.9, -1.95]);
//! # Ok::<(), neutreno_engine::Error>(())
//! ```

use super::scale::Scale;
use crate::Tensor;
use crate::autograd::apply_built_in;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// An operator between tensors, whether each is borrowed or not.
macro_rules! between_tensors {
    ($($operator:ident, $method:ident: $name:ident;)*) => { $(
        impl $operator<&Tensor> for &Tensor {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                Tensor::$name(self, other)
            }
        }

        impl $operator<Tensor> for &Tensor {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                Tensor::$name(self, &other)
            }
        }

        impl $operator<&Tensor> for Tensor {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                Tensor::$name(&self, other)
            }
        }

        impl $operator<Tensor> for Tensor {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                Tensor::$name(&self, &other)
            }
        }
    )* };
}

between_tensors! {
    Add, add: add;
    Sub, sub: subtract;
    Mul, mul: multiply;
    Div, div: divide;
}

/// An operator between a tensor, borrowed or not, and a number on either side.
macro_rules! with_numbers {
    ($($operator:ident, $method:ident: $after:expr, $before:expr;)*) => { $(
        impl $operator<f32> for &Tensor {
            type Output = Tensor;

            fn $method(self, number: f32) -> Tensor {
                $after(self, number)
            }
        }

        impl $operator<f32> for Tensor {
            type Output = Tensor;

            fn $method(self, number: f32) -> Tensor {
                $after(&self, number)
            }
        }

        impl $operator<&Tensor> for f32 {
            type Output = Tensor;

            fn $method(self, tensor: &Tensor) -> Tensor {
                $before(tensor, self)
            }
        }

        impl $operator<Tensor> for f32 {
            type Output = Tensor;

            fn $method(self, tensor: Tensor) -> Tensor {
                $before(&tensor, self)
            }
        }
    )* };
}

with_numbers! {
    Add, add: Tensor::shift, Tensor::shift;
    Sub, sub: less_number, number_less;
    Mul, mul: Tensor::scale, Tensor::scale;
    Div, div: by_number, number_by;
}

fn less_number(x: &Tensor, number: f32) -> Tensor {
    x.shift(-number)
}

fn number_less(x: &Tensor, number: f32) -> Tensor {
    let [y] = apply_built_in(Scale { factor: -1.0, offset: number }, &[x]);
    y
}

/// x · (1 / number), which can differ from x / number in the last place, and saves nothing.
fn by_number(x: &Tensor, number: f32) -> Tensor {
    x.scale(1.0 / number)
}

fn number_by(x: &Tensor, number: f32) -> Tensor {
    Tensor::full(number, [], x.device()).divide(x)
}

impl Neg for &Tensor {
    type Output = Tensor;

    fn neg(self) -> Tensor {
        self.negate()
    }
}

impl Neg for Tensor {
    type Output = Tensor;

    fn neg(self) -> Tensor {
        self.negate()
    }
}
