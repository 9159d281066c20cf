// The derivative of plain attention, as attention_backward.wgsl, for heads of at most 128 channels, a
// multiple of four. With P made again from q, k and the logarithms of its rows'
// sums, g the gradient of the result, and row sums d = sum(g * o):
//   dS = P * (g v^T - d),  dq = dS k * scale,  dk = dS^T q * scale,  dv = P^T g.
//
// A workgroup of 64 makes 32 rows of dq, or of dk and dv, from tiles of 32 keys, or of 32 queries of each
// query head that uses the kv head. Tiles and blocks are as in attention_tiles.wgsl: an invocation makes P
// and dS of queries 4 * (lane / 8).. and keys 4 * (lane % 8).., and of results rows 4 * (lane / 8)..; all
// stay in registers until the end.

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
    // Bit i: whether output i is added to what is there.
    adds: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> log_sums: array<f32>;
@group(0) @binding(6) var<storage, read> row_sums: array<f32>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4<f32>>;

// The invocations of a workgroup.
const LANES = 64u;

// 32 rows of 32 channels, as vectors of four: see `place`.
var<workgroup> left: array<vec4<f32>, 256>;
var<workgroup> right: array<vec4<f32>, 256>;
// What a column gives to four rows: P, or dS.
var<workgroup> weights: array<vec4<f32>, 256>;

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

// Of four queries.
struct RowNumbers {
    log_sums: vec4<f32>,
    row_sums: vec4<f32>,
}

