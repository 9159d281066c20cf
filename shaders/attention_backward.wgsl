// The derivative of plain attention. With P made again from q, k and the logarithms of its rows'
// sums, g the gradient of the result, and row sums d = sum(g * o):
//   dS = P * (g v^T - d),  dq = dS k * scale,  dk = dS^T q * scale,  dv = P^T g.
//
// A workgroup makes 32 rows of a result and goes through tiles of 32 columns: of dq, rows are
// queries and columns are keys; of dk and dv, rows are keys and columns are queries, of each query
// head that uses the kv head. Blocks and loads are as in attention.wgsl.

override lanes: u32 = 64u;

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
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> g: array<f32>;
@group(0) @binding(5) var<storage, read> log_sums: array<f32>;
@group(0) @binding(6) var<storage, read> row_sums: array<f32>;
@group(0) @binding(7) var<storage, read_write> dq: array<f32>;
@group(0) @binding(7) var<storage, read_write> dk: array<f32>;
@group(0) @binding(8) var<storage, read_write> dv: array<f32>;

const Q = 0u;
const K = 1u;
const V = 2u;
const G = 3u;

// So many channels pass at a time where rows and columns are multiplied: with more, not all arrays would
// fit in the workgroup memory that every adapter has, 16,352 bytes.
const DEPTH = 16u;

// Element 8 * column + i: rows 4 * i.. of the column of P; of g v^T, and later dS.
var<workgroup> weights: array<vec4<f32>, 256>;
var<workgroup> slopes: array<vec4<f32>, 256>;
// Element 8 * channel + i: rows 4 * i...
var<workgroup> left: array<vec4<f32>, 8 * DEPTH>;
// Element 8 * channel + i: columns 4 * i.., for products of rows and columns. Element
// 8 * column + i: channels 4 * i.., for sums over columns.
var<workgroup> right: array<vec4<f32>, 256>;

// What the invocations of a workgroup have in common.
struct QueryHead {
    batch: u32,
    // Of the queries; the kv head follows from it.
    head: u32,
}

// Channel `channel` of position `position` of an operand; the last position if it is past the end.
fn fetch(operand: u32, query_head: QueryHead, position: u32, channel: u32) -> f32 {
    let of_queries = operand == Q || operand == G;
    let count = select(uniforms.keys, uniforms.queries, of_queries);
    let heads = select(uniforms.kv_heads, uniforms.heads, of_queries);
    let kv_head = query_head.head / (uniforms.heads / uniforms.kv_heads);
    let head = select(kv_head, query_head.head, of_queries);
    let row = (query_head.batch * count + min(position, count - 1u)) * heads + head;
    let index = row * uniforms.head_size + min(channel, uniforms.head_size - 1u);
    switch operand {
        case Q: { return q[index]; }
        case K: { return k[index]; }
        case V: { return v[index]; }
        default: { return g[index]; }
    }
}

fn fetch_rows(operand: u32, query_head: QueryHead, row: u32, channel: u32) -> vec4<f32> {
    return vec4(
        fetch(operand, query_head, row, channel),
        fetch(operand, query_head, row + 1u, channel),
        fetch(operand, query_head, row + 2u, channel),
        fetch(operand, query_head, row + 3u, channel),
    );
}

fn load_rows_and_columns(
    lane: u32,
    query_head: QueryHead,
    operands: vec2<u32>,
    row: u32,
    column: u32,
    channel: u32,
) {
    for (var i = lane; i < 8u * DEPTH; i += lanes) {
        let to = i % DEPTH * 8u + i / DEPTH;
        let four = i / DEPTH * 4u;
        left[to] = fetch_rows(operands.x, query_head, row + four, channel + i % DEPTH);
        right[to] = fetch_rows(operands.y, query_head, column + four, channel + i % DEPTH);
    }
}

fn load_channels(lane: u32, query_head: QueryHead, operand: u32, column: u32, channel: u32) {
    for (var i = lane; i < 256u; i += lanes) {
        let c = channel + i % 8u * 4u;
        let j = column + i / 8u;
        right[i] = vec4(
            fetch(operand, query_head, j, c),
            fetch(operand, query_head, j, c + 1u),
            fetch(operand, query_head, j, c + 2u),
            fetch(operand, query_head, j, c + 3u),
        );
    }
}

