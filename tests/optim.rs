//! Optimisers and clipping against plain f64 loops, on the CPU and on every GPU adapter of this
//! machine.

mod common;

use common::trials::Devices;
use libtest_mimic::{Arguments, Failed};
use neutreno::engine::checkpoint::save_tensors;
use neutreno::engine::optim::{
    AdamW, AdamWSettings, Average, Clip, Optimizer, Sgd, SgdSettings, clip,
};
use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Gradients, Initial, Parameters, Part, Result, Tensor};

type Test = fn(&Device) -> std::result::Result<(), Failed>;

const TESTS: [(&str, Test); 10] = [
    ("adamw", adamw),
    ("adamw_clipped", adamw_clipped),
    ("sgd", sgd),
    ("clip", clip_exactly),
    ("non_finite", non_finite_gradients_change_nothing),
    ("left_out", steps_left_out_never_were),
    ("average", averages_are_those_of_the_formula),
    ("accumulation", micro_batches_equal_one_batch),
    ("resumed", a_resumed_optimizer_goes_on_alike),
    ("parts", parts_are_updated_as_the_whole),
];

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let devices = Devices::open();
    let trials = TESTS.iter().flat_map(|(name, test)| devices.trials(name, *test)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Names, elements and whether they decay: sizes beside the alignment, and one of several tasks.
const PARAMETERS: [(&str, usize, bool); 5] = [
    ("one", 1, false),
    ("weight", 65, true),
    ("bias", 17, false),
    ("large", 40_001, true),
    ("norm", 64, false),
];

fn make(p: &mut Builder) -> Vec<Tensor> {
    let parameter = |(name, elements, decay): (&str, usize, bool)| {
        p.parameter(name, [elements], Initial::Normal { deviation: 1.0 }, decay)
    };
    PARAMETERS.map(parameter).into()
}

/// The gradient of parameter number `index` in step number `step`.
fn gradient(index: usize, step: u64) -> Vec<f32> {
    Key::new(8).fold(index as u64).fold(step).normals(PARAMETERS[index].1, 0.1, 1.0)
}

/// Has the gradients of `tensors` be those of step number `step`, times `scale`.
fn set(gradients: &mut Gradients, tensors: &[Tensor], step: u64, scale: f32) -> Result<()> {
    gradients.clear();
    for (index, tensor) in tensors.iter().enumerate() {
        let weights: Vec<f32> = gradient(index, step).iter().map(|g| scale * g).collect();
        let weights = Tensor::new(&weights, tensor.shape(), tensor.device());
        tensor.multiply(&weights).sum_all().backward_into(gradients)?;
    }
    Ok(())
}

fn widen(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|x| f64::from(*x)).collect()
}

fn expect_close(what: &str, got: &[f32], expected: &[f64]) -> std::result::Result<(), Failed> {
    for (position, (got, expected)) in got.iter().zip(expected).enumerate() {
        let difference = (f64::from(*got) - expected).abs();
        if difference.is_nan() || difference > 2e-6 * expected.abs().max(1.0) {
            return Err(format!("{what} at {position}: {got}, expected {expected}").into());
        }
    }
    Ok(())
}

/// Runs several steps and compares all parameters with `reference(p, g, step, decay)`, which keeps
/// its own state for each number.
fn compare<S: Default + Clone>(
    device: &Device,
    optimizer: &mut dyn Optimizer,
    (tensors, parameters): (Vec<Tensor>, Parameters),
    max_norm: Option<f64>,
    reference: impl Fn(&mut f64, f64, &mut S, i32, bool),
) -> std::result::Result<(), Failed> {
    assert_eq!(parameters.device(), device);
    let initial = tensors.iter().map(Tensor::to_vec).collect::<Result<Vec<_>>>()?;
    let mut expected: Vec<Vec<(f64, S)>> = initial
        .iter()
        .map(|numbers| widen(numbers).into_iter().map(|p| (p, S::default())).collect())
        .collect();
    let mut gradients = parameters.gradients();
    for step in 1..=4 {
        set(&mut gradients, &tensors, step, 1.0)?;
        let clip = max_norm.map(|max_norm| clip(&parameters, &gradients, max_norm));
        optimizer.step(&parameters, &gradients, RATE, clip.as_ref());
        let all: Vec<Vec<f64>> = (0..tensors.len()).map(|i| widen(&gradient(i, step))).collect();
        let norm = all.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let factor = max_norm.map_or(1.0, |max_norm| (max_norm / norm).min(1.0));
        for ((numbers, gradients), (_, _, decay)) in expected.iter_mut().zip(&all).zip(PARAMETERS) {
            for ((p, state), g) in numbers.iter_mut().zip(gradients) {
                reference(p, factor * g, state, step as i32, decay);
            }
        }
    }
    assert_eq!(optimizer.updates()?, 4);
    for ((tensor, expected), (name, ..)) in tensors.iter().zip(&expected).zip(PARAMETERS) {
        let expected: Vec<f64> = expected.iter().map(|(p, _)| *p).collect();
        expect_close(name, &tensor.to_vec()?, &expected)?;
    }
    Ok(())
}

