// y = w x / r with r = sqrt(mean(x^2) + epsilon), over rows; also of the sum of x and another tensor, which is
// kept.

override lanes: u32 = 64u;

struct Forward {
    first_group: u32,
    rows: u32,
    width: u32,
    epsilon: f32,
}

struct Backward {
    first_group: u32,
    rows: u32,
    width: u32,
    // The rows that a workgroup takes.
    block: u32,
    // Whether dx is added to what is there.
    add: u32,
}

@group(0) @binding(0) var<uniform> forward: Forward;
@group(0) @binding(0) var<uniform> backward: Backward;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;

// Forward:
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> new_inverse: array<f32>;

// Forward of a sum:
@group(0) @binding(3) var<storage, read> other: array<f32>;
@group(0) @binding(4) var<storage, read_write> sum: array<f32>;
@group(0) @binding(5) var<storage, read_write> y_of_sum: array<f32>;
@group(0) @binding(6) var<storage, read_write> inverse_of_sum: array<f32>;

// Backward; dx, and the parts of dw.
@group(0) @binding(3) var<storage, read> inverse: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> parts: array<f32>;

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
fn rms_norm_add_forward(
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
        let both = x[start + j] + other[start + j];
        sum[start + j] = both;
        squares += both * both;
    }
    let mean_square = sum_over_lanes(lane, squares) / f32(forward.width);
    let scale = 1.0 / sqrt(mean_square + forward.epsilon);
    if lane == 0u {
        inverse_of_sum[row] = scale;
    }
    for (var j = lane; j < forward.width; j += lanes) {
        y_of_sum[start + j] = sum[start + j] * scale * weight[j];
    }
}

// dx of a block of rows, and their part of dw.
@compute @workgroup_size(lanes)
fn rms_norm_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = backward.first_group + group.x + group.y * groups.x;
    let width = backward.width;
    let first = number * backward.block;
    if first >= backward.rows {
        return;
    }
    let end = min(first + backward.block, backward.rows);
    for (var row = first; row < end; row += 1u) {
        let start = row * width;
        let scale = inverse[row];
        var products = 0.0;
        for (var j = lane; j < width; j += lanes) {
            products += weight[j] * dy[start + j] * (x[start + j] * scale);
        }
        let mean = sum_over_lanes(lane, products) / f32(width);
        for (var j = lane; j < width; j += lanes) {
            let at = start + j;
            let centred = x[at] * scale;
            let term = (weight[j] * dy[at] - centred * mean) * scale;
            dx[at] = term + select(0.0, dx[at], backward.add != 0u);
            let before = select(0.0, parts[number * width + j], row > first);
            parts[number * width + j] = before + dy[at] * centred;
        }
    }
}
