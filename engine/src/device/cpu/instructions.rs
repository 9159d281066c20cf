//! Which vector instructions loops and products use: the widest that the processor has, or fewer
//! where `NEUTRENO_CPU` asks for them, so that one machine can compute what a lesser one does.
//! Results differ by rounding between them, and only between them.

use crate::{Error, Result};
use gemm_common::Parallelism;
use gemm_common::gemm::gemm_basic_generic;
use gemm_common::simd::MixedSimd;
use pulp::Arch;
use std::sync::OnceLock;

/// The variable that asks for fewer instructions: `avx2` or `scalar`.
const VARIABLE: &str = "NEUTRENO_CPU";

/// The instructions in use, the same from the first call to the last.
///
/// # Panics
/// If the variable asks for what the processor does not have: see [`check`].
#[inline]
pub fn arch() -> Arch {
    static CHOSEN: OnceLock<Arch> = OnceLock::new();
    *CHOSEN.get_or_init(|| asked().unwrap_or_else(|error| panic!("{error}")))
}

/// The instructions in use, as people call them.
pub fn name() -> String {
    let name = format!("{:?}", arch());
    let known = [("V4", "AVX-512"), ("V3", "AVX2"), ("Neon", "NEON"), ("Scalar", "scalar")];
    known.iter().find(|(token, _)| name.starts_with(token)).map_or(name.clone(), |k| k.1.into())
}

/// Whether the instructions that are asked for can be had.
///
/// # Errors
/// [`Error::NoDevice`] if they are unknown, or the processor lacks them.
pub fn check() -> Result<()> {
    asked().map(|_| ())
}

fn asked() -> Result<Arch> {
    let Some(asked) = std::env::var_os(VARIABLE) else { return Ok(Arch::new()) };
    choose(&asked.to_string_lossy()).ok_or_else(|| Error::NoDevice {
        asked: "cpu".into(),
        reason: format!(
            "{VARIABLE} asks for \"{}\", which is not to be had here; it may be avx2 (on x86-64) \
             or scalar, and without it the widest instructions are used",
            asked.display()
        ),
    })
}

fn choose(asked: &str) -> Option<Arch> {
    match asked {
        "scalar" => Some(Arch::Scalar),
        #[cfg(target_arch = "x86_64")]
        "avx2" => pulp::x86::V3::try_new().map(Arch::V3),
        _ => None,
    }
}

