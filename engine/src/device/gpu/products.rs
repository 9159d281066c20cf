//! Matrix products on a GPU: how `matmul.wgsl` is dispatched.

use super::binding::Binding;
use super::class::Class;
use super::recorder::Recorder;
use super::uniforms::Uniform;
use crate::uniforms;

/// A matrix in a buffer: element (i, j) is `offset` + i · `row_stride` + j · `column_stride`
/// elements from the binding's start.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    binding: &'a Binding,
    offset: usize,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix, or the first of a batch.
    pub fn new(binding: &'a Binding, rows: usize, columns: usize) -> Matrix<'a> {
        Matrix { binding, offset: 0, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// `count` rows of a row-major matrix, from row `first` on.
    pub fn rows(self, first: usize, count: usize) -> Matrix<'a> {
        Matrix { offset: self.offset + first * self.row_stride, rows: count, ..self }
    }

    /// Whether it is made of whole vectors of four numbers, in memory and along both axes.
    fn has_vectors(&self, batch: [usize; 4]) -> bool {
        let stride = self.row_stride.max(self.column_stride);
        let sizes = [self.rows, self.columns, self.offset, stride];
        sizes.iter().chain(&batch).all(|size| size % 4 == 0)
    }

    /// The same memory with rows and columns exchanged, if `transpose`.
    pub fn transposed_if(self, transpose: bool) -> Matrix<'a> {
        if !transpose {
            return self;
        }
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// How a product is spread over invocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiling {
    /// As suits the adapter.
    #[default]
    Suitable,
    /// Tiles in workgroup memory, of any matrices: for GPUs.
    Shared,
    /// Squares of so many rows and columns, 32, 64 or 128, from tiles in workgroup memory; where matrices
    /// are no whole vectors of four, `Shared`.
    Squares(usize),
    /// Sums in registers and nothing shared: for adapters that are programs on the CPU.
    Registers,
}

impl Tiling {
    /// The rows and columns that a workgroup makes.
    fn tile(self) -> [usize; 2] {
        match self {
            Tiling::Squares(side) => [side; 2],
            Tiling::Shared => [64, 64],
            Tiling::Suitable | Tiling::Registers => [8, 64],
        }
    }
}

/// As many workgroups keep a large GPU busy.
const ENOUGH_GROUPS: usize = 256;

/// How far apart the matrices of a batch lie along each of four axes of the sizes given; 0 along
/// an axis on which an operand is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The sizes of the axes.
    pub sizes: [usize; 4],
    /// The strides of the left operand.
    pub left: [usize; 4],
    /// The strides of the right operand.
    pub right: [usize; 4],
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { sizes: [1; 4], left: [0; 4], right: [0; 4] }
    }
}

/// output = scale · left · right + bias, or output += that. The matrices of a batch of outputs
/// follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// Where the result goes: row-major.
    pub output: Matrix<'a>,
    /// The left operand.
    pub left: Matrix<'a>,
    /// The right operand.
    pub right: Matrix<'a>,
    /// A row that is added to every row.
    pub bias: Option<&'a Binding>,
    /// The factor.
    pub scale: f32,
    /// Whether the result is added to what is there.
    pub add: bool,
    /// Where the other matrices of a batch are.
    pub batch: Batch,
    /// How to spread it.
    pub tiling: Tiling,
}

