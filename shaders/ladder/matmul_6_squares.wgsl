// y = a b, as matmul_5_vectors, but an invocation makes 8 by 8 numbers of y, in four blocks, and a workgroup a
// square of 64 by 64, 8 steps at a time: four vectors from workgroup memory serve 64 multiply-adds, not 32, and one
// from global memory twice as many as before. What is left: between two barriers a workgroup waits for a tile, and
// multiplies nothing meanwhile.

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

// Vector 17 * step + i of a tile has numbers 4 i to 4 i + 3 of a column of a, or of a row of b. The odd 17, where
// 16 would do, spreads what lies below each other over the banks.
var<workgroup> a_tile: array<vec4<f32>, 136>;
var<workgroup> b_tile: array<vec4<f32>, 136>;

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

// A lane's part of the next tiles: four vectors, a block of 4 by 4. Lanes before the 32nd bring a, and turn their
// blocks, as vectors of a lie along k; the others bring b.
fn fetch(lane: u32, row: u32, column: u32, k: u32) -> mat4x4<f32> {
    if lane < 32u {
        let r = row + 4u * (lane / 2u);
        let at = k + 4u * (lane % 2u);
        return transpose(mat4x4(a_at(r, at), a_at(r + 1u, at), a_at(r + 2u, at), a_at(r + 3u, at)));
    }
    let at = k + 4u * (lane / 16u % 2u);
    let c = column + 4u * (lane % 16u);
    return mat4x4(b_at(at, c), b_at(at + 1u, c), b_at(at + 2u, c), b_at(at + 3u, c));
}

fn put(lane: u32, block: mat4x4<f32>) {
    if lane < 32u {
        let at = 4u * (lane % 2u) * 17u + lane / 2u;
        a_tile[at] = block[0];
        a_tile[at + 17u] = block[1];
        a_tile[at + 34u] = block[2];
        a_tile[at + 51u] = block[3];
    } else {
        let at = 4u * (lane / 16u % 2u) * 17u + lane % 16u;
        b_tile[at] = block[0];
        b_tile[at + 17u] = block[1];
        b_tile[at + 34u] = block[2];
        b_tile[at + 51u] = block[3];
    }
}

// The sums after one more step: `a` has a number of each of their rows, `b` one of each column.
fn outer(sums: mat4x4<f32>, a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(sums[0] + a.x * b, sums[1] + a.y * b, sums[2] + a.z * b, sums[3] + a.w * b);
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
    let i = lane / 8u;
    let j = lane % 8u;
    // The upper blocks' rows and the left blocks' columns; the others are 32 further on.
    let top = row + 4u * i;
    let start = column + 4u * j;
    var upper_left = mat4x4<f32>();
    var upper_right = mat4x4<f32>();
    var lower_left = mat4x4<f32>();
    var lower_right = mat4x4<f32>();
    for (var k = 0u; k < uniforms.depth; k += 8u) {
        workgroupBarrier();
        put(lane, fetch(lane, row, column, k));
        workgroupBarrier();
        for (var step = 0u; step < 8u; step++) {
            let l = step * 17u + i;
            let r = step * 17u + j;
            let upper = a_tile[l];
            let lower = a_tile[l + 8u];
            let left = b_tile[r];
            let right = b_tile[r + 8u];
            upper_left = outer(upper_left, upper, left);
            upper_right = outer(upper_right, upper, right);
            lower_left = outer(lower_left, lower, left);
            lower_right = outer(lower_right, lower, right);
        }
    }
    store_block(top, start, upper_left);
    store_block(top, start + 32u, upper_right);
    store_block(top + 32u, start, lower_left);
    store_block(top + 32u, start + 32u, lower_right);
}
