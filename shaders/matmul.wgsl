// y = scale · a · b, plus a bias and what is in y if wanted; a batch of matrices at a time.
// Element (i, k) of a matrix a is a[offset + i · a_row + k · a_column]: a transpose is a matter of
// strides. An invocation keeps 8 × 8 sums in registers. Where they lie, and how a and b reach them:
// - matmul_shared, for GPUs: 64 invocations make 64 × 64 sums from tiles in workgroup memory;
// - matmul_registers*, for adapters that are programs on the CPU: 8 invocations make 8 × 64 sums
//   and read memory directly, the element of a being the same for all of them.

struct Uniforms {
    first_group: u32,
    groups: u32,
    rows: u32,
    columns: u32,
    depth: u32,
    // The sum is cut into parts of this length; with several, y holds the parts one after another.
    length: u32,
    batches: u32,
    // The sizes of a batch's last three axes of four.
    size_1: u32, size_2: u32, size_3: u32,
    a_offset: u32, a_row: u32, a_column: u32,
    a_0: u32, a_1: u32, a_2: u32, a_3: u32,
    b_offset: u32, b_row: u32, b_column: u32,
    b_0: u32, b_1: u32, b_2: u32, b_3: u32,
    y_offset: u32,
    has_bias: u32,
    add: u32,
    scale: f32,
}

