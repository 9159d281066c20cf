// y = a b. A workgroup of 256 makes a square of 16 by 16 numbers of y. It brings squares of a and b into
// workgroup memory, where each number serves 16 invocations: global memory is read a sixteenth as often as by
// matmul_2_neighbours. What is left: two reads of workgroup memory for each multiply-add.

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

var<workgroup> a_tile: array<f32, 256>;
var<workgroup> b_tile: array<f32, 256>;

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

@compute @workgroup_size(256)
fn matmul_3_tile(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // ANCHOR: tile
    let index = uniforms.first_group + group.x + group.y * groups.x;
    let across = (uniforms.columns + 15u) / 16u;
    let i = lane / 16u;
    let j = lane % 16u;
    let row = index / across * 16u + i;
    let column = index % across * 16u + j;
    var sum = 0.0;
    for (var k = 0u; k < uniforms.depth; k += 16u) {
        workgroupBarrier();
        a_tile[lane] = a_at(row, k + j);
        b_tile[lane] = b_at(k + i, column);
        workgroupBarrier();
        for (var step = 0u; step < 16u; step++) {
            sum += a_tile[i * 16u + step] * b_tile[step * 16u + j];
        }
    }
    // ANCHOR_END: tile
    if row < uniforms.rows && column < uniforms.columns {
        y[row * uniforms.columns + column] = sum;
    }
}
