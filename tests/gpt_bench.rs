//! The training job of the benchmark, on which PyTorch, candle and burn agree: all three start at
//! a loss of 5.57341 and reach 3.44568 after 20 steps; so do we.

#[path = "../examples/bench_training/work.rs"]
mod work;

use neutreno::engine::Device;
use neutreno::{Variant, VariantConfig};
use work::{Sizes, Work};

#[test]
fn losses_equal_those_of_other_frameworks() {
    let transformer = VariantConfig::new(Variant::Transformer);
    let mut work = Work::new(&Sizes::S, transformer, &Device::cpu());
    let losses: Vec<f32> = (0..21).map(|_| work.step().unwrap().wait().unwrap()[0]).collect();
    approx::assert_abs_diff_eq!(losses[0], 5.57341, epsilon = 1e-4);
    approx::assert_abs_diff_eq!(losses[20], 3.44568, epsilon = 1e-4);
}
