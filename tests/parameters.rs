//! Parameters as people train them: groups with a rate and decay of their own, some frozen, several
//! sets in one backward pass, gradients clipped by value; and what is refused. On the CPU and on every
//! GPU adapter of this machine.

mod common;

use common::devices;
use neutreno::engine::optim::{AdamW, AdamWSettings, Average, Optimizer, Sgd, SgdSettings};
use neutreno::engine::optim::{clip, clip_values};
use neutreno::engine::{Builder, Device, Group, Initial, Parameters, Shape, Tensor};

const NAMES: [&str; 3] = ["embedding", "body", "head"];

fn make(p: &mut Builder) -> [Tensor; 3] {
    NAMES.map(|name| p.parameter(name, [5, 13], Initial::Normal { deviation: 1.0 }, true))
}

fn loss([embedding, body, head]: &[Tensor; 3]) -> Tensor {
    embedding.multiply(body).tanh().multiply(head).power(2.0).sum_all()
}

fn numbers(tensors: &[Tensor]) -> Vec<Vec<f32>> {
    tensors.iter().map(|tensor| tensor.to_vec().unwrap()).collect()
}

/// The parameters after three steps; each step has the gradients of the first, so that no parameter
/// depends on how another is treated.
fn train(
    device: &Device,
    group: impl Fn(&str, Shape, bool) -> Group,
    rate: f64,
    decay: f64,
    adam: bool,
) -> Vec<Vec<f32>> {
    let (tensors, parameters) = Parameters::build_with_groups(device, 1, group, make);
    let mut gradients = parameters.gradients();
    loss(&tensors).backward_into(&mut gradients).unwrap();
    let mut optimizer: Box<dyn Optimizer> = if adam {
        let settings = AdamWSettings { weight_decay: decay, ..AdamWSettings::default() };
        Box::new(AdamW::new(&parameters, settings))
    } else {
        let settings = SgdSettings { weight_decay: decay, ..SgdSettings::default() };
        Box::new(Sgd::new(&parameters, settings))
    };
    for _ in 0..3 {
        optimizer.step(&parameters, &gradients, rate, None);
    }
    numbers(&tensors)
}

#[test]
fn each_group_learns_as_if_the_optimiser_were_told_so() {
    let group = |name: &str, _, _| match name {
        "embedding" => Group { rate: 0.5, ..Group::default() },
        "body" => Group { decay: 3.0, ..Group::default() },
        _ => Group::with_decay(false),
    };
    for (name, device) in devices() {
        for adam in [false, true] {
            let got = train(&device, group, 0.01, 0.1, adam);
            for (number, rate, decay) in [(0, 0.005, 0.1), (1, 0.01, 0.1 * 3.0), (2, 0.01, 0.0)] {
                let alone = |_: &str, _, wanted| Group::with_decay(wanted);
                let expected = train(&device, alone, rate, decay, adam);
                assert_eq!(got[number], expected[number], "{name}, {}", NAMES[number]);
            }
        }
    }
}

/// What is frozen gets no gradient, no state and no decay, takes no memory for them, and stays as it
/// was in the checkpoint that was loaded; the others learn as if it were a constant.
#[test]
fn what_is_frozen_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let freeze = |name: &str, _: Shape, _: bool| match name {
        "body" => Group::FROZEN,
        _ => Group::default(),
    };
    for (name, device) in devices() {
        let (trained, parameters) = Parameters::build(&device, 5, make);
        parameters.save(&path, &Default::default()).unwrap();
        let (tensors, parameters) = Parameters::build_with_groups(&device, 6, freeze, make);
        parameters.load(&path).unwrap();
        assert_eq!(numbers(&tensors), numbers(&trained), "{name}");
        assert_eq!(parameters.learnt_count(), 2 * 65);

        let mut gradients = parameters.gradients();
        loss(&tensors).backward_into(&mut gradients).unwrap();
        assert!(gradients.get(&tensors[1]).is_none());
        assert!(parameters.missing_gradients(&gradients).is_empty());
        let of_constant = loss(&[trained[0].clone(), trained[1].detach(), trained[2].clone()]);
        let expected = of_constant.backward().unwrap();
        for number in [0, 2] {
            let [got, expected] = [gradients.get(&tensors[number]), expected.get(&trained[number])];
            assert_eq!(got.unwrap().to_vec().unwrap(), expected.unwrap().to_vec().unwrap());
        }

        let settings = AdamWSettings { weight_decay: 0.5, ..AdamWSettings::default() };
        let mut optimizer = AdamW::new(&parameters, settings);
        let mut average = Average::new(&parameters, 0.9);
        let clip = clip(&parameters, &gradients, 1.0);
        optimizer.step(&parameters, &gradients, 0.1, Some(&clip));
        average.step(&parameters, Some(&clip));
        let state = optimizer.state(&parameters).into_iter().chain(average.state(&parameters));
        assert!(state.map(|(name, _)| name).all(|name| !name.contains("body")));
        let got = numbers(&tensors);
        assert_eq!(got[1], numbers(&trained)[1], "{name}");
        assert_ne!(got[0], numbers(&trained)[0], "{name}");
        let averaged = average.with(&parameters, || numbers(&tensors));
        assert_eq!(averaged[1], got[1], "{name}");

        // Its state can be loaded again.
        let path = folder.path().join("optimizer.safetensors");
        optimizer.save(&parameters, &path).unwrap();
        AdamW::new(&parameters, settings).load(&parameters, &path).unwrap();
    }
}

