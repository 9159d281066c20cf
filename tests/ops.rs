//! The proof of every op, on the CPU and on every GPU adapter of this machine: a test for each op,
//! case and device. Without an adapter the GPU's tests show as ignored; with `NEUTRENO_EXPECT_GPU`
//! set they fail instead, so that no run passes by leaving them out.

use libtest_mimic::{Arguments, Failed, Trial};
use neutreno_engine::ops::OPS;
use neutreno_engine::{Device, proof};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let mut devices = vec![("cpu".to_string(), Some(Arc::new(Device::cpu())))];
    let found = neutreno_engine::device::list();
    for (index, description) in found.iter().enumerate() {
        let device = Device::open(&format!("gpu:{index}"), 0).expect("a listed adapter opens");
        let name = description.name.split(" (").next().unwrap_or_default();
        devices.push((format!("{} {name}", description.interface), Some(Arc::new(device))));
    }
    if found.is_empty() {
        devices.push(("gpu".into(), None));
    }
    let mut trials = vec![Trial::test("every op is registered", every_op_is_registered)];
    for op in OPS {
        for (device_name, device) in &devices {
            for (number, case) in (op.cases)().into_iter().enumerate() {
                let name = format!("{}::{number}::{} on {device_name}", op.name, case.label);
                let device = device.clone();
                let expected = std::env::var_os("NEUTRENO_EXPECT_GPU").is_some();
                let ignored = device.is_none() && !expected;
                let test = move || match &device {
                    Some(device) => proof::prove(&case, device).map_err(Failed::from),
                    None => Err(Failed::from("there is no GPU adapter here")),
                };
                trials.push(Trial::test(name, test).with_ignored_flag(ignored));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// An op that stands in a file but not in the registry would go unproven.
fn every_op_is_registered() -> Result<(), Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/src/ops");
    let mut written = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_op = |text: String| {
            text.lines().any(|line| line.starts_with("impl") && is_implementation(line))
        };
        if path.is_file() && is_op(std::fs::read_to_string(&path)?) {
            written.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    // This file makes ops of functions; these are registered under their own names.
    written.remove("elementwise");
    let registered: BTreeSet<String> = OPS.iter().map(|op| op.name.to_string()).collect();
    if written == registered {
        return Ok(());
    }
    let odd: Vec<&String> = written.symmetric_difference(&registered).collect();
    Err(format!("in a file but not registered, or the reverse: {odd:?}").into())
}

fn is_implementation(line: &str) -> bool {
    [" Op for ", " Function for "].iter().any(|found| line.contains(found))
}
