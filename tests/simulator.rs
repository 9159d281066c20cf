//! The shaders on a simulated GPU, which looks for what no tool for WGSL does: data races above all. All
//! cases of all ops, the optimisers and the caches, by the kernels for software with 8 lanes, and by those
//! for hardware with 32, with 64, and with 128 that no device has as yet. No driver is needed.

use neutreno::engine::autograd::{Saves, apply};
use neutreno::engine::gpu::{Class, Shader, Uniform};
use neutreno::engine::half::Precision;
use neutreno::engine::ops::OPS;
use neutreno::engine::ops::cache::{Cache, Places, Span};
use neutreno::engine::ops::elementwise::{Elementwise, Function, INPUT};
use neutreno::engine::ops::rope_and_cache::Keep;
use neutreno::engine::optim::{
    AdamW, AdamWSettings, Average, Optimizer, Sgd, SgdSettings, clip, clip_values,
};
use neutreno::engine::proof::{Case, prove};
use neutreno::engine::{Builder, Device, Initial, Parameters, Result, Tensor};
use neutreno_shaders::SHADERS;
use neutreno_simulator::{Fault, Finding, Simulator};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Proves all ops on simulated devices, and runs optimisers and caches, without a fault; and every entry
/// point of every shader is run.
fn check(class: Class) {
    let simulator = Arc::new(Simulator::new());
    let open = || {
        let device = Device::simulated(simulator.clone(), class);
        // Also in pieces, which begin at other workgroups than the first.
        if class.lanes == 32 {
            device.split_dispatches(Duration::from_micros(20));
        }
        device
    };
    let prove = |(name, case): (&str, Case)| {
        let problem = prove(&case, &open()).err()?;
        Some(format!("{name}, {}: {problem}", case.label))
    };
    let cases: Vec<(&str, Case)> =
        OPS.iter().flat_map(|op| op.cases().into_iter().map(|case| (op.name, case))).collect();
    let mut problems: Vec<String> = cases.into_par_iter().filter_map(prove).collect();
    for run in [keep, optimize] {
        let [got, expected] = [open(), Device::cpu()].map(|device| run(&device).unwrap());
        let is_close = |(x, y): (&f32, &f32)| (x - y).abs() <= 1e-5 * y.abs().max(1.0);
        assert!(got.len() == expected.len() && got.iter().zip(&expected).all(is_close), "{got:?}");
    }
    problems.extend(simulator.take_findings().iter().map(Finding::to_string));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let run: BTreeSet<String> = simulator.take_counts().into_keys().collect();
    let all = SHADERS.iter().flat_map(|shader| shader.entry_points());
    let missing: Vec<&str> = all.filter(|name| !run.contains(*name)).collect();
    assert!(missing.is_empty(), "nothing runs {missing:?}");
}

/// What caches give back that were written to, alone and with rotary positions.
fn keep(device: &Device) -> Result<Vec<f32>> {
    let places = Places::new(&[Span { sequence: 1, position: 2, tokens: 3 }], 5);
    let numbers: Vec<f32> = (0..36).map(|number| number as f32 / 8.0 - 2.0).collect();
    let rows = Tensor::new(&numbers, [3, 3, 4], device);
    let mut kept = Vec::new();
    for precision in Precision::ALL {
        let [keys, values] = [(); 2].map(|()| Cache::new([2, 5, 3, 4], precision, device));
        keys.write(&rows, &places);
        kept.extend(keys.read(1, 5).slice(1, 2..5).to_vec()?);
        let [keep_keys, keep_values] = [&keys, &values].map(|cache| Keep { rows: &rows, cache });
        for values in [None, Some(keep_values)] {
            let turned = rows.rope_and_cache(keep_keys, values, &places, &[1.0, 0.5]);
            kept.extend(turned.to_vec()?);
        }
        kept.extend(values.read(1, 5).slice(1, 2..5).to_vec()?);
    }
    Ok(kept)
}

/// Parameters after a step of each optimiser, and their average.
fn optimize(device: &Device) -> Result<Vec<f32>> {
    let make = |builder: &mut Builder| builder.parameter("x", [9], Initial::Ones, true);
    let (x, parameters) = Parameters::build(device, 1, make);
    let mut average = Average::new(&parameters, 0.5);
    let mut gradients = parameters.gradients();
    let scales: Vec<f32> = (0..9).map(|number| number as f32 - 3.0).collect();
    let loss = x.multiply(&Tensor::new(&scales, [9], device)).sum_all();
    loss.backward_into(&mut gradients)?;
    clip_values(&parameters, &mut gradients, 2.0);
    let clip = clip(&parameters, &gradients, 1.0).with_loss(&loss);
    let mut adamw = AdamW::new(&parameters, AdamWSettings::default());
    adamw.step(&parameters, &gradients, 0.1, Some(&clip));
    let mut sgd = Sgd::new(&parameters, SgdSettings::default());
    sgd.step(&parameters, &gradients, 0.1, Some(&clip));
    average.step(&parameters, Some(&clip));
    x.to_vec()
}

#[test]
fn software_with_8_lanes() {
    check(Class::SOFTWARE);
}

#[test]
fn hardware_with_32_lanes() {
    check(Class { lanes: 32, ..Class::HARDWARE });
}

#[test]
fn hardware_with_64_lanes() {
    check(Class::HARDWARE);
}

/// No device has so many as yet. But no shader may rely on that.
#[test]
fn attention_with_128_lanes() {
    let simulator = Arc::new(Simulator::new());
    let class = Class { lanes: 128, ..Class::HARDWARE };
    let device = Device::simulated(simulator.clone(), class);
    let op = OPS.iter().find(|op| op.name == "attention").unwrap();
    for case in op.cases().iter().filter(|case| case.input_shapes()[0].last() > 32) {
        prove(case, &device).unwrap();
    }
    assert!(simulator.take_counts().contains_key("attention_forward"));
    assert_eq!(simulator.take_findings(), []);
}

/// An op of a program's own, by a shader that shifts what it writes by a place.
#[derive(Clone, Debug)]
struct Shifted;

impl Function for Shifted {
    const NAME: &'static str = "shifted";
    const SHADER: Option<Shader> = Some(Shader {
        name: "shifted.wgsl",
        source: "struct Uniforms { first_group: u32, elements: u32, add: u32 }
@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn shifted_forward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < uniforms.elements {
        y[id.x + 1u] = 2.0 * x[id.x];
    }
}",
    });
    const FORWARD: &'static str = "shifted_forward";
    const BACKWARD: &'static str = "";
    const SAVES: Saves = INPUT;

    fn constants(&self) -> Vec<Uniform> {
        Vec::new()
    }

    fn value(&self, x: f32) -> f32 {
        2.0 * x
    }

    fn slope(&self, _: f32) -> f32 {
        2.0
    }
}

#[test]
fn shaders_of_programs_are_looked_at_too() {
    let simulator = Arc::new(Simulator::new());
    let device = Device::simulated(simulator.clone(), Class::HARDWARE);
    let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &device);
    let [y] = apply(Elementwise(Shifted), &[&x]);
    assert_eq!(y.to_vec().unwrap()[1..], [2.0, 4.0]);
    let [found] = &simulator.take_findings()[..] else { panic!("not found") };
    assert_eq!((found.fault, found.line), (Fault::OutOfBounds, 8));
    let text =
        "shifted.wgsl:8: index 3 into 3 elements of y, in lane 2 (in shifted_forward, 1 times)";
    assert_eq!(found.to_string(), text);
}
