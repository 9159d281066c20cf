//! Memory in training: flat after the first steps, and known in advance. Alone in its file, since
//! it watches the whole process.

mod common;

use common::devices;
use common::training::{batches, config, settings, task};
use neutreno::Variant;
use neutreno::training::{Learner, Settings, plan};

#[test]
fn memory_is_flat_and_known_in_advance() {
    let settings = Settings { accumulate: 1, steps: 300, ..settings() };
    let task = task();
    let config = config(Variant::Resformer);
    let planned = plan(&task, &config, &settings).unwrap().memory;
    for (name, device) in devices() {
        let mut learner = Learner::new(&task, &config, &settings, 1, &device);
        let mut batches = batches();
        let mut early = (0, 0, None);
        for step in 0..300 {
            let result = learner.step(step, &mut batches).unwrap();
            // As in training, some results are read and some are not.
            if step % 3 == 0 {
                result.loss.to_scalar().unwrap();
            }
            if step == 3 {
                let memory = device.memory();
                early = (memory.reserved, memory.allocations, process_memory());
            }
        }
        let memory = device.memory();
        assert_eq!((memory.reserved, memory.allocations), (early.0, early.1), "{name}");
        let error = (memory.peak as f64 / planned.peak as f64 - 1.0).abs();
        assert!(error < 0.05, "{name}: peak {}, planned {}", memory.peak, planned.peak);
        if let (Some(before), Some(after)) = (early.2, process_memory()) {
            let grown = after.saturating_sub(before);
            assert!(grown < 2 << 20, "{name}: the process grew by {grown} bytes");
        }
    }
}

/// The bytes of memory that this process has, where the system tells.
fn process_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = status.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
