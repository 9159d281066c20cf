//! The kernels of the ladder: where their WGSL is, and how each is dispatched.

use neutreno::engine::autograd::{GradientContext, Op, Saved, Saves, apply};
use neutreno::engine::device::{View, ViewMut};
use neutreno::engine::gpu::{Binding, Recorder, Shader, Uniform};
use neutreno::engine::{Cost, Kernel, Shape, Tensor, uniforms};

/// A kernel of the ladder.
#[derive(Clone, Copy, Debug)]
pub struct Rung {
    /// The file's name without `.wgsl`, and that of its entry point.
    pub name: &'static str,
    pub source: &'static str,
    /// The rows and columns that a workgroup makes of the result; none where each invocation of 64 makes one
    /// number, wherever it lies.
    pub square: Option<usize>,
    /// Whether it reads vectors of four numbers.
    pub vectors: bool,
}

macro_rules! rung {
    ($name:literal, $square:expr, $vectors:literal) => {
        Rung {
            name: $name,
            source: include_str!(concat!("../../../shaders/ladder/", $name, ".wgsl")),
            square: $square,
            vectors: $vectors,
        }
    };
}

/// Products of matrices, each rung better than the one before.
pub const PRODUCTS: [Rung; 7] = [
    rung!("matmul_1_naive", None, false),
    rung!("matmul_2_neighbours", None, false),
    rung!("matmul_3_tile", Some(16), false),
    rung!("matmul_4_registers", Some(32), false),
    rung!("matmul_5_vectors", Some(32), true),
    rung!("matmul_6_squares", Some(64), true),
    rung!("matmul_7_prefetch", Some(64), true),
];

/// The softmax of rows, a workgroup each.
pub const SOFTMAXES: [Rung; 2] =
    [rung!("softmax_1_passes", None, false), rung!("softmax_2_online", None, false)];

/// Nothing but multiply-adds.
pub const PEAK: Rung = rung!("peak", None, false);

/// What a rung computes.
#[derive(Clone, Copy, Debug)]
enum Work {
    Product,
    Softmax,
    /// So many rounds of multiply-adds for each number.
    Peak(usize),
}

/// Eight vectors of four numbers, four times by one factor and with one more added.
const FLOPS_A_ROUND: usize = 8 * 4 * 4 * 2;

#[derive(Clone, Debug)]
struct Run {
    rung: Rung,
    work: Work,
}

impl Rung {
    /// a (rows, depth) by b (depth, columns).
    #[track_caller]
    pub fn multiply(self, a: &Tensor, b: &Tensor) -> Tensor {
        let [y] = apply(Run { rung: self, work: Work::Product }, &[a, b]);
        y
    }

    /// The softmax of each row.
    #[track_caller]
    pub fn softmax(self, x: &Tensor) -> Tensor {
        let [y] = apply(Run { rung: self, work: Work::Softmax }, &[x]);
        y
    }

    /// So many rounds of multiply-adds for each number of x.
    #[track_caller]
    pub fn work(self, x: &Tensor, rounds: usize) -> Tensor {
        let [y] = apply(Run { rung: self, work: Work::Peak(rounds) }, &[x]);
        y
    }
}

impl Kernel for Run {
    fn name(&self) -> &'static str {
        self.rung.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let Work::Product = self.work else { return Ok(vec![inputs[0]]) };
        let [rows, depth, columns] = sizes(inputs);
        if inputs.iter().any(|shape| shape.rank() != 2) || inputs[1][0] != depth {
            return Err(format!("{} by {} is no product of two matrices", inputs[0], inputs[1]));
        }
        if self.rung.vectors && !(depth.is_multiple_of(4) && columns.is_multiple_of(4)) {
            return Err(format!("{depth} or {columns} is no multiple of four"));
        }
        Ok(vec![Shape::new(&[rows, columns])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let result = self.shapes(inputs).expect("shapes that were checked")[0];
        let each = match self.work {
            Work::Product => 2 * inputs[0].last(),
            Work::Softmax => 4,
            Work::Peak(rounds) => FLOPS_A_ROUND * rounds,
        };
        let moved = inputs.iter().chain([&result]).map(Shape::elements).sum();
        Cost::elementwise(result.elements(), each as u64, moved)
    }

    fn cpu(&self, _inputs: &[View], _outputs: &mut [ViewMut]) {
        unreachable!("the ladder is run on GPUs alone")
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape).collect();
        let flops = self.cost(&shapes).flops;
        let mut send = |uniforms: &[Uniform], groups: usize| {
            let shader = Shader { name: self.rung.name, source: self.rung.source };
            let inputs: Vec<&Binding> = inputs.iter().collect();
            let mut gpu = gpu.with_shader(&shader);
            gpu.dispatch(self.rung.name, &inputs, &[&outputs[0]], uniforms, groups, flops);
        };
        let elements = outputs[0].shape.elements();
        match self.work {
            Work::Product => {
                let [rows, depth, columns] = sizes(&shapes);
                let squares = |side: usize| rows.div_ceil(side) * columns.div_ceil(side);
                let groups = self.rung.square.map_or(elements.div_ceil(64), squares);
                send(uniforms! { rows, columns, depth }, groups);
            }
            Work::Softmax => {
                let (rows, width) = (shapes[0].rows(), shapes[0].last());
                send(uniforms! { rows, width }, rows);
            }
            Work::Peak(rounds) => {
                let (factor, shift) = (0.999_f32, 0.001_f32);
                send(uniforms! { elements, rounds, factor, shift }, elements.div_ceil(64));
            }
        }
    }
}

/// The rows, depth and columns of a product.
fn sizes(inputs: &[Shape]) -> [usize; 3] {
    [inputs[0][0], inputs[0].last(), inputs[1].last()]
}

impl Op for Run {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("it is here to be timed")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {
        unreachable!("no gradient comes here")
    }
}
