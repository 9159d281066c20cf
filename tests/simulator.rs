//! The shaders on a simulated GPU, which looks for what no tool for WGSL does: data races above all. All
//! cases of all ops, the optimisers and the caches, by the kernels for software with 8 lanes, and by those
//! for hardware with 32 and with 64. No driver is needed.

use neutreno::engine::half::Precision;
use neutreno::engine::ops::OPS;
use neutreno::engine::{Device, proof};
use neutreno_simulator::{Finding, Simulator};
use std::collections::BTreeSet;
use std::sync::Arc;

fn check(software: bool, lanes: u32) {
    let simulator = Arc::new(Simulator::new());
    let device = Device::simulated(simulator.clone(), software, lanes);
    let mut problems = Vec::new();
    for op in OPS {
        let start = std::time::Instant::now();
        for case in op.cases() {
            if let Err(problem) = proof::prove(&case, &device) {
                problems.push(format!("{}, {}: {problem}", op.name, case.label));
            }
        }
        eprintln!("{lanes} {} {:?}", op.name, start.elapsed());
    }
    problems.extend(simulator.take_findings().iter().map(Finding::to_string));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn software_with_8_lanes() {
    check(true, 8);
}

#[test]
fn hardware_with_32_lanes() {
    check(false, 32);
}

#[test]
fn hardware_with_64_lanes() {
    check(false, 64);
}
