// y = a b, as matmul_4_registers, but numbers come in vectors of four: one read brings what took four, and eight
// invocations that read vectors side by side use each bank of workgroup memory once. Columns and depth are
// multiples of four. What is left: 4 by 4 sums read two vectors for 16 multiply-adds.

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

// Vector 9 * step + i of a tile has numbers 4 i to 4 i + 3 of a column of a, or of a row of b. The odd 9, where
// 8 would do, spreads what lies below each other over the banks.
var<workgroup> a_tile: array<vec4<f32>, 144>;
var<workgroup> b_tile: array<vec4<f32>, 144>;

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
        let r = row + 4u * (lane / 2u % 8u);
        let at = k + 4u * (lane % 2u + lane / 16u * 2u);
        return transpose(mat4x4(a_at(r, at), a_at(r + 1u, at), a_at(r + 2u, at), a_at(r + 3u, at)));
    }
    let at = k + 4u * (lane / 8u % 4u);
    let c = column + 4u * (lane % 8u);
    return mat4x4(b_at(at, c), b_at(at + 1u, c), b_at(at + 2u, c), b_at(at + 3u, c));
}

fn put(lane: u32, block: mat4x4<f32>) {
    if lane < 32u {
        let at = 4u * (lane % 2u + lane / 16u * 2u) * 9u + lane / 2u % 8u;
        a_tile[at] = block[0];
        a_tile[at + 9u] = block[1];
        a_tile[at + 18u] = block[2];
        a_tile[at + 27u] = block[3];
    } else {
        let at = 4u * (lane / 8u % 4u) * 9u + lane % 8u;
        b_tile[at] = block[0];
        b_tile[at + 9u] = block[1];
        b_tile[at + 18u] = block[2];
        b_tile[at + 27u] = block[3];
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
fn matmul_5_vectors(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    let across = (uniforms.columns + 31u) / 32u;
    let row = index / across * 32u;
    let column = index % across * 32u;
    let i = lane / 8u;
    let j = lane % 8u;
    var sums = mat4x4<f32>();
    for (var k = 0u; k < uniforms.depth; k += 16u) {
        workgroupBarrier();
        put(lane, fetch(lane, row, column, k));
        workgroupBarrier();
        for (var step = 0u; step < 16u; step++) {
            sums = outer(sums, a_tile[step * 9u + i], b_tile[step * 9u + j]);
        }
    }
    store_block(row + 4u * i, column + 4u * j, sums);
}
