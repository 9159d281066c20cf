//! The exact identities of the four variants at the level of the op, on every device of this
//! machine, and that the memory of attention grows as its length, not as its square.

mod common;

use neutreno::engine::ops::attention::Mixing;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};

const SIZES: [usize; 4] = [2, 37, 4, 8];

fn devices() -> impl Iterator<Item = Device> {
    common::devices().into_iter().map(|(_, device)| device)
}

/// Queries, keys, values and first values, with half as many kv heads as heads.
fn operands(device: &Device) -> [Tensor; 4] {
    let [batch, time, heads, size] = SIZES;
    [(1, heads), (2, heads / 2), (3, heads / 2), (4, heads / 2)].map(|(number, heads)| {
        let count = batch * time * heads * size;
        let values = Key::new(7).fold(number).uniforms(count, -2.0, 2.0);
        Tensor::new(&values, [batch, time, heads, size], device)
    })
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().expect("the device works")
}

#[track_caller]
fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape(), b.shape());
    for (a_value, b_value) in numbers(a).iter().zip(numbers(b)) {
        approx::assert_abs_diff_eq!(*a_value, b_value, epsilon = 2e-5);
    }
}

fn mixing(own: f32, first: f32, fidelity: f32) -> Mixing {
    Mixing { own: own.into(), first: first.into(), fidelity: fidelity.into() }
}

#[test]
fn one_zero_zero_is_plain_attention() {
    for device in devices() {
        let [q, k, v, v1] = operands(&device);
        let plain = numbers(&q.attention(&k, &v, None, true));
        let constants = q.attention(&k, &v, Some((&v1, &Mixing::PLAIN)), true);
        assert_eq!(numbers(&constants), plain, "on {device}");
        let [one, zero] = [1.0, 0.0].map(|value| Tensor::full(value, [1], &device));
        let learned =
            Mixing { own: (&one).into(), first: (&zero).into(), fidelity: (&zero).into() };
        assert_close(
            &q.attention(&k, &v, Some((&v1, &learned)), true),
            &q.attention(&k, &v, None, true),
        );
    }
}

#[test]
fn neutreno_with_its_values_the_first_is_plain_attention() {
    for device in devices() {
        let [q, k, v, _] = operands(&device);
        let neutreno = q.attention(&k, &v, Some((&v, &mixing(1.0, 0.0, 0.4))), true);
        assert_close(&neutreno, &q.attention(&k, &v, None, true));
    }
}

#[test]
fn resformer_with_its_values_the_first_is_svformer() {
    for device in devices() {
        let [q, k, _, v1] = operands(&device);
        let resformer = q.attention(&k, &v1, Some((&v1, &mixing(0.5, 0.5, 0.0))), true);
        assert_close(&resformer, &q.attention(&k, &v1, None, true));
    }
}

/// (P − cI)·V + c·V₁, with P from attention over the rows of the identity as values.
#[test]
fn neutreno_is_p_less_identity_times_values() {
    for device in devices() {
        let (time, c) = (8, 0.6);
        let make = |number: u64| {
            let values = Key::new(9).fold(number).uniforms(time * time, -2.0, 2.0);
            Tensor::new(&values, [1, time, 1, time], &device)
        };
        let [q, k, v, v1] = [1, 2, 3, 4].map(make);
        let unit = |i: usize| if i / time == i % time { 1.0 } else { 0.0 };
        let identity: Vec<f32> = (0..time * time).map(unit).collect();
        let identity = Tensor::new(&identity, [1, time, 1, time], &device);
        let p = numbers(&q.attention(&k, &identity, None, true));
        let [values, first] = [numbers(&v), numbers(&v1)];
        let expected: Vec<f32> = (0..time * time)
            .map(|i| {
                let (row, channel) = (i / time, i % time);
                let weight = |j: usize| p[row * time + j] - if j == row { c } else { 0.0 };
                let sum: f32 = (0..time).map(|j| weight(j) * values[j * time + channel]).sum();
                sum + c * first[i]
            })
            .collect();
        let fused = q.attention(&k, &v, Some((&v1, &mixing(1.0, 0.0, c))), true);
        assert_close(&fused, &Tensor::new(&expected, [1, time, 1, time], &device));
    }
}

#[test]
fn last_rows_equal_fewer_queries() {
    for device in devices() {
        let [q, k, v, v1] = operands(&device);
        let mixing = mixing(0.5, 0.3, 0.2);
        let whole = q.attention(&k, &v, Some((&v1, &mixing)), true);
        for last in [1, 5, 33] {
            let rows = SIZES[1] - last..SIZES[1];
            let part = q.slice(1, rows.clone()).attention(&k, &v, Some((&v1, &mixing)), true);
            assert_close(&part, &whole.slice(1, rows));
        }
    }
}

