//! A mistake of the program panics at the line that made it, wherever in the engine it is noticed.

use neutreno::engine::autograd::{GradientContext, Op, Saved, Saves, apply};
use neutreno::engine::device::{View, ViewMut};
use neutreno::engine::gpu::Class;
use neutreno::engine::half::Precision;
use neutreno::engine::optim::{AdamW, AdamWSettings, Average, Optimizer, Sgd, SgdSettings};
use neutreno::engine::optim::{clip, clip_values};
use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Ids, Initial, Kernel, Parameters, Shape, Tensor};
use neutreno::language::{Generation, GenerationSettings, KeyValueCache, Sampling};
use neutreno::language::{LanguageModel, LanguageModelConfig, Pass};
use neutreno::vision::{
    self, ImageClassifier, ImageSegmenter, ImageSize, SoftTargets, VisionConfig,
};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, set_hook};
use std::sync::Mutex;

/// The file and the line that the latest panic named.
static NAMED: Mutex<(String, u32)> = Mutex::new((String::new(), 0));

/// What was wrong so far.
static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The call, on the same line as this, must panic and name it.
#[track_caller]
fn names_its_line<R>(call: impl FnOnce() -> R) {
    let here = Location::caller();
    let refused = catch_unwind(AssertUnwindSafe(|| drop(call()))).is_err();
    let named = NAMED.lock().unwrap().clone();
    if !refused {
        FAULTS.lock().unwrap().push(format!("line {} was accepted", here.line()));
    } else if named != (here.file().into(), here.line()) {
        FAULTS.lock().unwrap().push(format!("line {} named {named:?}", here.line()));
    }
}

#[test]
fn mistakes_name_their_line() {
    // The only test of this program, since a hook is the whole program's.
    set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            *NAMED.lock().unwrap() = (place.file().into(), place.line());
        }
        eprintln!("{panic}");
    }));
    of_tensors();
    of_training();
    of_models();
    let faults = FAULTS.lock().unwrap();
    assert!(faults.is_empty(), "{faults:#?}");
}

