// y = a b, as matmul_4_registers, but numbers come in vectors of four: one read brings what took four, and
// eight invocations that read vectors side by side use each bank of workgroup memory once. Four steps of the
// sums are then a product of two blocks of 4 by 4. Columns and depth are multiples of four. What is left: a
// block of 4 by 4 sums reads a vector for every eight multiply-adds.

struct Uniforms {
    first_group: u32,
    rows: u32,
    columns: u32,
    depth: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

// Of a 32 rows of 16 numbers, of b 16 rows of 32.
var<workgroup> a_tile: array<vec4<f32>, 128>;
var<workgroup> b_tile: array<vec4<f32>, 128>;

// Zeros outside, which add nothing to a sum.
fn a_at(row: u32, k: u32) -> vec4<f32> {
    if row >= uniforms.rows || k >= uniforms.depth {
        return vec4<f32>();
    }
    return a[(row * uniforms.depth + k) / 4u];
}

fn b_at(k: u32, column: u32) -> vec4<f32> {
    if k >= uniforms.depth || column >= uniforms.columns {
        return vec4<f32>();
    }
    return b[(k * uniforms.columns + column) / 4u];
}

fn store(row: u32, column: u32, sums: vec4<f32>) {
    if row < uniforms.rows && column < uniforms.columns {
        y[(row * uniforms.columns + column) / 4u] = sums;
    }
}

// Four vectors of a tile, `stride` vectors apart. (Here a mat4x4 is no more than four vectors.)
fn block_of_a(at: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4(a_tile[at], a_tile[at + stride], a_tile[at + 2u * stride], a_tile[at + 3u * stride]);
}

fn block_of_b(at: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4(b_tile[at], b_tile[at + stride], b_tile[at + 2u * stride], b_tile[at + 3u * stride]);
}

// Four rows of sums, after four more steps: `a` has four numbers of each row, `b` the rows of these steps.
fn multiply_row(sums: vec4<f32>, a: vec4<f32>, b: mat4x4<f32>) -> vec4<f32> {
    return sums + a.x * b[0] + a.y * b[1] + a.z * b[2] + a.w * b[3];
}

fn multiply(sums: mat4x4<f32>, a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        multiply_row(sums[0], a[0], b),
        multiply_row(sums[1], a[1], b),
        multiply_row(sums[2], a[2], b),
        multiply_row(sums[3], a[3], b),
    );
}

@compute @workgroup_size(64)
fn matmul_5_vectors(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    let across = (uniforms.columns + 31u) / 32u;
    let row = index / across * 32u;
    let column = index % across * 32u;
    let i = 4u * (lane / 8u);
    let j = lane % 8u;
    var sums = mat4x4<f32>();
    for (var k = 0u; k < uniforms.depth; k += 16u) {
        workgroupBarrier();
        for (var at = lane; at < 128u; at += 64u) {
            a_tile[at] = a_at(row + at / 4u, k + 4u * (at % 4u));
            b_tile[at] = b_at(k + at / 8u, column + 4u * (at % 8u));
        }
        workgroupBarrier();
        for (var step = 0u; step < 4u; step++) {
            let left = block_of_a(i * 4u + step, 4u);
            let right = block_of_b(step * 32u + j, 8u);
            sums = multiply(sums, left, right);
        }
    }
    store(row + i, column + 4u * j, sums[0]);
    store(row + i + 1u, column + 4u * j, sums[1]);
    store(row + i + 2u, column + 4u * j, sums[2]);
    store(row + i + 3u, column + 4u * j, sums[3]);
}
