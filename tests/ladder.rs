//! The ladder of `shaders/ladder`: each kernel is right and sound at sizes that fill its tiles and that do not,
//! each costs less of what it says to save than the one before, and all run everywhere.

mod common;
#[path = "../examples/walkthrough/ladder/count.rs"]
mod count;
#[path = "../examples/walkthrough/ladder/rungs.rs"]
mod rungs;
#[path = "common/wgsl.rs"]
mod wgsl;

use count::{Each, Simulated, numbers, operands, simulate};
use neutreno::engine::{Device, Tensor};
use neutreno_simulator::Counts;
use rungs::{PEAK, PRODUCTS, Rung, SOFTMAXES};
use std::collections::BTreeSet;
use std::path::Path;

/// Rows, depth and columns: whole tiles, a little more and less than one, and nearly nothing.
const SIZES: [[usize; 3]; 5] = [[64, 32, 64], [65, 36, 68], [63, 4, 60], [3, 100, 8], [1, 4, 4]];
/// For the rungs that read single numbers.
const ODD_SIZES: [[usize; 3]; 4] = [[33, 17, 35], [7, 5, 3], [1, 1, 1], [65, 3, 31]];

/// Sizes that a rung can multiply.
fn sizes_of(rung: Rung) -> Vec<[usize; 3]> {
    let odd = ODD_SIZES.iter().filter(|_| !rung.vectors);
    SIZES.iter().chain(odd).copied().collect()
}

/// The product of the operands in f64.
fn product([rows, depth, columns]: [usize; 3]) -> Vec<f64> {
    let [a, b] = operands([rows, depth, columns], &Device::cpu());
    let [a, b] = [a, b].map(|x| x.to_vec().expect("the CPU's memory"));
    let term =
        |i: usize, j: usize, k: usize| f64::from(a[i * depth + k]) * f64::from(b[k * columns + j]);
    let element = |at: usize| (0..depth).map(|k| term(at / columns, at % columns, k)).sum();
    (0..rows * columns).map(element).collect()
}

/// The softmax of each row of the operand in f64.
fn softmax([rows, width]: [usize; 2]) -> Vec<f64> {
    let x = numbers(0, [rows, width], &Device::cpu()).to_vec().expect("the CPU's memory");
    let of_row = |row: &[f32]| -> Vec<f64> {
        let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        row.iter().map(|x| f64::from(*x).exp() / sum).collect()
    };
    x.chunks(width).flat_map(of_row).collect()
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= 1e-5, "{what}: number {at} is {found} and should be {expected}");
    }
}

#[test]
fn every_file_is_a_rung() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders/ladder");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let files: BTreeSet<String> = files
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    let rungs = PRODUCTS.iter().chain(&SOFTMAXES).chain([&PEAK]);
    assert_eq!(files, rungs.map(|rung| format!("{}.wgsl", rung.name)).collect());
}

#[test]
fn products_are_right_and_sound() {
    for rung in PRODUCTS {
        for sizes in sizes_of(rung) {
            let what = format!("{} of {sizes:?}", rung.name);
            let run = |device: &Device| {
                let [a, b] = operands(sizes, device);
                rung.multiply(&a, &b)
            };
            let Simulated { numbers, findings, .. } = simulate(run).expect("the host's memory");
            assert_eq!(findings, [], "{what}");
            assert_near(&numbers, &product(sizes), &what);
        }
    }
}

#[test]
fn softmaxes_are_right_and_sound() {
    for rung in SOFTMAXES {
        for shape in [[3, 64], [2, 200], [4, 5], [2, 1]] {
            let what = format!("{} of {shape:?}", rung.name);
            let run = |device: &Device| rung.softmax(&numbers(0, shape, device));
            let Simulated { numbers, findings, .. } = simulate(run).expect("the host's memory");
            assert_eq!(findings, [], "{what}");
            assert_near(&numbers, &softmax(shape), &what);
        }
    }
}

/// Neither rung's exponentials are too large, nor all zero, where numbers are large.
#[test]
fn softmaxes_do_not_overflow() {
    for rung in SOFTMAXES {
        let rows = [1e4, 1e4, 0.0, -1e4, -1e4, -1e4];
        let run = |device: &Device| rung.softmax(&Tensor::new(&rows, [2, 3], device));
        let Simulated { numbers, findings, .. } = simulate(run).expect("the host's memory");
        assert_eq!(findings, [], "{}", rung.name);
        assert_near(&numbers, &[0.5, 0.5, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0], rung.name);
    }
}

