// y[i, k, j] = x[i, ids[k], j], and dx[i, t, j] = the sum of dy[i, k, j] over the k with ids[k] = t.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    // Forward: the elements of y. Backward: the pairs of an i and an id that occurs.
    total: u32,
    // The sizes of the middle and last axis of x.
    count: u32,
    after: u32,
    // How many ids there are, and how many different ones.
    picked: u32,
    different: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// Forward:
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// Backward: the ids that occur; where the positions of each start in `order`; the positions.
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> distinct: array<u32>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read> order: array<u32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn gather_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if index >= uniforms.total {
        return;
    }
    let row = index / uniforms.after;
    let source = row / uniforms.picked * uniforms.count + ids[row % uniforms.picked];
    y[index] = x[source * uniforms.after + index % uniforms.after];
}

// Adds to dx, which holds zeros or the gradient so far: a workgroup for each place picked.
@compute @workgroup_size(lanes)
fn gather_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = uniforms.first_group + group.x + group.y * groups.x;
    if place >= uniforms.total {
        return;
    }
    let i = place / uniforms.different;
    let which = place % uniforms.different;
    let to = (i * uniforms.count + distinct[which]) * uniforms.after;
    for (var j = lane; j < uniforms.after; j += lanes) {
        var total = 0.0;
        for (var k = starts[which]; k < starts[which + 1u]; k++) {
            total += dy[(i * uniforms.picked + order[k]) * uniforms.after + j];
        }
        dx[to + j] += total;
    }
}
