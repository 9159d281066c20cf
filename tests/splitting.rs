//! Long dispatches are split, and that changes nothing.

mod common;

use common::devices;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Tensor};
use std::time::Duration;

/// The bits of a product, of attention and of their gradients, computed anew.
fn bits(device: &Device) -> Vec<u32> {
    let random = |number, shape: &[usize]| {
        let values = Key::new(1).fold(number).uniforms(shape.iter().product(), -1.0, 1.0);
        Tensor::new(&values, shape, device).tracked()
    };
    let leaves = [(1, 4), (2, 2), (3, 2)].map(|(number, heads)| random(number, &[2, 70, heads, 8]));
    let [q, k, v] = &leaves;
    let weight = random(4, &[32, 130]);
    let attended = q.attention(k, v, None, true).reshape([2, 70, 32]);
    let result = attended.matmul(&weight);
    let gradients = (&result * &result).sum_all().backward().unwrap();
    let made = leaves.iter().chain([&weight]).map(|leaf| gradients.get(leaf).unwrap().clone());
    let numbers = made.chain([attended, result]).flat_map(|tensor| tensor.to_vec().unwrap());
    numbers.map(f32::to_bits).collect()
}

#[test]
fn split_dispatches_give_the_same_bits() {
    for (name, device) in devices().into_iter().skip(1) {
        let count = |device: &Device| {
            let before = device.launches();
            (bits(device), device.launches() - before)
        };
        let (whole, dispatches) = count(&device);
        let longest = device.longest_dispatch();
        assert!(longest > Duration::ZERO && longest < Duration::from_millis(200), "{name}");
        for limit in [longest / 3, longest / 50, Duration::ZERO] {
            device.split_dispatches(limit);
            let (split, pieces) = count(&device);
            assert!(split == whole, "{name}: other bits with at most {limit:?}");
            assert!(pieces > dispatches, "{name}: {pieces} with at most {limit:?}");
        }
    }
}

#[test]
fn what_would_take_long_is_split() {
    for (name, device) in devices().into_iter().skip(1) {
        let x = Tensor::zeros([1024, 1024], &device);
        device.split_dispatches(Duration::from_millis(20));
        // Slow hardware takes at least 40 ms for two billion operations.
        x.matmul(&x);
        device.synchronize().unwrap();
        let longest = device.longest_dispatch();
        assert!(longest > Duration::from_millis(5), "{name}: {longest:?}");
        assert!(longest <= Duration::from_millis(20), "{name}: {longest:?}");
    }
}

/// A feed-forward product, and attention with its gradients, of a micro-batch of the preset `medium`.
#[test]
fn nothing_of_the_largest_preset_is_estimated_above_200_ms() {
    for (name, device) in devices().into_iter().skip(1) {
        Tensor::zeros([2048, 512], &device).matmul(&Tensor::zeros([512, 1408], &device));
        let x = Tensor::full(0.1, [8, 256, 8, 64], &device).tracked();
        x.attention(&x, &x, None, true).sum_all().backward().unwrap();
        device.synchronize().unwrap();
        let longest = device.longest_dispatch();
        assert!(longest > Duration::ZERO, "{name}");
        assert!(longest <= Duration::from_millis(200), "{name}: {longest:?}");
    }
}
