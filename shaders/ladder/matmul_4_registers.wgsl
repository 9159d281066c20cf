// y = a b. An invocation makes a block of 4 by 4 numbers of y, and keeps their sums in registers: four numbers
// of a and four of b, once read from workgroup memory, serve 16 multiply-adds, so there is a quarter of the
// reads of matmul_3_tile. A workgroup of 64 makes a square of 32 by 32, 16 steps at a time. What is left: each
// number is a read of its own, and those of a lie in one bank of workgroup memory, one below the other.

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

var<workgroup> a_tile: array<f32, 512>;
var<workgroup> b_tile: array<f32, 512>;

// Zero outside, which adds nothing to a sum.
fn a_at(row: u32, k: u32) -> f32 {
    if row >= uniforms.rows || k >= uniforms.depth {
        return 0.0;
    }
    return a[row * uniforms.depth + k];
}

fn b_at(k: u32, column: u32) -> f32 {
    if k >= uniforms.depth || column >= uniforms.columns {
        return 0.0;
    }
    return b[k * uniforms.columns + column];
}

fn store(row: u32, column: u32, sums: vec4<f32>) {
    for (var c = 0u; c < 4u; c++) {
        if row < uniforms.rows && column + c < uniforms.columns {
            y[row * uniforms.columns + column + c] = sums[c];
        }
    }
}

@compute @workgroup_size(64)
fn matmul_4_registers(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    let across = (uniforms.columns + 31u) / 32u;
    let row = index / across * 32u;
    let column = index % across * 32u;
    let i = 4u * (lane / 8u);
    let j = 4u * (lane % 8u);
    var sums = mat4x4<f32>();
    for (var k = 0u; k < uniforms.depth; k += 16u) {
        workgroupBarrier();
        for (var at = lane; at < 512u; at += 64u) {
            a_tile[at] = a_at(row + at / 16u, k + at % 16u);
            b_tile[at] = b_at(k + at / 32u, column + at % 32u);
        }
        workgroupBarrier();
        // ANCHOR: block
        for (var step = 0u; step < 16u; step++) {
            let l = i * 16u + step;
            let r = step * 32u + j;
            let right = vec4(b_tile[r], b_tile[r + 1u], b_tile[r + 2u], b_tile[r + 3u]);
            sums[0] += a_tile[l] * right;
            sums[1] += a_tile[l + 16u] * right;
            sums[2] += a_tile[l + 32u] * right;
            sums[3] += a_tile[l + 48u] * right;
        }
        // ANCHOR_END: block
    }
    store(row + i, column + j, sums[0]);
    store(row + i + 1u, column + j, sums[1]);
    store(row + i + 2u, column + j, sums[2]);
    store(row + i + 3u, column + j, sums[3]);
}
