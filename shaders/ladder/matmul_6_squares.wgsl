// y = a b, as matmul_5_vectors, but an invocation makes 8 by 8 numbers of y, in four blocks, and a workgroup a
// square of 64 by 64, 8 steps at a time: twice as many multiply-adds for each vector from workgroup memory, and
// for each from global memory. What is left: between two barriers a workgroup waits for a tile, and multiplies
// nothing meanwhile.

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

// Of a 64 rows of 8 numbers, of b 8 rows of 64.
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

fn store_block(row: u32, column: u32, sums: mat4x4<f32>) {
    store(row, column, sums[0]);
    store(row + 1u, column, sums[1]);
    store(row + 2u, column, sums[2]);
    store(row + 3u, column, sums[3]);
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
fn matmul_6_squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    let across = (uniforms.columns + 63u) / 64u;
    let row = index / across * 64u;
    let column = index % across * 64u;
    // Rows and columns of an invocation's blocks: the first, and the second 32 further on.
    let i = 4u * (lane / 8u);
    let j = lane % 8u;
    var upper_left = mat4x4<f32>();
    var upper_right = mat4x4<f32>();
    var lower_left = mat4x4<f32>();
    var lower_right = mat4x4<f32>();
    for (var k = 0u; k < uniforms.depth; k += 8u) {
        workgroupBarrier();
        for (var at = lane; at < 128u; at += 64u) {
            a_tile[at] = a_at(row + at / 2u, k + 4u * (at % 2u));
            b_tile[at] = b_at(k + at / 16u, column + 4u * (at % 16u));
        }
        workgroupBarrier();
        for (var step = 0u; step < 2u; step++) {
            let upper = block_of_a(i * 2u + step, 2u);
            let lower = block_of_a((i + 32u) * 2u + step, 2u);
            let left = block_of_b(step * 64u + j, 16u);
            let right = block_of_b(step * 64u + j + 8u, 16u);
            upper_left = multiply(upper_left, upper, left);
            upper_right = multiply(upper_right, upper, right);
            lower_left = multiply(lower_left, lower, left);
            lower_right = multiply(lower_right, lower, right);
        }
    }
    store_block(row + i, column + 4u * j, upper_left);
    store_block(row + i, column + 4u * j + 32u, upper_right);
    store_block(row + i + 32u, column + 4u * j, lower_left);
    store_block(row + i + 32u, column + 4u * j + 32u, lower_right);
}
