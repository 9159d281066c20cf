// y = w x / r with r = sqrt(mean(x^2) + epsilon), over rows.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    rows: u32,
    width: u32,
    epsilon: f32,
    // Whether dx is added to what is there.
    add: u32,
    // The rows that a part of dw is summed over.
    block: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;

// Forward:
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> new_inverse: array<f32>;

// Backward; dx, or the parts of dw.
@group(0) @binding(3) var<storage, read> inverse: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;

var<workgroup> totals: array<f32, 256>;

// The sum of every invocation's value, for every invocation.
fn sum_over_lanes(lane: u32, value: f32) -> f32 {
    totals[lane] = value;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            totals[lane] += totals[lane + width];
        }
    }
    workgroupBarrier();
    return totals[0];
}

@compute @workgroup_size(lanes)
fn rms_norm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.width;
    var squares = 0.0;
    for (var j = lane; j < uniforms.width; j += lanes) {
        squares += x[start + j] * x[start + j];
    }
    let mean_square = sum_over_lanes(lane, squares) / f32(uniforms.width);
    let scale = 1.0 / sqrt(mean_square + uniforms.epsilon);
    if lane == 0u {
        new_inverse[row] = scale;
    }
    for (var j = lane; j < uniforms.width; j += lanes) {
        y[start + j] = x[start + j] * scale * weight[j];
    }
}

@compute @workgroup_size(lanes)
fn rms_norm_backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.width;
    let scale = inverse[row];
    var products = 0.0;
    for (var j = lane; j < uniforms.width; j += lanes) {
        products += weight[j] * dy[start + j] * (x[start + j] * scale);
    }
    let mean = sum_over_lanes(lane, products) / f32(uniforms.width);
    for (var j = lane; j < uniforms.width; j += lanes) {
        let at = start + j;
        let term = (weight[j] * dy[at] - x[at] * scale * mean) * scale;
        if uniforms.add != 0u {
            gradient[at] += term;
        } else {
            gradient[at] = term;
        }
    }
}

// A block's part of dw in one column: an invocation each.
@compute @workgroup_size(64)
fn rms_norm_backward_weight(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    let first = i / uniforms.width * uniforms.block;
    if first >= uniforms.rows {
        return;
    }
    let end = min(first + uniforms.block, uniforms.rows);
    var total = 0.0;
    for (var row = first; row < end; row++) {
        let at = row * uniforms.width + i % uniforms.width;
        total += dy[at] * x[at] * inverse[row];
    }
    gradient[i] = total;
}
