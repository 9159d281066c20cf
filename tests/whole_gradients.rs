//! Gradients that are told of as soon as they are whole, while going back is under way: none is told too
//! early, whatever uses the leaf. On the CPU and on every GPU adapter of this machine.

mod common;

use common::devices;
use neutreno::engine::autograd::recompute;
use neutreno::engine::ops::fused_linear::{LinearLayer, Weight};
use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Gradients, Ids, Initial, Parameters, Tensor};
use neutreno::language::Pass;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};
use std::sync::atomic::{AtomicBool, Ordering};

/// Parameters by name, in the order in which they are made.
const NAMES: [&str; 6] = ["tied", "query", "key", "part", "unused", "last"];

fn make(p: &mut Builder) -> [Tensor; 6] {
    NAMES.map(|name| p.parameter(name, [64, 64], Initial::Normal { deviation: 0.2 }, true))
}

/// `tied` is used first and last, `query` and `key` as one, `part` only in a part that is run again, which also
/// uses a tensor that is none of its inputs, and in it another part.
fn loss([tied, query, key, part, _, last]: &[Tensor; 6]) -> Tensor {
    let numbers = Key::new(5).normals(8 * 64, 0.0, 1.0);
    let x = Tensor::new(&numbers, [8, 64], tied.device()).linear(tied, None);
    let layer = |weight| LinearLayer { weight: Weight::Full(weight), bias: None };
    let merged = x.linear_merged(&[layer(query), layer(key)]);
    let [first, second] = [0, 64].map(|start| merged.narrow(1, start, 64));
    let (beside, weight) = (first.tanh(), part.clone());
    let again = move |inputs: &[Tensor]| {
        let weight = weight.clone();
        let inner = move |inputs: &[Tensor]| vec![inputs[0].linear(&weight, None).tanh()];
        vec![recompute(&[&inputs[0]], inner).remove(0).add(&beside)]
    };
    let y = recompute(&[&second], again).remove(0);
    y.linear(last, None).linear(tied, None).power(2.0).mean_all()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_vec().unwrap().iter().map(|number| number.to_bits()).collect()
}

#[test]
fn each_is_told_once_and_is_what_it_will_be() {
    for (name, device) in devices() {
        let (tensors, parameters) = Parameters::build(&device, 1, make);
        let mut plain = parameters.gradients();
        loss(&tensors).backward_into(&mut plain).unwrap();
        // Into memory of their own and into that of an optimiser.
        for (provided, mut gradients) in
            [(false, Gradients::default()), (true, parameters.gradients())]
        {
            let leaves: Vec<&Tensor> = tensors.iter().collect();
            let mut told = Vec::new();
            loss(&tensors)
                .backward_with_hook(&mut gradients, &leaves, |leaf, gradient| {
                    // Reading now shows what is there now.
                    told.push((leaf, gradient.as_ref().map(bits), device.launches()));
                })
                .unwrap();
            let end = device.launches();
            let order: Vec<&str> = told.iter().map(|(leaf, ..)| NAMES[*leaf]).collect();
            assert_eq!(order, ["unused", "last", "part", "query", "key", "tied"], "{name}");
            for (leaf, gradient, launches) in told {
                let what = format!("{} on {name}", NAMES[leaf]);
                let last = gradients.get(&tensors[leaf]);
                assert!(gradient == last.as_ref().map(bits), "{what}: it was not whole");
                assert_eq!(gradient.is_none(), NAMES[leaf] == "unused", "{what}");
                assert!(launches < end || NAMES[leaf] == "tied", "{what}: it was told at the end");
                if let Some(gradient) = last
                    && provided
                {
                    let without = plain.get(&tensors[leaf]).unwrap();
                    assert!(bits(&gradient) == bits(&without), "{what}: other bits with a hook");
                }
            }
        }
    }
}

/// A gradient that was added to before, and a leaf that is itself the start.
#[test]
fn what_is_there_before_is_a_part_of_it() {
    let device = Device::cpu();
    let x = Tensor::new(&[2.0], [], &device).tracked();
    let mut gradients = Gradients::default();
    (&x * &x).backward_into(&mut gradients).unwrap();
    let mut told = Vec::new();
    let mut note = |_, gradient: Option<Tensor>| told.push(gradient.unwrap().to_scalar().unwrap());
    x.scale(3.0).backward_with_hook(&mut gradients, &[&x], &mut note).unwrap();
    x.backward_with_hook(&mut gradients, &[&x], &mut note).unwrap();
    assert_eq!(told, [7.0, 8.0]);
}

