// y = w x / r with r = sqrt(mean(x^2) + epsilon), over rows.

override lanes: u32 = 64u;

struct Forward {
    first_group: u32,
    rows: u32,
    width: u32,
    epsilon: f32,
}

struct BackwardInput {
    first_group: u32,
    rows: u32,
    width: u32,
    // Whether dx is added to what is there.
    add: u32,
}

struct BackwardWeight {
    first_group: u32,
    rows: u32,
    width: u32,
    // The rows that a part of dw is summed over.
    block: u32,
}

@group(0) @binding(0) var<uniform> forward: Forward;
@group(0) @binding(0) var<uniform> backward_input: BackwardInput;
@group(0) @binding(0) var<uniform> backward_weight: BackwardWeight;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;

// Forward:
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> new_inverse: array<f32>;

// Backward; dx, or the parts of dw.
@group(0) @binding(3) var<storage, read> inverse: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;

var<workgroup> shared_values: array<f32, 256>;

// The sum of every invocation's value, for every invocation.
fn sum_over_lanes(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    shared_values[lane] = value;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            shared_values[lane] += shared_values[lane + width];
        }
    }
    workgroupBarrier();
    return shared_values[0];
}

@compute @workgroup_size(lanes)
fn rms_norm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = forward.first_group + group.x + group.y * groups.x;
    if row >= forward.rows {
        return;
    }
    let start = row * forward.width;
    var squares = 0.0;
    for (var j = lane; j < forward.width; j += lanes) {
        squares += x[start + j] * x[start + j];
    }
    let mean_square = sum_over_lanes(lane, squares) / f32(forward.width);
    let scale = 1.0 / sqrt(mean_square + forward.epsilon);
    if lane == 0u {
        new_inverse[row] = scale;
    }
    for (var j = lane; j < forward.width; j += lanes) {
        y[start + j] = x[start + j] * scale * weight[j];
    }
}

@compute @workgroup_size(lanes)
fn rms_norm_backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = backward_input.first_group + group.x + group.y * groups.x;
    if row >= backward_input.rows {
        return;
    }
    let start = row * backward_input.width;
    let scale = inverse[row];
    var products = 0.0;
    for (var j = lane; j < backward_input.width; j += lanes) {
        products += weight[j] * dy[start + j] * (x[start + j] * scale);
    }
    let mean = sum_over_lanes(lane, products) / f32(backward_input.width);
    for (var j = lane; j < backward_input.width; j += lanes) {
        let at = start + j;
        let term = (weight[j] * dy[at] - x[at] * scale * mean) * scale;
        if backward_input.add != 0u {
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
    let i = id.x + (backward_weight.first_group + id.y * groups.x) * 64u;
    let first = i / backward_weight.width * backward_weight.block;
    if first >= backward_weight.rows {
        return;
    }
    let end = min(first + backward_weight.block, backward_weight.rows);
    var total = 0.0;
    for (var row = first; row < end; row++) {
        let at = row * backward_weight.width + i % backward_weight.width;
        total += dy[at] * x[at] * inverse[row];
    }
    gradient[i] = total;
}
