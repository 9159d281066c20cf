//! A mistake of the program panics at the line that made it, wherever in the engine it is noticed.

use neutreno::engine::{Device, Ids, Tensor};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, set_hook};
use std::sync::Mutex;

/// The file and the line that the latest panic named.
static NAMED: Mutex<(String, u32)> = Mutex::new((String::new(), 0));

/// The call, on the same line as this, must panic and name it.
#[track_caller]
fn names_its_line<R>(call: impl FnOnce() -> R) {
    let here = Location::caller();
    let refused = catch_unwind(AssertUnwindSafe(|| drop(call()))).is_err();
    assert!(refused, "line {} was accepted", here.line());
    let named = NAMED.lock().unwrap().clone();
    assert_eq!(named, (here.file().into(), here.line()));
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
}
