// Cuts rows of queries, keys and perhaps values, which stand side by side, into one tensor of each, and turns
// queries and keys by their positions as rope.wgsl does, if wanted; and the way back. A workgroup takes a
// time of a batch, whose numbers its invocations share.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    // Times of all batches.
    rows: u32,
    time: u32,
    // The elements of all heads of each at one time.
    queries: u32,
    keys: u32,
    values: u32,
    // The elements of one head.
    size: u32,
    // The position of the first time.
    offset: u32,
    turns: u32,
    // Whether the gradient is added to what is there.
    add: u32,
    // 1, or -1 to turn back.
    sign: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// The cosine and the sine of pair i.
fn turn_of(position: u32, i: u32) -> vec2<f32> {
    let at = position * uniforms.size + i;
    return vec2(table[at], uniforms.sign * table[at + uniforms.size / 2u]);
}

// The number `step` after number i of `size`, counted round and round: i + step modulo size, without a division.
fn later(i: u32, step: u32, size: u32) -> u32 {
    let next = i + step;
    return select(next, next - size, next >= size);
}

// The number that makes a pair with number i, which is number `channel` of its head.
fn partner_of(i: u32, channel: u32) -> u32 {
    let half = uniforms.size / 2u;
    return select(i - half, i + half, channel < half);
}

// A number, which is number `channel` of its head, turned with its partner.
fn turned_with(number: f32, partner: f32, channel: u32, position: u32) -> f32 {
    if uniforms.turns == 0u {
        return number;
    }
    let half = uniforms.size / 2u;
    let is_first = channel < half;
    let turn = turn_of(position, select(channel - half, channel, is_first));
    return number * turn.x + select(partner, -partner, is_first) * turn.y;
}

@group(0) @binding(1) var<storage, read> merged: array<f32>;
// For each position, size/2 cosines and size/2 sines.
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> q: array<f32>;
@group(0) @binding(4) var<storage, read_write> k: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(lanes)
fn split_heads_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let position = uniforms.offset + row % uniforms.time;
    let of_queries = row * (uniforms.queries + uniforms.keys + uniforms.values);
    let of_keys = of_queries + uniforms.queries;
    let of_values = of_keys + uniforms.keys;
    let step = lanes % uniforms.size;
    var channel = lane % uniforms.size;
    for (var i = lane; i < uniforms.queries; i += lanes) {
        let partner = merged[of_queries + partner_of(i, channel)];
        let number = merged[of_queries + i];
        q[row * uniforms.queries + i] = turned_with(number, partner, channel, position);
        channel = later(channel, step, uniforms.size);
    }
    channel = lane % uniforms.size;
    for (var i = lane; i < uniforms.keys; i += lanes) {
        let partner = merged[of_keys + partner_of(i, channel)];
        let number = merged[of_keys + i];
        k[row * uniforms.keys + i] = turned_with(number, partner, channel, position);
        channel = later(channel, step, uniforms.size);
    }
    for (var i = lane; i < uniforms.values; i += lanes) {
        v[row * uniforms.values + i] = merged[of_values + i];
    }
}

@group(0) @binding(1) var<storage, read> dq: array<f32>;
@group(0) @binding(3) var<storage, read> dk: array<f32>;
@group(0) @binding(4) var<storage, read> dv: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_merged: array<f32>;

fn leave(at: u32, gradient: f32) {
    if uniforms.add != 0u {
        d_merged[at] += gradient;
    } else {
        d_merged[at] = gradient;
    }
}

@compute @workgroup_size(lanes)
fn split_heads_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let position = uniforms.offset + row % uniforms.time;
    let of_queries = row * (uniforms.queries + uniforms.keys + uniforms.values);
    let of_keys = of_queries + uniforms.queries;
    let of_values = of_keys + uniforms.keys;
    let step = lanes % uniforms.size;
    var channel = lane % uniforms.size;
    for (var i = lane; i < uniforms.queries; i += lanes) {
        let partner = dq[row * uniforms.queries + partner_of(i, channel)];
        let number = dq[row * uniforms.queries + i];
        leave(of_queries + i, turned_with(number, partner, channel, position));
        channel = later(channel, step, uniforms.size);
    }
    channel = lane % uniforms.size;
    for (var i = lane; i < uniforms.keys; i += lanes) {
        let partner = dk[row * uniforms.keys + partner_of(i, channel)];
        let number = dk[row * uniforms.keys + i];
        leave(of_keys + i, turned_with(number, partner, channel, position));
        channel = later(channel, step, uniforms.size);
    }
    for (var i = lane; i < uniforms.values; i += lanes) {
        leave(of_values + i, dv[row * uniforms.values + i]);
    }
}
