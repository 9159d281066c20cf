//! The proof of every op, on the CPU and on every GPU adapter of this machine: a test for each op,
//! case and device. Adapters stand there twice, once with all dispatches split.

mod common;

use common::trials::Devices;
use libtest_mimic::{Arguments, Failed, Trial};
use neutreno::engine::ops::OPS;
use neutreno::engine::{Device, Ids, Tensor, proof};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let devices = Devices::open().with_dispatches_split();
    let mut trials = vec![Trial::test("every op is registered", every_op_is_registered)];
    for op in OPS {
        for (number, case) in op.cases().into_iter().enumerate() {
            let name = format!("{}::{number}::{}", op.name, case.label);
            let case = Arc::new(case);
            let test = move |device: &_| proof::prove(&case, device).map_err(Failed::from);
            trials.extend(devices.trials(&name, test));
        }
    }
    trials.extend(devices.trials("a batch of nothing", nothing_comes_of_nothing));
    trials.extend(devices.trials("sizes of zero inside", sizes_of_zero_inside));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Forward and backward of the ops that need working memory or sum over rows, without any row.
fn nothing_comes_of_nothing(device: &Device) -> Result<(), Failed> {
    let nothing = |shape: &[usize]| Tensor::new(&[], shape, device).tracked();
    let ones = |shape: &[usize]| {
        let count = shape.iter().product();
        Tensor::new(&vec![1.0; count], shape, device).tracked()
    };
    let none = Ids::new(vec![], [0]);
    let (rows, images) = (nothing(&[0, 4]), nothing(&[0, 2, 3, 4]));
    let (square, row) = (ones(&[4, 4]), ones(&[4]));
    let results = [
        rows.cross_entropy(&none, 0.1),
        rows.linear(&square, Some(&row)).sum_all(),
        rows.rms_norm(&row, 1e-5).sum_all(),
        rows.layer_norm(&row, &row, 1e-5).sum_all(),
        rows.softmax(-1).sum_all(),
        images.resize_bilinear(4, 6).sum_all(),
    ];
    for (number, result) in results.iter().enumerate() {
        let value = result.to_scalar()?;
        if value != 0.0 {
            return Err(format!("result {number} is {value}").into());
        }
        let gradients = result.backward()?;
        for weight in [&square, &row] {
            let gradient = gradients.get(weight).map(|gradient| gradient.to_vec()).transpose()?;
            if gradient.is_some_and(|gradient| gradient.iter().any(|slope| *slope != 0.0)) {
                return Err(format!("result {number}: a gradient of nothing").into());
            }
        }
    }
    Ok(())
}

/// Forward and backward of the ops whose shapes allow a size of zero that is not the first, or a sum over
/// no terms.
fn sizes_of_zero_inside(device: &Device) -> Result<(), Failed> {
    type Make = fn(&Tensor, &Tensor) -> Tensor;
    let cases: [(&str, Make, usize); 35] = [
        ("sum of no columns", |none, _| none.sum(&[0], false), 0),
        ("sum over nothing", |none, _| none.sum(&[1], false), 3),
        ("sum over all of nothing", |none, _| none.sum(&[0, 1], true), 1),
        ("max of no columns", |none, _| none.max(&[0], false), 0),
        ("permute", |none, _| none.transpose(0, 1), 0),
        ("slice of nothing", |none, _| none.slice(0, 1..3), 0),
        ("slice to nothing", |_, ones| ones.slice(1, 1..1), 0),
        ("concatenate", |none, ones| Tensor::concatenate(&[none, ones], 1), 6),
        ("add", |none, ones| none.add(&ones.slice(1, 0..1)), 0),
        ("multiply", |none, _| none.multiply(none), 0),
        ("gather no ids", |_, ones| ones.gather(&Ids::new(vec![], [0]), 1), 0),
        ("gather of nothing", |none, _| none.gather(&Ids::new(vec![2, 0], [2]), 0), 0),
        ("matmul without terms", |none, _| none.matmul(&none.transpose(0, 1)), 9),
        ("matmul of nothing", |none, ones| ones.transpose(0, 1).matmul(none), 0),
        ("linear without inputs", |none, _| none.linear(none, None), 9),
        ("exp", |none, _| none.exp(), 0),
        ("swiglu", |none, _| none.swiglu(none), 0),
        ("scale", |none, _| none.scale(2.0), 0),
        ("abs", |none, _| none.abs(), 0),
        ("sin and cos", |none, _| none.sin() + none.cos(), 0),
        ("clamp", |none, _| none.clamp(-1.0, 1.0), 0),
        ("maximum", |none, ones| none.maximum(&ones.slice(1, 0..1)), 0),
        ("minimum", |none, ones| none.minimum(&ones.slice(1, 0..1)), 0),
        ("compare", |none, ones| none * none.greater(ones.slice(1, 0..1)), 0),
        ("where", |none, _| Tensor::where_(&none.less(1.0), none, 2.0), 0),
        ("cumsum along nothing", |none, _| none.cumsum(1), 0),
        ("cumsum of nothing", |none, _| none.cumsum(0), 0),
        ("variance of no columns", |none, _| none.variance(&[0], 1, false), 0),
        ("deviation of no columns", |none, _| none.standard_deviation(&[0], 1, false), 0),
        ("stack", |none, _| Tensor::stack(&[none, none], 1), 0),
        ("split", |none, _| none.split(2, 1).remove(0), 0),
        ("chunk", |_, ones| ones.slice(0, 1..1).chunk(3, 0).remove(0), 0),
        ("pad", |none, _| none.pad(&[(0, 0), (1, 2)], 0.0), 9),
        ("select", |none, _| none.select(0, 2), 0),
        ("flatten", |none, _| none.flatten(0, 1), 0),
    ];
    let none = Tensor::new(&[], [3, 0], device).tracked();
    let ones = Tensor::new(&[1.0; 6], [3, 2], device).tracked();
    for (name, make, elements) in cases {
        let result = make(&none, &ones);
        let problem = |what: &dyn std::fmt::Debug| Failed::from(format!("{name}: {what:?}"));
        let numbers = result.to_vec()?;
        let expected = if name == "concatenate" { 1.0 } else { 0.0 };
        if numbers != vec![expected; elements] {
            return Err(problem(&numbers));
        }
        let gradients = result.sum_all().backward()?;
        for leaf in [&none, &ones] {
            let gradient = gradients.get(leaf).map(|gradient| gradient.to_vec()).transpose()?;
            if gradient.is_some_and(|gradient| gradient.iter().any(|slope| *slope != expected)) {
                return Err(problem(&"a gradient of nothing"));
            }
        }
    }
    Ok(())
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
