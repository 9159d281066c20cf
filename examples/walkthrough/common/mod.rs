//! What the chapters of the walkthrough share: their flags, headings, pictures and bars of progress.

#![allow(dead_code, reason = "each chapter uses a part")]

pub mod charts;
pub mod training;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use neutreno::engine::{Device, Result};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Parser)]
struct Flags {
    /// Smaller and shorter: the same code, other numbers
    #[arg(long)]
    quick: bool,
    /// Where pictures and files go
    #[arg(long, value_name = "FOLDER", default_value = "runs/walkthrough")]
    out: PathBuf,
    /// cpu, auto, or a part of a GPU's name [default: what the chapter's page was made with]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

/// A chapter's program while it runs.
pub struct Chapter {
    /// Whether it is to be small and short.
    pub quick: bool,
    device: Option<String>,
    out: PathBuf,
}

impl Chapter {
    /// Reads the flags. Ends the program with a clear message if they are wrong.
    pub fn open() -> Chapter {
        let Flags { quick, out, device } = Flags::parse();
        end_quietly_without_a_reader();
        if let Err(error) = std::fs::create_dir_all(&out) {
            end(&format!("cannot make the folder {}: {error}; choose one by --out", out.display()));
        }
        Chapter { quick, device, out }
    }

    /// The device of `--device`, or else that of this name.
    pub fn device(&self, otherwise: &str) -> Device {
        let name = self.device.as_deref().unwrap_or(otherwise);
        Device::open(name, 0).unwrap_or_else(|error| end(&error.to_string()))
    }

    /// What is to be used here: `full`, or `quick` with that flag.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Begins a part of what is printed. The chapter's page shows parts by their titles.
    pub fn section(&self, title: &str) {
        println!("\n== {title} ==\n");
    }

    /// Where a file of this name goes.
    pub fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Writes a picture, and says where.
    pub fn picture(&self, name: &str, svg: &str) {
        let path = self.path(name);
        if let Err(error) = std::fs::write(&path, svg) {
            end(&format!("cannot write {}: {error}", path.display()));
        }
        println!("picture: {}", path.display());
    }

    /// A bar on a terminal, for what takes longer than a few seconds, with the time that is left.
    pub fn progress(&self, what: &str, steps: usize) -> ProgressBar {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left");
        ProgressBar::new(steps as u64)
            .with_style(style.expect("the template is right"))
            .with_message(what.to_owned())
    }
}

/// The shortest of some runs, in milliseconds. `work` waits for its device.
pub fn milliseconds(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut shortest = f64::INFINITY;
    for _ in 0..runs {
        let start = Instant::now();
        work()?;
        shortest = shortest.min(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(shortest)
}

/// Lets `| head` have what it wants, and no more: printing to a pipe that nobody reads panics.
fn end_quietly_without_a_reader() {
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload().downcast_ref::<String>();
        if what.is_some_and(|what| what.starts_with("failed printing to stdout")) {
            std::process::exit(0);
        }
        show(panic);
    }));
}

/// Ends the program for a reason that is not a fault in it.
pub fn end(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}
