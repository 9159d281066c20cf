//! The proof of every op, on the CPU and on every GPU adapter of this machine: a test for each op,
//! case and device.

use libtest_mimic::{Arguments, Failed, Trial};
use neutreno_engine::ops::OPS;
use neutreno_engine::{Device, proof};
use std::sync::Arc;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let mut devices = vec![("cpu".to_string(), Some(Arc::new(Device::cpu())))];
    let found = neutreno_engine::device::list();
    for (index, description) in found.iter().enumerate() {
        let device = Device::open(&format!("gpu:{index}"), 0).expect("a listed adapter opens");
        let name = format!("{} {}", description.interface, description.name);
        devices.push((name, Some(Arc::new(device))));
    }
    if found.is_empty() {
        devices.push(("gpu (none found)".into(), None));
    }
    let mut trials = Vec::new();
    for op in OPS {
        for (device_name, device) in &devices {
            for (number, case) in (op.cases)().into_iter().enumerate() {
                let name = format!("{}::{number}::{} on {device_name}", op.name, case.label);
                let device = device.clone();
                let ignored = device.is_none();
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
