//! Chapter 5: the ladder. One product of matrices by seven kernels, and one softmax by two: checked against the
//! CPU, counted on a simulator, and timed on a GPU if there is one.
//! `cargo run --release --example 05_ladder`, with `-- --device llvmpipe` on a GPU that is software.

#[path = "common/mod.rs"]
mod common;
#[path = "ladder/count.rs"]
mod count;
#[path = "ladder/rungs.rs"]
mod rungs;
#[path = "ladder/time.rs"]
mod time;

use common::{Chapter, charts};
use count::{Each, numbers, operands, simulate};
use neutreno::engine::{Device, Result, Tensor, device};
use rungs::{PRODUCTS, SOFTMAXES};
use time::{Clock, Timed};

/// Rows, depth and columns of the product that is counted.
const COUNTED: [usize; 3] = [128, 128, 128];
/// Rows and width of the softmax that is counted.
const COUNTED_ROWS: [usize; 2] = [64, 1024];

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let cpu = Device::cpu();
    count_products(&chapter, &cpu)?;
    count_softmaxes(&chapter, &cpu)?;
    chapter.section("The GPU");
    let Some(clock) = Clock::open(&chapter)? else {
        println!("There is no GPU here that is real hardware, so nothing is timed.");
        for found in device::list() {
            println!("Software that acts as one is here, {}:", found.name);
            println!("add --device and three letters or more of its name, as in --device llvmpipe");
        }
        return Ok(());
    };
    println!("{}", clock.device);
    time_products(&chapter, &clock, &cpu)?;
    time_softmaxes(&chapter, &clock, &cpu)
}

/// That two results are the same but for rounding, and nothing was found wrong.
fn check(name: &str, found: &[f32], expected: &[f32], faults: &[impl ToString]) {
    let furthest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    if furthest.is_nan() || furthest > 1e-4 {
        common::end(&format!("{name} is wrong by {furthest}"));
    }
    if let Some(fault) = faults.first() {
        common::end(&format!("{name}: {}", fault.to_string()));
    }
}

fn count_products(chapter: &Chapter, cpu: &Device) -> Result<()> {
    chapter.section("Products, counted");
    let [a, b] = operands(COUNTED, cpu);
    let expected = a.matmul(&b).to_vec()?;
    let units = COUNTED.iter().product();
    println!("{:<22}global memory        workgroup memory", "for 1,000");
    println!(
        "{:<22}{:>8}{:>13}{:>10}{:>8}{:>10}",
        "multiply-adds", "sectors", "flops/byte", "accesses", "again", "barriers"
    );
    let mut bars = Vec::new();
    for rung in PRODUCTS {
        let simulated = simulate(|device| {
            let [a, b] = operands(COUNTED, device);
            rung.multiply(&a, &b)
        })?;
        check(rung.name, &simulated.numbers, &expected, &simulated.findings);
        let each = Each::of(&simulated.counts, units);
        println!(
            "{:<22}{:>8.1}{:>13.2}{:>10.1}{:>8.2}{:>10.3}",
            rung.name,
            1e3 * each.sectors,
            each.intensity(),
            1e3 * each.accesses,
            each.again,
            1e3 * each.barriers
        );
        bars.push((rung.name.to_owned(), each.intensity()));
    }
    println!("all equal to the CPU's product, and nothing was found wrong");
    let title = "How much is computed with a byte that moves";
    let svg = charts::bars(title, "operations for each byte of global memory", &bars, None);
    chapter.picture("05_intensity.svg", &svg);
    Ok(())
}

fn count_softmaxes(chapter: &Chapter, cpu: &Device) -> Result<()> {
    chapter.section("Softmax, counted");
    let expected = numbers(0, COUNTED_ROWS, cpu).softmax(-1).to_vec()?;
    println!("{:<22}{:>8}{:>10}", "for 1,000 numbers", "sectors", "barriers");
    for (name, softmax) in softmaxes() {
        let simulated = simulate(|device| softmax(&numbers(0, COUNTED_ROWS, device)))?;
        check(name, &simulated.numbers, &expected, &simulated.findings);
        let each = Each::of(&simulated.counts, expected.len());
        println!("{name:<22}{:>8.1}{:>10.1}", 1e3 * each.sectors, 1e3 * each.barriers);
    }
    Ok(())
}

