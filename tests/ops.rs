//! The proof of every op, on the CPU and on every GPU adapter of this machine: a test for each op,
//! case and device. Adapters stand there twice, once with all dispatches split.

mod common;

use common::trials::Devices;
use libtest_mimic::{Arguments, Failed, Trial};
use neutreno::engine::ops::OPS;
use neutreno::engine::proof;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let devices = Devices::open().with_dispatches_split();
    let mut trials = vec![Trial::test("every op is registered", every_op_is_registered)];
    for op in OPS {
        for (number, case) in (op.cases)().into_iter().enumerate() {
            let name = format!("{}::{number}::{}", op.name, case.label);
            let case = Arc::new(case);
            let test = move |device: &_| proof::prove(&case, device).map_err(Failed::from);
            trials.extend(devices.trials(&name, test));
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
    // These files make ops of functions, which are registered under their own names.
    written.retain(|name| !["elementwise", "row_function"].contains(&name.as_str()));
    let registered: BTreeSet<String> = OPS.iter().map(|op| op.name.to_string()).collect();
    if written == registered {
        return Ok(());
    }
    let different: Vec<&String> = written.symmetric_difference(&registered).collect();
    Err(format!("in a file but not registered, or the reverse: {different:?}").into())
}

fn is_implementation(line: &str) -> bool {
    [" Op for ", " Function for "].iter().any(|found| line.contains(found))
}
