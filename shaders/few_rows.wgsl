// y = x Wᵀ where x has few rows, for up to three matrices at once, so that it takes the time of reading
// these: a workgroup makes four outputs of one row, and its invocations share the inputs among them.
// Workgroups that follow each other read the same rows of a matrix.
//
// What stands around linear layers can be done on the way. Before: RMS norm, whose root mean square is made
// of what is read anyway, and divides the sums. After: a bias, rows that are added, or SwiGLU of two
// matrices' outputs.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    groups: u32,
    // Of x and y.
    rows: u32,
    // The size of a row of x.
    inputs: u32,
    // The outputs of each matrix, 0 for those that are not there.
    outputs_0: u32,
    outputs_1: u32,
    outputs_2: u32,
    // Of the matrices: 0 for f32, 1 for bf16, 2 for f16.
    format: u32,
    // What `extra` is: 0 nothing, 1 a bias, 2 rows that are added, 3 the weight of an RMS norm.
    extra_is: u32,
    // Whether y is SwiGLU of what the first and the second matrix make.
    swiglu: u32,
    // Of the RMS norm.
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> x_vectors: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> extra: array<f32>;
// In half precision two numbers in a word, the first in its lower half; a row begins with a whole word.
@group(0) @binding(3) var<storage, read> w_0: array<u32>;
@group(0) @binding(3) var<storage, read> w_0_vectors: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> w_1: array<u32>;
@group(0) @binding(4) var<storage, read> w_1_vectors: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> w_2: array<u32>;
@group(0) @binding(5) var<storage, read> w_2_vectors: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> y_0: array<f32>;
@group(0) @binding(7) var<storage, read_write> y_1: array<f32>;
@group(0) @binding(8) var<storage, read_write> y_2: array<f32>;

const BIAS = 1u;
const ADDED = 2u;
const NORM = 3u;

var<workgroup> shared_sums: array<vec4<f32>, 256>;

// The sum of every invocation's values, for every invocation.
fn sums_over_lanes(lane: u32, values: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    shared_sums[lane] = values;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            shared_sums[lane] += shared_sums[lane + width];
        }
    }
    workgroupBarrier();
    return shared_sums[0];
}

// Four outputs of a row.
struct Outputs {
    row: u32,
    matrix: u32,
    // Of these four.
    first: u32,
    // All that the matrix has.
    count: u32,
}

fn outputs_of(group: u32) -> Outputs {
    let row = group % uniforms.rows;
    var block = group / uniforms.rows;
    let blocks_0 = (uniforms.outputs_0 + 3u) / 4u;
    if block < blocks_0 {
        return Outputs(row, 0u, 4u * block, uniforms.outputs_0);
    }
    block -= blocks_0;
    let blocks_1 = (uniforms.outputs_1 + 3u) / 4u;
    if block < blocks_1 {
        return Outputs(row, 1u, 4u * block, uniforms.outputs_1);
    }
    return Outputs(row, 2u, 4u * (block - blocks_1), uniforms.outputs_2);
}

// The rows of the matrix. Those past the end repeat the last one and are not stored.
fn rows_of_matrix(outputs: Outputs) -> vec4<u32> {
    return min(outputs.first + vec4(0u, 1u, 2u, 3u), vec4(outputs.count - 1u));
}

fn word(matrix: u32, at: u32) -> u32 {
    switch matrix {
        case 0u: {
            return w_0[at];
        }
        case 1u: {
            return w_1[at];
        }
        default: {
            return w_2[at];
        }
    }
}

fn four_words(matrix: u32, at: u32) -> vec4<u32> {
    switch matrix {
        case 0u: {
            return w_0_vectors[at];
        }
        case 1u: {
            return w_1_vectors[at];
        }
        default: {
            return w_2_vectors[at];
        }
    }
}

