//! An op of one's own: Snake, x + sin²(a x) / a (Ziyin, Hartwig & Ueda 2020), an activation for what
//! repeats itself. It has its derivative, runs on the CPU and by a shader of its own on GPUs, is proven
//! as the engine's ops are, and is trained with: `cargo run --release --example own_op`.

use neutreno::engine::autograd::{Saves, apply};
use neutreno::engine::gpu::{Shader, Uniform};
use neutreno::engine::ops::elementwise::{Elementwise, Function, INPUT, ProvenFunction, cases};
use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer};
use neutreno::engine::proof::{Case, Proven, prove};
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Initial, Parameters, Result, Tensor, uniforms};

#[derive(Clone, Debug)]
struct Snake {
    a: f32,
}

/// All that it takes to run. (What is no function of one number implements `Kernel` and `Op`.)
impl Function for Snake {
    const NAME: &'static str = "snake";
    const SHADER: Option<Shader> =
        Some(Shader { name: "own_op.wgsl", source: include_str!("own_op.wgsl") });
    const FORWARD: &'static str = "snake_forward";
    const BACKWARD: &'static str = "snake_backward";
    const SAVES: Saves = INPUT; // the slope is computed from x

    fn constants(&self) -> Vec<Uniform> {
        uniforms! { a: self.a }.to_vec()
    }

    fn value(&self, x: f32) -> f32 {
        x + (self.a * x).sin().powi(2) / self.a
    }

    fn slope(&self, x: f32) -> f32 {
        1.0 + (2.0 * self.a * x).sin()
    }
}

/// And all that it takes to be proven: the formula in f64, and inputs to try it at.
impl ProvenFunction for Snake {
    fn reference(&self, x: f64) -> f64 {
        let a = f64::from(self.a);
        x + (a * x).sin().powi(2) / a
    }

    fn cases() -> Vec<Case> {
        // A GPU's sine may be off by 2⁻¹¹ from −π to π, and by more beyond (WGSL, "Accuracy").
        let cases = cases(Snake { a: 0.75 }, [-2.0, 2.0], &[-2.0, -1e-8, 0.0, 1e-8, 2.0]);
        cases.into_iter().map(|case| case.tolerance(2e-3)).collect()
    }
}

fn snake(x: &Tensor) -> Tensor {
    let [y] = apply(Elementwise(Snake { a: 4.0 }), &[x]);
    y
}

/// The mean squared error of one hidden layer that has learnt a curve from points of it.
fn learn(activation: fn(&Tensor) -> Tensor, device: &Device) -> Result<f32> {
    let initial = Initial::Uniform { bound: 1.0 };
    let (layers, parameters) = Parameters::build(device, 1, |builder| {
        [("first", [32, 2]), ("second", [1, 32])]
            .map(|(name, shape)| builder.parameter(name, shape, initial, true))
    });
    let points = Key::new(2).uniforms(256, -3.0, 3.0);
    let inputs: Vec<f32> = points.iter().flat_map(|x| [*x, 1.0]).collect();
    let curve: Vec<f32> = points.iter().map(|x| (8.0 * x).sin() + 0.5 * x).collect();
    let inputs = Tensor::new(&inputs, [256, 2], device);
    let curve = Tensor::new(&curve, [256, 1], device);
    let error = || {
        let hidden = activation(&inputs.linear(&layers[0], None));
        hidden.linear(&layers[1], None).subtract(&curve).power(2.0).mean_all()
    };
    let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
    let mut gradients = parameters.gradients();
    for _ in 0..1000 {
        gradients.clear();
        error().backward_into(&mut gradients)?;
        optimizer.step(&parameters, &gradients, 0.01, None);
    }
    error().to_scalar()
}

fn main() -> Result<()> {
    let device = Device::open(&std::env::args().nth(1).unwrap_or("auto".into()), 0)?;
    for case in Elementwise::<Snake>::cases() {
        prove(&case, &device).unwrap_or_else(|problem| panic!("{}: {problem}", case.label));
    }
    println!("Snake is proven on {device}.");
    let [with_snake, with_relu] = [learn(snake, &device)?, learn(Tensor::relu, &device)?];
    println!("Error with Snake {with_snake:.4}, with ReLU {with_relu:.4}.");
    Ok(())
}
