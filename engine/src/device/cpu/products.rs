//! Matrix products, through the kernels of the `gemm` crates: they take operands with any strides,
//! so a transposed operand costs nothing.
//!
//! The output is cut into tiles by its shape alone and each tile is made by one thread; where
//! there are few outputs and long sums, the sums are cut instead. Either way the bits of a product
//! do not depend on the number of threads.

use super::instructions::{self, Extents, Operand, arch};
use super::scratch::cut;
use super::simd;
use super::tasks::Tasks;
use rayon::prelude::*;

/// A matrix in someone's memory: element (i, j) is `data[i · row_stride + j · column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    layout: Layout,
}

/// A matrix to be written.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    layout: Layout,
}

#[derive(Clone, Copy, Debug)]
struct Layout {
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl Layout {
    fn row_major(rows: usize, columns: usize, row_stride: usize) -> Layout {
        Layout { rows, columns, row_stride, column_stride: 1 }
    }

    /// The elements from the first to one past the last; `None` if no slice has so many.
    fn extent(&self) -> Option<usize> {
        if self.rows == 0 || self.columns == 0 {
            return Some(0);
        }
        let row = (self.rows - 1).checked_mul(self.row_stride)?;
        let column = (self.columns - 1).checked_mul(self.column_stride)?;
        row.checked_add(column)?.checked_add(1)
    }

    fn fits(&self, data: &[f32]) -> bool {
        self.extent().is_some_and(|extent| extent <= data.len())
    }

    fn operand<P>(&self, data: P) -> Operand<P> {
        let [row_stride, column_stride] =
            [self.row_stride, self.column_stride].map(|stride| stride as isize);
        Operand { data, row_stride, column_stride }
    }

    fn transposed(self) -> Layout {
        Layout {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

impl<'a> Matrix<'a> {
    /// A row-major matrix whose rows follow each other.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Matrix<'a> {
        Matrix::strided(data, rows, columns, columns)
    }

    /// A row-major matrix whose rows start `row_stride` elements apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Matrix<'a> {
        let layout = Layout::row_major(rows, columns, row_stride);
        assert!(layout.fits(data), "a matrix outside its memory");
        Matrix { data, layout }
    }

    /// The same memory with rows and columns exchanged.
    pub fn transposed(self) -> Matrix<'a> {
        Matrix { data: self.data, layout: self.layout.transposed() }
    }

    /// The matrix as it is, or transposed if `transpose`.
    pub fn transposed_if(self, transpose: bool) -> Matrix<'a> {
        if transpose { self.transposed() } else { self }
    }
}

impl<'a> MatrixMut<'a> {
    /// A row-major matrix whose rows follow each other.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> MatrixMut<'a> {
        MatrixMut::strided(data, rows, columns, columns)
    }

    /// A row-major matrix whose rows start `row_stride` elements apart, and do not overlap.
    pub fn strided(
        data: &'a mut [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> MatrixMut<'a> {
        assert!(rows <= 1 || row_stride >= columns, "a matrix whose rows overlap");
        let layout = Layout::row_major(rows, columns, row_stride);
        assert!(layout.fits(data), "a matrix outside its memory");
        MatrixMut { data, layout }
    }
}

/// output = scale · left · right, or output += scale · left · right if `add`; on this thread.
///
/// # Panics
/// If the sizes do not fit.
pub fn multiply(output: MatrixMut, left: Matrix, right: Matrix, scale: f32, add: bool) {
    check(&output.layout, &left.layout, &right.layout);
    // SAFETY: the constructors have checked that each layout lies inside its slice, and `output`
    // is borrowed exclusively.
    unsafe {
        multiply_tile(output.data.as_mut_ptr(), output.layout, left, right, scale, add);
    }
}