// Products of rows and columns over `depth` channels, for one block.
fn product(rows: u32, part: u32, depth: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    for (var channel = 0u; channel < depth; channel += 1u) {
        let a = left[channel * 8u + rows];
        let b = right[channel * 8u + part];
        block[0] += a * b.x;
        block[1] += a * b.y;
        block[2] += a * b.z;
        block[3] += a * b.w;
    }
    return block;
}

// The tiles of rows of `operands.xz` by columns of `operands.yw`, into `weights` and `slopes`.
fn multiply_both(lane: u32, query_head: QueryHead, operands: vec4<u32>, row: u32, column: u32) {
    let rows = lane % 8u;
    for (var channel = 0u; channel < uniforms.head_size; channel += DEPTH) {
        let depth = min(uniforms.head_size - channel, DEPTH);
        workgroupBarrier();
        load_rows_and_columns(lane, query_head, operands.xy, row, column, channel);
        workgroupBarrier();
        for (var part = lane / 8u; part < 8u; part += lanes / 8u) {
            let block = product(rows, part, depth);
            for (var j = 0u; j < 4u; j += 1u) {
                let at = (part * 4u + j) * 8u + rows;
                if channel == 0u {
                    weights[at] = block[j];
                } else {
                    weights[at] += block[j];
                }
            }
        }
        workgroupBarrier();
        load_rows_and_columns(lane, query_head, operands.zw, row, column, channel);
        workgroupBarrier();
        for (var part = lane / 8u; part < 8u; part += lanes / 8u) {
            let block = product(rows, part, depth);
            for (var j = 0u; j < 4u; j += 1u) {
                let at = (part * 4u + j) * 8u + rows;
                if channel == 0u {
                    slopes[at] = block[j];
                } else {
                    slopes[at] += block[j];
                }
            }
        }
    }
}

// P from its score, and 0 where the query does not see the key or one of them is not there.
fn weight(score: f32, log_sum: f32, query: u32, key: u32) -> f32 {
    let is_there = query < uniforms.queries && key < uniforms.keys;
    let is_later = uniforms.causal != 0u && key > query + uniforms.keys - uniforms.queries;
    let exponent = score * uniforms.scale - log_sum;
    // Rounding can lift it a little above 0.
    let p = exp(clamp(exponent, -80.0, 1.0));
    return select(0.0, p, is_there && !is_later && exponent > -80.0);
}

// Turns scores and g v^T into P and dS * scale, where `across` says that columns are the queries.
fn differentiate(lane: u32, query_head: QueryHead, row: u32, column: u32, across: bool) {
    let rows = lane % 8u;
    for (var j = lane / 8u; j < 32u; j += lanes / 8u) {
        let at = j * 8u + rows;
        var p = weights[at];
        var slope = slopes[at];
        for (var i = 0u; i < 4u; i += 1u) {
            let here = row + rows * 4u + i;
            let query = select(here, column + j, across);
            let key = select(column + j, here, across);
            let known = min(query, uniforms.queries - 1u);
            let number = (query_head.batch * uniforms.queries + known) * uniforms.heads + query_head.head;
            p[i] = weight(p[i], log_sums[number], query, key);
            slope[i] = p[i] * (slope[i] - row_sums[number]) * uniforms.scale;
        }
        weights[at] = p;
        slopes[at] = slope;
    }
}

// Sums over the columns: channels loaded, weighted by `weights` or by `slopes`.
fn weigh(rows: u32, part: u32, by_slopes: bool) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    for (var column = 0u; column < 32u; column += 1u) {
        let at = column * 8u + rows;
        var a: vec4<f32>;
        if by_slopes {
            a = slopes[at];
        } else {
            a = weights[at];
        }
        let b = right[column * 8u + part];
        block[0] += a * b.x;
        block[1] += a * b.y;
        block[2] += a * b.z;
        block[3] += a * b.w;
    }
    return block;
}