/// Also with one and the same tensor as both values, and as two coefficients.
#[test]
fn learned_coefficients_and_shared_inputs_get_the_gradients_of_small_ops() {
    for device in devices() {
        let [q, k, v, v1] = operands(&device).map(|tensor| tensor.tracked());
        let [a, c] = [0.6, -0.4].map(|value| Tensor::full(value, [1], &device).tracked());
        let weights = &operands(&device)[0];
        for values in [[&v, &v1], [&v, &v]] {
            let mixing = Mixing { own: (&a).into(), first: (&a).into(), fidelity: (&c).into() };
            let first = Some((values[1], &mixing));
            let fused = q.attention(&k, values[0], first, true);
            let unfused = q.attention_unfused(&k, values[0], first, true);
            assert_close(&fused, &unfused);
            let [fused, unfused] = [fused, unfused]
                .map(|output| output.multiply(weights).sum_all().backward().expect("a graph"));
            for leaf in [&q, &k, values[0], values[1], &a, &c] {
                let [got, expected] = [&fused, &unfused]
                    .map(|gradients| numbers(&gradients.get(leaf).expect("a gradient")));
                let size = expected.iter().fold(1.0_f32, |size, x| size.max(x.abs()));
                for (got, expected) in got.iter().zip(&expected) {
                    approx::assert_abs_diff_eq!(*got, *expected, epsilon = 1e-4 * size);
                }
            }
            let gradient = |leaf| numbers(&fused.get(leaf).expect("a gradient"))[0];
            assert!(gradient(&a) != 0.0);
            // With V = V₁ the fidelity term is zero, whatever its coefficient.
            assert_eq!(gradient(&c) != 0.0, std::ptr::eq(values[1], &v1));
        }
    }
}

/// Shaders and loops rely on all of it.
#[test]
fn shapes_that_do_not_fit_are_refused() {
    let device = Device::cpu();
    let zeros = |shape: [usize; 4]| Tensor::zeros(shape, &device);
    let good = zeros([2, 3, 4, 8]);
    let mixing = mixing(1.0, 0.0, 0.5);
    let cases = [
        (zeros([1, 3, 4, 8]), zeros([1, 3, 4, 8]), good.clone(), "(batch, time, heads, head size)"),
        (zeros([2, 3, 4, 6]), zeros([2, 3, 4, 6]), good.clone(), "(batch, time, heads, head size)"),
        (good.clone(), zeros([2, 4, 4, 8]), good.clone(), "need the same shape"),
        (zeros([2, 3, 3, 8]), zeros([2, 3, 3, 8]), good.clone(), "a multiple of the kv heads"),
        (zeros([2, 0, 4, 8]), zeros([2, 0, 4, 8]), good.clone(), "no size can be 0"),
        (zeros([2, 2, 4, 8]), zeros([2, 2, 4, 8]), good.clone(), "a key for each query"),
        (good.clone(), good.clone(), zeros([2, 3, 2, 8]), "need the shape of the values"),
    ];
    for (key, value, first, words) in cases {
        let attend = || good.attention(&key, &value, Some((&first, &mixing)), true);
        let panic = catch_unwind(AssertUnwindSafe(attend)).expect_err(words);
        let said = panic.downcast_ref::<String>().expect("a message");
        assert!(said.contains(words), "{said}");
    }
}

/// One tensor as queries, keys and values gets the sum of their gradients, also where there is a sum
/// already that a kernel could add to.
#[test]
fn one_tensor_as_all_inputs_gets_all_gradients() {
    for device in devices() {
        let [_, x, _, _] = operands(&device);
        let [leaf, q, k, v] = [(); 4].map(|()| x.tracked());
        let twice = |q: &Tensor, k: &Tensor, v: &Tensor| {
            let once = q.attention(k, v, None, true);
            once.add(&q.attention(k, v, None, false)).tanh().sum_all()
        };
        let together = twice(&leaf, &leaf, &leaf).backward().unwrap().get(&leaf).unwrap();
        let apart = twice(&q, &k, &v).backward().unwrap();
        let [dq, dk, dv] = [&q, &k, &v].map(|leaf| apart.get(leaf).unwrap());
        assert_close(&together, &dq.add(&dk).add(&dv));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |threads| {
        let device = Device::cpu_with_threads(threads);
        let [q, k, v, v1] = operands(&device).map(|tensor| tensor.tracked());
        let c = Tensor::full(0.3, [1], &device).tracked();
        let mixing = Mixing { fidelity: (&c).into(), ..mixing(0.5, 0.5, 0.0) };
        let output = q.attention(&k, &v, Some((&v1, &mixing)), true);
        let gradients = output.multiply(&output).sum_all().backward().expect("a graph");
        let leaves = [&q, &k, &v, &v1, &c];
        let all = leaves.map(|leaf| numbers(&gradients.get(leaf).expect("a gradient")));
        (numbers(&output), all)
    };
    assert!(run(1) == run(3));
}

#[test]
fn memory_grows_with_the_length_not_with_its_square() {
    let peak = |device: Device, time: usize| {
        let make = || Tensor::full(0.1, [1, time, 2, 4], &device).tracked();
        let [q, k, v, v1] = [(); 4].map(|()| make());
        let mixing = mixing(0.5, 0.5, 0.1);
        let output = q.attention(&k, &v, Some((&v1, &mixing)), true);
        drop(output.sum_all().backward().expect("a graph"));
        device.memory().peak as f64
    };
    for make in [Device::cpu, Device::plan] {
        let ratio = peak(make(), 2048) / peak(make(), 1024);
        assert!(ratio < 2.1, "twice the length took {ratio} times the memory");
    }
}
