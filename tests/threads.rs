//! Several threads, one device: what belongs to a computation stays with it, and the bits do not
//! depend on how many there are.

mod common;

use common::devices;
use neutreno::engine::autograd::{apply_boxed, recompute};
use neutreno::engine::device::Injection;
use neutreno::engine::finite::find_not_finite;
use neutreno::engine::ops::OPS;
use neutreno::engine::optim::{AdamW, Average, Clip, Sgd};
use neutreno::engine::proof::Case;
use neutreno::engine::random::Key;
use neutreno::engine::{
    Builder, Device, Gradients, Ids, Initial, Parameters, Reading, Shape, Tensor, no_grad,
};
use neutreno::vision::{self, ImageSegmenter, ImageSize, VisionConfig};
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig, language};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn what_a_computation_says_goes_with_it_to_the_devices_threads() {
    for (name, device) in devices() {
        let x = Tensor::new(&[3.0, 100.0], [2], &device).tracked();
        let inside = no_grad(|| device.install(|| (&x * &x).is_tracked()));
        assert!(!inside, "{name}");
        assert!(device.install(|| (&x * &x).is_tracked()), "{name}");
        let (_, found) = find_not_finite(|| device.install(|| x.exp().sum_all()));
        assert_eq!(found.unwrap().map(|found| found.op), Some("exp"), "{name}");
    }
}

