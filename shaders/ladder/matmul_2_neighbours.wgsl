// y = a b, as matmul_1_naive, but invocations that follow each other make numbers of y that follow each other
// in memory. At every step they read one number of a, the same for all, and neighbours in a row of b: what
// memory moves is used whole. What is left: each number of a and b is read again for every number of y that
// needs it.

struct Uniforms {
    first_group: u32,
    rows: u32,
    columns: u32,
    depth: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn matmul_2_neighbours(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    // ANCHOR: place
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    let row = i / uniforms.columns;
    let column = i % uniforms.columns;
    // ANCHOR_END: place
    if row >= uniforms.rows {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < uniforms.depth; k++) {
        sum += a[row * uniforms.depth + k] * b[k * uniforms.columns + column];
    }
    y[row * uniforms.columns + column] = sum;
}
