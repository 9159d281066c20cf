// y = x Wᵀ + b where x has few rows, so that it takes the time of reading W: a workgroup makes four
// outputs of one row, and its invocations share the inputs among them. Workgroups that follow each
// other read the same rows of W.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    groups: u32,
    // Of x and y.
    rows: u32,
    // The size of a row of y, and of x.
    outputs: u32,
    inputs: u32,
    has_bias: u32,
    // Of W in half precision, whether its numbers are f16, and not bf16.
    is_f16: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> x_vectors: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> w_vectors: array<vec4<f32>>;
// Two numbers of 16 bits in a word, the first in its lower half; a row begins with a whole word.
@group(0) @binding(2) var<storage, read> w_words: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> shared_sums: array<vec4<f32>, 256>;

// The sum of every invocation's values, for every invocation.
fn sums_over_lanes(lane: u32, values: vec4<f32>) -> vec4<f32> {
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

// The four rows of W that a workgroup multiplies with. Those past the end repeat the last one and are
// not stored.
fn rows_of_w(group: u32) -> vec4<u32> {
    return min(group / uniforms.rows * 4u + vec4(0u, 1u, 2u, 3u), vec4(uniforms.outputs - 1u));
}

fn store_sums(group: u32, lane: u32, sums: vec4<f32>) {
    let values = array(sums.x, sums.y, sums.z, sums.w);
    let row = group % uniforms.rows;
    for (var i = lane; i < 4u; i += lanes) {
        let output = group / uniforms.rows * 4u + i;
        if output < uniforms.outputs {
            var value = values[i];
            if uniforms.has_bias != 0u {
                value += bias[output];
            }
            y[row * uniforms.outputs + output] = value;
        }
    }
}

@compute @workgroup_size(lanes)
fn few_rows_numbers(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let from_x = index % uniforms.rows * uniforms.inputs;
    let from_w = rows_of_w(index) * uniforms.inputs;
    var sums = vec4(0.0);
    for (var k = lane; k < uniforms.inputs; k += lanes) {
        let at = from_w + k;
        sums += x[from_x + k] * vec4(w[at.x], w[at.y], w[at.z], w[at.w]);
    }
    store_sums(index, lane, sums_over_lanes(lane, sums));
}

// The same where rows are whole vectors of four numbers.
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
    let vectors = uniforms.inputs / 4u;
    let from_x = index % uniforms.rows * vectors;
    let from_w = rows_of_w(index) * vectors;
    var sums = vec4(0.0);
    for (var k = lane; k < vectors; k += lanes) {
        let at = from_w + k;
        let four = mat4x4(w_vectors[at.x], w_vectors[at.y], w_vectors[at.z], w_vectors[at.w]);
        sums += x_vectors[from_x + k] * four;
    }
    store_sums(index, lane, sums_over_lanes(lane, sums));
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

// The same for W in half precision.
@compute @workgroup_size(lanes)
fn few_rows_half(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let is_f16 = uniforms.is_f16 != 0u;
    let words = (uniforms.inputs + 1u) / 2u;
    let from_x = index % uniforms.rows * uniforms.inputs;
    let from_w = rows_of_w(index) * words;
    var sums = vec4(0.0);
    for (var k = lane; k < words; k += lanes) {
        let at = from_w + k;
        let four = vec4(w_words[at.x], w_words[at.y], w_words[at.z], w_words[at.w]);
        let lower = four & vec4(0xffffu);
        let upper = four >> vec4(16u);
        let i = 2u * k;
        sums += x[from_x + i] * vec4(
            half_number(lower.x, is_f16),
            half_number(lower.y, is_f16),
            half_number(lower.z, is_f16),
            half_number(lower.w, is_f16),
        );
        // The last word of an odd row holds one number.
        if i + 1u < uniforms.inputs {
            sums += x[from_x + i + 1u] * vec4(
                half_number(upper.x, is_f16),
                half_number(upper.y, is_f16),
                half_number(upper.z, is_f16),
                half_number(upper.w, is_f16),
            );
        }
    }
    store_sums(index, lane, sums_over_lanes(lane, sums));
}