type Work<'a> = (&'static str, Box<dyn Fn(&Tensor) -> Tensor + 'a>);

/// Both rungs, and what the engine has.
fn softmaxes() -> Vec<Work<'static>> {
    let rungs = SOFTMAXES.iter().map(|rung| -> Work { (rung.name, Box::new(|x| rung.softmax(x))) });
    rungs.chain([("the engine's", Box::new(|x: &Tensor| x.softmax(-1)) as _)]).collect()
}

/// All rungs by a certain b, and what the engine has.
fn products(b: &Tensor) -> Vec<Work<'_>> {
    let rungs =
        PRODUCTS.iter().map(|rung| -> Work { (rung.name, Box::new(|a| rung.multiply(a, b))) });
    rungs.chain([("the engine's", Box::new(|a: &Tensor| a.matmul(b)) as _)]).collect()
}

/// Checks all of some work on the GPU, and times it.
fn check_and_time(
    clock: &Clock,
    work: &[Work],
    x: &Tensor,
    expected: &[f32],
) -> Result<Vec<Timed>> {
    for (name, run) in work {
        check(name, &run(x).to_vec()?, expected, &[] as &[&str]);
    }
    let runs: Vec<_> = work.iter().map(|(_, run)| move || run(x)).collect();
    clock.time(&runs.iter().map(|run| run as &dyn Fn() -> Tensor).collect::<Vec<_>>())
}

fn time_products(chapter: &Chapter, clock: &Clock, cpu: &Device) -> Result<()> {
    chapter.section("Products, timed");
    // Of such shapes that the engine takes its squares of 64 for them.
    let software = [1024, chapter.pick(64, 32), 768];
    let sizes = if clock.is_software { software } else { [1024, 512, 1024] };
    let [a, b] = operands(sizes, cpu);
    let expected = a.matmul(&b).to_vec()?;
    let [a, b] = operands(sizes, &clock.device);
    let peak = clock.peak()?;
    let [rows, depth, columns] = sizes;
    println!("{rows} × {depth} by {depth} × {columns}");
    println!("multiply-adds alone, the measured peak: {peak:.1} GFLOP/s");
    println!("{:<22}{:>10}{:>10}{:>12}", "", "ms", "GFLOP/s", "of peak, %");
    let work = products(&b);
    let timed = check_and_time(clock, &work, &a, &expected)?;
    let mut bars = Vec::new();
    for ((name, _), timed) in work.iter().zip(&timed) {
        let rate = timed.rate();
        println!("{name:<22}{:>10.2}{rate:>10.2}{:>12.1}", timed.milliseconds(), 1e2 * rate / peak);
        bars.push(((*name).to_owned(), rate));
    }
    let last = PRODUCTS[PRODUCTS.len() - 1];
    let ratio = clock.ratio([&|| last.multiply(&a, &b), &|| a.matmul(&b)])?;
    println!("the last rung takes {ratio:.2} times as long as the engine's product");
    let title = format!("A product on {}", clock.device.name());
    let svg = charts::bars(&title, "GFLOP/s", &bars, Some(("multiply-adds alone", peak)));
    chapter.picture("05_products.svg", &svg);
    Ok(())
}

fn time_softmaxes(chapter: &Chapter, clock: &Clock, cpu: &Device) -> Result<()> {
    chapter.section("Softmax, timed");
    let shape = [1024, if clock.is_software { 1024 } else { 8192 }];
    let expected = numbers(0, shape, cpu).softmax(-1).to_vec()?;
    let x = numbers(0, shape, &clock.device);
    let work = softmaxes();
    let timed = check_and_time(clock, &work, &x, &expected)?;
    println!(
        "{:<22}{:>10}{:>20}",
        format!("{} rows of {}", shape[0], shape[1]),
        "ms",
        "million numbers/s"
    );
    for ((name, _), timed) in work.iter().zip(timed) {
        let rate = 1e-3 * expected.len() as f64 / timed.milliseconds();
        println!("{name:<22}{:>10.2}{rate:>20.0}", timed.milliseconds());
    }
    Ok(())
}
