// y = scale · a · b, plus a bias and what is in y if wanted, as matmul.wgsl, for GPUs and matrices that are
// whole vectors of four numbers along both axes. A workgroup makes a square of sums:
// - matmul_squares_128: 256 invocations, each 8 × 8 sums, 8 steps of k at once;
// - matmul_squares_64: 64 invocations, each 8 × 8 sums, 8 steps of k at once;
// - matmul_squares_32: 64 invocations, each 4 × 4 sums, 16 steps of k at once, where larger squares were
//   too few to keep a GPU busy.
//
// Operands pass through workgroup memory in blocks of 4 × 4, which an invocation reads as vectors along the
// axis on which memory is contiguous, and turns if that is k: a step of k is then vectors of rows, or of
// columns, that are read as they are multiplied. While a tile is multiplied, the next one is on its way.

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

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

// Element `step` * (vectors + 1) + i: rows, or columns, 4 * i.. of a step of k. The odd stride spreads a
// block's vectors over the memory's banks.
var<workgroup> a_tile: array<vec4<f32>, 264>;
var<workgroup> b_tile: array<vec4<f32>, 264>;

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

// Squares follow each other in bands of eight rows of them, down before across: those that are made at one
// time share rows of a and columns of b, which then stay in the cache.
fn square(group: u32, side: u32) -> Tile {
    let across = (uniforms.columns + side - 1u) / side;
    let down = (uniforms.rows + side - 1u) / side;
    let slice = group / (across * down);
    let index = group % (across * down);
    let band = index / (8u * across);
    let height = min(8u, down - 8u * band);
    let within = index - 8u * band * across;
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
        (8u * band + within % height) * side,
        within / height * side,
        part * uniforms.length,
        min((part + 1u) * uniforms.length, uniforms.depth),
        uniforms.a_offset + at.x,
        uniforms.b_offset + at.y,
        uniforms.y_offset + slice * uniforms.rows * uniforms.columns,
    );
}

// An invocation's part of bringing in a tile: a block of 4 × 4 of one operand.
struct Block {
    // Its first row of a, or column of b, and step of k, counted from the tile's.
    line: u32,
    step: u32,
    // Where they are along these axes in memory.
    line_stride: u32,
    step_stride: u32,
}

// Block `index` of a tile of so many vectors of lines. Neighbours read neighbours: along k, two of them the
// eight numbers that memory is read in at least.
fn block(index: u32, vectors: u32, line_stride: u32, step_stride: u32) -> Block {
    if step_stride == 1u {
        let line = 4u * (index / 2u % vectors);
        let step = 4u * (index % 2u + index / (2u * vectors) * 2u);
        return Block(line, step, line_stride, step_stride);
    }
    return Block(4u * (index % vectors), 4u * (index / vectors), line_stride, step_stride);
}

// The number of the block's first vector, and from each to the next.
fn vectors_of(block: Block, start: u32, line: u32, step: u32) -> vec2<u32> {
    let first = start + (line + block.line) * block.line_stride + (step + block.step) * block.step_stride;
    return vec2(first, max(block.line_stride, block.step_stride)) / 4u;
}

fn block_of_a(block: Block, t: Tile, k: u32) -> mat4x4<f32> {
    if t.row + block.line >= uniforms.rows || k + block.step >= t.end {
        return mat4x4<f32>();
    }
    let at = vectors_of(block, t.a, t.row, k);
    return mat4x4(a[at.x], a[at.x + at.y], a[at.x + 2u * at.y], a[at.x + 3u * at.y]);
}

fn block_of_b(block: Block, t: Tile, k: u32) -> mat4x4<f32> {
    if t.column + block.line >= uniforms.columns || k + block.step >= t.end {
        return mat4x4<f32>();
    }
    let at = vectors_of(block, t.b, t.column, k);
    return mat4x4(b[at.x], b[at.x + at.y], b[at.x + 2u * at.y], b[at.x + 3u * at.y]);
}

// The invocations before number `blocks` bring in a, as many after them b.
fn load(lane: u32, blocks: u32, block: Block, t: Tile, k: u32) -> mat4x4<f32> {
    if lane < blocks {
        return block_of_a(block, t, k);
    }
    if lane < 2u * blocks {
        return block_of_b(block, t, k);
    }
    return mat4x4<f32>();
}

fn put(lane: u32, blocks: u32, block: Block, vectors: u32, numbers: mat4x4<f32>) {
    var lines = numbers;
    if block.step_stride == 1u {
        lines = transpose(numbers);
    }
    let stride = vectors + 1u;
    let at = block.step * stride + block.line / 4u;
    if lane < blocks {
        a_tile[at] = lines[0];
        a_tile[at + stride] = lines[1];
        a_tile[at + 2u * stride] = lines[2];
        a_tile[at + 3u * stride] = lines[3];
    } else if lane < 2u * blocks {
        b_tile[at] = lines[0];
        b_tile[at + stride] = lines[1];
        b_tile[at + 2u * stride] = lines[2];
        b_tile[at + 3u * stride] = lines[3];
    }
}

