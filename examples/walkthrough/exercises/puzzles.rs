//! All exercises in their order.

use crate::kernels::{self, Kernel};
use crate::markers::{self, Text};

pub struct Puzzle {
    pub number: usize,
    pub file: &'static str,
    pub text: Text,
    pub check: Check,
}

/// What tells whether it is solved.
pub enum Check {
    /// A program that uses the exercise as its module.
    Rust(&'static str),
    /// A kernel, with what it is given and what it should make of that.
    Kernel(fn() -> Kernel),
}

impl Puzzle {
    /// The name without its ending.
    pub fn name(&self) -> &'static str {
        self.file.split('.').next().unwrap_or(self.file)
    }

    /// Whether a reader means this one: by its number, its name, or its file with or without a folder.
    fn is_meant(&self, name: &str) -> bool {
        let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let named = [self.file, self.name(), &self.name()[3..]];
        named.contains(&name) || name.parse() == Ok(self.number)
    }
}

/// The exercise of a name.
///
/// # Errors
/// If there is none; the message has all names.
pub fn find<'a>(puzzles: &'a [Puzzle], name: &str) -> Result<&'a Puzzle, String> {
    puzzles.iter().find(|puzzle| puzzle.is_meant(name)).ok_or_else(|| {
        let names: Vec<&str> = puzzles.iter().map(Puzzle::name).collect();
        format!(
            "there is no exercise {name:?}; there are {}, and numbers will do",
            names.join(", ")
        )
    })
}

macro_rules! solution {
    ($file:literal) => {
        ($file, include_str!(concat!("solutions/", $file)))
    };
}

macro_rules! rust {
    ($file:literal) => {
        (solution!($file), Check::Rust(include_str!(concat!("checks/", $file))))
    };
}

macro_rules! kernel {
    ($file:literal, $kernel:path) => {
        (solution!($file), Check::Kernel($kernel))
    };
}

pub fn all() -> Vec<Puzzle> {
    let all = [
        rust!("01_product.rs"),
        rust!("02_backward.rs"),
        rust!("03_softmax.rs"),
        rust!("04_strides.rs"),
        rust!("05_broadcast.rs"),
        rust!("06_matmul.rs"),
        kernel!("07_map.wgsl", kernels::map),
        kernel!("08_guard.wgsl", kernels::guard),
        kernel!("09_reduce.wgsl", kernels::reduce),
        kernel!("10_tile.wgsl", kernels::window),
        kernel!("11_softmax.wgsl", kernels::softmax),
        kernel!("12_transpose.wgsl", kernels::transpose),
        kernel!("13_matmul.wgsl", kernels::matmul),
        kernel!("14_attention.wgsl", kernels::attention),
    ];
    let made = |(index, ((file, text), check)): (usize, ((&'static str, &str), Check))| Puzzle {
        number: index + 1,
        file,
        text: markers::read(text),
        check,
    };
    all.into_iter().enumerate().map(made).collect()
}