/// The same as [`multiply`] on all threads of the current pool, with working memory of
/// [`parallel_scratch`].
///
/// # Panics
/// If the sizes do not fit.
pub fn multiply_parallel(
    output: MatrixMut,
    left: Matrix,
    right: Matrix,
    scale: f32,
    add: bool,
    mut scratch: &mut [f32],
) {
    check(&output.layout, &left.layout, &right.layout);
    let whole = output.layout;
    let Layout { rows, columns, column_stride, .. } = right.layout;
    if copies_right(whole.rows, column_stride) {
        let copy = cut(&mut scratch, rows * columns);
        transpose(right.data, column_stride, columns, copy);
        let right = Matrix::new(copy, rows, columns);
        return multiply_parallel(output, left, right, scale, add, scratch);
    }
    if parts(&whole, left.layout.columns) > 1 {
        return multiply_in_parts(output, left, right, scale, add, scratch);
    }
    let (tile_rows, tile_columns) = tile(whole.rows, whole.columns, left.layout.columns);
    let across = whole.columns.div_ceil(tile_columns);
    let tiles = whole.rows.div_ceil(tile_rows) * across;
    if tiles <= 1 {
        return multiply(output, left, right, scale, add);
    }
    let base = Shared(output.data.as_mut_ptr());
    (0..tiles).into_par_iter().each(|index| {
        let (row, column) = (index / across * tile_rows, index % across * tile_columns);
        let rows = tile_rows.min(whole.rows - row);
        let columns = tile_columns.min(whole.columns - column);
        let start = row * whole.row_stride + column * whole.column_stride;
        let left = part(left, row, 0, rows, left.layout.columns);
        let right = part(right, 0, column, right.layout.rows, columns);
        // SAFETY: tiles of one matrix do not overlap, and each lies inside the whole, which is
        // borrowed exclusively until all tasks are done.
        unsafe {
            let target = base.pointer().add(start);
            multiply_tile(target, Layout { rows, columns, ..whole }, left, right, scale, add);
        }
    });
}

/// How many numbers of working memory [`multiply_parallel`] takes for a row-major output of `rows` ×
/// `columns`, sums over `depth`, and a right operand that is row-major or a transposed one that was.
pub fn parallel_scratch([rows, columns, depth]: [usize; 3], right_is_transposed: bool) -> usize {
    let output = Layout::row_major(rows, columns, columns);
    let column_stride = if right_is_transposed { depth } else { 1 };
    let copy = if copies_right(rows, column_stride) { depth * columns } else { 0 };
    copy + (parts(&output, depth) - 1) * rows * columns
}

/// Whether a right operand is first copied so that its rows are together in memory. With many rows,
/// every task would bring the same columns of a transposed operand in order: doing it once, before,
/// pays.
fn copies_right(rows: usize, column_stride: usize) -> bool {
    const MANY_ROWS: usize = 256;
    column_stride != 1 && rows >= MANY_ROWS
}

/// Rows to columns: `to` has a row of `rows` numbers for each column of `from`, which has `rows`
/// rows that start `stride` apart.
pub fn transpose(from: &[f32], stride: usize, rows: usize, to: &mut [f32]) {
    let strips = to.par_chunks_mut((SIDE * rows).max(1)).enumerate();
    strips.each(|(index, strip)| {
        let first = index * SIDE;
        let columns = strip.len() / rows;
        simd::vectorized(Strip { from, stride, first, columns, rows, strip });
    });
}

/// Matrices are transposed in squares, so that what is read and what is written stay in the cache.
const SIDE: usize = 16;

/// Some columns of a matrix to be written as rows.
struct Strip<'a> {
    from: &'a [f32],
    stride: usize,
    first: usize,
    columns: usize,
    rows: usize,
    strip: &'a mut [f32],
}

