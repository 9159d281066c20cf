// Turns each pair of coordinates i and i + size/2 of a head by the angle of its position. A workgroup takes a
// time of a batch, whose pairs its invocations share.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    // Times of all batches.
    rows: u32,
    time: u32,
    // The elements of all heads at one time.
    width: u32,
    // The elements of one head.
    size: u32,
    // The position of the first time.
    offset: u32,
    // Whether the times have places of their own instead.
    has_places: u32,
    add: u32,
    // 1, or -1 to turn back.
    sign: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// For each position, size/2 cosines and size/2 sines.
@group(0) @binding(2) var<storage, read> table: array<f32>;
// For each time its position, and three more numbers.
@group(0) @binding(3) var<storage, read> places: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

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

fn turned(pair: vec2<f32>, turn: vec2<f32>) -> vec2<f32> {
    return vec2(pair.x * turn.x - pair.y * turn.y, pair.y * turn.x + pair.x * turn.y);
}

@compute @workgroup_size(lanes)
fn rope_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let time = row % uniforms.time;
    var position = uniforms.offset + time;
    if uniforms.has_places != 0u {
        position = places[4u * time];
    }
    let half = uniforms.size / 2u;
    let step = lanes % half;
    var i = lane % half;
    for (var pair = lane; pair < uniforms.width / 2u; pair += lanes) {
        let first = row * uniforms.width + 2u * (pair - i) + i;
        let both = turned(vec2(x[first], x[first + half]), turn_of(position, i));
        if uniforms.add != 0u {
            y[first] += both.x;
            y[first + half] += both.y;
        } else {
            y[first] = both.x;
            y[first + half] = both.y;
        }
        i = later(i, step, half);
    }
}
