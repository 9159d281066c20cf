// o = P (a v + b v1) + c (v1 - v), with P = softmax(q k^T / sqrt(head_size), masked), and the
// logarithm of each row's sum of exponentials: as attention.wgsl, for heads of at most 128
// channels, a multiple of four.
//
// A workgroup of 64 makes 32 rows of one head from tiles of 32 keys. An invocation makes blocks of 4
// by 4: of scores, rows 4 * (lane / 8).. by keys 4 * (lane % 8)..; of the result, the same rows by
// channels 4 * (lane % 8).. of every 32. Blocks stay in registers until the end, so that a vector that
// is read from workgroup memory serves eight multiplications and additions at least. They are named
// and not numbered: what is indexed by a variable may lie in memory.

struct Uniforms {
    first_group: u32,
    batch: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
    causal: u32,
    scale: f32,
    // Whether the values are mixed, and whether there is a fidelity term.
    mixes: u32,
    has_fidelity: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> v1: array<vec4<f32>>;
// a, b and c; read only if the values are mixed or there is a fidelity term.
@group(0) @binding(5) var<storage, read> coefficients: array<f32>;
@group(0) @binding(6) var<storage, read_write> o: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> log_sums: array<f32>;

// Stands for minus infinity.
const MASKED = -1e30;

// The invocations of a workgroup.
const LANES = 64u;

// 32 rows of 32 channels, as vectors of four: see `place`. Queries, or values; keys, or values.
var<workgroup> left: array<vec4<f32>, 256>;
var<workgroup> right: array<vec4<f32>, 256>;
// Of a key, the weights that four rows give it.
var<workgroup> weights: array<vec4<f32>, 256>;
// What each invocation found of its rows.
var<workgroup> found: array<vec4<f32>, 64>;

// A query head and its kv head: the rows of the first query and of the first key.
struct Head {
    first_query: u32,
    first_key: u32,
}

// Sums of the rows 4 * (lane / 8).. in channels 4 * (lane % 8).. of 32, and of the next 32: a vector
// for each channel.
struct Sums {
    first: mat4x4<f32>,
    second: mat4x4<f32>,
}

// Where vector `vector` of eight lies in row `row` of a tile. Every four rows are turned by one more, so that
// neither eight vectors of a row nor those of eight rows four apart lie in the same banks of memory.
fn place(row: u32, vector: u32) -> u32 {
    return row * 8u + (vector + row / 4u) % 8u;
}

fn head_at(batch: u32, head: u32) -> Head {
    let kv_head = head / (uniforms.heads / uniforms.kv_heads);
    return Head(
        batch * uniforms.queries * uniforms.heads + head,
        batch * uniforms.keys * uniforms.kv_heads + kv_head,
    );
}

// The row of a query; of the last one for those past the end.
fn query_row(head: Head, position: u32) -> u32 {
    return head.first_query + min(position, uniforms.queries - 1u) * uniforms.heads;
}

// The index of a vector of a query, and of a key; of the last ones for those past the end.
fn query_vector(head: Head, position: u32, vector: u32) -> u32 {
    let vectors = uniforms.head_size / 4u;
    let steps = min(position, uniforms.queries - 1u) * (uniforms.heads * vectors);
    return head.first_query * vectors + steps + min(vector, vectors - 1u);
}

fn key_vector(head: Head, position: u32, vector: u32) -> u32 {
    let vectors = uniforms.head_size / 4u;
    let steps = min(position, uniforms.keys - 1u) * (uniforms.kv_heads * vectors);
    return head.first_key * vectors + steps + min(vector, vectors - 1u);
}

fn mixed_value(index: u32) -> vec4<f32> {
    if uniforms.mixes == 0u {
        return v[index];
    }
    return coefficients[0] * v[index] + coefficients[1] * v1[index];
}

// e^x for x <= 0, and exactly 0 for a masked score.
fn exponential(x: vec4<f32>) -> vec4<f32> {
    return select(exp(max(x, vec4(-80.0))), vec4(0.0), x < vec4(-80.0));
}

// Eight vectors of 32 queries, from `row` and `vector` on; the same of keys and of values.
fn load_queries(lane: u32, head: Head, row: u32, vector: u32) {
    for (var i = 0u; i < 32u; i += LANES / 8u) {
        let j = i + lane / 8u;
        left[place(j, lane % 8u)] = q[query_vector(head, row + j, vector + lane % 8u)];
    }
}

fn load_keys(lane: u32, head: Head, key: u32, vector: u32) {
    for (var i = 0u; i < 32u; i += LANES / 8u) {
        let j = i + lane / 8u;
        right[place(j, lane % 8u)] = k[key_vector(head, key + j, vector + lane % 8u)];
    }
}

fn load_mixed_values(lane: u32, head: Head, key: u32, vector: u32, both: bool) {
    for (var i = 0u; i < 32u; i += LANES / 8u) {
        let j = i + lane / 8u;
        let at = place(j, lane % 8u);
        right[at] = mixed_value(key_vector(head, key + j, vector + lane % 8u));
        if both {
            left[at] = mixed_value(key_vector(head, key + j, vector + 8u + lane % 8u));
        }
    }
}

// Sums and the products of four rows (a vector for each channel) and one: each is one instruction.
fn added(sums: vec4<f32>, rows: mat4x4<f32>, row: vec4<f32>) -> vec4<f32> {
    return sums + rows[0] * row.x + rows[1] * row.y + rows[2] * row.z + rows[3] * row.w;
}

// Adds the products of rows of `left` and rows of `right`: a vector for each of the latter.
fn multiply(lane: u32, vectors: u32, sums: mat4x4<f32>) -> mat4x4<f32> {
    let rows = lane / 8u;
    let columns = lane % 8u;
    var result = sums;
    for (var vector = 0u; vector < vectors; vector += 1u) {
        let l = place(4u * rows, vector);
        let a = transpose(mat4x4(left[l], left[l + 8u], left[l + 16u], left[l + 24u]));
        let r = place(4u * columns, vector);
        result[0] = added(result[0], a, right[r]);
        result[1] = added(result[1], a, right[r + 8u]);
        result[2] = added(result[2], a, right[r + 16u]);
        result[3] = added(result[3], a, right[r + 24u]);
    }
    return result;
}

// Adds the rows of `right`, and of `left` if both are meant, as `weights` weigh them.
fn add_weighted(lane: u32, both: bool, sums: Sums) -> Sums {
    let rows = lane / 8u;
    let columns = lane % 8u;
    var result = sums;
    for (var row = 0u; row < 32u; row += 4u) {
        let from_weights = place(row, rows);
        let from_rows = place(row, columns);
        for (var i = 0u; i < 32u; i += 8u) {
            let a = weights[from_weights + i];
            let b = right[from_rows + i];
            result.first[0] += a * b.x;
            result.first[1] += a * b.y;
            result.first[2] += a * b.z;
            result.first[3] += a * b.w;
            if both {
                let c = left[from_rows + i];
                result.second[0] += a * c.x;
                result.second[1] += a * c.y;
                result.second[2] += a * c.z;
                result.second[3] += a * c.w;
            }
        }
    }
    return result;
}

// The sums times a factor for each row.
fn shrunk(sums: Sums, factors: vec4<f32>) -> Sums {
    return Sums(scaled(sums.first, factors), scaled(sums.second, factors));
}

fn scaled(block: mat4x4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(block[0] * factors, block[1] * factors, block[2] * factors, block[3] * factors);
}

// A key's scores by four rows, scaled; those are hidden whose key is not there or lies after the query.
fn masked(scores: vec4<f32>, row: u32, key: u32) -> vec4<f32> {
    let positions = vec4(row + uniforms.keys - uniforms.queries) + vec4(0u, 1u, 2u, 3u);
    let after = vec4<bool>(uniforms.causal != 0u) & (vec4(key) > positions);
    let hidden = vec4<bool>(key >= uniforms.keys) | after;
    return select(scores * uniforms.scale, vec4(MASKED), hidden);
}

// Four channels of a row: with the fidelity term.
fn store_vector(head: Head, row: u32, vector: u32, result: vec4<f32>) {
    if row >= uniforms.queries || vector >= uniforms.head_size / 4u {
        return;
    }
    var whole = result;
    if uniforms.has_fidelity != 0u {
        let own = key_vector(head, row + uniforms.keys - uniforms.queries, vector);
        whole += coefficients[2] * (v1[own] - v[own]);
    }
    o[query_vector(head, row, vector)] = whole;
}

// Four channels of four rows.
fn store_block(head: Head, row: u32, vector: u32, block: mat4x4<f32>) {
    let lines = transpose(block);
    store_vector(head, row, vector, lines[0]);
    store_vector(head, row + 1u, vector, lines[1]);
    store_vector(head, row + 2u, vector, lines[2]);
    store_vector(head, row + 3u, vector, lines[3]);
}

fn store_log_sums(head: Head, row: u32, values: vec4<f32>) {
    for (var i = 0u; i < 4u; i += 1u) {
        if row + i < uniforms.queries {
            log_sums[query_row(head, row + i)] = values[i];
        }
    }
}

// Tile `number` of all heads, whose channels are `parts` times 32 at most: 1, 2 or 4, which is known where a
// driver compiles it.
fn attend(number: u32, lane: u32, parts: u32) {
    let tiles = (uniforms.queries + 31u) / 32u;
    if number >= tiles * uniforms.heads * uniforms.batch {
        return;
    }
    // The last rows, which see most, begin first.
    let row = (tiles - 1u - number % tiles) * 32u;
    let head = head_at(number / tiles / uniforms.heads, number / tiles % uniforms.heads);
    let vectors = uniforms.head_size / 4u;
    let rows = lane / 8u;
    let columns = lane % 8u;
    // Of the rows 4 * (lane / 8)..: the same in every invocation that shares them, and of its own keys.
    var largest = vec4(MASKED);
    var total = vec4(0.0);
    // Channels below 64, and those from there on.
    var near = Sums();
    var far = Sums();
    var end = uniforms.keys;
    if uniforms.causal != 0u {
        end = min(end, row + 32u + uniforms.keys - uniforms.queries);
    }
    for (var key = 0u; key < end; key += 32u) {
        var scores = mat4x4<f32>();
        for (var vector = 0u; vector < vectors; vector += 8u) {
            workgroupBarrier();
            // Values of 32 channels leave the queries where they are.
            if parts > 1u || key == 0u {
                load_queries(lane, head, row, vector);
            }
            load_keys(lane, head, key, vector);
            workgroupBarrier();
            scores = multiply(lane, min(vectors - vector, 8u), scores);
        }
        let own_row = row + 4u * rows;
        let own_key = key + 4u * columns;
        scores[0] = masked(scores[0], own_row, own_key);
        scores[1] = masked(scores[1], own_row, own_key + 1u);
        scores[2] = masked(scores[2], own_row, own_key + 2u);
        scores[3] = masked(scores[3], own_row, own_key + 3u);
        found[lane] = max(max(scores[0], scores[1]), max(scores[2], scores[3]));
        workgroupBarrier();
        let before = largest;
        for (var i = 0u; i < 8u; i += 1u) {
            largest = max(largest, found[8u * rows + i]);
        }
        let shrink = exponential(before - largest);
        let p = mat4x4(
            exponential(scores[0] - largest),
            exponential(scores[1] - largest),
            exponential(scores[2] - largest),
            exponential(scores[3] - largest),
        );
        total = total * shrink + p[0] + p[1] + p[2] + p[3];
        let at = place(4u * columns, rows);
        weights[at] = p[0];
        weights[at + 8u] = p[1];
        weights[at + 16u] = p[2];
        weights[at + 24u] = p[3];
        load_mixed_values(lane, head, key, 0u, parts > 1u);
        workgroupBarrier();
        near = add_weighted(lane, parts > 1u, shrunk(near, shrink));
        if parts > 2u {
            workgroupBarrier();
            load_mixed_values(lane, head, key, 16u, vectors > 24u);
            workgroupBarrier();
            far = add_weighted(lane, vectors > 24u, shrunk(far, shrink));
        }
    }
    found[lane] = total;
    workgroupBarrier();
    total = vec4(0.0);
    for (var i = 0u; i < 8u; i += 1u) {
        total += found[8u * rows + i];
    }
    let own_row = row + 4u * rows;
    near = shrunk(near, 1.0 / total);
    store_block(head, own_row, columns, near.first);
    if parts > 1u {
        store_block(head, own_row, 8u + columns, near.second);
    }
    if parts > 2u {
        far = shrunk(far, 1.0 / total);
        store_block(head, own_row, 16u + columns, far.first);
        store_block(head, own_row, 24u + columns, far.second);
    }
    if columns == 0u {
        store_log_sums(head, own_row, largest + log(total));
    }
}

// Heads of at most 32 channels, of 64, and of 128.

@compute @workgroup_size(LANES)
fn attention_tiles_32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    attend(uniforms.first_group + group.x + group.y * groups.x, lane, 1u);
}

@compute @workgroup_size(LANES)
fn attention_tiles_64(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    attend(uniforms.first_group + group.x + group.y * groups.x, lane, 2u);
}

@compute @workgroup_size(LANES)
fn attention_tiles_128(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    attend(uniforms.first_group + group.x + group.y * groups.x, lane, 4u);
}
