// y[i, j] = the maximum over k of x[i, k, j].

override lanes: u32 = 64u;

struct Forward {
    first_group: u32,
    outputs: u32,
    // How many k and how many j there are.
    count: u32,
    after: u32,
}

struct Backward {
    first_group: u32,
    outputs: u32,
    count: u32,
    after: u32,
    // Whether dx is added to what is there.
    add: u32,
}

@group(0) @binding(0) var<uniform> forward: Forward;
@group(0) @binding(0) var<uniform> backward: Backward;
@group(0) @binding(1) var<storage, read> x: array<f32>;

// Forward:
@group(0) @binding(2) var<storage, read_write> new_y: array<f32>;

// Backward:
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

var<workgroup> shared_values: array<f32, 256>;

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

// Where x[i, k, j] lies, for the i and j of an output.
fn element(output: u32, k: u32, count: u32, after: u32) -> u32 {
    return (output / after * count + k) * after + output % after;
}

@compute @workgroup_size(lanes)
fn max_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let output = forward.first_group + group.x + group.y * groups.x;
    if output >= forward.outputs {
        return;
    }
    let count = forward.count;
    let after = forward.after;
    var largest = x[element(output, 0u, count, after)];
    for (var k = lane; k < count; k += lanes) {
        largest = max(largest, x[element(output, k, count, after)]);
    }
    largest = max_over_lanes(lane, largest);
    if lane == 0u {
        new_y[output] = largest;
    }
}

// An invocation for each output: dy goes to the first x that is the maximum.
@compute @workgroup_size(64)
fn max_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let output = id.x + (backward.first_group + id.y * groups.x) * 64u;
    if output >= backward.outputs {
        return;
    }
    var found = false;
    for (var k = 0u; k < backward.count; k++) {
        let at = element(output, k, backward.count, backward.after);
        let here = !found && x[at] == y[output];
        found = found || here;
        let term = select(0.0, dy[output], here);
        if backward.add != 0u {
            dx[at] += term;
        } else {
            dx[at] = term;
        }
    }
}
