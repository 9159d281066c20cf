// Softmax: y = exp(x - max(x)) / sum(exp(x - max(x))), over rows. Log-softmax: y = (x - max(x)) -
// log(sum(exp(x - max(x)))).

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    rows: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// Forward:
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> new_y: array<f32>;

// Backward:
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

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

// The largest of every invocation's value, for every invocation.
fn max_over_lanes(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    shared_values[lane] = value;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            shared_values[lane] = max(shared_values[lane], shared_values[lane + width]);
        }
    }
    workgroupBarrier();
    return shared_values[0];
}

@compute @workgroup_size(lanes)
fn softmax_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.width;
    var largest = x[start];
    for (var j = lane; j < uniforms.width; j += lanes) {
        largest = max(largest, x[start + j]);
    }
    largest = max_over_lanes(lane, largest);
    var sum = 0.0;
    for (var j = lane; j < uniforms.width; j += lanes) {
        let value = exp(x[start + j] - largest);
        new_y[start + j] = value;
        sum += value;
    }
    let scale = 1.0 / sum_over_lanes(lane, sum);
    for (var j = lane; j < uniforms.width; j += lanes) {
        new_y[start + j] *= scale;
    }
}

@compute @workgroup_size(lanes)
fn softmax_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.width;
    var sum = 0.0;
    for (var j = lane; j < uniforms.width; j += lanes) {
        sum += y[start + j] * dy[start + j];
    }
    let mean = sum_over_lanes(lane, sum);
    for (var j = lane; j < uniforms.width; j += lanes) {
        dx[start + j] = y[start + j] * (dy[start + j] - mean);
    }
}

@compute @workgroup_size(lanes)
fn softmax_log_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.width;
    var largest = x[start];
    for (var j = lane; j < uniforms.width; j += lanes) {
        largest = max(largest, x[start + j]);
    }
    largest = max_over_lanes(lane, largest);
    var sum = 0.0;
    for (var j = lane; j < uniforms.width; j += lanes) {
        sum += exp(x[start + j] - largest);
    }
    let log_sum = log(sum_over_lanes(lane, sum));
    for (var j = lane; j < uniforms.width; j += lanes) {
        new_y[start + j] = (x[start + j] - largest) - log_sum;
    }
}

@compute @workgroup_size(lanes)
fn softmax_log_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.width;
    var sum = 0.0;
    for (var j = lane; j < uniforms.width; j += lanes) {
        sum += dy[start + j];
    }
    let total = sum_over_lanes(lane, sum);
    for (var j = lane; j < uniforms.width; j += lanes) {
        dx[start + j] = dy[start + j] - exp(y[start + j]) * total;
    }
}
