// 10. A shared tile
//
// y[i] = x[i - 2] + x[i - 1] + x[i] + x[i + 1] + x[i + 2], where elements outside
// count as 0. Neighbours need almost the same elements. Memory is far away and
// workgroup memory is close, so a workgroup should fetch each element once, into a
// tile that all of its invocations read from.
//
// Task: the kernel is right, but reads every element five times. Read each only once
// in a workgroup: its own 64 and two more on each side.

struct Uniforms {
    elements: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const REACH = 2u;

// The workgroup's own elements, and REACH more on each side.
var<workgroup> tile: array<f32, 68>;

/// x[i - REACH], or 0 where there is none. (Unsigned numbers can't be negative: so it is computed.)
fn element(i: u32) -> f32 {
    if i < REACH || i - REACH >= uniforms.elements {
        return 0.0;
    }
    return x[i - REACH];
}

@compute @workgroup_size(64)
fn window(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = group.x * 64u;
    // SOLUTION
    tile[lane] = element(first + lane);
    if lane < 2u * REACH {
        tile[64u + lane] = element(first + 64u + lane);
    }
    workgroupBarrier();
    // INSTEAD
    // END
    if first + lane < uniforms.elements {
        var sum = 0.0;
        for (var step = 0u; step <= 2u * REACH; step++) {
            // SOLUTION
            sum += tile[lane + step];
            // INSTEAD
            // sum += element(first + lane + step);
            // END
        }
        y[first + lane] = sum;
    }
}

// HINT
// Two parts with a barrier between them: all invocations fill the tile, then each
// reads five of its numbers. tile[0] is element(first).
// HINT
// 68 numbers and 64 invocations: each fetches one, and the first four fetch another,
// 64 further on. An invocation without an element of its own must still help and come
// to the barrier.
