// y = w (x - mean) / sqrt(variance + epsilon) + b, over rows.

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
    // The rows that a part of dw and db is summed over.
    block: u32,
}

@group(0) @binding(0) var<uniform> forward: Forward;
@group(0) @binding(0) var<uniform> backward_input: BackwardInput;
@group(0) @binding(0) var<uniform> backward_weight: BackwardWeight;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;

// Forward; the statistics of a row are its mean and 1 / its deviation.
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> new_statistics: array<f32>;

// Backward:
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

// Backward, the parts of the other two:
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;

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
fn layer_norm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = forward.first_group + group.x + group.y * groups.x;
    if row >= forward.rows {
        return;
    }
    let start = row * forward.width;
    var sum = 0.0;
    for (var j = lane; j < forward.width; j += lanes) {
        sum += x[start + j];
    }
    let mean = sum_over_lanes(lane, sum) / f32(forward.width);
    var squares = 0.0;
    for (var j = lane; j < forward.width; j += lanes) {
        squares += (x[start + j] - mean) * (x[start + j] - mean);
    }
    let variance = sum_over_lanes(lane, squares) / f32(forward.width);
    let inverse = 1.0 / sqrt(variance + forward.epsilon);
    if lane == 0u {
        new_statistics[2u * row] = mean;
        new_statistics[2u * row + 1u] = inverse;
    }
    for (var j = lane; j < forward.width; j += lanes) {
        y[start + j] = (x[start + j] - mean) * inverse * weight[j] + bias[j];
    }
}

@compute @workgroup_size(lanes)
fn layer_norm_backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = backward_input.first_group + group.x + group.y * groups.x;
    if row >= backward_input.rows {
        return;
    }
    let start = row * backward_input.width;
    let mean = statistics[2u * row];
    let inverse = statistics[2u * row + 1u];
    var sum = 0.0;
    var products = 0.0;
    for (var j = lane; j < backward_input.width; j += lanes) {
        let weighted = weight[j] * dy[start + j];
        sum += weighted;
        products += weighted * ((x[start + j] - mean) * inverse);
    }
    let shift = sum_over_lanes(lane, sum) / f32(backward_input.width);
    let slope = sum_over_lanes(lane, products) / f32(backward_input.width);
    for (var j = lane; j < backward_input.width; j += lanes) {
        let at = start + j;
        let centred = (x[at] - mean) * inverse;
        let term = (weight[j] * dy[at] - shift - centred * slope) * inverse;
        if backward_input.add != 0u {
            dx[at] += term;
        } else {
            dx[at] = term;
        }
    }
}

// A block's parts of dw and db in one column: an invocation each.
@compute @workgroup_size(64)
fn layer_norm_backward_weight(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (backward_weight.first_group + id.y * groups.x) * 64u;
    let first = i / backward_weight.width * backward_weight.block;
    if first >= backward_weight.rows {
        return;
    }
    let end = min(first + backward_weight.block, backward_weight.rows);
    var products = 0.0;
    var sum = 0.0;
    for (var row = first; row < end; row++) {
        let at = row * backward_weight.width + i % backward_weight.width;
        let centred = (x[at] - statistics[2u * row]) * statistics[2u * row + 1u];
        products += dy[at] * centred;
        sum += dy[at];
    }
    dw[i] = products;
    db[i] = sum;
}
