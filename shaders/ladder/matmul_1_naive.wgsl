// y = a b, as one writes it first: an invocation makes one number of y, and goes along a row of a and down a
// column of b. It is right. It is slow, since invocations that follow each other make numbers that lie below
// each other: at every step they read a column of a, whose numbers are far apart in memory.

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
fn matmul_1_naive(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    // ANCHOR: place
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    let row = i % uniforms.rows;
    let column = i / uniforms.rows;
    // ANCHOR_END: place
    if column >= uniforms.columns {
        return;
    }
    // ANCHOR: sum
    var sum = 0.0;
    for (var k = 0u; k < uniforms.depth; k++) {
        sum += a[row * uniforms.depth + k] * b[k * uniforms.columns + column];
    }
    y[row * uniforms.columns + column] = sum;
    // ANCHOR_END: sum
}
