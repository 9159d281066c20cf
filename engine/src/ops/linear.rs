//! Linear layer: y = x Wᵀ + b, with the weight as (outputs, inputs), as PyTorch and Hugging Face
//! keep it.
//!
//! Of few rows, as when tokens are generated one by one, it takes the time that reading W does, and has
//! kernels for that (`few_rows` on either device). A row then comes out the same, bit for bit,
//! whatever other rows there are; among many rows it differs by rounding.
//!
//! The weight may be that of several layers, whose outputs stand side by side ([`Layers`]).
//!
//! Derivative: dx = dy W, dW = dyᵀ x, db = Σ_rows dy, made in the memory of the gradients. Saves x and W. Cost: 2 flops for each row, input and output, and each tensor
//! moved once.

mod gradients;
mod layers;

pub use layers::Layers;

use super::sum::Sum;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::few_rows::{self, Add, MOST_ROWS, Product, Single, Weight};
use crate::device::cpu::products::{self, MatrixMut};
use crate::device::cpu::simd;
use crate::device::gpu::few_rows::{Extra, FewRows};
use crate::device::gpu::products::{self as gpu_products, Matrix, Tiling};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor};
use gradients::{Gradient, Of};
use std::ops::Range;

impl Tensor {
    /// x Wᵀ + b over the last axis: x of shape (…, inputs), `weight` of shape (outputs, inputs)
    /// and `bias` of shape (outputs) give (…, outputs).
    ///
    /// # Panics
    /// If the shapes do not fit.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[1.0, 2.0], [1, 2], &device);
    /// let weight = Tensor::new(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], [3, 2], &device);
    /// let bias = Tensor::new(&[10.0, 20.0, 30.0], [3], &device);
    /// assert_eq!(x.linear(&weight, None).to_vec()?, [1.0, 2.0, 3.0]);
    /// assert_eq!(x.linear(&weight, Some(&bias)).to_vec()?, [11.0, 22.0, 33.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let inputs: Vec<&Tensor> = [self, weight].into_iter().chain(bias).collect();
        let [y] = apply_built_in(Linear::default(), &inputs);
        y
    }
}

/// y = x Wᵀ, plus b if there is a third input.
#[derive(Clone, Debug, Default)]
pub struct Linear {
    /// How a GPU does it.
    pub tiling: Tiling,
    /// The layers whose weight it is.
    pub layers: Layers,
}

impl Kernel for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let weight = inputs[1];
        if weight.rank() != 2 {
            return Err("the weight has two axes: outputs and inputs".into());
        }
        self.layers.check(weight[0])?;
        output(&inputs[0], [weight[0], weight[1]], inputs.get(2))
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let outputs = inputs[0].rows() * inputs[1][0];
        let moved = inputs.iter().map(Shape::elements).sum::<usize>() + outputs;
        Cost::elementwise(outputs, 2 * inputs[1][1] as u64, moved)
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        let (rows, [count, width]) = (inputs[0].rows(), [inputs[1][0], inputs[1][1]]);
        Some(match rows {
            0..=MOST_ROWS => few_rows::scratch::<Single>(rows, width),
            _ => {
                let of = |part: Range<usize>| {
                    products::parallel_scratch([rows, part.len(), width], true)
                };
                self.layers.columns(count).map(of).max().unwrap_or(0)
            }
        })
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [rows, width] = [inputs[0].shape.rows(), inputs[0].shape.last()];
        let count = inputs[1].shape[0];
        let bias = inputs.get(2).map(|bias| bias.data);
        let [y, scratch] = outputs else { unreachable!("y and the working memory") };
        if rows <= MOST_ROWS {
            let words = bytemuck::cast_slice(inputs[1].data);
            let weight = Weight { words, outputs: count, inputs: width };
            let product = Product { y, weight, add: bias.map_or(Add::Nothing, Add::Bias) };
            return few_rows::multiply::<Single>(
                vec![product],
                inputs[0].data,
                [rows, width],
                scratch,
            );
        }
        let x = products::Matrix::new(inputs[0].data, rows, width);
        if let Some(bias) = bias {
            fill_rows(y, bias);
        }
        for part in self.layers.columns(count) {
            let weight = &inputs[1][part.start * width..part.end * width];
            let weight = products::Matrix::new(weight, part.len(), width).transposed();
            let y = MatrixMut::strided(&mut y[part.start..], rows, part.len(), count);
            products::multiply_parallel(y, x, weight, 1.0, bias.is_some(), scratch);
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let [rows, width] = [inputs[0].shape.rows(), inputs[0].shape.last()];
        let count = inputs[1].shape[0];
        let bias = inputs.get(2);
        if self.tiling == Tiling::Suitable && FewRows::are_few(rows, gpu) {
            let (x, extra) = (&inputs[0], bias.map_or(Extra::Nothing, Extra::Bias));
            let (matrices, y) = (&[&inputs[1]], &[&outputs[0]]);
            let sizes = [rows, width];
            return FewRows { x, sizes, matrices, half: None, extra, swiglu: false, y }.record(gpu);
        }
        let x = Matrix::new(&inputs[0], rows, width);
        let weight = Matrix::new(&inputs[1], count, width).transposed_if(true);
        let y = Matrix::new(&outputs[0], rows, count);
        let tiling = self.tiling;
        let product = gpu_products::Product::new(y, x, weight);
        gpu_products::Product { bias, tiling, ..product }.record(gpu);
    }
}

