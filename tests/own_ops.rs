//! Kernels and shaders from outside the engine: they run, and what is wrong with one is said.

mod common;

use common::devices;
use common::programs::{program, said};
use neutreno::engine::autograd::{GradientContext, Op, Saved, Saves, apply};
use neutreno::engine::device::{View, ViewMut};
use neutreno::engine::gpu::Class;
use neutreno::engine::gpu::{Binding, Recorder, Shader};
use neutreno::engine::{Device, Kernel, Shape, Tensor, uniforms};
use std::panic::{AssertUnwindSafe, catch_unwind};

const SOURCE: &str = "
    struct Uniforms { first_group: u32, elements: u32, factor: f32 }
    @group(0) @binding(0) var<uniform> uniforms: Uniforms;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(64)
    fn stretch(
        @builtin(global_invocation_id) id: vec3<u32>,
        @builtin(num_workgroups) groups: vec3<u32>,
    ) {
        let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
        if i < uniforms.elements {
            y[i] = uniforms.factor * x[i];
        }
    }";

/// What a kernel has a GPU do.
type Dispatches = fn(&[Binding], &[Binding], &mut Recorder);

/// y = 3 x, with whatever dispatches.
#[derive(Clone, Debug)]
struct Stretch(Option<Dispatches>);

impl Kernel for Stretch {
    fn name(&self) -> &'static str {
        "stretch"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        outputs[0].iter_mut().zip(inputs[0].iter()).for_each(|(y, x)| *y = 3.0 * x);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        match self.0 {
            Some(dispatches) => dispatches(inputs, outputs, gpu),
            None => OnTheCpu.gpu(inputs, outputs, gpu),
        }
    }
}

/// A kernel without a shader.
#[derive(Clone, Debug)]
struct OnTheCpu;

impl Kernel for OnTheCpu {
    fn name(&self) -> &'static str {
        "on the CPU"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        Stretch(None).cpu(inputs, outputs);
    }
}

macro_rules! op {
    ($name:ty) => {
        impl Op for $name {
            fn saves(&self) -> Saves {
                Saves::default()
            }

            fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
                let gradient = context.of_output(0);
                context.accumulate_with(self, &[&gradient], &[0]);
            }
        }
    };
}

op!(Stretch);
op!(OnTheCpu);

/// What is dispatched as it should be.
fn well(inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
    stretch(SOURCE, inputs, outputs, gpu);
}

fn stretch(source: &'static str, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
    let elements = outputs[0].shape.elements();
    let shader = Shader { name: "stretch", source };
    let uniforms = uniforms! { elements, factor: 3.0_f32 };
    let [inputs, outputs] = [[&inputs[0]], [&outputs[0]]];
    gpu.with_shader(&shader).dispatch_elements("stretch", &inputs, &outputs, uniforms, elements);
}

/// The message and the place of a panic.
fn panic_of<R>(call: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(call()))).expect_err("it was accepted");
    *panic.downcast::<String>().expect("a message with what is wrong")
}

#[test]
fn an_op_from_outside_runs_forward_and_backward_everywhere() {
    for (name, device) in devices() {
        let x = Tensor::new(&[1.0, -2.0], [2], &device).tracked();
        let [y] = apply(Stretch(Some(well)), &[&x]);
        assert_eq!(y.to_vec().unwrap(), [3.0, -6.0], "{name}");
        let gradients = y.sum_all().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec().unwrap(), [3.0, 3.0], "{name}");
    }
}

