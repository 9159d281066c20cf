// y[i, part, j] = the sum over k of x[i, k, j], with k in part number `part`, of `length`: a workgroup each
// where neighbours in memory are summed, and an invocation each where they are summed apart.

override lanes: u32 = 64u;

struct Columns {
    first_group: u32,
    // Of y: an invocation each.
    elements: u32,
    count: u32,
    after: u32,
    length: u32,
    // Whether the result is added to what is there.
    add: u32,
}

struct Uniforms {
    first_group: u32,
    // Of y: a workgroup each.
    outputs: u32,
    // How many k there are.
    count: u32,
    // How many j there are.
    after: u32,
    length: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(0) var<uniform> columns: Columns;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

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
fn sum_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let output = uniforms.first_group + group.x + group.y * groups.x;
    if output >= uniforms.outputs {
        return;
    }
    let parts = (uniforms.count + uniforms.length - 1u) / uniforms.length;
    let j = output % uniforms.after;
    let part = output / uniforms.after % parts;
    let i = output / uniforms.after / parts;
    let end = min((part + 1u) * uniforms.length, uniforms.count);
    var total = 0.0;
    for (var k = part * uniforms.length + lane; k < end; k += lanes) {
        total += x[(i * uniforms.count + k) * uniforms.after + j];
    }
    total = sum_over_lanes(lane, total);
    if lane == 0u {
        y[output] = total;
    }
}

// Neighbouring invocations read neighbours.
@compute @workgroup_size(64)
fn sum_columns(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let output = id.x + (columns.first_group + id.y * groups.x) * 64u;
    if output >= columns.elements {
        return;
    }
    let parts = (columns.count + columns.length - 1u) / columns.length;
    let j = output % columns.after;
    let part = output / columns.after % parts;
    let i = output / columns.after / parts;
    let end = min((part + 1u) * columns.length, columns.count);
    var total = 0.0;
    for (var k = part * columns.length; k < end; k += 1u) {
        total += x[(i * columns.count + k) * columns.after + j];
    }
    if columns.add != 0u {
        total += y[output];
    }
    y[output] = total;
}