const RATE: f64 = 0.01;

fn adamw_against_f64(device: &Device, max_norm: Option<f64>) -> std::result::Result<(), Failed> {
    let settings = AdamWSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
    let AdamWSettings { beta1, beta2, epsilon, weight_decay } = settings;
    let model = Parameters::build(device, 1, make);
    let mut optimizer = AdamW::new(&model.1, settings);
    compare(device, &mut optimizer, model, max_norm, |p, g, [m, v]: &mut [f64; 2], t, decay| {
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        let (mean, square) = (*m / (1.0 - beta1.powi(t)), *v / (1.0 - beta2.powi(t)));
        if decay {
            *p -= RATE * weight_decay * *p;
        }
        *p -= RATE * mean / (square.sqrt() + epsilon);
    })
}

fn adamw(device: &Device) -> std::result::Result<(), Failed> {
    adamw_against_f64(device, None)
}

fn adamw_clipped(device: &Device) -> std::result::Result<(), Failed> {
    adamw_against_f64(device, Some(0.01))
}

fn sgd(device: &Device) -> std::result::Result<(), Failed> {
    for nesterov in [false, true] {
        let settings = SgdSettings { momentum: 0.8, nesterov, weight_decay: 0.1 };
        let model = Parameters::build(device, 1, make);
        let mut optimizer = Sgd::new(&model.1, settings);
        compare(device, &mut optimizer, model, Some(50.0), |p, g, b: &mut f64, _, decay| {
            let g = if decay { g + 0.1 * *p } else { g };
            *b = 0.8 * *b + g;
            *p -= RATE * if nesterov { g + 0.8 * *b } else { *b };
        })?;
    }
    Ok(())
}

fn numbers(clip: &Clip) -> Result<(f32, f32)> {
    Ok((clip.norm.to_scalar()?, clip.factor.to_scalar()?))
}

/// Whole numbers, whose squares add up without rounding.
fn clip_exactly(device: &Device) -> std::result::Result<(), Failed> {
    let (tensors, parameters) = Parameters::build(device, 1, make);
    let mut gradients = parameters.gradients();
    // Only "large" and "one" get gradients: 40,001 threes, and what makes it a square: 603² − 9 ·
    // 40,001 = 60² as 363,609 = 360,009 + 3,600.
    let scale = |value: f32| Tensor::full(value, [1], device);
    tensors[3].multiply(&scale(3.0)).sum_all().backward_into(&mut gradients)?;
    tensors[0].multiply(&scale(60.0)).sum_all().backward_into(&mut gradients)?;
    assert_eq!(parameters.missing_gradients(&gradients), ["weight", "bias", "norm"]);
    for (max_norm, factor) in [(1e9, 1.0), (603.0, 1.0), (301.5, 0.5), (603.0 / 64.0, 1.0 / 64.0)] {
        let got = numbers(&clip(&parameters, &gradients, max_norm))?;
        if got != (603.0, factor) {
            return Err(format!("clipped to {max_norm}: norm and factor {got:?}").into());
        }
    }
    Ok(())
}

