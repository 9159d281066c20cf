// 9. Reduce
//
// 64 invocations add 64 numbers in six rounds: in the first, 32 of them add two
// numbers each, then 16, and so on. They share workgroup memory to do so. Nothing says
// which invocation comes first, but for barriers: all wait there until all have come,
// and see then what the others wrote.
//
// Task: the sum of each workgroup's 64 numbers. The kernel gives the right sums on the
// simulated GPU, since that one runs all invocations in step. A real one need not.
// Find what is missing.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

var<workgroup> parts: array<f32, 64>;

@compute @workgroup_size(64)
fn reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    parts[lane] = x[group.x * 64u + lane];
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            parts[lane] += parts[lane + half];
        }
        // SOLUTION
        workgroupBarrier();
        // INSTEAD
        // END
    }
    if lane == 0u {
        sums[group.x] = parts[0];
    }
}

// HINT
// In the second round invocation 0 reads what invocation 16 wrote in the first. What
// makes sure that it has been written?
// HINT
// A workgroupBarrier() in every round, where all invocations come to it: so within the
// loop, and not within the `if`.