/// One trains while the other evaluates: rayon's threads take over waiting work of either within the
/// other's.
#[test]
fn a_step_is_not_run_by_the_rules_of_another_computation() {
    let device = Device::cpu_with_threads(2);
    let numbers = |count: usize| (0..count).map(|i| (i % 13) as f32 * 0.01).collect::<Vec<f32>>();
    let weight = Tensor::new(&numbers(512 * 256), [512, 256], &device);
    let small = Tensor::new(&numbers(8 * 16), [8, 16], &device);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let products = || {
                        for _ in 0..4 {
                            weight.matmul_with(&weight, false, true).softmax(-1);
                        }
                    };
                    device.install(|| no_grad(products));
                }
            });
        }
        for step in 0..400 {
            let leaf = small.tracked();
            let backward = device.install(|| {
                let loss = leaf.matmul_with(&leaf, false, true).sum_all();
                loss.backward().map(|gradients| gradients.get(&leaf).is_some())
            });
            let failed = format!("step {step}: {backward:?}");
            if !matches!(backward, Ok(true)) {
                done.store(true, Ordering::Relaxed);
                panic!("{failed}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_recomputed_part_is_differentiated_where_nothing_is_recorded() {
    for (name, device) in devices() {
        let x = Tensor::new(&[0.3, -0.2], [2], &device).tracked();
        let [part] = &recompute(&[&x], |inputs| vec![inputs[0].tanh().exp()])[..] else {
            unreachable!("one output");
        };
        let loss = part.sum_all();
        let gradient = no_grad(|| loss.backward()).unwrap().get(&x).unwrap().to_vec().unwrap();
        let plain = x.tanh().exp().sum_all().backward().unwrap().get(&x).unwrap();
        assert_eq!(gradient, plain.to_vec().unwrap(), "{name}");
    }
}

/// A tensor that ops made, captured by a recomputed part and used beside it: its gradient is the sum
/// of both uses.
#[test]
fn a_recomputed_part_may_use_what_other_ops_made() {
    for (name, device) in devices() {
        let x = Tensor::new(&[0.3, -0.2], [2], &device).tracked();
        let gradient = |again: bool| {
            let hidden = x.tanh().scale(2.0);
            let captured = hidden.clone();
            let body = move |inputs: &[Tensor]| vec![inputs[0].multiply(&captured).exp()];
            let part = if again { recompute(&[&x], body) } else { body(std::slice::from_ref(&x)) };
            let loss = part[0].add(&hidden.multiply(&x)).sum_all();
            loss.backward().unwrap().get(&x).unwrap().to_vec().unwrap()
        };
        let (again, plain) = (gradient(true), gradient(false));
        for (a, b) in again.iter().zip(&plain) {
            assert!((a - b).abs() < 1e-6, "{name}: {again:?}, {plain:?}");
        }
    }
}

/// The numbers of threads that a pool may have: fewer than cores, more, and one that divides nothing.
const THREADS: [usize; 5] = [1, 2, 3, 4, 7];

/// Fails unless `bits` of a device are the same for every number of threads.
fn expect_the_same_bits(what: &str, bits: impl Fn(&Device) -> Vec<(String, Vec<u32>)>) {
    let mut one = Vec::new();
    for threads in THREADS {
        let found = bits(&Device::cpu_with_threads(threads));
        if threads == 1 {
            one = found;
            continue;
        }
        for ((name, expected), (_, found)) in one.iter().zip(&found) {
            assert!(expected == found, "{what}: {name} differs between 1 and {threads} threads");
        }
    }
}

fn bits_of(tensor: &Tensor) -> Vec<u32> {
    tensor.to_vec().unwrap().into_iter().map(f32::to_bits).collect()
}

/// A loss and the gradients of all parameters.
fn step(parameters: &Parameters, loss: &Tensor) -> Vec<(String, Vec<u32>)> {
    let gradients = loss.backward().unwrap();
    let gradient = |(name, tensor): (&str, &Tensor)| {
        (name.to_owned(), bits_of(&gradients.get(tensor).expect("a gradient")))
    };
    let mut all = vec![("the loss".to_owned(), bits_of(loss))];
    all.extend(parameters.iter().map(gradient));
    all
}

/// Wide enough that every kernel has work for several threads, and that sums go over more terms than
/// are summed as one piece: over 1,040 tokens, 1,032 features, 1,100 classes.
#[test]
fn a_step_of_a_wide_language_model_has_the_same_bits_for_any_number_of_threads() {
    let config = LanguageModelConfig {
        intermediate_size: 1_032,
        num_key_value_heads: 4,
        dropout: 0.1,
        variant: VariantConfig::new(Variant::Neutreno),
        ..LanguageModelConfig::new(1_100, 512, 2, 8, 130)
    };
    let key = Key::new(3);
    let ids = |name| {
        let mut numbers = key.named(name).generator();
        let numbers: Vec<u32> = (0..1_040).map(|_| numbers.below(1_100) as u32).collect();
        Ids::new(numbers, [8, 130])
    };
    let [tokens, targets] = ["tokens", "targets"].map(ids);
    expect_the_same_bits("a language model", |device| {
        let build = |builder: &mut Builder| LanguageModel::new(&config, builder);
        let (model, parameters) = Parameters::build(device, 1, build);
        let loss = model.loss(&tokens, &targets, &language::Pass::training(Some(key)));
        step(&parameters, &loss)
    });
}

/// The same for images: convolutions, layer norms, masks made larger.
#[test]
fn a_step_of_a_segmenter_has_the_same_bits_for_any_number_of_threads() {
    let classes: Vec<String> = (0..11).map(|class| class.to_string()).collect();
    let size = ImageSize::new(64, 72);
    let config = VisionConfig {
        mask_upscale: 2,
        variant: VariantConfig::of_images(Variant::Neutreno),
        ..VisionConfig::new(size, 8, 192, 2, 3, &classes).segmenting(1)
    };
    let (key, shape) = (Key::new(4), [16, 3, 64, 72]);
    let pixels = key.normals(shape.iter().product(), 0.0, 1.0);
    let mut labels = key.named("labels").generator();
    let labels: Vec<u32> = (0..16 * 64 * 72).map(|_| labels.below(11) as u32).collect();
    let labels = Ids::new(labels, [16, 64, 72]);
    expect_the_same_bits("a segmenter", |device| {
        let build = |builder: &mut Builder| ImageSegmenter::new(&config, builder);
        let (model, parameters) = Parameters::build(device, 1, build);
        let images = Tensor::new(&pixels, shape, device);
        let logits = model.forward(&images, &vision::Pass::evaluation());
        step(&parameters, &logits.cross_entropy(&labels, 0.0))
    });
}

/// Each op by itself, where its inputs are largest: its results and its derivative.
#[test]
fn every_op_has_the_same_bits_for_any_number_of_threads() {
    let size =
        |case: &Case| case.input_shapes().iter().map(|shape| shape.elements()).sum::<usize>();
    for op in OPS {
        let cases = op.cases();
        let case = cases.iter().max_by_key(|case| size(case)).expect("a case");
        expect_the_same_bits(op.name, |device| {
            let derivable = case.op().no_derivative().is_none();
            let leaf = |x: &Tensor| if derivable { x.tracked() } else { x.clone() };
            let leaves: Vec<Tensor> = case.tensors(device).iter().map(leaf).collect();
            if leaves.is_empty() {
                return Vec::new();
            }
            let results = apply_boxed(case.op(), &leaves.iter().collect::<Vec<_>>());
            let mut all: Vec<_> = results.iter().map(|y| ("a result".into(), bits_of(y))).collect();
            if !derivable {
                return all;
            }
            let weigh = |(number, y): (usize, &Tensor)| {
                let weights = Key::new(5).fold(number as u64).normals(y.elements(), 0.0, 1.0);
                y.multiply(&Tensor::new(&weights, y.shape(), device)).sum_all()
            };
            let terms = results.iter().enumerate().map(weigh);
            let loss = terms.reduce(|sum, term| sum.add(&term)).expect("a result");
            let gradients = loss.backward().unwrap();
            let slopes = leaves.iter().filter_map(|leaf| gradients.get(leaf));
            all.extend(slopes.map(|slope| ("a gradient".into(), bits_of(&slope))));
            all
        });
    }
}
/// Small kernels run on the thread that asks, others on the device's: a program need not say which.
#[test]
fn results_are_the_same_inside_and_outside() {
    let numbers =
        |count: usize| (0..count).map(|i| (i % 13) as f32 * 0.1 - 0.6).collect::<Vec<_>>();
    let train = |device: &Device, rows: usize| {
        let x = Tensor::new(&numbers(rows * 32), [rows, 32], device);
        let weight = Tensor::new(&numbers(64 * 32), [64, 32], device).tracked();
        let scale = Tensor::new(&numbers(64), [64], device).tracked();
        let hidden = x.linear(&weight, Some(&scale)).tanh().layer_norm(&scale, &scale, 1e-5);
        let heads = hidden.reshape([1, rows, 2, 32]).rope(0, 1e4);
        let mixed = heads.attention(&heads, &heads, None, true).reshape([rows, 64]).softmax(-1);
        let gradients =
            mixed.multiply(&hidden).sum(&[0], false).exp().sum_all().backward().unwrap();
        [&weight, &scale].map(|leaf| gradients.get(leaf).unwrap().to_vec().unwrap())
    };
    // The last of these has kernels of both kinds.
    for rows in [3, 100, 1000] {
        let whole = train(&Device::cpu_with_threads(1), rows);
        for threads in [1, 2, 3] {
            let device = Device::cpu_with_threads(threads);
            assert!(train(&device, rows) == whole, "{rows} rows, {threads} threads, outside");
            let inside = device.install(|| train(&device, rows));
            assert!(inside == whole, "{rows} rows, {threads} threads, inside");
        }
    }
}

/// What threads can share: what is not listed here is not promised.
#[test]
fn what_threads_can_share() {
    fn shared<T: Send + Sync>() {}
    fn handed_over<T: Send>() {}
    shared::<Device>();
    shared::<Tensor>();
    shared::<Ids>();
    shared::<Shape>();
    shared::<Parameters>();
    shared::<Gradients>();
    shared::<Clip>();
    shared::<Injection>();
    handed_over::<AdamW>();
    handed_over::<Sgd>();
    handed_over::<Average>();
    handed_over::<Reading>();
}

/// Parameters lie side by side in one memory, and are tensors of their own all the same.
#[test]
fn a_parameter_is_read_while_another_is_written() {
    for (name, device) in devices() {
        let make = |p: &mut Builder| {
            ["a", "b", "c"].map(|name| p.parameter(name, [1000], Initial::Zeros, true))
        };
        let ([a, b, c], _parameters) = Parameters::build(&device, 1, make);
        let rounds = 200;
        std::thread::scope(|scope| {
            for written in [&a, &b] {
                scope.spawn(move || {
                    for round in 0..rounds {
                        written.overwrite(&[round as f32; 1000]);
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let sum = c.sum_all().to_scalar().unwrap();
                        assert_eq!(sum, 0.0, "{name}");
                    }
                });
            }
        });
        for written in [a, b] {
            assert_eq!(written.to_vec().unwrap(), [(rounds - 1) as f32; 1000], "{name}");
        }
    }
}

/// While a program looks at numbers where they lie, neighbours can be changed; they themselves cannot, on the CPU.
#[test]
fn numbers_are_seen_and_made_where_they_lie() {
    for (name, device) in devices() {
        let make =
            |p: &mut Builder| ["a", "b"].map(|name| p.parameter(name, [100], Initial::Zeros, true));
        let ([a, b], _parameters) = Parameters::build(&device, 1, make);
        let halves = a.add(&b); // a kernel that is on its way must not see what comes later
        let count = a.with_numbers_mut(|numbers| {
            assert_eq!(numbers.len(), 100, "{name}");
            numbers.fill(3.0);
            b.overwrite(&[5.0; 100]);
            numbers.len()
        });
        assert_eq!(count.unwrap(), 100, "{name}");
        assert_eq!(halves.to_vec().unwrap(), [0.0; 100], "{name}");
        let sum = a.with_numbers(|numbers| {
            b.overwrite(&[7.0; 100]);
            let change = catch_unwind(AssertUnwindSafe(|| a.overwrite(&[9.0; 100])));
            assert_eq!(change.is_err(), device.computes_as_host(), "{name}");
            numbers.iter().sum::<f32>()
        });
        assert_eq!(sum.unwrap(), 300.0, "{name}");
        assert_eq!(b.to_vec().unwrap(), [7.0; 100], "{name}");
        // A derivative that has saved it sees that it was changed.
        let x = Tensor::new(&[2.0], [1], &device).tracked();
        let y = (&x * &x).sum_all();
        x.with_numbers_mut(|numbers| numbers[0] = 5.0).unwrap();
        assert!(y.backward().is_err(), "{name}");
    }
}

/// On the CPU a thread that reads what another one is changing would see a part of it. It panics; the
/// other one goes on, and so does the tensor.
#[test]
fn a_tensor_that_is_being_written_is_not_read() {
    let device = Device::cpu_with_threads(1);
    let x = Tensor::zeros([1 << 20], &device);
    let [ones, twos] = [1.0, 2.0].map(|value| vec![value; 1 << 20]);
    let (done, both) = (AtomicBool::new(false), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            both.wait();
            while !done.load(Ordering::Relaxed) {
                for numbers in [&ones, &twos] {
                    // The reader may be at work just now: then it is this thread that panics.
                    let _ = catch_unwind(AssertUnwindSafe(|| x.overwrite(numbers)));
                }
            }
        });
        both.wait();
        let mut said = String::new();
        for _ in 0..10_000 {
            match catch_unwind(AssertUnwindSafe(|| x.to_vec())) {
                Ok(numbers) => {
                    let numbers = numbers.unwrap();
                    assert!(numbers.iter().all(|x| *x == numbers[0]), "a part of another");
                }
                Err(panic) => {
                    said = panic.downcast_ref::<String>().unwrap().clone();
                    break;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(said.contains("another thread is changing this tensor"), "{said}");
    });
    x.overwrite(&ones);
    assert_eq!(x.to_vec().unwrap(), ones);
}