fn non_finite_gradients_change_nothing(device: &Device) -> std::result::Result<(), Failed> {
    let (tensors, parameters) = Parameters::build(device, 1, make);
    let mut adamw = AdamW::new(&parameters, AdamWSettings::default());
    let mut sgd = Sgd::new(&parameters, SgdSettings::default());
    let before = tensors.iter().map(Tensor::to_vec).collect::<Result<Vec<_>>>()?;
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        let mut gradients = parameters.gradients();
        let mut weights = vec![1.0; PARAMETERS[3].1];
        weights[30_000] = bad;
        let weights = Tensor::new(&weights, tensors[3].shape(), device);
        tensors[3].multiply(&weights).sum_all().backward_into(&mut gradients)?;
        let clip = clip(&parameters, &gradients, 1.0);
        adamw.step(&parameters, &gradients, RATE, Some(&clip));
        sgd.step(&parameters, &gradients, RATE, Some(&clip));
        let (norm, factor) = numbers(&clip)?;
        if norm.is_finite() || factor != 0.0 {
            return Err(format!("{bad}: norm {norm}, factor {factor}").into());
        }
    }
    // Neither do those of a loss that is not.
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut gradients = parameters.gradients();
        tensors[3].sum_all().backward_into(&mut gradients)?;
        let clip = clip(&parameters, &gradients, 1.0);
        assert!(numbers(&clip)?.1 > 0.0);
        let finite = clip.clone().with_loss(&Tensor::full(f32::MAX, [1], device));
        assert_eq!(numbers(&finite)?, numbers(&clip)?);
        let clip = clip.with_loss(&Tensor::full(bad, [1], device));
        assert_eq!(numbers(&clip)?.1, 0.0);
        adamw.step(&parameters, &gradients, RATE, Some(&clip));
        sgd.step(&parameters, &gradients, RATE, Some(&clip));
    }
    assert_eq!([adamw.updates()?, sgd.updates()?], [0, 0]);
    for (tensor, before) in tensors.iter().zip(&before) {
        assert_eq!(&tensor.to_vec()?, before);
    }
    for (name, state) in adamw.state(&parameters).into_iter().chain(sgd.state(&parameters)) {
        assert!(state.to_vec()?.iter().all(|x| *x == 0.0), "{name} has changed");
    }
    Ok(())
}

/// AdamW and an average after steps some of whose gradients are not finite, more in a row than the
/// host is behind: the same bits as if these gradients had never come, also when they are saved in
/// the middle and loaded into fresh ones.
fn steps_left_out_never_were(device: &Device) -> std::result::Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let files = ["weights", "state", "average"].map(|name| folder.path().join(name));
    // `None` is a gradient that is not finite.
    let train = |steps: &[Option<u64>], saved_after: Option<usize>| {
        let mut model = Parameters::build(device, 1, make);
        let settings = AdamWSettings { beta2: 0.95, ..AdamWSettings::default() };
        let mut optimizer = AdamW::new(&model.1, settings);
        let mut average = Average::new(&model.1, 0.99);
        let mut gradients = model.1.gradients();
        for (number, step) in steps.iter().enumerate() {
            let (tensors, parameters) = &model;
            set(&mut gradients, tensors, step.unwrap_or(0), step.map_or(f32::NAN, |_| 1.0))?;
            let clip = clip(parameters, &gradients, 1.0);
            optimizer.step(parameters, &gradients, RATE, Some(&clip));
            average.step(parameters, Some(&clip));
            if saved_after == Some(number) {
                let [weights, state, averaged] = &files;
                parameters.save(weights, &Default::default())?;
                optimizer.save(parameters, state)?;
                let updates = [("steps".into(), average.updates()?.to_string())].into();
                save_tensors(averaged, &average.state(parameters), &updates)?;
                model = Parameters::build(device, 2, make);
                optimizer = AdamW::new(&model.1, settings);
                average = Average::new(&model.1, 0.99);
                gradients = model.1.gradients();
                model.1.load(weights)?;
                optimizer.load(&model.1, state)?;
                average.load(&model.1, averaged)?;
            }
        }
        let (tensors, parameters) = &model;
        let mut all = tensors.iter().map(Tensor::to_vec).collect::<Result<Vec<_>>>()?;
        for (_, state) in optimizer.state(parameters).into_iter().chain(average.state(parameters)) {
            all.push(state.to_vec()?);
        }
        Ok::<_, neutreno::engine::Error>((all, optimizer.updates()?, average.updates()?))
    };
    let without: Vec<Option<u64>> = (1..=5).map(Some).collect();
    let with =
        [[None, Some(1)].as_slice(), &[None; 9], &[Some(2), None, Some(3), Some(4)], &[None]]
            .concat();
    let with = [with.as_slice(), &[Some(5), None]].concat();
    let expected = train(&without, None)?;
    assert_eq!(expected.1, 5);
    for saved_after in [None, Some(0), Some(6), Some(12), Some(14)] {
        if train(&with, saved_after)? != expected {
            return Err(format!("saved after step {saved_after:?}: other bits").into());
        }
    }
    Ok(())
}

