// 7. Map
//
// A kernel runs once for each element, in many invocations at once. Each is told its
// number, and does its own element. Here are 64 elements and 64 invocations, one
// workgroup.
//
// Task: y[i] = 3 x[i] + 1 for every i.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn map(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    // SOLUTION
    y[i] = 3.0 * x[i] + 1.0;
    // INSTEAD
    // // (one line)
    // END
}

// HINT
// There is no loop over i: the loop is that the kernel runs 64 times. What would the
// body of the loop be?
// HINT
// WGSL has no implicit conversions from whole numbers that were computed, but literals
// may be written as 3.0 and 1.0. The line begins with `y[i] =`.