/// On GPUs that are planned for too, so nobody needs one to learn of it.
#[test]
fn a_kernel_without_a_shader_says_so_on_a_gpu() {
    let gpus = devices().into_iter().filter(|(_, device)| device.kind() == "gpu");
    for (name, device) in gpus.chain([("plan".into(), Device::plan_for_gpu(Class::HARDWARE))]) {
        let x = Tensor::new(&[1.0], [1], &device);
        let said = panic_of(|| apply::<1>(OnTheCpu, &[&x]));
        assert!(said.contains("on the CPU: it has no shader"), "{name}: {said}");
        // The device is as it was.
        assert_eq!(x.scale(2.0).to_vec().unwrap().len(), 1, "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_shader_is_said() {
    // Each spoils the text of the shader, or what it is given, in one place.
    let wrong: [(Dispatches, &str); 7] = [
        (|i, o, gpu| stretch("fn stretch() { let x = 1 + ; }", i, o, gpu), "not valid"),
        (|i, o, gpu| stretch("fn other() {}", i, o, gpu), "it has no entry point stretch"),
        (
            |i, o, gpu| {
                let shader = Shader { name: "stretch", source: SOURCE };
                let uniforms = uniforms! { factor: 3.0_f32, elements: 2_u32 };
                let mut gpu = gpu.with_shader(&shader);
                gpu.dispatch_elements("stretch", &[&i[0]], &[&o[0]], uniforms, 2);
            },
            "its uniforms are {first_group: u32, elements: u32, factor: f32}, and the kernel gives \
             {first_group: u32, factor: f32, elements: u32}",
        ),
        (
            |i, o, gpu| {
                let shader = Shader { name: "stretch", source: SOURCE };
                let uniforms = uniforms! { elements: 2_u32, factor: 3_u32 };
                let mut gpu = gpu.with_shader(&shader);
                gpu.dispatch_elements("stretch", &[&i[0]], &[&o[0]], uniforms, 2);
            },
            "the kernel gives {first_group: u32, elements: u32, factor: u32}",
        ),
        (
            |_, o, gpu| {
                let shader = Shader { name: "stretch", source: SOURCE };
                let uniforms = uniforms! { elements: 2_u32, factor: 3.0_f32 };
                let mut gpu = gpu.with_shader(&shader);
                gpu.dispatch_elements("stretch", &[], &[&o[0]], uniforms, 2);
            },
            "binding 1, is read and must be read_write",
        ),
        (
            |i, _, gpu| {
                let shader = Shader { name: "stretch", source: SOURCE };
                let uniforms = uniforms! { elements: 2_u32, factor: 3.0_f32 };
                let mut gpu = gpu.with_shader(&shader);
                gpu.dispatch_elements("stretch", &[&i[0]], &[], uniforms, 2);
            },
            "y is binding 2 of group 0; the kernel gives 1 inputs and 0 outputs",
        ),
        (
            |i, o, gpu| {
                gpu.dispatch_elements(
                    "stretch",
                    &[&i[0]],
                    &[&o[0]],
                    uniforms! { elements: 2_u32 },
                    2,
                );
            },
            "no shader of the engine has the entry point stretch",
        ),
    ];
    let gpus = devices().into_iter().filter(|(_, device)| device.kind() == "gpu");
    for (name, device) in gpus.chain([("plan".into(), Device::plan_for_gpu(Class::HARDWARE))]) {
        let x = Tensor::new(&[1.0, -2.0], [2], &device);
        for (dispatches, words) in wrong {
            let said = panic_of(|| apply::<1>(Stretch(Some(dispatches)), &[&x]));
            assert!(said.contains(words), "{name}: {said}");
        }
        // The device is as it was.
        let [y] = apply(Stretch(Some(well)), &[&x]);
        let expected = if name == "plan" { [0.0, 0.0] } else { [3.0, -6.0] };
        assert_eq!(y.to_vec().unwrap(), expected, "{name}");
    }
}

/// A program's kernel may dispatch the engine's shaders too, with numbers that are not true: those of
/// others stay as they were.
#[test]
fn untrue_sizes_reach_no_memory_of_others() {
    let beyond: Dispatches = |inputs, outputs, gpu| {
        let uniforms = uniforms! { elements: 1_u32 << 20, add: false };
        gpu.dispatch_elements("copy_forward", &[&inputs[0]], &[&outputs[0]], uniforms, 1 << 20);
    };
    for (name, device) in devices().into_iter().filter(|(_, device)| device.kind() == "gpu") {
        let x = Tensor::full(7.0, [16], &device);
        let others: Vec<Tensor> = (0..8).map(|_| Tensor::zeros([16], &device)).collect();
        let [_] = apply(Stretch(Some(beyond)), &[&x]);
        device.synchronize().unwrap();
        for other in others {
            assert_eq!(other.to_vec().unwrap(), [0.0; 16], "{name}");
        }
    }
}

#[test]
fn the_example_proves_its_op_and_learns_with_it() {
    let gpus = devices().into_iter().filter(|(_, device)| device.kind() == "gpu").count();
    for device in ["cpu", "gpu:0"].iter().take(1 + gpus.min(1)) {
        let output = program("own_op").arg(device).output().expect("the program starts");
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.starts_with("Snake is proven on "), "{text}");
        let errors: Vec<f64> = text
            .split([' ', ',', '\n'])
            .filter_map(|word| word.trim_end_matches('.').parse().ok())
            .collect();
        assert!(matches!(errors[..], [.., snake, relu] if snake < 0.5 * relu), "{text}");
    }
}