impl<'a> Product<'a> {
    /// One product, in the tiling that suits the adapter.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn new(output: Matrix<'a>, left: Matrix<'a>, right: Matrix<'a>) -> Product<'a> {
        assert!(left.columns == right.rows, "a product of {left:?} by {right:?}");
        assert!(output.rows == left.rows && output.columns == right.columns, "into {output:?}");
        let (batch, tiling) = (Batch::default(), Tiling::default());
        Product { output, left, right, bias: None, scale: 1.0, add: false, batch, tiling }
    }

    /// Records the dispatches.
    pub fn record(&self, gpu: &mut Recorder) {
        let tiling = self.suitable(gpu.class());
        let parts = self.parts(tiling);
        if parts == 1 {
            return self.record_sums(gpu, tiling, 1);
        }
        let Matrix { rows, columns, .. } = self.output;
        let batches = self.batches();
        let partial = gpu.scratch([parts, batches, rows, columns]);
        let output = Matrix::new(&partial, rows, columns);
        let sums = Product { output, bias: None, scale: 1.0, add: false, ..*self };
        sums.record_sums(gpu, tiling, parts);
        let elements = batches * rows * columns;
        let uniforms = uniforms! {
            elements,
            columns,
            parts,
            y_offset: self.output.offset,
            has_bias: self.bias.is_some(),
            add: self.add,
            scale: self.scale,
        };
        let inputs = [&partial, self.bias.unwrap_or(&partial)];
        let outputs = [self.output.binding];
        gpu.dispatch_elements("matmul_combine", &inputs, &outputs, uniforms, elements);
    }

    fn record_sums(&self, gpu: &mut Recorder, tiling: Tiling, parts: usize) {
        let entry_point = match tiling {
            Tiling::Squares(128) => "matmul_squares_128",
            Tiling::Squares(64) => "matmul_squares_64",
            Tiling::Squares(_) => "matmul_squares_32",
            Tiling::Shared => "matmul_shared",
            Tiling::Suitable | Tiling::Registers => self.registers(),
        };
        let [height, width] = tiling.tile();
        let groups = self.groups(tiling) * parts;
        let flops = 2 * groups as u64 * (height * width * self.length(parts)) as u64;
        let inputs =
            [self.left.binding, self.right.binding, self.bias.unwrap_or(self.right.binding)];
        let outputs = [self.output.binding];
        let uniforms = self.uniforms(groups, parts);
        gpu.dispatch(entry_point, &inputs, &outputs, &uniforms, groups, flops);
    }

    fn batches(&self) -> usize {
        self.batch.sizes.iter().product()
    }

    /// The tiling, where `Suitable` stands for what suits the device and the sizes.
    fn suitable(&self, class: Class) -> Tiling {
        let Batch { left, right, .. } = self.batch;
        let fit = self.left.has_vectors(left)
            && self.right.has_vectors(right)
            && self.output.offset.is_multiple_of(4);
        match self.tiling {
            Tiling::Suitable if !class.shared_tiles => Tiling::Registers,
            Tiling::Suitable | Tiling::Squares(_) if !fit => Tiling::Shared,
            Tiling::Suitable => {
                // A square of 128 is made by 256 invocations.
                let sides: &[usize] =
                    if class.invocations < 256 { &[64, 32] } else { &[128, 64, 32] };
                let by_score = |a: &Tiling, b: &Tiling| self.score(*a).total_cmp(&self.score(*b));
                let squares = sides.iter().copied().map(Tiling::Squares);
                squares.max_by(by_score).expect("there are some")
            }
            forced => forced,
        }
    }

    /// How well squares do, against the best that can be: by what of them is used, by how little they read
    /// for each operation, and by whether there are enough to keep a large GPU busy.
    fn score(&self, tiling: Tiling) -> f64 {
        let (side, reuse) = match tiling {
            Tiling::Squares(128) => (128, 1.0),
            Tiling::Squares(64) => (64, 0.8),
            _ => (32, 0.5),
        };
        let Matrix { rows, columns, .. } = self.output;
        let made = rows.next_multiple_of(side) * columns.next_multiple_of(side);
        let groups = self.groups(tiling) * self.parts(tiling);
        let busy = (groups as f64 / ENOUGH_GROUPS as f64).min(1.0);
        rows as f64 * columns as f64 / made.max(1) as f64 * reuse * busy
    }

    /// The workgroups for each part.
    fn groups(&self, tiling: Tiling) -> usize {
        let [height, width] = tiling.tile();
        let Matrix { rows, columns, .. } = self.output;
        rows.div_ceil(height) * columns.div_ceil(width) * self.batches()
    }

    /// How many parts a sum is cut into: several where there are too few tiles to keep a GPU
    /// busy and the sums are long.
    fn parts(&self, tiling: Tiling) -> usize {
        const SHORTEST: usize = 256;
        if tiling == Tiling::Registers {
            return 1;
        }
        let wanted = ENOUGH_GROUPS.div_ceil(self.groups(tiling).max(1));
        let parts = wanted.min(self.left.columns / SHORTEST).max(1);
        self.left.columns.div_ceil(self.length(parts)).max(1)
    }

    /// The length of a part.
    fn length(&self, parts: usize) -> usize {
        self.left.columns.div_ceil(parts).max(1).next_multiple_of(16)
    }

    /// The entry point for software adapters, by which operands are transposed (t) or not (n);
    /// the plain one where vectors of four do not fit.
    fn registers(&self) -> &'static str {
        let Batch { left, right, .. } = self.batch;
        let fit = self.left.has_vectors(left) && self.right.has_vectors(right);
        let is_row_major = |matrix: &Matrix| matrix.column_stride == 1;
        match (is_row_major(&self.left), is_row_major(&self.right)) {
            (true, true) if fit => "matmul_registers_nn",
            (true, false) if fit => "matmul_registers_nt",
            (false, true) if fit => "matmul_registers_tn",
            _ => "matmul_registers",
        }
    }

    fn uniforms(&self, groups: usize, parts: usize) -> [Uniform; 27] {
        let Product { output, left, right, batch, .. } = *self;
        let [_, size_1, size_2, size_3] = batch.sizes;
        let [a_0, a_1, a_2, a_3] = batch.left;
        let [b_0, b_1, b_2, b_3] = batch.right;
        *uniforms! {
            groups,
            rows: output.rows,
            columns: output.columns,
            depth: left.columns,
            length: self.length(parts),
            batches: self.batches(),
            size_1,
            size_2,
            size_3,
            a_offset: left.offset,
            a_row: left.row_stride,
            a_column: left.column_stride,
            a_0,
            a_1,
            a_2,
            a_3,
            b_offset: right.offset,
            b_row: right.row_stride,
            b_column: right.column_stride,
            b_0,
            b_1,
            b_2,
            b_3,
            y_offset: output.offset,
            has_bias: self.bias.is_some(),
            add: self.add,
            scale: self.scale,
        }
    }
}