fn averages_are_those_of_the_formula(device: &Device) -> std::result::Result<(), Failed> {
    let (tensors, parameters) = Parameters::build(device, 1, make);
    let mut average = Average::new(&parameters, 0.3);
    let all = || tensors.iter().map(Tensor::to_vec).collect::<Result<Vec<_>>>();
    let mut expected: Vec<Vec<f64>> = all()?.iter().map(|numbers| widen(numbers)).collect();
    for step in 0..5 {
        for (index, tensor) in tensors.iter().enumerate() {
            tensor.overwrite(&gradient(index, step));
        }
        average.step(&parameters, None);
        let decay = 0.3_f64.min((1 + step) as f64 / (10 + step) as f64);
        for (mean, numbers) in expected.iter_mut().zip(all()?) {
            let numbers = numbers.into_iter().map(f64::from);
            mean.iter_mut().zip(numbers).for_each(|(a, p)| *a = decay * *a + (1.0 - decay) * p);
        }
    }
    let before = all()?;
    let averaged = average.with(&parameters, all)?;
    assert_eq!(all()?, before);
    assert_eq!(average.updates()?, 5);
    for ((got, expected), (name, ..)) in averaged.iter().zip(&expected).zip(PARAMETERS) {
        expect_close(name, got, expected)?;
    }
    Ok(())
}

/// The mean loss over eight rows, at once and as the mean of two halves.
fn micro_batches_equal_one_batch(device: &Device) -> std::result::Result<(), Failed> {
    let key = Key::new(2);
    let data = key.normals(8 * 65, 0.0, 1.0);
    let rows = |first: usize, count: usize| {
        Tensor::new(&data[first * 65..(first + count) * 65], [count, 65], device)
    };
    let train = |batches: &[Tensor]| -> Result<Vec<Vec<f32>>> {
        let (tensors, parameters) = Parameters::build(device, 1, make);
        let mut optimizer = Sgd::new(&parameters, SgdSettings::default());
        let mut gradients = parameters.gradients();
        for _ in 0..2 {
            gradients.clear();
            for batch in batches {
                let product = batch.multiply(&tensors[1]);
                let shifted = product.add(&tensors[0]);
                let mean = Tensor::full(1.0 / 8.0, [1], device);
                let loss = shifted.multiply(&shifted).sum_all().multiply(&mean);
                loss.backward_into(&mut gradients)?;
            }
            optimizer.step(&parameters, &gradients, RATE, None);
        }
        tensors.iter().map(Tensor::to_vec).collect()
    };
    let whole = train(&[rows(0, 8)])?;
    let halves = train(&[rows(0, 4), rows(4, 4)])?;
    for ((whole, halves), (name, ..)) in whole.iter().zip(&halves).zip(PARAMETERS) {
        expect_close(name, halves, &widen(whole))?;
    }
    Ok(())
}

/// Saved after two steps and loaded into fresh ones: the same bits after two more.
fn a_resumed_optimizer_goes_on_alike(device: &Device) -> std::result::Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let [weights, state] = ["weights", "state"].map(|name| folder.path().join(name));
    let run = |optimizer: &mut AdamW,
               (tensors, parameters): &(Vec<Tensor>, Parameters),
               steps: std::ops::Range<u64>| {
        let mut gradients = parameters.gradients();
        for step in steps {
            set(&mut gradients, tensors, step, 1.0)?;
            optimizer.step(parameters, &gradients, RATE, None);
        }
        tensors.iter().map(Tensor::to_vec).collect::<Result<Vec<_>>>()
    };
    let model = Parameters::build(device, 1, make);
    let mut optimizer = AdamW::new(&model.1, AdamWSettings::default());
    run(&mut optimizer, &model, 0..2)?;
    model.1.save(&weights, &Default::default())?;
    optimizer.save(&model.1, &state)?;
    let expected = run(&mut optimizer, &model, 2..4)?;

    let resumed = Parameters::build(device, 99, make);
    let mut optimizer = AdamW::new(&resumed.1, AdamWSettings::default());
    resumed.1.load(&weights)?;
    // A file that is no optimiser's changes nothing.
    assert!(optimizer.load(&resumed.1, &weights).is_err());
    optimizer.load(&resumed.1, &state)?;
    assert_eq!(optimizer.updates()?, 2);
    assert_eq!(run(&mut optimizer, &resumed, 2..4)?, expected);
    Ok(())
}