#[test]
fn a_model_that_is_frozen_as_a_whole_computes_and_can_not_be_differentiated() {
    for (name, device) in devices() {
        let group = |_: &str, _, _| Group::FROZEN;
        let (tensors, parameters) = Parameters::build_with_groups(&device, 1, group, make);
        let mut gradients = parameters.gradients();
        let error = loss(&tensors).backward_into(&mut gradients).unwrap_err().to_string();
        assert!(error.contains("does not depend on any tracked tensor"), "{name}: {error}");
        // Nothing is learnt, and nothing breaks.
        let found = clip(&parameters, &gradients, 1.0);
        assert_eq!(found.factor.to_vec().unwrap(), [1.0], "{name}");
        let mut optimizer = Sgd::new(&parameters, SgdSettings::default());
        optimizer.step(&parameters, &gradients, 0.1, Some(&found));
        assert_eq!(parameters.pieces(&gradients).len(), 0);
    }
}

#[test]
#[should_panic(expected = "body: Group { learnt: true, rate: -1.0, decay: 1.0 }")]
fn a_rate_below_zero_is_refused() {
    let group = |name: &str, _, _| match name {
        "body" => Group { rate: -1.0, ..Group::default() },
        _ => Group::default(),
    };
    Parameters::build_with_groups(&Device::cpu(), 1, group, make);
}

/// Of a loss of two models: the bits of one backward pass for each.
#[test]
fn one_backward_pass_fills_the_gradients_of_several_sets() {
    for (name, device) in devices() {
        let models = [1, 2].map(|seed| Parameters::build(&device, seed, make));
        let both = || {
            let [one, other] = models.each_ref().map(|(tensors, _)| loss(tensors));
            one.multiply(&other)
        };
        let [one, other] = models.each_ref().map(|(_, parameters)| parameters);
        let mut joint = one.gradients().and(other.gradients());
        for _ in 0..2 {
            joint.clear();
            both().backward_into(&mut joint).unwrap();
            for (tensors, parameters) in &models {
                let mut alone = parameters.gradients();
                both().backward_into(&mut alone).unwrap();
                for tensor in tensors {
                    let [got, expected] = [&joint, &alone].map(|all| all.get(tensor).unwrap());
                    assert_eq!(got.to_vec().unwrap(), expected.to_vec().unwrap(), "{name}");
                }
                let [got, expected] =
                    [&joint, &alone].map(|all| clip(parameters, all, 1.0).norm.to_vec().unwrap());
                assert_eq!(got, expected, "{name}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "both hold gradients of the same parameters")]
fn gradients_of_the_same_parameters_can_not_be_joined() {
    let (_, parameters) = Parameters::build(&Device::cpu(), 1, make);
    let _ = parameters.gradients().and(parameters.gradients());
}

#[test]
fn gradients_are_clipped_by_value_and_nan_stays() {
    let given = [0.5, -0.5, 0.25, -0.0, 7.0, -7.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY];
    let clipped = [0.5, -0.5, 0.25, -0.0, 0.5, -0.5, 0.5, 0.5, -0.5];
    for (name, device) in devices() {
        let make = |p: &mut Builder| p.parameter("x", [10], Initial::Ones, true);
        let (x, parameters) = Parameters::build(&device, 1, make);
        let mut gradients = parameters.gradients();
        let slopes = Tensor::new(&[&given[..], &[f32::NAN]].concat(), [10], &device);
        x.multiply(&slopes).sum_all().backward_into(&mut gradients).unwrap();
        clip_values(&parameters, &mut gradients, 0.5);
        let got = gradients.get(&x).unwrap().to_vec().unwrap();
        assert_eq!(got[..9], clipped, "{name}");
        assert!(got[9].is_nan(), "{name}");
    }
}

/// Neither a gradient of a gradient nor a second way back through one graph is a constant in silence.
#[test]
fn what_is_not_kept_is_said() {
    for (name, device) in devices() {
        let x = Tensor::new(&[3.0], [1], &device).tracked();
        let square = x.multiply(&x);
        let gradient = square.backward().unwrap().get(&x).unwrap();
        assert_eq!(gradient.to_vec().unwrap(), [6.0]);

        let penalty = x.multiply(&x).add(&gradient.multiply(&gradient));
        let error = penalty.backward().err().unwrap().to_string();
        assert!(error.contains("no second derivatives; detach the gradient"), "{name}: {error}");
        let constant = gradient.detach();
        let gradients = x.multiply(&constant).backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec().unwrap(), [6.0]);

        let error = square.backward().err().unwrap().to_string();
        assert!(error.contains("run forward again, or add up the losses"), "{name}: {error}");
    }
}