/// The matrices of a product: rows and columns of the output, and the length of the sums.
#[derive(Clone, Copy, Debug)]
pub struct Extents {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

/// An operand: where it begins, and the elements from one row, and from one column, to the next.
#[derive(Clone, Copy, Debug)]
pub struct Operand<P> {
    pub data: P,
    pub row_stride: isize,
    pub column_stride: isize,
}

impl<P> Operand<P> {
    fn transposed(self) -> Operand<P> {
        let Operand { data, row_stride, column_stride } = self;
        Operand { data, row_stride: column_stride, column_stride: row_stride }
    }
}

/// output ← scale · left · right, plus what the output held before where `add` says so, by the
/// kernels for these instructions.
///
/// # Safety
/// The processor must have the instructions. Each operand must be valid over all of its elements,
/// the output for writing and with no other user meanwhile.
pub unsafe fn multiply(
    arch: Arch,
    extents: Extents,
    output: Operand<*mut f32>,
    left: Operand<*const f32>,
    right: Operand<*const f32>,
    scale: f32,
    add: bool,
) {
    // Kernels want the output's columns in one piece: Cᵀ = Bᵀ · Aᵀ.
    let (extents, output, left, right) = if output.column_stride < output.row_stride {
        let Extents { rows, columns, depth } = extents;
        let extents = Extents { rows: columns, columns: rows, depth };
        (extents, output.transposed(), right.transposed(), left.transposed())
    } else {
        (extents, output, left, right)
    };
    macro_rules! kernels {
        ($kernels:ident, $simd:ident, $lanes:literal) => {{
            use gemm_f32::microkernel::$kernels::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
            let simd = <gemm_common::simd::$simd as MixedSimd<f32, f32, f32, f32>>::try_new();
            gemm_basic_generic::<_, f32, $lanes, { MR_DIV_N * $lanes }, NR, MR_DIV_N, H_M, H_N>(
                simd.expect("the processor has what was chosen"),
                extents.rows,
                extents.columns,
                extents.depth,
                output.data,
                output.column_stride,
                output.row_stride,
                add,
                left.data,
                left.column_stride,
                left.row_stride,
                right.data,
                right.column_stride,
                right.row_stride,
                1.0,
                scale,
                false,
                false,
                false,
                |a, b, c| a * b + c,
                &UKR,
                &H_UKR,
                false,
                Parallelism::None,
            );
        }};
    }
    // SAFETY: the caller vouches for the operands and the instructions.
    unsafe {
        if cfg!(miri) {
            return by_definition(extents, output, left, right, scale, add);
        }
        match arch {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(_) => kernels!(avx512f, V4, 16),
            #[cfg(target_arch = "x86_64")]
            Arch::V3(_) => kernels!(fma, V3, 8),
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(_) => kernels!(neon, Scalar, 4),
            _ => kernels!(scalar, Scalar, 1),
        }
    }
}

/// The same in plain loops, for Miri, in which the kernels would take hours: it finds out whether what
/// callers promise of the operands holds.
///
/// # Safety
/// As [`multiply`].
unsafe fn by_definition(
    Extents { rows, columns, depth }: Extents,
    output: Operand<*mut f32>,
    left: Operand<*const f32>,
    right: Operand<*const f32>,
    scale: f32,
    add: bool,
) {
    let place = |row: usize, column: usize, row_stride: isize, column_stride: isize| {
        row as isize * row_stride + column as isize * column_stride
    };
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        // SAFETY: the caller vouches for every element of the operands.
        unsafe {
            let target =
                output.data.offset(place(row, column, output.row_stride, output.column_stride));
            let mut sum = 0.0;
            for k in 0..depth {
                let left = left.data.offset(place(row, k, left.row_stride, left.column_stride));
                let right =
                    right.data.offset(place(k, column, right.row_stride, right.column_stride));
                sum += *left * *right;
            }
            *target = if add { *target } else { 0.0 } + scale * sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENTS: [[usize; 3]; 4] = if cfg!(miri) {
        [[1, 1, 1], [5, 7, 3], [3, 9, 5], [9, 4, 2]]
    } else {
        [[1, 1, 1], [5, 7, 3], [33, 18, 40], [70, 65, 130]]
    };

    /// The instructions of lesser processors are not what this one uses of itself.
    #[test]
    fn products_by_all_instructions() {
        let asked = ["scalar", "avx2"].into_iter().filter_map(choose);
        for arch in asked.chain([Arch::new()]) {
            for [rows, columns, depth] in EXTENTS {
                for transposed in [false, true] {
                    check_product(arch, Extents { rows, columns, depth }, transposed);
                }
            }
        }
    }

    fn check_product(arch: Arch, extents: Extents, transposed: bool) {
        let Extents { rows, columns, depth } = extents;
        let numbers =
            |count: usize| (0..count).map(|i| (i * 31 % 17) as f32 - 8.0).collect::<Vec<_>>();
        let [left, right] = [numbers(rows * depth), numbers(depth * columns)];
        let strided = |data, width: usize, height: usize| {
            let (row_stride, column_stride) = if transposed { (1, height) } else { (width, 1) };
            let [row_stride, column_stride] = [row_stride, column_stride].map(|s| s as isize);
            Operand { data, row_stride, column_stride }
        };
        let at = |matrix: &Operand<*const f32>, row: usize, column: usize| {
            (row as isize * matrix.row_stride + column as isize * matrix.column_stride) as usize
        };
        let l = strided(left.as_ptr(), depth, rows);
        let r = strided(right.as_ptr(), columns, depth);
        let mut output = vec![2.0; rows * columns];
        let o = strided(output.as_ptr(), columns, rows);
        let target = Operand {
            data: output.as_mut_ptr(),
            row_stride: o.row_stride,
            column_stride: o.column_stride,
        };
        // SAFETY: the operands are whole and of these extents.
        unsafe { multiply(arch, extents, target, l, r, 0.5, true) };
        for row in 0..rows {
            for column in 0..columns {
                let terms = (0..depth)
                    .map(|k| f64::from(left[at(&l, row, k)]) * f64::from(right[at(&r, k, column)]));
                let expected = 2.0 + 0.5 * terms.sum::<f64>();
                // Sums of integers below 2²⁴ are exact.
                assert_eq!(
                    f64::from(output[at(&o, row, column)]),
                    expected,
                    "{arch:?} {extents:?}"
                );
            }
        }
    }

    #[test]
    fn unknown_instructions_are_none() {
        assert!(choose("avx").is_none() && choose("").is_none() && choose("scalar").is_some());
    }
}