fn of_tensors() {
    let device = Device::cpu();
    let x = Tensor::zeros([2, 3], &device);
    let y = Tensor::zeros([2, 4], &device);
    let ids = Ids::new(vec![7], [1]);

    names_its_line(|| &x + &y);
    names_its_line(|| x.clone() - &y);
    names_its_line(|| &x * y.clone());
    names_its_line(|| x.clone() / y.clone());
    names_its_line(|| x.maximum(&y));
    names_its_line(|| x.minimum(&y));
    names_its_line(|| x.greater(&y));
    names_its_line(|| x.greater_equal(&y));
    names_its_line(|| x.less(&y));
    names_its_line(|| x.less_equal(&y));
    names_its_line(|| x.equal(&y));
    names_its_line(|| x.not_equal(&y));
    names_its_line(|| Tensor::where_(&x, &x, &y));
    names_its_line(|| x.masked_fill(&y, 1.0));
    names_its_line(|| x.clamp(1.0, 0.0));
    names_its_line(|| x.matmul(&y));

    names_its_line(|| x.cumsum(2));
    names_its_line(|| x.sum(&[2], false));
    names_its_line(|| x.mean(&[0, 0], false));
    names_its_line(|| x.max(&[-3], false));
    names_its_line(|| x.softmax(2));
    names_its_line(|| x.variance(&[2], 0, false));
    names_its_line(|| x.variance(&[0], 2, false));
    names_its_line(|| x.standard_deviation(&[0], 2, false));

    names_its_line(|| x.reshape([7]));
    names_its_line(|| x.permute(&[0, 0]));
    names_its_line(|| x.transpose(0, 2));
    names_its_line(|| x.slice(2, 0..1));
    names_its_line(|| x.slice(1, 2..4));
    names_its_line(|| x.gather(&ids, 2));
    names_its_line(|| x.gather(&ids, 0));
    names_its_line(|| Tensor::concatenate(&[&x, &x], 2));
    names_its_line(|| Tensor::concatenate(&[&x, &y], 0));
    names_its_line(|| Tensor::stack(&[], 0));
    names_its_line(|| Tensor::stack(&[&x, &y], 0));
    names_its_line(|| Tensor::stack(&[&x, &x], 3));
    names_its_line(|| x.split(0, 0));
    names_its_line(|| x.split(1, 2));
    names_its_line(|| x.split_with_sizes(&[1, 3], 1));
    names_its_line(|| x.chunk(0, 0));
    names_its_line(|| x.pad(&[(0, 0)], 1.0));
    names_its_line(|| x.unsqueeze(3));
    names_its_line(|| Tensor::zeros([1; 6], &device).unsqueeze(0));
    names_its_line(|| x.squeeze(0));
    names_its_line(|| x.flatten(1, 0));
    names_its_line(|| x.select(0, 2));
    names_its_line(|| x.narrow(1, 2, usize::MAX));
    names_its_line(|| x.index_select(1, &ids));

    let q = Tensor::zeros([1, 3, 2, 4], &device);
    let k = q.slice(1, 0..2);
    let wrong = Tensor::zeros([2, 2], &device);
    names_its_line(|| x.attention(&x, &x, None, false));
    names_its_line(|| x.attention_unfused(&x, &x, None, false));
    names_its_line(|| q.attention(&k, &k, None, true));
    names_its_line(|| q.attention_unfused(&k, &k, None, true));
    names_its_line(|| q.attention_masked(&k, &k, None, true, &wrong.slice(0, 0..1)));
    names_its_line(|| q.attention_masked(&k, &k, None, false, &wrong));
    names_its_line(|| q.attention_biased(&k, &k, None, true, None, &wrong));
    names_its_line(|| q.attention_biased(&k, &k, None, false, None, &x));
    let zero = Tensor::zeros([], &device);
    names_its_line(|| q.attention_biased(&q, &q, None, false, Some(&x), &zero));

    names_its_line(|| Tensor::new(&[1.0], [2], &device));
    names_its_line(|| x.overwrite(&[1.0]));
    names_its_line(|| x.to_scalar());
    names_its_line(|| Ids::new(vec![1], [2]));
    names_its_line(|| ids.reshape([2]));
    names_its_line(|| Shape::new(&[1; 7]));
    names_its_line(|| x.embedding(&ids));
    names_its_line(|| x.linear(&y, None));
    names_its_line(|| x.matmul_with(&y, true, true));
    names_its_line(|| x.rms_norm(&y, 1e-5));
    names_its_line(|| x.layer_norm(&y, &y, 1e-5));
    names_its_line(|| x.log_softmax(-3));
    names_its_line(|| x.swiglu(&y));
    names_its_line(|| x.dropout(1.0, Key::new(1)));
    names_its_line(|| x.rope(0, 1e4));
    names_its_line(|| x.rope_by(0, &[1.0]));
    names_its_line(|| x.resize_bilinear(1, 1));
    names_its_line(|| x.cross_entropy(&ids, 0.0));
    names_its_line(|| x.linear_cross_entropy(&x, &ids, 0.0));
    names_its_line(|| x.linear_cross_entropy_rows(&x, &ids));
    names_its_line(|| apply::<2>(Softplus, &[&x]));
    names_its_line(|| apply::<1>(Softplus, &[&x, &Tensor::zeros([1], &Device::cpu())]));
    names_its_line(|| apply::<1>(Softplus, &[&Tensor::zeros([1], &gpu_to_plan_for())]));
}

/// On the CPU alone, and without a derivative.
#[derive(Clone, Debug)]
struct Softplus;

impl Kernel for Softplus {
    fn name(&self) -> &'static str {
        "softplus"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        outputs[0].iter_mut().zip(inputs[0].iter()).for_each(|(y, x)| *y = x.exp().ln_1p());
    }
}

impl Op for Softplus {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("nobody has written it")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {}
}

fn of_training() {
    let device = Device::cpu();
    let ones = Initial::Ones;
    let make = |p: &mut Builder| p.parameter("x", [2], ones, true);
    let (x, parameters) = Parameters::build(&device, 1, make);
    let (_, others) = Parameters::build(&device, 1, make);
    let mut gradients = parameters.gradients();
    let mut foreign = others.gradients();
    let settings = AdamWSettings::default();
    let mut adamw = AdamW::new(&parameters, settings);
    let mut sgd = Sgd::new(&parameters, SgdSettings::default());
    let mut average = Average::new(&parameters, 0.9);
    let found = clip(&parameters, &gradients, 1.0);

    names_its_line(|| Parameters::build(&device, 1, |p| p.parameter("x", [0], ones, true)));
    names_its_line(|| parameters.pieces(&foreign));
    names_its_line(|| AdamW::new(&parameters, AdamWSettings { beta1: 1.0, ..settings }));
    names_its_line(|| Sgd::new(&parameters, SgdSettings { momentum: 1.0, ..Default::default() }));
    names_its_line(|| Average::new(&parameters, 1.0));
    names_its_line(|| adamw.step(&parameters, &foreign, 0.1, None));
    names_its_line(|| adamw.step(&others, &foreign, 0.1, None));
    names_its_line(|| adamw.state(&others));
    names_its_line(|| sgd.step(&parameters, &foreign, 0.1, None));
    names_its_line(|| sgd.state(&others));
    names_its_line(|| average.step(&others, None));
    names_its_line(|| average.with(&others, || ()));
    names_its_line(|| average.state(&others));
    names_its_line(|| clip(&parameters, &foreign, 1.0));
    names_its_line(|| clip(&parameters, &gradients, 0.0));
    names_its_line(|| clip_values(&parameters, &mut foreign, 1.0));
    names_its_line(|| clip_values(&parameters, &mut gradients, 0.0));
    names_its_line(|| found.clone().with_loss(&x));
    names_its_line(|| parameters.gradients().and(parameters.gradients()));
}