/// The shape of y for x and a weight with so many outputs and inputs.
pub(super) fn output(
    x: &Shape,
    [outputs, inputs]: [usize; 2],
    bias: Option<&Shape>,
) -> Result<Vec<Shape>, String> {
    if x.rank() == 0 || x.last() != inputs {
        return Err(format!("rows of {} for a weight with {inputs} inputs", x.last()));
    }
    if let Some(bias) = bias
        && **bias != [outputs]
    {
        return Err(format!("a bias of {bias} for {outputs} outputs"));
    }
    Ok(vec![x.with(x.rank() - 1, outputs)])
}

/// Makes each row the bias, for a product to be added to.
pub(super) fn fill_rows(y: &mut [f32], bias: &[f32]) {
    simd::for_rows(y, bias.len(), |_, chunk| {
        chunk.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
    });
}

impl Op for Linear {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0, 1], outputs: &[] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let rows_of = |tensor: &Tensor| {
            let [rows, width] = [tensor.shape().rows(), tensor.shape().last()];
            tensor.reshape([rows, width])
        };
        let (x, weight) = (rows_of(saved.get(0)), saved.get(1));
        let gradient = rows_of(&context.of_output(0));
        let product = |of| Gradient { of, layers: self.layers.clone(), tiling: self.tiling };
        if context.needs(0) {
            context.accumulate_with(&product(Of::Input), &[&gradient, weight], &[0]);
        }
        if context.needs(1) {
            context.accumulate_with(&product(Of::Weight), &[&gradient, &x], &[1]);
        }
        if context.needs(2) {
            let [rows, count] = [gradient.shape()[0], gradient.shape()[1]];
            context.accumulate_with(&Sum, &[&gradient.reshape([1, rows, count])], &[2]);
        }
    }
}

impl Proven for Linear {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let [x, weight] = [&inputs[0], &inputs[1]];
        let count = weight.shape[0];
        let y = Array64::from_fn(x.shape.with(x.shape.rank() - 1, count), |index| {
            let (row, output) = (index / count, index % count);
            let bias = inputs.get(2).map_or(0.0, |bias| bias.data[output]);
            x.row(row).iter().zip(weight.row(output)).map(|(x, w)| x * w).sum::<f64>() + bias
        });
        vec![y.with_magnitude(0.25 * x.shape.last() as f64)]
    }

    fn cases() -> Vec<Case> {
        let with = |tiling| Linear { tiling, ..Linear::default() };
        let mut cases = Vec::new();
        for tiling in [Tiling::Shared, Tiling::Registers] {
            let case = |label: &str| Case::new(format!("{label}, {tiling:?}"), with(tiling));
            cases.push(case("one number").input([1]).input([1, 1]));
            cases.push(case("one row").input([17]).input([3, 17]).input([3]));
            cases.push(case("rows").input([65, 63]).input([17, 63]));
            cases.push(case("a batch of rows").input([3, 5, 8]).input([12, 8]).input([12]));
            cases.push(case("many rows").input([3, 400, 5]).input([9, 5]).input([9]));
            cases.push(case("long rows").input([3, 1100]).input([65, 1100]).input([65]));
        }
        for side in [32, 64, 128] {
            let tiling = Tiling::Squares(side);
            let case = Case::new(format!("a bias, {tiling:?}"), with(tiling));
            cases.push(case.input([140, 36]).input([132, 36]).input([132]));
        }
        for rows in [1, 2, 3, 5, 8] {
            for (count, width) in [(4, 1), (5, 31), (21, 64), (3, 259), (130, 1028)] {
                let case = Case::new(format!("{rows} of {width} to {count}"), Linear::default());
                cases.push(case.input([rows, width]).input([count, width]).input([count]));
            }
        }
        let merged = |rows: usize, bias: bool| {
            let linear = Linear { layers: Layers::new([5, 1, 13]), ..Linear::default() };
            let case = Case::new(format!("three layers, {rows} rows, bias {bias}"), linear);
            let case = case.input([rows, 33]).input([19, 33]);
            if bias { case.input([19]) } else { case }
        };
        cases.extend([merged(2, true), merged(70, false), merged(600, true)]);
        cases.push(Case::new("a row without a bias", Linear::default()).input([6]).input([9, 6]));
        cases
    }
}