@compute @workgroup_size(lanes)
fn attention_backward_queries(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (uniforms.queries + 31u) / 32u;
    let number = uniforms.first_group + group.x + group.y * groups.x;
    if number >= tiles * uniforms.heads * uniforms.batch {
        return;
    }
    let row = number % tiles * 32u;
    let query_head = QueryHead(number / tiles / uniforms.heads, number / tiles % uniforms.heads);
    let rows = lane % 8u;
    var end = uniforms.keys;
    if uniforms.causal != 0u {
        end = min(end, row + 32u + uniforms.keys - uniforms.queries);
    }
    for (var key = 0u; key < end; key += 32u) {
        multiply_both(lane, query_head, vec4(Q, K, G, V), row, key);
        workgroupBarrier();
        differentiate(lane, query_head, row, key, false);
        for (var channel = 0u; channel < uniforms.head_size; channel += 32u) {
            workgroupBarrier();
            load_channels(lane, query_head, K, key, channel);
            workgroupBarrier();
            for (var part = lane / 8u; part < 8u; part += lanes / 8u) {
                let block = weigh(rows, part, true);
                let c = channel + part * 4u;
                for (var i = 0u; i < 4u; i += 1u) {
                    let r = row + rows * 4u + i;
                    let line = (query_head.batch * uniforms.queries + r) * uniforms.heads + query_head.head;
                    for (var j = c; j < c + 4u; j += 1u) {
                        if r < uniforms.queries && j < uniforms.head_size {
                            let at = line * uniforms.head_size + j;
                            if key > 0u || (uniforms.adds & 1u) != 0u {
                                dq[at] += block[j - c][i];
                            } else {
                                dq[at] = block[j - c][i];
                            }
                        }
                    }
                }
            }
        }
    }
}

// dk and dv, 32 channels: adds this tile's sums, or writes them if they are the first.
fn add_to_keys(
    lane: u32,
    query_head: QueryHead,
    row: u32,
    channel: u32,
    of_values: bool,
    is_first: bool,
) {
    let rows = lane % 8u;
    let kv_head = query_head.head / (uniforms.heads / uniforms.kv_heads);
    for (var part = lane / 8u; part < 8u; part += lanes / 8u) {
        let block = weigh(rows, part, !of_values);
        let c = channel + part * 4u;
        for (var i = 0u; i < 4u; i += 1u) {
            let r = row + rows * 4u + i;
            let line = (query_head.batch * uniforms.keys + r) * uniforms.kv_heads + kv_head;
            for (var j = c; j < c + 4u; j += 1u) {
                if r < uniforms.keys && j < uniforms.head_size {
                    let at = line * uniforms.head_size + j;
                    var sum = block[j - c][i];
                    if of_values {
                        if !is_first || (uniforms.adds & 2u) != 0u {
                            sum += dv[at];
                        }
                        dv[at] = sum;
                    } else {
                        if !is_first || (uniforms.adds & 1u) != 0u {
                            sum += dk[at];
                        }
                        dk[at] = sum;
                    }
                }
            }
        }
    }
}

@compute @workgroup_size(lanes)
fn attention_backward_keys(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (uniforms.keys + 31u) / 32u;
    let number = uniforms.first_group + group.x + group.y * groups.x;
    if number >= tiles * uniforms.kv_heads * uniforms.batch {
        return;
    }
    let row = number % tiles * 32u;
    let kv_head = number / tiles % uniforms.kv_heads;
    let batch = number / tiles / uniforms.kv_heads;
    let members = uniforms.heads / uniforms.kv_heads;
    // The first query that sees the first of these keys, down to a whole tile.
    var begin = 0u;
    let ahead = uniforms.keys - uniforms.queries;
    if uniforms.causal != 0u && row > ahead {
        begin = (row - ahead) / 32u * 32u;
    }
    for (var member = 0u; member < members; member += 1u) {
        let query_head = QueryHead(batch, kv_head * members + member);
        for (var query = begin; query < uniforms.queries; query += 32u) {
            let is_first = member == 0u && query == begin;
            multiply_both(lane, query_head, vec4(K, Q, V, G), row, query);
            workgroupBarrier();
            differentiate(lane, query_head, row, query, true);
            for (var channel = 0u; channel < uniforms.head_size; channel += 32u) {
                workgroupBarrier();
                load_channels(lane, query_head, G, query, channel);
                workgroupBarrier();
                add_to_keys(lane, query_head, row, channel, true, is_first);
                workgroupBarrier();
                load_channels(lane, query_head, Q, query, channel);
                workgroupBarrier();
                add_to_keys(lane, query_head, row, channel, false, is_first);
            }
        }
    }
}