struct Combine {
    first_group: u32,
    // Of y.
    elements: u32,
    columns: u32,
    parts: u32,
    y_offset: u32,
    has_bias: u32,
    add: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(0) var<uniform> combine: Combine;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> a_vectors: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> b_vectors: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> combined: array<f32>;

// What a workgroup makes: where its sums begin in y, and where its matrices begin in memory.
struct Tile {
    row: u32,
    column: u32,
    first: u32,
    end: u32,
    a: u32,
    b: u32,
    y: u32,
}

fn tile(group: u32, height: u32, width: u32) -> Tile {
    let across = (uniforms.columns + width - 1u) / width;
    let down = (uniforms.rows + height - 1u) / height;
    let slice = group / (across * down);
    let part = slice / uniforms.batches;
    var rest = slice % uniforms.batches;
    var at = (rest % uniforms.size_3) * vec2(uniforms.a_3, uniforms.b_3);
    rest /= uniforms.size_3;
    at += (rest % uniforms.size_2) * vec2(uniforms.a_2, uniforms.b_2);
    rest /= uniforms.size_2;
    at += (rest % uniforms.size_1) * vec2(uniforms.a_1, uniforms.b_1);
    rest /= uniforms.size_1;
    at += rest * vec2(uniforms.a_0, uniforms.b_0);
    return Tile(
        group / across % down * height,
        group % across * width,
        part * uniforms.length,
        min((part + 1u) * uniforms.length, uniforms.depth),
        uniforms.a_offset + at.x,
        uniforms.b_offset + at.y,
        uniforms.y_offset + slice * uniforms.rows * uniforms.columns,
    );
}

// Row i of the 8 × 8 sums is sums[2 i] and sums[2 i + 1]. Written out, since sums indexed by a
// variable would lie in memory instead of registers.
var<private> sums: array<vec4<f32>, 16>;

// Adds the product of a column of a, in two halves, by a row of b.
fn accumulate(upper: vec4<f32>, lower: vec4<f32>, left: vec4<f32>, right: vec4<f32>) {
    sums[0] += upper.x * left;
    sums[1] += upper.x * right;
    sums[2] += upper.y * left;
    sums[3] += upper.y * right;
    sums[4] += upper.z * left;
    sums[5] += upper.z * right;
    sums[6] += upper.w * left;
    sums[7] += upper.w * right;
    sums[8] += lower.x * left;
    sums[9] += lower.x * right;
    sums[10] += lower.y * left;
    sums[11] += lower.y * right;
    sums[12] += lower.z * left;
    sums[13] += lower.z * right;
    sums[14] += lower.w * left;
    sums[15] += lower.w * right;
}

fn store(at: u32, column: u32, sum: f32) {
    var value = uniforms.scale * sum;
    if uniforms.has_bias != 0u {
        value += bias[column];
    }
    if uniforms.add != 0u {
        value += y[at];
    }
    y[at] = value;
}

fn store_row(start: u32, row: u32, column: u32, step: u32, left: vec4<f32>, right: vec4<f32>) {
    if row >= uniforms.rows {
        return;
    }
    let at = start + row * uniforms.columns;
    let values = array(
        left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w,
    );
    for (var j = 0u; j < 8u; j++) {
        let target_column = column + j * step;
        if target_column < uniforms.columns {
            store(at + target_column, target_column, values[j]);
        }
    }
}

// Writes sum (i, j) to row `row` + i · row_step, column `column` + j · column_step.
fn store_all(start: u32, row: u32, row_step: u32, column: u32, column_step: u32) {
    store_row(start, row, column, column_step, sums[0], sums[1]);
    store_row(start, row + row_step, column, column_step, sums[2], sums[3]);
    store_row(start, row + 2u * row_step, column, column_step, sums[4], sums[5]);
    store_row(start, row + 3u * row_step, column, column_step, sums[6], sums[7]);
    store_row(start, row + 4u * row_step, column, column_step, sums[8], sums[9]);
    store_row(start, row + 5u * row_step, column, column_step, sums[10], sums[11]);
    store_row(start, row + 6u * row_step, column, column_step, sums[12], sums[13]);
    store_row(start, row + 7u * row_step, column, column_step, sums[14], sums[15]);
}

// A step of k is 65 numbers: the odd stride spreads a column's numbers over the memory's banks.
const STRIDE = 65u;
var<workgroup> a_tile: array<f32, 1040>;
var<workgroup> b_tile: array<f32, 1040>;

// Element `index` of 64 × 16, counted along the axis on which memory is contiguous.
fn position_in_tile(index: u32, along_depth: bool) -> vec2<u32> {
    if along_depth {
        return vec2(index / 16u, index % 16u);
    }
    return vec2(index % 64u, index / 64u);
}

fn load_tiles(t: Tile, k: u32, lane: u32) {
    for (var index = lane; index < 1024u; index += 64u) {
        let from_a = position_in_tile(index, uniforms.a_column == 1u);
        let row = t.row + from_a.x;
        let k_a = k + from_a.y;
        var value = 0.0;
        if row < uniforms.rows && k_a < t.end {
            value = a[t.a + row * uniforms.a_row + k_a * uniforms.a_column];
        }
        a_tile[from_a.y * STRIDE + from_a.x] = value;
        let from_b = position_in_tile(index, uniforms.b_row == 1u);
        let column = t.column + from_b.x;
        let k_b = k + from_b.y;
        value = 0.0;
        if column < uniforms.columns && k_b < t.end {
            value = b[t.b + k_b * uniforms.b_row + column * uniforms.b_column];
        }
        b_tile[from_b.y * STRIDE + from_b.x] = value;
    }
}

@compute @workgroup_size(64)
fn matmul_shared(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let t = tile(index, 64u, 64u);
    // Rows and columns eight apart: neighbouring invocations read and write neighbours.
    let i = lane / 8u;
    let j = lane % 8u;
    for (var k = t.first; k < t.end; k += 16u) {
        load_tiles(t, k, lane);
        workgroupBarrier();
        for (var step = 0u; step < 16u * STRIDE; step += STRIDE) {
            let l = step + i;
            let r = step + j;
            accumulate(
                vec4(a_tile[l], a_tile[l + 8u], a_tile[l + 16u], a_tile[l + 24u]),
                vec4(a_tile[l + 32u], a_tile[l + 40u], a_tile[l + 48u], a_tile[l + 56u]),
                vec4(b_tile[r], b_tile[r + 8u], b_tile[r + 16u], b_tile[r + 24u]),
                vec4(b_tile[r + 32u], b_tile[r + 40u], b_tile[r + 48u], b_tile[r + 56u]),
            );
        }
        workgroupBarrier();
    }
    store_all(t.y, t.row + i, 8u, t.column + j, 8u);
}

// Where the eight rows of a begin. Rows past the end repeat the last one and are not stored.
struct Rows {
    upper: vec4<u32>,
    lower: vec4<u32>,
}

fn rows_of_a(t: Tile) -> Rows {
    let last = vec4(uniforms.rows - 1u);
    let upper = min(t.row + vec4(0u, 1u, 2u, 3u), last);
    let lower = min(t.row + vec4(4u, 5u, 6u, 7u), last);
    return Rows(t.a + upper * uniforms.a_row, t.a + lower * uniforms.a_row);
}

fn four_of_a(at: vec4<u32>) -> vec4<f32> {
    return vec4(a[at.x], a[at.y], a[at.z], a[at.w]);
}

fn four_of_b(at: vec4<u32>) -> vec4<f32> {
    return vec4(b[at.x], b[at.y], b[at.z], b[at.w]);
}

// Any strides.
@compute @workgroup_size(8)
fn matmul_registers(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let t = tile(index, 8u, 64u);
    let rows = rows_of_a(t);
    let column = t.column + 8u * lane;
    let last = vec4(uniforms.columns - 1u);
    let left = t.b + min(column + vec4(0u, 1u, 2u, 3u), last) * uniforms.b_column;
    let right = t.b + min(column + vec4(4u, 5u, 6u, 7u), last) * uniforms.b_column;
    for (var k = t.first; k < t.end; k++) {
        let along_a = k * uniforms.a_column;
        let along_b = k * uniforms.b_row;
        accumulate(
            four_of_a(rows.upper + along_a),
            four_of_a(rows.lower + along_a),
            four_of_b(left + along_b),
            four_of_b(right + along_b),
        );
    }
    store_all(t.y, t.row, 1u, column, 1u);
}

// The next three make four steps of the sum at a time from vectors of four numbers: on these
// adapters a load costs as much as many products, and a vector as much as a number. Of a matrix
// that is not transposed (n), a vector is a piece of a row; of a transposed one (t), of a column.
// All that vectors are counted along is a multiple of four.

// Column i of each matrix belongs to step i: four rows of a, or four columns of b.
fn accumulate_four(
    upper: mat4x4<f32>,
    lower: mat4x4<f32>,
    left: mat4x4<f32>,
    right: mat4x4<f32>,
) {
    accumulate(upper[0], lower[0], left[0], right[0]);
    accumulate(upper[1], lower[1], left[1], right[1]);
    accumulate(upper[2], lower[2], left[2], right[2]);
    accumulate(upper[3], lower[3], left[3], right[3]);
}

fn vectors_of_a(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(a_vectors[at.x], a_vectors[at.y], a_vectors[at.z], a_vectors[at.w]);
}

fn vectors_of_b(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(b_vectors[at.x], b_vectors[at.y], b_vectors[at.z], b_vectors[at.w]);
}

const FOUR = vec4(0u, 1u, 2u, 3u);

@compute @workgroup_size(8)
fn matmul_registers_nn(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let t = tile(index, 8u, 64u);
    let rows = rows_of_a(t);
    let column = t.column + 8u * lane;
    let last = uniforms.columns - 4u;
    let left = t.b + min(column, last);
    let right = t.b + min(column + 4u, last);
    for (var k = t.first; k < t.end; k += 4u) {
        let along_b = (k + FOUR) * uniforms.b_row;
        accumulate_four(
            transpose(vectors_of_a((rows.upper + k) / 4u)),
            transpose(vectors_of_a((rows.lower + k) / 4u)),
            vectors_of_b((left + along_b) / 4u),
            vectors_of_b((right + along_b) / 4u),
        );
    }
    store_all(t.y, t.row, 1u, column, 1u);
}

@compute @workgroup_size(8)
fn matmul_registers_nt(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let t = tile(index, 8u, 64u);
    let rows = rows_of_a(t);
    let column = t.column + 8u * lane;
    let last = vec4(uniforms.columns - 1u);
    let left = t.b + min(column + FOUR, last) * uniforms.b_column;
    let right = t.b + min(column + 4u + FOUR, last) * uniforms.b_column;
    for (var k = t.first; k < t.end; k += 4u) {
        accumulate_four(
            transpose(vectors_of_a((rows.upper + k) / 4u)),
            transpose(vectors_of_a((rows.lower + k) / 4u)),
            transpose(vectors_of_b((left + k) / 4u)),
            transpose(vectors_of_b((right + k) / 4u)),
        );
    }
    store_all(t.y, t.row, 1u, column, 1u);
}

@compute @workgroup_size(8)
fn matmul_registers_tn(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let t = tile(index, 8u, 64u);
    let column = t.column + 8u * lane;
    let last = vec2(uniforms.rows, uniforms.columns) - 4u;
    let upper = t.a + min(t.row, last.x);
    let lower = t.a + min(t.row + 4u, last.x);
    let left = t.b + min(column, last.y);
    let right = t.b + min(column + 4u, last.y);
    for (var k = t.first; k < t.end; k += 4u) {
        let along_a = (k + FOUR) * uniforms.a_column;
        let along_b = (k + FOUR) * uniforms.b_row;
        accumulate_four(
            vectors_of_a((upper + along_a) / 4u),
            vectors_of_a((lower + along_a) / 4u),
            vectors_of_b((left + along_b) / 4u),
            vectors_of_b((right + along_b) / 4u),
        );
    }
    store_all(t.y, t.row, 1u, column, 1u);
}

// The sum of the parts that a holds, with what a product of one part does as it is stored. The bias
// is in the place of b.
@compute @workgroup_size(64)
fn matmul_combine(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (combine.first_group + id.y * groups.x) * 64u;
    if i >= combine.elements {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < combine.parts; part++) {
        sum += a[i + part * combine.elements];
    }
    var value = combine.scale * sum;
    if combine.has_bias != 0u {
        value += b[i % combine.columns];
    }
    let at = combine.y_offset + i;
    if combine.add != 0u {
        value += combined[at];
    }
    combined[at] = value;
}
