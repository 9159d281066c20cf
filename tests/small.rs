//! Small kernels run on the thread that asks, and on no other: neither on the device's, to which they
//! would have to be handed over, nor on those that rayon has for everyone, which are not the device's.
//! Alone in its file, since it keeps rayon's threads busy.

use neutreno::engine::ops::OPS;
use neutreno::engine::{Device, proof};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

#[test]
fn no_small_kernel_waits_for_another_thread() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    let device = Device::cpu_with_threads(1);
    let (end, ended) = channel::<()>();
    let (end_too, ended_too) = channel::<()>();
    rayon::spawn(move || _ = ended.recv());
    let busy = device.clone();
    std::thread::spawn(move || busy.install(move || _ = ended_too.recv()));
    let (say, said) = channel();
    std::thread::spawn(move || {
        let all = OPS.iter().flat_map(|op| op.cases().into_iter().map(move |case| (op, case)));
        // What stays small also when its derivative is proven.
        let small = |elements: usize| elements <= 1 << 10;
        for (op, case) in all {
            let inputs = case.input_shapes();
            let outputs = case.op().shapes(&inputs).unwrap();
            let elements = inputs.iter().chain(&outputs).map(|shape| shape.elements()).sum();
            if small(elements) {
                let name = format!("{}, {}", op.name, case.label);
                say.send((name.clone(), None)).unwrap();
                say.send((name, Some(proof::prove(&case, &device)))).unwrap();
            }
        }
    });
    let (mut proven, mut current) = (0, String::new());
    loop {
        match said.recv_timeout(Duration::from_secs(60)) {
            Ok((name, None)) => current = name,
            Ok((name, Some(result))) => {
                result.unwrap_or_else(|problem| panic!("{name}: {problem}"));
                proven += 1;
            }
            Err(RecvTimeoutError::Timeout) => panic!("{current}: it waits for another thread"),
            Err(_) => break,
        }
    }
    drop((end, end_too));
    assert!(proven > 100, "{proven}");
}
