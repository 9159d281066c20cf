//! Memory that is refused: nothing that would be computed from it reaches the program, what was whole
//! stays whole, and the device goes on.

mod common;

use common::devices;
use neutreno::engine::device::Fault;
use neutreno::engine::optim::{AdamW, AdamWSettings, Average, Optimizer, clip};
use neutreno::engine::{Builder, Device, Error, Ids, Initial, Parameters, Result, Tensor};

fn is_refused<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::OutOfMemory { .. }))
}

#[test]
fn idle_memory_is_given_back_before_any_is_refused() {
    for (name, device) in devices() {
        let x = Tensor::full(2.0, [5], &device);
        drop(Tensor::zeros([1000], &device));
        let idle = device.memory();
        assert!(idle.reserved > idle.in_use, "{name}: {idle:?}");
        let injection = device.inject(Fault::ShortOfMemory, 0);
        let y = Tensor::full(3.0, [300], &device);
        assert_eq!(injection.seen(), 1, "{name}");
        let memory = device.memory();
        assert_eq!(memory.reserved, memory.in_use, "{name}: {memory:?}");
        assert_eq!(y.to_vec().unwrap(), [3.0; 300], "{name}");
        assert_eq!((&x + &x).to_vec().unwrap(), [4.0; 5], "{name}");
    }
}

#[test]
fn what_is_trimmed_is_all_that_is_idle() {
    for (name, device) in devices() {
        let x = Tensor::full(2.0, [5], &device);
        // On a GPU, by way of buffers that the host can see.
        assert_eq!((&x + &x).to_vec().unwrap(), [4.0; 5], "{name}");
        drop(Tensor::zeros([1000], &device).read());
        assert!(device.memory().reserved > device.memory().in_use, "{name}");
        device.trim();
        let memory = device.memory();
        assert_eq!((memory.in_use, memory.reserved), (64, 64), "{name}");
        assert_eq!((&x + &x).to_vec().unwrap(), [4.0; 5], "{name}");
    }
}

/// What numbers go through on their way from a GPU is counted, keeps to the limit, and is foretold.
#[test]
fn reading_takes_memory_where_it_does() {
    for (name, device) in devices() {
        let plan = device.plan_for();
        let bytes = 1 << 22;
        for device in [&device, &plan] {
            let x = Tensor::zeros([1 << 20], device);
            let reading = x.read();
            let most = if name == "cpu" { bytes } else { 2 * bytes };
            assert_eq!(device.memory().in_use, most, "{name}, {device}");
            reading.wait().unwrap();
            assert_eq!((device.memory().in_use, device.memory().peak), (bytes, most), "{name}");
        }
        let x = Tensor::zeros([1 << 20], &device);
        device.set_memory_limit(bytes + bytes / 2);
        assert_eq!(is_refused(x.to_vec()), name != "cpu", "{name}");
        device.set_memory_limit(2 * bytes);
        assert!(x.to_vec().is_ok(), "{name}");
    }
}

#[test]
fn a_refused_tensor_is_an_error_and_the_others_are_not() {
    for (name, device) in devices() {
        let x = Tensor::new(&[1.0, 2.0], [2], &device);
        let before = (&x + &x).read();
        device.inject(Fault::NoMemory, 0);
        let refused = Tensor::zeros([100], &device);
        let computed = refused.exp().sum_all();
        // Told once, where the program first waits, whatever it waits for.
        assert!(is_refused(before.wait()), "{name}");
        device.synchronize().unwrap();
        for tensor in [&refused, &computed, &computed.multiply(&x), &refused.reshape([10, 10])] {
            assert!(is_refused(tensor.to_vec()), "{name}");
            assert!(is_refused(tensor.to_vec()), "{name}: a second time");
        }
        refused.overwrite(&[1.0; 100]);
        assert!(is_refused(refused.to_vec()), "{name}: it has no memory");
        assert!(is_refused(refused.with_numbers(|_| ())), "{name}");
        assert!(is_refused(refused.with_numbers_mut(|numbers| numbers.fill(1.0))), "{name}");
        assert_eq!((&x + &x).to_vec().unwrap(), [2.0, 4.0], "{name}");
        assert_eq!(Tensor::zeros([100], &device).to_vec().unwrap(), [0.0; 100], "{name}");
    }
}

/// A limit refuses until there is room.
#[test]
fn a_limit_refuses_no_more_than_it_must() {
    for (name, device) in devices() {
        device.set_memory_limit(1 << 20);
        let half = Tensor::zeros([1 << 17], &device);
        let too_much = Tensor::zeros([3 << 16], &device);
        assert!(is_refused(too_much.to_vec()), "{name}");
        drop(half);
        assert!(Tensor::zeros([1 << 16], &device).to_vec().is_ok(), "{name}");
    }
}

struct Model {
    weight: Tensor,
    scale: Tensor,
    parameters: Parameters,
}

