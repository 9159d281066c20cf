// o = P (a v + b v1) + c (v1 - v), with P = softmax(q k^T / sqrt(head_size), masked),
// and the logarithm of each row's sum of exponentials.
//
// A workgroup makes 32 rows of one head. It takes the keys in tiles of 32: scores, then their
// exponentials relative to the largest score so far, then the sums of values that they weigh.
// Operands pass through workgroup memory 32 channels at a time, and an invocation makes blocks of
// 4 by 4: rows 4 * (lane % 8).., by columns (or channels) 4 * part.., for every part it has. The
// sums stay in the memory of the result, each element with one invocation, so that heads of any
// size fit.

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
    // Whether the values are mixed, and whether there is a fidelity term.
    mixes: u32,
    has_fidelity: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> v1: array<f32>;
// a, b and c; read only if the values are mixed or there is a fidelity term.
@group(0) @binding(5) var<storage, read> coefficients: array<f32>;
@group(0) @binding(6) var<storage, read_write> o: array<f32>;
@group(0) @binding(7) var<storage, read_write> log_sums: array<f32>;

// Stands for minus infinity.
const MASKED = -1e30;

// Element 8 * column + i: rows 4 * i.. of the column of scores.
var<workgroup> scores: array<vec4<f32>, 256>;
// Element 8 * channel + i: queries 4 * i...
var<workgroup> left: array<vec4<f32>, 256>;
// Element 8 * channel + i: keys 4 * i.., for scores. Element 8 * key + i: channels 4 * i.., of
// values.
var<workgroup> right: array<vec4<f32>, 256>;

// The index of the first channel of a query, and of a key.
fn query_at(batch: u32, head: u32, row: u32) -> u32 {
    let query = min(row, uniforms.queries - 1u);
    return ((batch * uniforms.queries + query) * uniforms.heads + head) * uniforms.head_size;
}

fn key_at(batch: u32, head: u32, row: u32) -> u32 {
    let kv_head = head / (uniforms.heads / uniforms.kv_heads);
    let key = min(row, uniforms.keys - 1u);
    return ((batch * uniforms.keys + key) * uniforms.kv_heads + kv_head) * uniforms.head_size;
}

fn value(index: u32) -> f32 {
    if uniforms.mixes == 0u {
        return v[index];
    }
    return coefficients[0] * v[index] + coefficients[1] * v1[index];
}

// e^x for x <= 0, and exactly 0 for a masked score.
fn exponential(x: vec4<f32>) -> vec4<f32> {
    return select(exp(max(x, vec4(-80.0))), vec4(0.0), x < vec4(-80.0));
}

// Queries and keys, channels `channel`.. (32 at most; those past the end are not used).
fn load_queries_and_keys(lane: u32, batch: u32, head: u32, row: u32, key: u32, channel: u32) {
    for (var i = lane; i < 256u; i += lanes) {
        let c = min(channel + i % 32u, uniforms.head_size - 1u);
        let four = i / 32u;
        let at = i % 32u * 8u + four;
        let r = row + 4u * four;
        left[at] = vec4(
            q[query_at(batch, head, r) + c],
            q[query_at(batch, head, r + 1u) + c],
            q[query_at(batch, head, r + 2u) + c],
            q[query_at(batch, head, r + 3u) + c],
        );
        let j = key + 4u * four;
        right[at] = vec4(
            k[key_at(batch, head, j) + c],
            k[key_at(batch, head, j + 1u) + c],
            k[key_at(batch, head, j + 2u) + c],
            k[key_at(batch, head, j + 3u) + c],
        );
    }
}

fn load_values(lane: u32, batch: u32, head: u32, key: u32, channel: u32) {
    let last = uniforms.head_size - 1u;
    for (var i = lane; i < 256u; i += lanes) {
        let start = key_at(batch, head, key + i / 8u);
        let c = channel + i % 8u * 4u;
        right[i] = vec4(
            value(start + min(c, last)),
            value(start + min(c + 1u, last)),
            value(start + min(c + 2u, last)),
            value(start + min(c + 3u, last)),
        );
    }
}

// Adds the products of `depth` channels of queries and keys to the scores.
fn multiply_queries_and_keys(lane: u32, depth: u32, is_first: bool) {
    let rows = lane % 8u;
    for (var part = lane / 8u; part < 8u; part += lanes / 8u) {
        var block = mat4x4<f32>();
        for (var channel = 0u; channel < depth; channel += 1u) {
            let a = left[channel * 8u + rows];
            let b = right[channel * 8u + part];
            block[0] += a * b.x;
            block[1] += a * b.y;
            block[2] += a * b.z;
            block[3] += a * b.w;
        }
        for (var j = 0u; j < 4u; j += 1u) {
            let at = (part * 4u + j) * 8u + rows;
            if is_first {
                scores[at] = block[j];
            } else {
                scores[at] += block[j];
            }
        }
    }
}