fn of_generation(model: &LanguageModel, device: &Device) {
    let cache = || KeyValueCache::new(model.config(), 2, 4, Precision::F32, device).unwrap();
    let settings = GenerationSettings::default;
    let mut generation = Generation::new(model, cache(), settings(), Key::new(1));
    let sampling = Sampling { top_p: 2.0, ..Sampling::default() };
    let wrong = GenerationSettings { sampling, ..settings() };
    let made = [cache(), cache()];
    let [one, other] = made;
    names_its_line(|| Generation::new(model, one, wrong, Key::new(1)));
    names_its_line(|| Generation::with_keys(model, other, settings(), [Key::new(1)]));
    names_its_line(|| generation.add(&[&[1]]));
    names_its_line(|| generation.add(&[&[1], &[1, 2, 3, 4, 5]]));
    names_its_line(|| generation.replace(0, &[]));
    names_its_line(|| generation.replace(1, &[1, 2, 3, 4, 5]));
    names_its_line(|| generation.replace(2, &[1]));
    names_its_line(|| generation.stop(2));
    names_its_line(|| generation.room(2));
    names_its_line(|| generation.end(2));
    names_its_line(|| generation.tokens(2).len());
}

fn of_models() {
    let device = Device::cpu();
    let config = LanguageModelConfig::new(20, 16, 2, 2, 8);
    let make = |p: &mut Builder| LanguageModel::new(&config, p);
    let (model, _) = Parameters::build(&device, 1, make);
    let [good, bad] = [3, 20].map(|id| Ids::new(vec![1, id], [1, 2]));
    let pass = Pass::evaluation();
    names_its_line(|| model.logits(&bad));
    names_its_line(|| model.next_logits(&bad, &[1]));
    names_its_line(|| model.next_logits(&good, &[2]));
    names_its_line(|| model.next_logits(&good, &[]));
    names_its_line(|| model.loss(&bad, &good, &pass));
    names_its_line(|| model.loss(&good, &bad, &pass));
    names_its_line(|| model.logits(&good.reshape([2])));
    names_its_line(|| model.forward(&bad, &pass));
    names_its_line(|| model.trace(&bad));
    of_generation(&model, &device);

    let classes = ["sky".to_owned(), "road".to_owned()];
    let config = VisionConfig::new(ImageSize::new(8, 12), 4, 16, 2, 2, &classes).segmenting(1);
    let make = |p: &mut Builder| ImageSegmenter::new(&config, &mut p.scope("segmenter"));
    let (segmenter, _) = Parameters::build(&device, 1, make);
    let make = |p: &mut Builder| ImageClassifier::new(&config, p);
    let (classifier, _) = Parameters::build(&device, 1, make);
    let (images, pass) = (Tensor::zeros([1, 3, 8, 8], &device), vision::Pass::evaluation());
    let targets = SoftTargets::new(&[1], 2, 0.0);
    names_its_line(|| classifier.logits(&images));
    names_its_line(|| classifier.forward(&images, &pass));
    names_its_line(|| classifier.loss(&images, &targets, &pass));
    names_its_line(|| classifier.encoder().forward(&images, &pass));
    names_its_line(|| classifier.encoder().trace(&images));
    names_its_line(|| segmenter.logits(&images));
    names_its_line(|| segmenter.forward(&images, &pass));
    names_its_line(|| segmenter.trace(&images));
}

fn gpu_to_plan_for() -> Device {
    Device::plan_for_gpu(Class::HARDWARE)
}
