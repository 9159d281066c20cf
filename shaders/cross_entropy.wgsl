// The mean over the rows that count of -sum(q log softmax(x)), q a smoothed target.

override lanes: u32 = 64u;

struct Forward {
    first_group: u32,
    rows: u32,
    width: u32,
    // The part of a target that is spread evenly.
    smoothing: f32,
}

struct Mean {
    first_group: u32,
    rows: u32,
    // 1 / the number of rows that count.
    scale: f32,
}

struct Backward {
    first_group: u32,
    rows: u32,
    width: u32,
    smoothing: f32,
    scale: f32,
}

const IGNORED: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> forward: Forward;
@group(0) @binding(0) var<uniform> mean: Mean;
@group(0) @binding(0) var<uniform> backward: Backward;

// Forward: the loss of each row, its maximum m and log(sum(exp(x - m))).
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> new_losses: array<f32>;
@group(0) @binding(4) var<storage, read_write> new_statistics: array<f32>;

// The mean:
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;

// Backward, with x and targets:
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

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
fn cross_entropy_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = forward.first_group + group.x + group.y * groups.x;
    if row >= forward.rows {
        return;
    }
    let start = row * forward.width;
    var largest = x[start];
    for (var c = lane; c < forward.width; c += lanes) {
        largest = max(largest, x[start + c]);
    }
    largest = max_over_lanes(lane, largest);
    var exponentials = 0.0;
    var distances = 0.0;
    for (var c = lane; c < forward.width; c += lanes) {
        exponentials += exp(x[start + c] - largest);
        distances += x[start + c] - largest;
    }
    let log_sum = log(sum_over_lanes(lane, exponentials));
    let mean_distance = sum_over_lanes(lane, distances) / f32(forward.width);
    if lane != 0u {
        return;
    }
    new_statistics[2u * row] = largest;
    new_statistics[2u * row + 1u] = log_sum;
    var row_loss = 0.0;
    if targets[row] != IGNORED {
        let distance = x[start + targets[row]] - largest;
        row_loss = log_sum - (1.0 - forward.smoothing) * distance;
        if forward.smoothing > 0.0 {
            row_loss -= forward.smoothing * mean_distance;
        }
    }
    new_losses[row] = row_loss;
}

// One workgroup.
@compute @workgroup_size(lanes)
fn cross_entropy_mean(@builtin(local_invocation_index) lane: u32) {
    var total = 0.0;
    for (var row = lane; row < mean.rows; row += lanes) {
        total += losses[row];
    }
    total = sum_over_lanes(lane, total);
    if lane == 0u {
        loss[0] = total * mean.scale;
    }
}

@compute @workgroup_size(64)
fn cross_entropy_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (backward.first_group + id.y * groups.x) * 64u;
    let row = i / backward.width;
    if row >= backward.rows {
        return;
    }
    let c = i % backward.width;
    var slope = 0.0;
    if targets[row] != IGNORED {
        let p = exp((x[i] - statistics[2u * row]) - statistics[2u * row + 1u]);
        slope = p - backward.smoothing / f32(backward.width);
        if c == targets[row] {
            slope -= 1.0 - backward.smoothing;
        }
    }
    dx[i] = dloss[0] * backward.scale * slope;
}