// The number of 16 bits. By whole numbers: what the language has for f16 may take small ones for zero.
fn half_number(bits: u32, is_f16: bool) -> f32 {
    if !is_f16 {
        return bitcast<f32>(bits << 16u);
    }
    let sign = (bits & 0x8000u) << 16u;
    let size = (bits & 0x7fffu) << 13u;
    // Exponents are counted from -15 there and from -127 here.
    if size >= 0x0f800000u {
        return bitcast<f32>(sign | (size + 0x70000000u));
    }
    if size >= 0x00800000u {
        return bitcast<f32>(sign | (size + 0x38000000u));
    }
    // Numbers below 2^-14, by their difference from 2^-14.
    let small = bitcast<f32>(size | 0x38800000u) - bitcast<f32>(0x38800000u);
    return bitcast<f32>(sign | bitcast<u32>(small));
}

// The first, or from bit 16 on the second, numbers of four words.
fn four_halves(words: vec4<u32>, shift: u32) -> vec4<f32> {
    let bits = (words >> vec4(shift)) & vec4(0xffffu);
    let is_f16 = uniforms.format == 2u;
    return vec4(
        half_number(bits.x, is_f16),
        half_number(bits.y, is_f16),
        half_number(bits.z, is_f16),
        half_number(bits.w, is_f16),
    );
}

// A number of x, times the norm's weight.
fn number_of_x(begin: u32, k: u32) -> f32 {
    if uniforms.extra_is == NORM {
        return x[begin + k] * extra[k];
    }
    return x[begin + k];
}

// Four numbers of x, times the norm's weights.
fn four_of_x(begin: u32, k: u32) -> vec4<f32> {
    let four = x_vectors[begin + k];
    if uniforms.extra_is == NORM {
        let i = 4u * k;
        return four * vec4(extra[i], extra[i + 1u], extra[i + 2u], extra[i + 3u]);
    }
    return four;
}

// This invocation's part of the sums of products with four rows of a matrix, word by word.
fn products_of_words(matrix: u32, rows: vec4<u32>, row: u32, lane: u32) -> vec4<f32> {
    let from_x = row * uniforms.inputs;
    var sums = vec4(0.0);
    if uniforms.format == 0u {
        let begins = rows * uniforms.inputs;
        for (var k = lane; k < uniforms.inputs; k += lanes) {
            let at = begins + k;
            let words =
                vec4(word(matrix, at.x), word(matrix, at.y), word(matrix, at.z), word(matrix, at.w));
            sums += number_of_x(from_x, k) * bitcast<vec4<f32>>(words);
        }
        return sums;
    }
    let words_of_row = (uniforms.inputs + 1u) / 2u;
    let begins = rows * words_of_row;
    for (var k = lane; k < words_of_row; k += lanes) {
        let at = begins + k;
        let words =
            vec4(word(matrix, at.x), word(matrix, at.y), word(matrix, at.z), word(matrix, at.w));
        sums += number_of_x(from_x, 2u * k) * four_halves(words, 0u);
        // The last word of an odd row holds one number.
        if 2u * k + 1u < uniforms.inputs {
            sums += number_of_x(from_x, 2u * k + 1u) * four_halves(words, 16u);
        }
    }
    return sums;
}

// The same by four words of each row at once.
fn products_of_vectors(matrix: u32, rows: vec4<u32>, row: u32, lane: u32) -> vec4<f32> {
    let from_x = row * (uniforms.inputs / 4u);
    var sums = vec4(0.0);
    if uniforms.format == 0u {
        let vectors = uniforms.inputs / 4u;
        let begins = rows * vectors;
        for (var k = lane; k < vectors; k += lanes) {
            let at = begins + k;
            let four = mat4x4(
                bitcast<vec4<f32>>(four_words(matrix, at.x)),
                bitcast<vec4<f32>>(four_words(matrix, at.y)),
                bitcast<vec4<f32>>(four_words(matrix, at.z)),
                bitcast<vec4<f32>>(four_words(matrix, at.w)),
            );
            sums += four_of_x(from_x, k) * four;
        }
        return sums;
    }
    let vectors = uniforms.inputs / 8u;
    let begins = rows * vectors;
    for (var k = lane; k < vectors; k += lanes) {
        let at = begins + k;
        let before = four_of_x(from_x, 2u * k);
        let after = four_of_x(from_x, 2u * k + 1u);
        // Those that meet the first, and the second, number of each word.
        let first = vec4(before.xz, after.xz);
        let second = vec4(before.yw, after.yw);
        let a = four_words(matrix, at.x);
        let b = four_words(matrix, at.y);
        let c = four_words(matrix, at.z);
        let d = four_words(matrix, at.w);
        sums += first
            * mat4x4(four_halves(a, 0u), four_halves(b, 0u), four_halves(c, 0u), four_halves(d, 0u));
        sums += second
            * mat4x4(four_halves(a, 16u), four_halves(b, 16u), four_halves(c, 16u), four_halves(d, 16u));
    }
    return sums;
}

