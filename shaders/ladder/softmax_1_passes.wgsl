// y = exp(x - max) / sum(exp(x - max)), over rows, as the formula says it: a workgroup goes through its row for
// the largest number, again for the sum, and a third time for the results. What is left: the row comes from
// memory three times.

struct Uniforms {
    first_group: u32,
    rows: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> values: array<f32, 64>;

// The largest of every invocation's value, for every invocation.
fn max_of_group(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    values[lane] = value;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            values[lane] = max(values[lane], values[lane + width]);
        }
    }
    workgroupBarrier();
    return values[0];
}

// The sum of every invocation's value, for every invocation.
fn sum_of_group(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    values[lane] = value;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            values[lane] += values[lane + width];
        }
    }
    workgroupBarrier();
    return values[0];
}

@compute @workgroup_size(64)
fn softmax_1_passes(
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
    for (var j = lane; j < uniforms.width; j += 64u) {
        largest = max(largest, x[start + j]);
    }
    largest = max_of_group(lane, largest);
    var sum = 0.0;
    for (var j = lane; j < uniforms.width; j += 64u) {
        sum += exp(x[start + j] - largest);
    }
    sum = sum_of_group(lane, sum);
    for (var j = lane; j < uniforms.width; j += 64u) {
        y[start + j] = exp(x[start + j] - largest) / sum;
    }
}
