//! Memory in training: flat after the first steps, and known in advance. Alone in its file, since
//! it watches the whole process.

mod common;

use common::devices;
use common::training::{batches, config, settings, task};
use neutreno::Variant;
use neutreno::engine::ops::attention::Mixing;
use neutreno::engine::{Device, Ids, Tensor};
use neutreno::training::{Learner, Settings, plan};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[test]
fn memory_is_flat_and_known_in_advance() {
    kernels_take_their_memory_from_the_pool();
    let settings = Settings { accumulate: 1, steps: 300, ..settings() };
    let task = task();
    let config = config(Variant::Resformer);
    for (name, device) in devices() {
        let planned = plan(&task, &config, &settings, &device).unwrap().memory;
        let mut learner = Learner::new(&task, &config, &settings, 1, &device).unwrap();
        let mut batches = batches();
        let mut early = (0, 0);
        let mut settled = None;
        for step in 0..300 {
            let result = learner.step(step, &mut batches).unwrap();
            // As in training, some results are read and some are not.
            if step % 3 == 0 {
                result.loss.to_scalar().unwrap();
            }
            if step == 3 {
                let memory = device.memory();
                early = (memory.reserved, memory.allocations);
            }
            // A driver's own memory may grow over the first hundred steps, as SwiftShader's does, by 4 MiB.
            if step == 150 {
                settled = process_memory();
            }
        }
        let memory = device.memory();
        assert_eq!((memory.reserved, memory.allocations), early, "{name}");
        let foretold = planned.peak - planned.peak / 20..=planned.peak;
        assert!(foretold.contains(&memory.peak), "{name}: {memory:?}, planned {planned:?}");
        if let (Some(before), Some(after)) = (settled, process_memory()) {
            let grown = after.saturating_sub(before);
            assert!(grown < 1 << 20, "{name}: the process grew by {grown} bytes");
        }
    }
}

/// The working memory of kernels comes from the device's pool too, and the plan knows it. The system
/// is asked for little more than what the graph and lists of arguments take, and what products pack
/// their operands into: nothing that grows with the tensors, which have 4 MiB here.
fn kernels_take_their_memory_from_the_pool() {
    const LITTLE: usize = 256 << 10;
    // A large product packs its operands into memory of its own, at most as large as the caches.
    const PACKING: usize = 2 << 20;
    let device = Device::cpu_with_threads(2);
    let plan = device.plan_for();
    for (name, work) in WORKS {
        let run = |device: &Device| {
            let x = Tensor::full(0.01, [4096, 256], device).tracked();
            device.reset_peak();
            work(&x).sum_all().backward().unwrap();
            device.memory().peak
        };
        // The first time, the pool is filled.
        run(&device);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let peak = run(&device);
        let taken = ALLOCATOR.peak_usage().saturating_sub(before);
        let limit = if name == "linear" { PACKING } else { LITTLE };
        assert!(taken < limit, "{name}: {taken} bytes beside the pool");
        assert_eq!(peak, run(&plan), "{name}: the most memory, and what was planned");
    }
}

type Work = (&'static str, fn(&Tensor) -> Tensor);

const WORKS: [Work; 6] = [
    ("attention", |x| {
        let [q, k, v] = [0.5, 1.0, 2.0].map(|factor| x.scale(factor).reshape([4, 512, 8, 64]));
        let resformer = Mixing { own: 0.5.into(), first: 0.5.into(), ..Mixing::PLAIN };
        q.attention(&k, &v, Some((&q, &resformer)), true)
    }),
    ("linear", |x| x.linear(&x.slice(0, 0..300), None)),
    ("linear and cross-entropy", |x| {
        let targets = Ids::new(vec![7; 4096], [4096]);
        x.linear_cross_entropy(&x.slice(0, 0..1000), &targets, 0.1)
    }),
    ("cross-entropy", |x| x.cross_entropy(&Ids::new(vec![7; 4096], [4096]), 0.0)),
    ("norms", |x| {
        let weight = x.slice(0, 0..1).reshape([256]);
        x.rms_norm(&weight, 1e-5).layer_norm(&weight, &weight, 1e-5)
    }),
    ("sums and a picture", |x| {
        let picture = x.reshape([1, 64, 64, 256]).resize_bilinear(80, 80);
        x.sum(&[0], false).multiply(&picture.sum_all())
    }),
];

/// The bytes of memory that this process has, where the system tells.
fn process_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = status.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