impl simd::Body for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Strip { from, stride, first, columns, rows, strip } = self;
        let row = |row: usize| &from[row * stride + first..][..columns];
        let whole = if columns == SIDE { rows / SIDE * SIDE } else { 0 };
        for start in (0..whole).step_by(SIDE) {
            let mut square = [[0.0; SIDE]; SIDE];
            for (offset, square) in square.iter_mut().enumerate() {
                square.copy_from_slice(row(start + offset));
            }
            for (column, to) in strip.chunks_exact_mut(rows).enumerate() {
                let to = &mut to[start..start + SIDE];
                to.iter_mut().zip(&square).for_each(|(to, square)| *to = square[column]);
            }
        }
        for start in whole..rows {
            let to = strip.chunks_exact_mut(rows);
            to.zip(row(start)).for_each(|(to, from)| to[start] = *from);
        }
    }
}

/// How many parts the sums of a product are cut into: several where the outputs are few enough
/// to be added up cheaply, as in the gradients of weights. Measured on such shapes, a task that
/// makes all outputs from a quarter of the sum is a fifth faster than one that makes an eighth of
/// the outputs.
fn parts(output: &Layout, depth: usize) -> usize {
    const MOST_OUTPUTS: usize = 256 << 10;
    const SHORTEST: usize = 512;
    let outputs = output.rows * output.columns;
    let contiguous = output.column_stride == 1 && output.row_stride == output.columns;
    if contiguous && (1..=MOST_OUTPUTS).contains(&outputs) {
        (depth / SHORTEST).clamp(1, 8)
    } else {
        1
    }
}

/// The product as a sum of parts, each over a stretch of the depth: the first goes to the output,
/// the others beside it, to be added in their order.
fn multiply_in_parts(
    output: MatrixMut,
    left: Matrix,
    right: Matrix,
    scale: f32,
    add: bool,
    scratch: &mut [f32],
) {
    let Layout { rows, columns, .. } = output.layout;
    let depth = left.layout.columns;
    let parts = parts(&output.layout, depth);
    let length = depth.div_ceil(parts).next_multiple_of(16);
    let total = &mut output.data[..rows * columns];
    let others = &mut scratch[..(parts - 1) * rows * columns];
    let mut outputs: Vec<&mut [f32]> = vec![&mut *total];
    outputs.extend(others.chunks_exact_mut(rows * columns));
    outputs.into_par_iter().enumerate().each(|(index, output)| {
        let first = (index * length).min(depth);
        let count = length.min(depth - first);
        let left = part(left, 0, first, rows, count);
        let right = part(right, first, 0, count, columns);
        multiply(MatrixMut::new(output, rows, columns), left, right, scale, add && index == 0);
    });
    simd::for_chunks(total, |start, total| {
        for part in others.chunks_exact(rows * columns) {
            total.iter_mut().zip(&part[start..]).for_each(|(total, part)| *total += part);
        }
    });
}

/// The rows and columns of the tile that one task makes.
///
/// A task packs its operands anew, which long tiles make up for. Eight tasks keep two to eight
/// threads busy; a product too small for eight useful ones is cut into fewer.
fn tile(rows: usize, columns: usize, depth: usize) -> (usize, usize) {
    // Multiply-adds: about 20 µs. Miri, which takes a second for as many, is to see several tiles too.
    const SMALLEST: usize = if cfg!(miri) { 1 << 10 } else { 2 << 20 };
    let chunks = (rows * columns * depth / SMALLEST).clamp(1, 8);
    let split = |size: usize| size.div_ceil(chunks).next_multiple_of(32).min(size.max(1));
    if rows >= columns { (split(rows), columns.max(1)) } else { (rows.max(1), split(columns)) }
}

/// The submatrix of `rows` × `columns` that starts at (row, column).
fn part<'a>(
    matrix: Matrix<'a>,
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
) -> Matrix<'a> {
    let Matrix { data, layout } = matrix;
    let start = row * layout.row_stride + column * layout.column_stride;
    Matrix { data: &data[start..], layout: Layout { rows, columns, ..layout } }
}