// P and dS * scale of four queries and four keys: a vector for each key.
struct Slopes {
    p: mat4x4<f32>,
    ds: mat4x4<f32>,
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

// Eight vectors of 32 rows, from the positions and `vector` on: the factors of scores, and of g v^T.
fn load_q_and_k(lane: u32, head: Head, query: u32, key: u32, vector: u32) {
    for (var i = 0u; i < 32u; i += LANES / 8u) {
        let j = i + lane / 8u;
        let at = place(j, lane % 8u);
        left[at] = q[query_vector(head, query + j, vector + lane % 8u)];
        right[at] = k[key_vector(head, key + j, vector + lane % 8u)];
    }
}

fn load_g_and_v(lane: u32, head: Head, query: u32, key: u32, vector: u32) {
    for (var i = 0u; i < 32u; i += LANES / 8u) {
        let j = i + lane / 8u;
        let at = place(j, lane % 8u);
        left[at] = g[query_vector(head, query + j, vector + lane % 8u)];
        right[at] = v[key_vector(head, key + j, vector + lane % 8u)];
    }
}

// Eight vectors, or twice eight, to be weighed.
fn load_k(lane: u32, head: Head, key: u32, vector: u32, both: bool) {
    for (var i = 0u; i < 32u; i += LANES / 8u) {
        let j = i + lane / 8u;
        let at = place(j, lane % 8u);
        right[at] = k[key_vector(head, key + j, vector + lane % 8u)];
        if both {
            left[at] = k[key_vector(head, key + j, vector + 8u + lane % 8u)];
        }
    }
}

fn load_q(lane: u32, head: Head, query: u32, vector: u32, both: bool) {
    for (var i = 0u; i < 32u; i += LANES / 8u) {
        let j = i + lane / 8u;
        let at = place(j, lane % 8u);
        right[at] = q[query_vector(head, query + j, vector + lane % 8u)];
        if both {
            left[at] = q[query_vector(head, query + j, vector + 8u + lane % 8u)];
        }
    }
}

fn load_g(lane: u32, head: Head, query: u32, vector: u32, both: bool) {
    for (var i = 0u; i < 32u; i += LANES / 8u) {
        let j = i + lane / 8u;
        let at = place(j, lane % 8u);
        right[at] = g[query_vector(head, query + j, vector + lane % 8u)];
        if both {
            left[at] = g[query_vector(head, query + j, vector + 8u + lane % 8u)];
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

// What is known of four queries; of the last one for those past the end.
fn row_numbers(head: Head, row: u32) -> RowNumbers {
    let a = query_row(head, row);
    let b = query_row(head, row + 1u);
    let c = query_row(head, row + 2u);
    let d = query_row(head, row + 3u);
    return RowNumbers(
        vec4(log_sums[a], log_sums[b], log_sums[c], log_sums[d]),
        vec4(row_sums[a], row_sums[b], row_sums[c], row_sums[d]),
    );
}

// P of a key and four queries from its scores, and 0 where a query does not see the key or one of
// them is not there.
fn probabilities(scores: vec4<f32>, logarithms: vec4<f32>, query: u32, key: u32) -> vec4<f32> {
    let queries = vec4(query) + vec4(0u, 1u, 2u, 3u);
    let is_there = (queries < vec4(uniforms.queries)) & vec4<bool>(key < uniforms.keys);
    let ahead = uniforms.keys - uniforms.queries;
    let is_later = vec4<bool>(uniforms.causal != 0u) & (vec4(key) > queries + vec4(ahead));
    let exponents = scores * uniforms.scale - logarithms;
    // Rounding can lift it a little above 0.
    let p = exp(clamp(exponents, vec4(-80.0), vec4(1.0)));
    return select(vec4(0.0), p, is_there & !is_later & (exponents > vec4(-80.0)));
}

// P and dS of this invocation's queries and keys, in the tile that begins at `query` and `key`.
fn slopes(lane: u32, head: Head, query: u32, key: u32, rows: RowNumbers) -> Slopes {
    let vectors = uniforms.head_size / 4u;
    var dp = mat4x4<f32>();
    for (var vector = 0u; vector < vectors; vector += 8u) {
        workgroupBarrier();
        load_g_and_v(lane, head, query, key, vector);
        workgroupBarrier();
        dp = multiply(lane, min(vectors - vector, 8u), dp);
    }
    var scores = mat4x4<f32>();
    for (var vector = 0u; vector < vectors; vector += 8u) {
        workgroupBarrier();
        load_q_and_k(lane, head, query, key, vector);
        workgroupBarrier();
        scores = multiply(lane, min(vectors - vector, 8u), scores);
    }
    let own_query = query + 4u * (lane / 8u);
    let own_key = key + 4u * (lane % 8u);
    let p = mat4x4(
        probabilities(scores[0], rows.log_sums, own_query, own_key),
        probabilities(scores[1], rows.log_sums, own_query, own_key + 1u),
        probabilities(scores[2], rows.log_sums, own_query, own_key + 2u),
        probabilities(scores[3], rows.log_sums, own_query, own_key + 3u),
    );
    let ds = mat4x4(
        p[0] * (dp[0] - rows.row_sums) * uniforms.scale,
        p[1] * (dp[1] - rows.row_sums) * uniforms.scale,
        p[2] * (dp[2] - rows.row_sums) * uniforms.scale,
        p[3] * (dp[3] - rows.row_sums) * uniforms.scale,
    );
    return Slopes(p, ds);
}

// Four columns for `add_weighted`, from `column` on, as four rows (`rows` of eight) are given them.
fn share_weights(column: u32, rows: u32, block: mat4x4<f32>) {
    let at = place(column, rows);
    weights[at] = block[0];
    weights[at + 8u] = block[1];
    weights[at + 16u] = block[2];
    weights[at + 24u] = block[3];
}

fn store_dq(head: Head, row: u32, vector: u32, sum: vec4<f32>) {
    if row >= uniforms.queries || vector >= uniforms.head_size / 4u {
        return;
    }
    let at = query_vector(head, row, vector);
    if (uniforms.adds & 1u) != 0u {
        dq[at] += sum;
    } else {
        dq[at] = sum;
    }
}

// Four channels of four rows.
fn store_block_of_dq(head: Head, row: u32, vector: u32, block: mat4x4<f32>) {
    let lines = transpose(block);
    store_dq(head, row, vector, lines[0]);
    store_dq(head, row + 1u, vector, lines[1]);
    store_dq(head, row + 2u, vector, lines[2]);
    store_dq(head, row + 3u, vector, lines[3]);
}

fn store_dk_and_dv(head: Head, row: u32, vector: u32, to_k: vec4<f32>, to_v: vec4<f32>) {
    if row >= uniforms.keys || vector >= uniforms.head_size / 4u {
        return;
    }
    let at = key_vector(head, row, vector);
    if (uniforms.adds & 1u) != 0u {
        dk[at] += to_k;
    } else {
        dk[at] = to_k;
    }
    if (uniforms.adds & 2u) != 0u {
        dv[at] += to_v;
    } else {
        dv[at] = to_v;
    }
}

fn store_blocks_of_dk_and_dv(
    head: Head,
    row: u32,
    vector: u32,
    to_k: mat4x4<f32>,
    to_v: mat4x4<f32>,
) {
    let k_lines = transpose(to_k);
    let v_lines = transpose(to_v);
    store_dk_and_dv(head, row, vector, k_lines[0], v_lines[0]);
    store_dk_and_dv(head, row + 1u, vector, k_lines[1], v_lines[1]);
    store_dk_and_dv(head, row + 2u, vector, k_lines[2], v_lines[2]);
    store_dk_and_dv(head, row + 3u, vector, k_lines[3], v_lines[3]);
}

// dq of tile `number` of all heads, whose channels are `parts` times 32 at most: 1, 2 or 4, which is
// known where a driver compiles it.
fn differentiate_queries(number: u32, lane: u32, parts: u32) {
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
    let numbers = row_numbers(head, row + 4u * rows);
    // Channels below 64, and those from there on.
    var near = Sums();
    var far = Sums();
    var end = uniforms.keys;
    if uniforms.causal != 0u {
        end = min(end, row + 32u + uniforms.keys - uniforms.queries);
    }
    for (var key = 0u; key < end; key += 32u) {
        let made = slopes(lane, head, row, key, numbers);
        share_weights(4u * columns, rows, made.ds);
        // Keys of 32 channels are still in `right`.
        if parts > 1u {
            workgroupBarrier();
            load_k(lane, head, key, 0u, true);
        }
        workgroupBarrier();
        near = add_weighted(lane, parts > 1u, near);
        if parts > 2u {
            workgroupBarrier();
            load_k(lane, head, key, 16u, vectors > 24u);
            workgroupBarrier();
            far = add_weighted(lane, vectors > 24u, far);
        }
    }
    let own_row = row + 4u * rows;
    store_block_of_dq(head, own_row, columns, near.first);
    if parts > 1u {
        store_block_of_dq(head, own_row, 8u + columns, near.second);
    }
    if parts > 2u {
        store_block_of_dq(head, own_row, 16u + columns, far.first);
        store_block_of_dq(head, own_row, 24u + columns, far.second);
    }
}

// dk and dv of tile `number` of all kv heads; `parts` as above.
fn differentiate_keys(number: u32, lane: u32, parts: u32) {
    let tiles = (uniforms.keys + 31u) / 32u;
    if number >= tiles * uniforms.kv_heads * uniforms.batch {
        return;
    }
    // The first keys, which most queries see, begin first.
    let row = number % tiles * 32u;
    let kv_head = number / tiles % uniforms.kv_heads;
    let batch = number / tiles / uniforms.kv_heads;
    let members = uniforms.heads / uniforms.kv_heads;
    let vectors = uniforms.head_size / 4u;
    let rows = lane / 8u;
    let columns = lane % 8u;
    var near_k = Sums();
    var near_v = Sums();
    var far_k = Sums();
    var far_v = Sums();
    // The first query that sees the first of these keys, down to a whole tile.
    var begin = 0u;
    let ahead = uniforms.keys - uniforms.queries;
    if uniforms.causal != 0u && row > ahead {
        begin = (row - ahead) / 32u * 32u;
    }
    for (var member = 0u; member < members; member += 1u) {
        let head = head_at(batch, kv_head * members + member);
        for (var query = begin; query < uniforms.queries; query += 32u) {
            let numbers = row_numbers(head, query + 4u * rows);
            let made = slopes(lane, head, query, row, numbers);
            share_weights(4u * rows, columns, transpose(made.p));
            workgroupBarrier();
            load_g(lane, head, query, 0u, parts > 1u);
            workgroupBarrier();
            near_v = add_weighted(lane, parts > 1u, near_v);
            if parts > 2u {
                workgroupBarrier();
                load_g(lane, head, query, 16u, vectors > 24u);
                workgroupBarrier();
                far_v = add_weighted(lane, vectors > 24u, far_v);
            }
            workgroupBarrier();
            share_weights(4u * rows, columns, transpose(made.ds));
            load_q(lane, head, query, 0u, parts > 1u);
            workgroupBarrier();
            near_k = add_weighted(lane, parts > 1u, near_k);
            if parts > 2u {
                workgroupBarrier();
                load_q(lane, head, query, 16u, vectors > 24u);
                workgroupBarrier();
                far_k = add_weighted(lane, vectors > 24u, far_k);
            }
        }
    }
    let own = head_at(batch, kv_head * members);
    let own_row = row + 4u * rows;
    store_blocks_of_dk_and_dv(own, own_row, columns, near_k.first, near_v.first);
    if parts > 1u {
        store_blocks_of_dk_and_dv(own, own_row, 8u + columns, near_k.second, near_v.second);
    }
    if parts > 2u {
        store_blocks_of_dk_and_dv(own, own_row, 16u + columns, far_k.first, far_v.first);
        store_blocks_of_dk_and_dv(own, own_row, 24u + columns, far_k.second, far_v.second);
    }
}

// Heads of at most 32 channels, of 64, and of 128.

@compute @workgroup_size(LANES)
fn attention_backward_tiles_queries_32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    differentiate_queries(uniforms.first_group + group.x + group.y * groups.x, lane, 1u);
}

@compute @workgroup_size(LANES)
fn attention_backward_tiles_queries_64(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    differentiate_queries(uniforms.first_group + group.x + group.y * groups.x, lane, 2u);
}

@compute @workgroup_size(LANES)
fn attention_backward_tiles_queries_128(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    differentiate_queries(uniforms.first_group + group.x + group.y * groups.x, lane, 4u);
}

@compute @workgroup_size(LANES)
fn attention_backward_tiles_keys_32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    differentiate_keys(uniforms.first_group + group.x + group.y * groups.x, lane, 1u);
}

@compute @workgroup_size(LANES)
fn attention_backward_tiles_keys_64(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    differentiate_keys(uniforms.first_group + group.x + group.y * groups.x, lane, 2u);
}

@compute @workgroup_size(LANES)
fn attention_backward_tiles_keys_128(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    differentiate_keys(uniforms.first_group + group.x + group.y * groups.x, lane, 4u);
}