/// Optimisers of parts, each with parameters of its own, which bring their parts together after each step: the same
/// bits of weights and moments as one, steps that are left out included; also when they begin from what
/// another number of them has saved.
fn parts_are_updated_as_the_whole(device: &Device) -> std::result::Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let settings = AdamWSettings { weight_decay: 0.1, ..AdamWSettings::default() };
    let models = |of: usize| -> Vec<(Vec<Tensor>, Parameters)> {
        (0..of).map(|_| Parameters::build(device, 1, make)).collect()
    };
    let optimizers = |models: &[(Vec<Tensor>, Parameters)]| -> Vec<AdamW> {
        let of = models.len();
        let make = |index: usize| AdamW::of_part(&models[index].1, settings, Part { index, of });
        (0..of).map(make).collect()
    };
    let step = |models: &[(Vec<Tensor>, Parameters)], optimizers: &mut [AdamW], step: u64| {
        let of = models.len();
        for ((tensors, parameters), optimizer) in models.iter().zip(&mut *optimizers) {
            let mut gradients = parameters.gradients();
            let scale = if step == 1 { f32::NAN } else { 1.0 };
            set(&mut gradients, tensors, step, scale)?;
            let clip = clip(parameters, &gradients, 1.0);
            optimizer.step(parameters, &gradients, RATE, Some(&clip));
        }
        for index in 0..of {
            let blocks = |model: &(_, Parameters)| model.1.blocks_of_part(Part { index, of }, 6400);
            let own: Vec<Vec<f32>> =
                blocks(&models[index]).iter().map(Tensor::to_vec).collect::<Result<_>>()?;
            for model in models {
                blocks(model).iter().zip(&own).for_each(|(block, own)| block.overwrite(own));
            }
        }
        Ok::<_, neutreno::engine::Error>(())
    };
    // All weights of the first model, and the moments of all of them, each as a whole.
    let all = |models: &[(Vec<Tensor>, Parameters)], optimizers: &[AdamW]| {
        let mut all = models[0].0.iter().map(Tensor::to_vec).collect::<Result<Vec<_>>>()?;
        let shares: Vec<_> =
            models.iter().zip(optimizers).map(|(model, one)| one.shares(&model.1)).collect();
        for number in 0..shares[0].len() {
            let mut whole = Vec::new();
            for share in shares.iter().map(|shares| &shares[number]) {
                assert_eq!(share.range.start, whole.len(), "{}", share.name);
                whole.extend(share.numbers.to_vec()?);
            }
            assert_eq!(whole.len(), shares[0][number].shape.elements());
            all.push(whole);
        }
        Ok::<_, neutreno::engine::Error>(all)
    };
    let whole = models(1);
    let mut one = optimizers(&whole);
    let mut expected = Vec::new();
    let mut saved_weights = Vec::new();
    for number in 0..5 {
        if number == 3 {
            one[0].save(&whole[0].1, &state)?;
            saved_weights = whole[0].0.iter().map(Tensor::to_vec).collect::<Result<Vec<_>>>()?;
        }
        step(&whole, &mut one, number)?;
        expected.push(all(&whole, &one)?);
    }
    // More parts than there are multiples of 64 in the smallest piece, so that some are empty.
    for of in [2, 3, 5, 11] {
        let shared = models(of);
        let mut parts = optimizers(&shared);
        for (number, expected) in (0..5).zip(&expected) {
            step(&shared, &mut parts, number)?;
            if &all(&shared, &parts)? != expected {
                return Err(format!("{of} parts, step {number}: other bits").into());
            }
        }
        let resumed = models(of);
        let mut parts = optimizers(&resumed);
        for ((tensors, parameters), part) in resumed.iter().zip(&mut parts) {
            tensors.iter().zip(&saved_weights).for_each(|(tensor, saved)| tensor.overwrite(saved));
            part.load(parameters, &state)?;
            assert_eq!(part.updates()?, 2);
        }
        for number in 3..5 {
            step(&resumed, &mut parts, number)?;
        }
        if all(&resumed, &parts)? != expected[4] {
            return Err(format!("{of} parts of what one has saved: other bits").into());
        }
    }
    Ok(())
}
