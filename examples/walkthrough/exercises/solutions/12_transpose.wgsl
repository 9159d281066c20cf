// 12. A transpose without bank conflicts
//
// A workgroup takes a square of 32 × 32 numbers into workgroup memory, row by row, and
// writes it column by column: so both memory accesses are in whole sectors. But
// workgroup memory has 32 banks: word w lies in bank w % 32, and a bank gives one word
// at a time. The 32 invocations that read a column all want the same bank.
//
// Task: the kernel is right. Make it free of bank conflicts, and keep the reads and
// writes of x and y in whole sectors.

struct Uniforms {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// How far apart rows of the square lie.
// SOLUTION
const PITCH = 33u;
// INSTEAD
// const PITCH = 32u;
// END

var<workgroup> square: array<f32, 32u * PITCH>;

// Eight rows of 32 invocations: each does four numbers.
@compute @workgroup_size(32, 8)
fn transpose(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) id: vec3<u32>,
) {
    let first_row = group.y * 32u;
    let first_column = group.x * 32u;
    for (var row = id.y; row < 32u; row += 8u) {
        if first_row + row < uniforms.rows && first_column + id.x < uniforms.columns {
            let number = x[(first_row + row) * uniforms.columns + first_column + id.x];
            square[row * PITCH + id.x] = number;
        }
    }
    workgroupBarrier();
    for (var column = id.y; column < 32u; column += 8u) {
        if first_column + column < uniforms.columns && first_row + id.x < uniforms.rows {
            let number = square[id.x * PITCH + column];
            y[(first_column + column) * uniforms.rows + first_row + id.x] = number;
        }
    }
}

// HINT
// Invocations that are neighbours read words that lie PITCH apart. Into which banks do
// 0, 32, 64, ... fall?
// HINT
// Let rows begin a word further on than they need to. One word a row is wasted.
