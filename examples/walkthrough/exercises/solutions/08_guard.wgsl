// 8. Guard
//
// Workgroups come whole: 100 elements take two of 64 invocations, and 28 of these have
// nothing to do. They run all the same, with indices that lie outside of the arrays.
// What then happens differs from one GPU to the next, so a kernel must not let it
// happen.
//
// Task: the same as before, y[i] = 3 x[i] + 1, for as many elements as the uniforms
// say.

struct Uniforms {
    elements: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn guard(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    // SOLUTION
    if i < uniforms.elements {
        y[i] = 3.0 * x[i] + 1.0;
    }
    // INSTEAD
    // y[i] = 3.0 * x[i] + 1.0;
    // END
}

// HINT
// Only the invocations that have an element may touch memory.
// HINT
// An `if` around the line. The last element has the index `uniforms.elements - 1u`: is
// it `<` or `<=`?
