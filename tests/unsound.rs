//! Calls that safe code can make and that a kernel could not survive: shaders are compiled without
//! checks of their indices, and the CPU's loops trust their shapes. Each is refused where it is made.

mod common;

use common::devices;
use neutreno::engine::autograd::apply;
use neutreno::engine::ops::concatenate::Concatenate;
use neutreno::engine::ops::cross_entropy::CrossEntropy;
use neutreno::engine::ops::gather::Gather;
use neutreno::engine::ops::permute::Permute;
use neutreno::engine::ops::rope::Rope;
use neutreno::engine::ops::slice::Slice;
use neutreno::engine::ops::sum::Sum;
use neutreno::engine::optim::{AdamW, AdamWSettings, Average, Optimizer, Sgd, SgdSettings, clip};
use neutreno::engine::{Builder, Device, Ids, Initial, Kernel, Parameters, Shape, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a call that must panic says.
fn refused<R>(call: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(call()))).expect_err("it was accepted");
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap()
}

/// What the fields of an op say must fit its inputs, whoever made it.
#[test]
fn ops_check_what_their_kernels_rely_on() {
    let shape = |sizes: &[usize]| Shape::new(sizes);
    let three = shape(&[2, 5, 3]);
    let ids = |ids: &[u32]| Ids::new(ids.to_vec(), [ids.len()]);
    let cases: Vec<(Box<dyn Kernel>, Vec<Shape>, &str)> = vec![
        (Box::new(Gather { ids: ids(&[0, 5]) }), vec![three], "id 5 is not below 5"),
        (Box::new(Gather { ids: ids(&[Ids::IGNORED]) }), vec![three], "is not below 5"),
        (Box::new(Gather { ids: ids(&[0]) }), vec![shape(&[5, 3])], "three axes"),
        (Box::new(Slice { start: 4, length: 2 }), vec![three], "2 from 4 on, of 5"),
        (Box::new(Slice { start: usize::MAX, length: 2 }), vec![three], "of 5"),
        (Box::new(Permute { axes: vec![0, 1, 1] }), vec![three], "each once"),
        (Box::new(Permute { axes: vec![0, 1] }), vec![three], "each once"),
        (Box::new(Sum), vec![shape(&[4])], "three axes"),
        (Box::new(Concatenate), vec![three, shape(&[2, 5, 4])], "the middle axis"),
        (
            Box::new(CrossEntropy::new(&ids(&[0, 3]), 0.0)),
            vec![shape(&[2, 3])],
            "target 3 in row 1",
        ),
        (Box::new(CrossEntropy::new(&ids(&[0]), 0.0)), vec![shape(&[2, 3])], "for 2 rows"),
        (Box::new(Rope::new(0, 4, 8, 1e4)), vec![shape(&[1, 5, 2, 8])], "positions"),
        (Box::new(Rope::new(0, 4, 8, 1e4)), vec![shape(&[1, 4, 2, 6])], "(batch, time, heads, 8)"),
    ];
    for (kernel, shapes, words) in cases {
        let problem = kernel.shapes(&shapes).expect_err(kernel.name());
        assert!(problem.contains(words), "{}: {problem}", kernel.name());
    }
}

#[test]
fn an_op_whose_fields_do_not_fit_is_refused_on_every_device() {
    for (name, device) in devices() {
        let x = Tensor::zeros([1, 4, 64], &device);
        let ids = Ids::new(vec![1 << 20], [1]);
        let said = refused(|| apply::<1>(Gather { ids: ids.clone() }, &[&x]));
        assert!(said.contains("is not below 4"), "{name}: {said}");
    }
}

fn twins(device: &Device) -> [(Tensor, Parameters); 2] {
    let make = |p: &mut Builder| p.parameter("x", [2], Initial::Ones, true);
    [(); 2].map(|()| Parameters::build(device, 1, make))
}

/// Of a model of the same names and shapes: what was made for one must not change the other.
#[test]
fn optimisers_take_only_their_own_parameters_and_gradients() {
    for (name, device) in devices() {
        let [(x, ours), (_, theirs)] = twins(&device);
        let [mut adam, mut sgd] = [
            Box::new(AdamW::new(&ours, AdamWSettings::default())) as Box<dyn Optimizer>,
            Box::new(Sgd::new(&ours, SgdSettings::default())),
        ];
        let mut average = Average::new(&ours, 0.5);
        let (own, other) = (ours.gradients(), theirs.gradients());
        let foreign = "not made by `gradients` of these parameters";
        let made = "it was made for other parameters";
        for said in [
            refused(|| adam.step(&ours, &other, 0.1, None)),
            refused(|| sgd.step(&ours, &other, 0.1, None)),
            refused(|| clip(&ours, &other, 1.0)),
        ] {
            assert!(said.contains(foreign), "{name}: {said}");
        }
        for said in [
            refused(|| adam.step(&theirs, &other, 0.1, None)),
            refused(|| sgd.step(&theirs, &other, 0.1, None)),
            refused(|| adam.state(&theirs)),
            refused(|| sgd.state(&theirs)),
            refused(|| average.step(&theirs, None)),
            refused(|| average.state(&theirs)),
            refused(|| average.with(&theirs, || ())),
        ] {
            assert!(said.contains(made), "{name}: {said}");
        }
        assert_eq!(x.to_vec().unwrap(), [1.0, 1.0], "{name}");
        adam.step(&ours, &own, 0.1, None);
    }
}

/// A clip's factor is one number, and lies where the parameters do.
#[test]
fn a_factor_that_is_no_number_is_refused() {
    let device = Device::cpu();
    let [(_, ours), _] = twins(&device);
    let mut adam = AdamW::new(&ours, AdamWSettings::default());
    let gradients = ours.gradients();
    let mut clipped = clip(&ours, &gradients, 1.0);
    clipped.factor = Tensor::zeros([0], &device);
    let said = refused(|| adam.step(&ours, &gradients, 0.1, Some(&clipped)));
    assert!(said.contains("where one number"), "{said}");
}

/// A body that panics leaves the weights as they were.
#[test]
fn an_average_is_taken_back_after_a_panic() {
    let [(x, ours), _] = twins(&Device::cpu());
    let average = Average::new(&ours, 0.5);
    x.overwrite(&[2.0, 3.0]);
    refused(|| average.with(&ours, || panic!("{}", "in between")));
    assert_eq!(x.to_vec().unwrap(), [2.0, 3.0]);
}
