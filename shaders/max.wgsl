// y[i, j] = the maximum over k of x[i, k, j].

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    outputs: u32,
    // How many k and how many j there are.
    count: u32,
    after: u32,
    // Whether dx is added to what is there.
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;

// Forward:
@group(0) @binding(2) var<storage, read_write> new_y: array<f32>;

// Backward:
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

var<workgroup> shared_values: array<f32, 256>;

// Where x[i, k, j] lies, for the i and j of an output.
fn position(output: u32, k: u32) -> u32 {
    let i = output / uniforms.after;
    return (i * uniforms.count + k) * uniforms.after + output % uniforms.after;
}

@compute @workgroup_size(lanes)
fn max_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let output = uniforms.first_group + group.x + group.y * groups.x;
    if output >= uniforms.outputs {
        return;
    }
    var largest = x[position(output, 0u)];
    for (var k = lane; k < uniforms.count; k += lanes) {
        largest = max(largest, x[position(output, k)]);
    }
    shared_values[lane] = largest;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            shared_values[lane] = max(shared_values[lane], shared_values[lane + width]);
        }
    }
    if lane == 0u {
        new_y[output] = shared_values[0];
    }
}

// An invocation for each output: dy goes to the first x that is the maximum.
@compute @workgroup_size(64)
fn max_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let output = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if output >= uniforms.outputs {
        return;
    }
    var found = false;
    for (var k = 0u; k < uniforms.count; k++) {
        let at = position(output, k);
        let here = !found && x[at] == y[output];
        found = found || here;
        let term = select(0.0, dy[output], here);
        if uniforms.add != 0u {
            dx[at] += term;
        } else {
            dx[at] = term;
        }
    }
}
