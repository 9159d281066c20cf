// y[i, k, j] = x[i, ids[k], j], and dx[i, t, j] = the sum of dy[i, k, j] over the k with ids[k] = t.

override lanes: u32 = 64u;

struct Forward {
    first_group: u32,
    // Of y.
    elements: u32,
    // The sizes of the middle and last axis of x.
    count: u32,
    after: u32,
    // How many ids there are.
    ids: u32,
}

struct Backward {
    first_group: u32,
    // An i and an id that occurs each.
    pairs: u32,
    count: u32,
    after: u32,
    ids: u32,
    // How many occurring ids occur.
    occurring: u32,
}

@group(0) @binding(0) var<uniform> forward: Forward;
@group(0) @binding(0) var<uniform> backward: Backward;

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
    let index = id.x + (forward.first_group + id.y * groups.x) * 64u;
    if index >= forward.elements {
        return;
    }
    let row = index / forward.after;
    let source = row / forward.ids * forward.count + ids[row % forward.ids];
    y[index] = x[source * forward.after + index % forward.after];
}

// Adds to dx, which holds zeros or the gradient so far: a workgroup for each i and id.
@compute @workgroup_size(lanes)
fn gather_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = backward.first_group + group.x + group.y * groups.x;
    if pair >= backward.pairs {
        return;
    }
    let i = pair / backward.occurring;
    let number = pair % backward.occurring;
    let to = (i * backward.count + distinct[number]) * backward.after;
    for (var j = lane; j < backward.after; j += lanes) {
        var total = 0.0;
        for (var k = starts[number]; k < starts[number + 1u]; k++) {
            total += dy[(i * backward.ids + order[k]) * backward.after + j];
        }
        dx[to + j] += total;
    }
}