/// On every GPU that there is.
#[test]
fn rungs_are_right_on_gpus() {
    for (name, device) in common::devices() {
        if device.kind() != "gpu" {
            continue;
        }
        for rung in PRODUCTS {
            for sizes in sizes_of(rung) {
                let [a, b] = operands(sizes, &device);
                let found = rung.multiply(&a, &b).to_vec().expect("the device works");
                assert_near(
                    &found,
                    &product(sizes),
                    &format!("{name}, {} of {sizes:?}", rung.name),
                );
            }
        }
        for rung in SOFTMAXES {
            let found = rung.softmax(&numbers(0, [3, 200], &device)).to_vec();
            let found = found.expect("the device works");
            assert_near(&found, &softmax([3, 200]), &format!("{name}, {}", rung.name));
        }
        // x goes towards 1, and so do all 32 sums.
        let found = PEAK.work(&numbers(0, [100], &device), 5_000).to_vec().expect("it works");
        assert!(found.iter().all(|y| (y - 32.0).abs() < 1e-2), "{name}: {found:?}");
    }
}

fn counts(rung: Rung) -> Each {
    const SIZE: usize = 128;
    let run = |device: &Device| {
        let [a, b] = operands([SIZE; 3], device);
        rung.multiply(&a, &b)
    };
    let Counts { fused, .. } = simulate(run).expect("the host's memory").counts;
    assert_eq!(32 * fused, SIZE.pow(3) as u64, "{}: multiply-adds", rung.name);
    Each::of(&simulate(run).expect("the host's memory").counts, SIZE.pow(3))
}

/// Each rung has less of what its file says that it saves.
#[test]
fn each_rung_is_better_than_the_one_before() {
    let [naive, neighbours, tile, registers, vectors, squares, prefetch] = PRODUCTS.map(counts);
    assert!(naive.sectors > 6.0 * neighbours.sectors);
    assert!(neighbours.sectors > 8.0 * tile.sectors);
    // A quarter of the reads, and a tile is written by fewer lanes.
    assert!(tile.accesses > 3.7 * registers.accesses);
    assert!(registers.accesses >= 4.0 * vectors.accesses);
    assert!(registers.again > 1.0 && vectors.again == 0.0);
    assert!(vectors.accesses >= 2.0 * squares.accesses);
    assert!(vectors.sectors > 1.6 * squares.sectors);
    assert!(squares.barriers >= 1.9 * prefetch.barriers);
    assert!(prefetch.intensity() > 200.0 * naive.intensity());
    // And nothing of it is lost again further up.
    let ladder = [neighbours, tile, registers, vectors, squares, prefetch];
    assert!(ladder.is_sorted_by(|below, above| below.sectors >= above.sectors));
    assert!(ladder[1..].is_sorted_by(|below, above| below.accesses >= above.accesses));
    assert!(ladder[1..].is_sorted_by(|below, above| below.barriers >= above.barriers));
    assert!(ladder[3..].iter().all(|rung| rung.again == 0.0));
}

#[test]
fn a_softmax_in_fewer_passes_moves_less() {
    let [passes, online] = SOFTMAXES.map(|rung| {
        let run = |device: &Device| rung.softmax(&numbers(0, [8, 1024], device));
        simulate(run).expect("the host's memory").counts
    });
    // Three readings and a writing against two and a writing, and one sector a row that all lanes read.
    assert!(3 * passes.sectors >= 4 * online.sectors - 32, "{passes:?}, {online:?}");
    assert!(passes.barriers >= 2 * online.barriers);
}

/// Nothing is stored but what the multiply-adds lead to.
#[test]
fn the_peak_is_nothing_but_multiply_adds() {
    let run = |device: &Device| PEAK.work(&numbers(0, [640], device), 50);
    let Simulated { counts, findings, .. } = simulate(run).expect("the host's memory");
    assert_eq!(findings, []);
    // 20 warps; eight vectors of four numbers, four times a round.
    assert_eq!(counts.fused, 20 * 50 * 128);
    assert_eq!((counts.loads, counts.stores, counts.workgroup_accesses), (20, 20, 0));
}

#[test]
fn rungs_translate_to_every_platform() {
    for rung in PRODUCTS.iter().chain(&SOFTMAXES).chain([&PEAK]) {
        let (module, info) = wgsl::parse(rung.name, rung.source);
        let entries: Vec<&str> =
            module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(entries, [rung.name]);
        wgsl::check_limits(&module, &info);
        wgsl::check_translations(&module, &info);
    }
}

#[test]
#[should_panic(expected = "no multiple of four")]
fn vectors_must_be_whole() {
    let device = Device::plan();
    PRODUCTS[4].multiply(&Tensor::zeros([4, 6], &device), &Tensor::zeros([6, 4], &device));
}