fn check(output: &Layout, left: &Layout, right: &Layout) {
    assert!(
        left.columns == right.rows && output.rows == left.rows && output.columns == right.columns,
        "a product of {}×{} by {}×{} into {}×{}",
        left.rows,
        left.columns,
        right.rows,
        right.columns,
        output.rows,
        output.columns
    );
}

/// # Safety
/// `target` must be valid for writing over the extent of `layout`, with no other user meanwhile.
unsafe fn multiply_tile(
    target: *mut f32,
    layout: Layout,
    left: Matrix,
    right: Matrix,
    scale: f32,
    add: bool,
) {
    if layout.rows == 0 || layout.columns == 0 {
        return;
    }
    let extents =
        Extents { rows: layout.rows, columns: layout.columns, depth: left.layout.columns };
    let output = layout.operand(target);
    let [left, right] = [left, right].map(|matrix| matrix.layout.operand(matrix.data.as_ptr()));
    // SAFETY: the caller vouches for `target`; the operands' layouts were checked when made, and the
    // instructions when they were chosen.
    unsafe { instructions::multiply(arch(), extents, output, left, right, scale, add) }
}

/// A pointer that tasks share; each writes to its own tile.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

impl Shared {
    fn pointer(self) -> *mut f32 {
        self.0
    }
}

// SAFETY: only `multiply_parallel` makes one, and its tasks write to disjoint tiles.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f32> {
        crate::random::Key::new(count as u64).uniforms(count, -1.0, 1.0)
    }

    #[test]
    #[should_panic(expected = "a matrix whose rows overlap")]
    fn rows_that_are_written_do_not_overlap() {
        MatrixMut::strided(&mut numbers(64), 8, 8, 4);
    }

    #[test]
    #[should_panic(expected = "a matrix outside its memory")]
    fn a_matrix_that_wraps_around_is_outside() {
        Matrix::strided(&numbers(64), 3, 8, usize::MAX / 2 + 1);
    }

    #[test]
    fn tiles_agree_with_the_definition() {
        let sizes = if cfg!(miri) {
            [(1, 1, 1), (3, 5, 0), (257, 2, 3), (33, 35, 2), (1, 2, 1100), (0, 3, 2000)]
        } else {
            [(1, 1, 1), (3, 5, 0), (300, 257, 65), (65, 700, 129), (7, 5, 1100), (0, 3, 2000)]
        };
        for (rows, columns, depth) in sizes {
            let (a, b) = (numbers(rows * depth), numbers(depth * columns));
            let parallel = numbers(rows * columns);
            let expected: Vec<f32> = (0..rows * columns)
                .map(|i| {
                    let (row, column) = (i / columns, i % columns);
                    let product = |k| f64::from(a[row * depth + k] * b[k * columns + column]);
                    parallel[i] + 2.0 * (0..depth).map(product).sum::<f64>() as f32
                })
                .collect();
            // The same right operand, as the transpose of what lies in memory.
            let mut turned = vec![0.0; depth * columns];
            for (k, column) in (0..depth).flat_map(|k| (0..columns).map(move |column| (k, column)))
            {
                turned[column * depth + k] = b[k * columns + column];
            }
            let turned = Matrix::new(&turned, columns, depth).transposed();
            let (left, right) = (Matrix::new(&a, rows, depth), Matrix::new(&b, depth, columns));
            for (right, is_transposed) in [(right, false), (turned, true)] {
                let mut parallel = parallel.clone();
                let output = MatrixMut::new(&mut parallel, rows, columns);
                let sizes = [rows, columns, depth];
                let mut scratch = vec![f32::NAN; parallel_scratch(sizes, is_transposed)];
                multiply_parallel(output, left, right, 2.0, true, &mut scratch);
                for (got, want) in parallel.iter().zip(&expected) {
                    approx::assert_abs_diff_eq!(got, want, epsilon = 1e-4);
                }
            }
        }
    }
}
