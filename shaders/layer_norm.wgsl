// y = w (x - mean) / sqrt(variance + epsilon) + b, over rows.

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

struct Sums {
    first_group: u32,
    // Of dw and db, one of them after the other.
    columns: u32,
    blocks: u32,
    // Whether a result is added to what is there.
    add_weight: u32,
    add_bias: u32,
}

@group(0) @binding(0) var<uniform> forward: Forward;
@group(0) @binding(0) var<uniform> backward: Backward;
@group(0) @binding(0) var<uniform> of_sums: Sums;
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

// Of each block a row of parts of dw, and one of db.
@group(0) @binding(6) var<storage, read_write> parts: array<f32>;

// The sums of these.
@group(0) @binding(1) var<storage, read> all_parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> whole_dw: array<f32>;
@group(0) @binding(3) var<storage, read_write> whole_db: array<f32>;

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

// dx of a block of rows, and their parts of dw and db.
@compute @workgroup_size(lanes)
fn layer_norm_backward(
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
        let mean = statistics[2u * row];
        let inverse = statistics[2u * row + 1u];
        var sum = 0.0;
        var products = 0.0;
        for (var j = lane; j < width; j += lanes) {
            let weighted = weight[j] * dy[start + j];
            sum += weighted;
            products += weighted * ((x[start + j] - mean) * inverse);
        }
        let shift = sum_over_lanes(lane, sum) / f32(width);
        let slope = sum_over_lanes(lane, products) / f32(width);
        for (var j = lane; j < width; j += lanes) {
            let at = start + j;
            let centred = (x[at] - mean) * inverse;
            let term = (weight[j] * dy[at] - shift - centred * slope) * inverse;
            dx[at] = term + select(0.0, dx[at], backward.add != 0u);
            let of_weight = 2u * number * width + j;
            let of_bias = of_weight + width;
            parts[of_weight] = dy[at] * centred + select(0.0, parts[of_weight], row > first);
            parts[of_bias] = dy[at] + select(0.0, parts[of_bias], row > first);
        }
    }
}

// dw and db from their parts: an invocation for each column.
@compute @workgroup_size(64)
fn layer_norm_sums(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (of_sums.first_group + id.y * groups.x) * 64u;
    if i >= of_sums.columns {
        return;
    }
    var total = 0.0;
    for (var block = 0u; block < of_sums.blocks; block += 1u) {
        total += all_parts[block * of_sums.columns + i];
    }
    let width = of_sums.columns / 2u;
    if i < width {
        whole_dw[i] = total + select(0.0, whole_dw[i], of_sums.add_weight != 0u);
    } else {
        let j = i - width;
        whole_db[j] = total + select(0.0, whole_db[j], of_sums.add_bias != 0u);
    }
}