/// Whatever else such a part does: a gradient that was told too early is an error and never goes unseen.
#[test]
fn a_part_that_uses_more_the_second_time_is_an_error() {
    let device = Device::cpu();
    let (tensors, parameters) = Parameters::build(&device, 1, make);
    let [first, second, ..] = &tensors;
    for (hidden, is_late) in [(first, false), (second, true)] {
        let (hidden, is_second) = (hidden.clone(), AtomicBool::new(false));
        let y = recompute(&[first], move |inputs| match is_second.swap(true, Ordering::Relaxed) {
            false => vec![inputs[0].exp()],
            true => vec![inputs[0].exp().multiply(&hidden)],
        });
        let mut gradients = parameters.gradients();
        let result = y[0].sum_all().backward_with_hook(&mut gradients, &[first, second], |_, _| {});
        // The first one is an input of the part, so it is not whole before it in any case.
        assert_eq!(result.is_err(), is_late);
        // What follows is as ever.
        gradients.clear();
        second.sum_all().backward_with_hook(&mut gradients, &[second], |_, _| {}).unwrap();
    }
}

#[test]
#[should_panic(expected = "number 1 of the leaves, [], is none")]
fn what_is_no_leaf_is_refused() {
    let x = Tensor::new(&[2.0], [], &Device::cpu()).tracked();
    let y = x.exp();
    let _ = y.backward_with_hook(&mut Gradients::default(), &[&x, &y], |_, _| {});
}

/// Whole models, run again and not, tied and not.
#[test]
fn blocks_are_read_when_they_are_whole() {
    for (name, device) in devices() {
        for (variant, run_again, tied) in [
            (Variant::Transformer, false, true),
            (Variant::Neutreno, true, true),
            (Variant::Resformer, false, false),
            (Variant::Svformer, true, false),
        ] {
            let mut config = LanguageModelConfig::new(19, 32, 4, 2, 64);
            config.variant = VariantConfig::new(variant);
            config.tie_word_embeddings = tied;
            let build = |builder: &mut _| LanguageModel::new(&config, builder);
            let (model, parameters) = Parameters::build(&device, 1, build);
            let ids = |first: u32| {
                Ids::new((first..first + 64).map(|i| i % 19).collect::<Vec<_>>(), [4, 16])
            };
            let pass = Pass { recompute: run_again, ..Pass::training(None) };
            let loss = || model.loss(&ids(0), &ids(1), &pass);
            let mut plain = parameters.gradients();
            loss().backward_into(&mut plain).unwrap();
            let row = parameters.read_gradients(&plain).unwrap();
            for most in [1, 1000, 1 << 20] {
                let blocks = parameters.blocks(most);
                // What was there before must not count.
                let mut gradients = parameters.gradients();
                loss().scale(5.0).backward_into(&mut gradients).unwrap();
                gradients.clear();
                let (mut read, mut launches) = (Vec::new(), Vec::new());
                let ready = |block: &Tensor| {
                    read.push(block.read());
                    launches.push(device.launches());
                };
                parameters.backward_by_blocks(&loss(), &mut gradients, &blocks, ready).unwrap();
                let end = device.launches();
                let what =
                    format!("{variant}, run again: {run_again}, blocks of {most}, on {name}");
                let read: Vec<Vec<f32>> =
                    read.into_iter().map(|block| block.wait().unwrap()).collect();
                let lengths: Vec<usize> = read.iter().map(Vec::len).collect();
                assert_eq!(lengths, blocks.lengths(), "{what}");
                assert!(
                    most > 1000 || launches[0] < end,
                    "{what}: the first block was told at the end"
                );
                // Put where they belong they are the row.
                let mut copy = parameters.gradients();
                for (block, numbers) in parameters.gradient_blocks(&copy, &blocks).iter().zip(&read)
                {
                    block.overwrite(numbers);
                }
                parameters.note_gradients(&mut copy);
                assert!(parameters.missing_gradients(&copy).is_empty(), "{what}");
                let copied = parameters.read_gradients(&copy).unwrap();
                assert!(same(&copied, &row), "{what}: other numbers");
                assert!(same(&parameters.read_gradients(&gradients).unwrap(), &row), "{what}");
            }
        }
    }
}

fn same(one: &[f32], other: &[f32]) -> bool {
    one.iter().map(|x| x.to_bits()).eq(other.iter().map(|x| x.to_bits()))
}

/// One that no gradient reaches counts as zero in its block too.
#[test]
fn a_block_without_gradients_is_zeros() {
    for (name, device) in devices() {
        let (tensors, parameters) = Parameters::build(&device, 1, make);
        let blocks = parameters.blocks(64 * 64);
        let mut gradients = parameters.gradients();
        for _ in 0..2 {
            parameters.overwrite_gradients(&mut gradients, &[3.0; 6 * 64 * 64]);
            gradients.clear();
            let (loss, mut read) = (loss(&tensors), Vec::new());
            let ready = |block: &Tensor| read.push(block.read());
            parameters.backward_by_blocks(&loss, &mut gradients, &blocks, ready).unwrap();
            // From the last parameter to the first.
            let zeros = |block: neutreno::engine::Reading| block.wait().unwrap() == [0.0; 64 * 64];
            let zeros: Vec<bool> = read.into_iter().map(zeros).collect();
            assert_eq!(zeros, [false, true, false, false, false, false], "{name}");
            assert_eq!(parameters.missing_gradients(&gradients), ["unused"]);
        }
    }
}