impl Model {
    fn new(device: &Device) -> Model {
        let make = |p: &mut Builder| {
            let weight = p.parameter("weight", [7, 5], Initial::Normal { deviation: 0.3 }, true);
            [weight, p.parameter("scale", [5], Initial::Ones, true)]
        };
        let ([weight, scale], parameters) = Parameters::build(device, 1, make);
        Model { weight, scale, parameters }
    }

    /// Two steps of training: the weights, and those of their average.
    fn train(&self) -> Result<[Vec<f32>; 3]> {
        let device = self.parameters.device();
        let mut optimizer = AdamW::new(&self.parameters, AdamWSettings::default());
        let mut average = Average::new(&self.parameters, 0.5);
        let mut gradients = self.parameters.gradients();
        let x: Vec<f32> = (0..30).map(|i| (i % 7) as f32 * 0.1).collect();
        let x = Tensor::new(&x, [6, 5], device);
        let classes = Ids::new(vec![0, 1, 2, 3, 4, 5], [6]);
        for _ in 0..2 {
            gradients.clear();
            let hidden = x.rms_norm(&self.scale, 1e-5).linear(&self.weight, None);
            hidden.cross_entropy(&classes, 0.1).backward_into(&mut gradients)?;
            let clipped = clip(&self.parameters, &gradients, 0.5);
            optimizer.step(&self.parameters, &gradients, 0.1, Some(&clipped));
            average.step(&self.parameters, Some(&clipped));
        }
        let averaged = average.with(&self.parameters, || self.weight.to_vec())?;
        Ok([self.weight.to_vec()?, self.scale.to_vec()?, averaged])
    }
}

/// Whichever request is refused: all bits are right, or there is an error. And when the weights were
/// put back, the same device ends with the right bits.
#[test]
fn whatever_is_refused_no_wrong_number_comes_out() {
    for (name, device) in devices() {
        let model = Model::new(&device);
        let [weight, scale] = [&model.weight, &model.scale].map(|x| x.to_vec().unwrap());
        device.trim();
        let injection = device.inject(Fault::NoMemory, u64::MAX);
        let whole = model.train().unwrap();
        let requests = injection.seen();
        assert!(requests > 10, "{name}: {requests}");
        let mut errors = 0;
        for request in 0..requests {
            let restore = || {
                model.weight.overwrite(&weight);
                model.scale.overwrite(&scale);
                device.trim();
            };
            restore();
            device.inject(Fault::NoMemory, request);
            match model.train() {
                Ok(trained) => assert!(trained == whole, "{name}, {request}"),
                Err(error) => {
                    assert!(matches!(error, Error::OutOfMemory { lasting: false, .. }), "{error}");
                    errors += 1;
                }
            }
            // Whatever was left untold is told now.
            let _ = device.synchronize();
            restore();
            let again = model.train().unwrap_or_else(|e| panic!("{name}, {request}: {e}"));
            assert!(again == whole, "{name}, {request}");
        }
        assert!(errors > requests / 2, "{name}: {errors} errors of {requests}");
    }
}

/// A step with a gradient that is missing would leave weights that are no step's: they are missing
/// then, all that share their flat piece.
#[test]
fn an_optimiser_does_not_step_with_what_is_missing() {
    for (name, device) in devices() {
        let Model { weight, scale, parameters } = Model::new(&device);
        let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
        let mut gradients = parameters.gradients();
        let kept = scale.to_vec().unwrap();
        device.trim();
        device.inject(Fault::NoMemory, 0);
        let loss = weight.exp().sum_all().add(&scale.sum_all());
        loss.backward_into(&mut gradients).unwrap();
        assert!(is_refused(device.synchronize()), "{name}");
        assert_eq!(scale.to_vec().unwrap(), kept, "{name}: whoever looks first loses nothing");
        optimizer.step(&parameters, &gradients, 0.1, None);
        assert!(is_refused(weight.to_vec()) && is_refused(scale.to_vec()), "{name}");
    }
}

/// A system that does refuse: a process that may take 384 MiB more has 256 MiB idle and asks for 512.
#[cfg(target_os = "linux")]
#[test]
fn a_system_that_refuses_gets_idle_memory_back() {
    const CHILD: &str = "NEUTRENO_TEST_LIMITED";
    const NAME: &str = "a_system_that_refuses_gets_idle_memory_back";
    if std::env::var_os(CHILD).is_none() {
        let program = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(program);
        let status = child.args(["--exact", NAME]).env(CHILD, "1").status().unwrap();
        return assert!(status.success(), "{status}");
    }
    let device = Device::cpu_with_threads(1);
    drop(Tensor::zeros([64 << 20], &device));
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let taken = 4096 * statm.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    let limit = taken + (384 << 20);
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the structure is whole, and only read.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let sum = |elements| Tensor::full(1.0, [elements], &device).sum_all().to_scalar();
    assert_eq!(sum(128 << 20).unwrap(), (128 << 20) as f32);
    // What waits now can not help with this, and is not lost to others by it.
    assert!(is_refused(sum(256 << 20)));
    assert_eq!(sum(3).unwrap(), 3.0);
}