// Scales the scores and hides keys that are not there or lie after the query.
fn mask(lane: u32, row: u32, key: u32) {
    let rows = lane % 8u;
    let ahead = uniforms.keys - uniforms.queries;
    let positions = vec4(row + rows * 4u) + vec4(0u, 1u, 2u, 3u) + vec4(ahead);
    for (var column = lane / 8u; column < 32u; column += lanes / 8u) {
        let j = key + column;
        let at = column * 8u + rows;
        let after = vec4<bool>(uniforms.causal != 0u) & (vec4(j) > positions);
        let hidden = vec4<bool>(j >= uniforms.keys) | after;
        scores[at] = select(scores[at] * uniforms.scale, vec4(MASKED), hidden);
    }
}

// o = shrink o + P v for 32 channels of this tile of keys; a tile's sums alone if it is the first.
fn add_values(
    lane: u32,
    batch: u32,
    head: u32,
    row: u32,
    channel: u32,
    shrink: vec4<f32>,
    is_first: bool,
) {
    let rows = lane % 8u;
    for (var part = lane / 8u; part < 8u; part += lanes / 8u) {
        var block = mat4x4<f32>();
        for (var key = 0u; key < 32u; key += 1u) {
            let a = scores[key * 8u + rows];
            let b = right[key * 8u + part];
            block[0] += a * b.x;
            block[1] += a * b.y;
            block[2] += a * b.z;
            block[3] += a * b.w;
        }
        let c = channel + part * 4u;
        for (var i = 0u; i < 4u; i += 1u) {
            let r = row + rows * 4u + i;
            let start = query_at(batch, head, r) + c;
            for (var j = 0u; j < 4u; j += 1u) {
                if r < uniforms.queries && c + j < uniforms.head_size {
                    if is_first {
                        o[start + j] = block[j][i];
                    } else {
                        o[start + j] = o[start + j] * shrink[i] + block[j][i];
                    }
                }
            }
        }
    }
}

// o = o / total + c (v1 - v), for 32 channels. The parts are those of add_values, so that each element is
// still the same invocation's: no barrier orders what others wrote there.
fn finish(lane: u32, batch: u32, head: u32, row: u32, channel: u32, total: vec4<f32>) {
    let rows = lane % 8u;
    let ahead = uniforms.keys - uniforms.queries;
    for (var part = lane / 8u; part < 8u; part += lanes / 8u) {
        let c = channel + part * 4u;
        for (var i = 0u; i < 4u; i += 1u) {
            let r = row + rows * 4u + i;
            let start = query_at(batch, head, r);
            let own = key_at(batch, head, r + ahead);
            for (var j = c; j < min(c + 4u, uniforms.head_size); j += 1u) {
                if r < uniforms.queries {
                    var result = o[start + j] / total[i];
                    if uniforms.has_fidelity != 0u {
                        result += coefficients[2] * (v1[own + j] - v[own + j]);
                    }
                    o[start + j] = result;
                }
            }
        }
    }
}

@compute @workgroup_size(lanes)
fn attention_forward(
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
    let head = number / tiles % uniforms.heads;
    let batch = number / tiles / uniforms.heads;
    let rows = lane % 8u;
    // Of the rows 4 * (lane % 8).., the same in every invocation that shares them.
    var largest = vec4(MASKED);
    var total = vec4(0.0);
    var end = uniforms.keys;
    if uniforms.causal != 0u {
        end = min(end, row + 32u + uniforms.keys - uniforms.queries);
    }
    for (var key = 0u; key < end; key += 32u) {
        for (var channel = 0u; channel < uniforms.head_size; channel += 32u) {
            workgroupBarrier();
            load_queries_and_keys(lane, batch, head, row, key, channel);
            workgroupBarrier();
            multiply_queries_and_keys(lane, min(uniforms.head_size - channel, 32u), channel == 0u);
        }
        workgroupBarrier();
        mask(lane, row, key);
        workgroupBarrier();
        let before = largest;
        for (var column = 0u; column < 32u; column += 1u) {
            largest = max(largest, scores[column * 8u + rows]);
        }
        workgroupBarrier();
        for (var column = lane / 8u; column < 32u; column += lanes / 8u) {
            scores[column * 8u + rows] = exponential(scores[column * 8u + rows] - largest);
        }
        workgroupBarrier();
        let shrink = exponential(before - largest);
        total *= shrink;
        for (var column = 0u; column < 32u; column += 1u) {
            total += scores[column * 8u + rows];
        }
        for (var channel = 0u; channel < uniforms.head_size; channel += 32u) {
            load_values(lane, batch, head, key, channel);
            workgroupBarrier();
            add_values(lane, batch, head, row, channel, shrink, key == 0u);
            workgroupBarrier();
        }
    }
    for (var channel = 0u; channel < uniforms.head_size; channel += 32u) {
        finish(lane, batch, head, row, channel, total);
    }
    if lane < 8u {
        for (var i = 0u; i < 4u; i += 1u) {
            let r = row + rows * 4u + i;
            if r < uniforms.queries {
                let at = (batch * uniforms.queries + r) * uniforms.heads + head;
                log_sums[at] = largest[i] + log(total[i]);
            }
        }
    }
}