fn block_of_lane(lane: u32, blocks: u32, vectors: u32) -> Block {
    if lane < blocks {
        return block(lane, vectors, uniforms.a_row, uniforms.a_column);
    }
    return block(lane - blocks, vectors, uniforms.b_column, uniforms.b_row);
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

// The same for 4 × 4 sums.
fn accumulate_four_by_four(upper: vec4<f32>, left: vec4<f32>) {
    sums[0] += upper.x * left;
    sums[1] += upper.y * left;
    sums[2] += upper.z * left;
    sums[3] += upper.w * left;
}

// Four sums of a row.
fn store_four(start: u32, row: u32, column: u32, four: vec4<f32>) {
    if row >= uniforms.rows || column >= uniforms.columns {
        return;
    }
    let at = (start + row * uniforms.columns + column) / 4u;
    var value = uniforms.scale * four;
    if uniforms.has_bias != 0u {
        value += bias[column / 4u];
    }
    if uniforms.add != 0u {
        value += y[at];
    }
    y[at] = value;
}

// Row `row` of 8 × 8 sums, of which the right half is `apart` columns away.
fn store_both(start: u32, row: u32, column: u32, apart: u32, left: vec4<f32>, right: vec4<f32>) {
    store_four(start, row, column, left);
    store_four(start, row, column + apart, right);
}

// All 8 × 8 sums of the invocation in row i and column j of them.
fn store_squares(t: Tile, i: u32, j: u32, apart: u32) {
    let row = t.row + 4u * i;
    let column = t.column + 4u * j;
    store_both(t.y, row, column, apart, sums[0], sums[1]);
    store_both(t.y, row + 1u, column, apart, sums[2], sums[3]);
    store_both(t.y, row + 2u, column, apart, sums[4], sums[5]);
    store_both(t.y, row + 3u, column, apart, sums[6], sums[7]);
    let lower = row + apart;
    store_both(t.y, lower, column, apart, sums[8], sums[9]);
    store_both(t.y, lower + 1u, column, apart, sums[10], sums[11]);
    store_both(t.y, lower + 2u, column, apart, sums[12], sums[13]);
    store_both(t.y, lower + 3u, column, apart, sums[14], sums[15]);
}

// All sums of 8 × 8 an invocation: a square of 8 · `side` rows, of `side` by `side` invocations.
fn multiply_squares(lane: u32, index: u32, side: u32) {
    let t = square(index, 8u * side);
    let vectors = 2u * side;
    let blocks = 2u * vectors;
    let own = block_of_lane(lane, blocks, vectors);
    let i = lane / side;
    let j = lane % side;
    var next = load(lane, blocks, own, t, t.first);
    for (var k = t.first; k < t.end; k += 8u) {
        workgroupBarrier();
        put(lane, blocks, own, vectors, next);
        workgroupBarrier();
        next = load(lane, blocks, own, t, k + 8u);
        for (var step = 0u; step < 8u; step += 1u) {
            let l = step * (vectors + 1u) + i;
            let r = step * (vectors + 1u) + j;
            accumulate(a_tile[l], a_tile[l + side], b_tile[r], b_tile[r + side]);
        }
    }
    store_squares(t, i, j, 4u * side);
}

@compute @workgroup_size(256)
fn matmul_squares_128(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index < uniforms.groups {
        multiply_squares(lane, index, 16u);
    }
}

@compute @workgroup_size(64)
fn matmul_squares_64(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index < uniforms.groups {
        multiply_squares(lane, index, 8u);
    }
}

@compute @workgroup_size(64)
fn matmul_squares_32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = uniforms.first_group + group.x + group.y * groups.x;
    if index >= uniforms.groups {
        return;
    }
    let t = square(index, 32u);
    let own = block_of_lane(lane, 32u, 8u);
    let i = lane / 8u;
    let j = lane % 8u;
    var next = load(lane, 32u, own, t, t.first);
    for (var k = t.first; k < t.end; k += 16u) {
        workgroupBarrier();
        put(lane, 32u, own, 8u, next);
        workgroupBarrier();
        next = load(lane, 32u, own, t, k + 16u);
        for (var step = 0u; step < 144u; step += 9u) {
            accumulate_four_by_four(a_tile[step + i], b_tile[step + j]);
        }
    }
    let row = t.row + 4u * i;
    let column = t.column + 4u * j;
    store_four(t.y, row, column, sums[0]);
    store_four(t.y, row + 1u, column, sums[1]);
    store_four(t.y, row + 2u, column, sums[2]);
    store_four(t.y, row + 3u, column, sums[3]);
}