// What the sums are multiplied with: 1, or with a norm 1 / the root mean square.
fn norm_of(lane: u32, squares: f32) -> f32 {
    if uniforms.extra_is != NORM {
        return 1.0;
    }
    let total = sums_over_lanes(lane, vec4(squares, 0.0, 0.0, 0.0)).x;
    return 1.0 / sqrt(total / f32(uniforms.inputs) + uniforms.epsilon);
}

// e^-x stays finite: what becomes of an infinity is up to the driver.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(select(-x, 80.0, x < -80.0)));
}

fn store_outputs(outputs: Outputs, lane: u32, four: vec4<f32>) {
    let values = array(four.x, four.y, four.z, four.w);
    for (var i = lane; i < 4u; i += lanes) {
        let output = outputs.first + i;
        if output >= outputs.count {
            continue;
        }
        let at = outputs.row * outputs.count + output;
        var value = values[i];
        if uniforms.extra_is == BIAS {
            value += extra[output];
        } else if uniforms.extra_is == ADDED {
            value += extra[at];
        }
        switch outputs.matrix {
            case 0u: {
                y_0[at] = value;
            }
            case 1u: {
                y_1[at] = value;
            }
            default: {
                y_2[at] = value;
            }
        }
    }
}

@compute @workgroup_size(lanes)
fn few_rows_words(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let outputs = outputs_of(index);
    let rows = rows_of_matrix(outputs);
    var squares = 0.0;
    if uniforms.extra_is == NORM {
        for (var k = lane; k < uniforms.inputs; k += lanes) {
            let number = x[outputs.row * uniforms.inputs + k];
            squares += number * number;
        }
    }
    let norm = norm_of(lane, squares);
    let products = products_of_words(outputs.matrix, rows, outputs.row, lane);
    var sums = norm * sums_over_lanes(lane, products);
    if uniforms.swiglu != 0u {
        let products_of_up = products_of_words(1u, rows, outputs.row, lane);
        let up = norm * sums_over_lanes(lane, products_of_up);
        sums *= vec4(sigmoid(sums.x), sigmoid(sums.y), sigmoid(sums.z), sigmoid(sums.w)) * up;
    }
    store_outputs(outputs, lane, sums);
}

// The same where rows of x and of the matrices are whole vectors of four words.
@compute @workgroup_size(lanes)
fn few_rows_vectors(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let outputs = outputs_of(index);
    let rows = rows_of_matrix(outputs);
    var squares = 0.0;
    if uniforms.extra_is == NORM {
        let vectors = uniforms.inputs / 4u;
        for (var k = lane; k < vectors; k += lanes) {
            let four = x_vectors[outputs.row * vectors + k];
            squares += dot(four, four);
        }
    }
    let norm = norm_of(lane, squares);
    let products = products_of_vectors(outputs.matrix, rows, outputs.row, lane);
    var sums = norm * sums_over_lanes(lane, products);
    if uniforms.swiglu != 0u {
        let products_of_up = products_of_vectors(1u, rows, outputs.row, lane);
        let up = norm * sums_over_lanes(lane, products_of_up);
        sums *= vec4(sigmoid(sums.x), sigmoid(sums.y), sigmoid(sums.z), sigmoid(sums.w)) * up;
    }
    store_outputs(outputs, lane, sums);
}
