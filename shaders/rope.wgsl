// Turns each pair of coordinates i and i + size/2 of a head by the angle of its position.

struct Uniforms {
    first_group: u32,
    pairs: u32,
    time: u32,
    // The elements of all heads at one time, and of one head.
    width: u32,
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

@compute @workgroup_size(64)
fn rope_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if index >= uniforms.pairs {
        return;
    }
    let half = uniforms.size / 2u;
    let first = index / half * uniforms.size + index % half;
    let second = first + half;
    let time = first / uniforms.width % uniforms.time;
    var position = uniforms.offset + time;
    if uniforms.has_places != 0u {
        position = places[4u * time];
    }
    let at = position * uniforms.size + index % half;
    let cosine = table[at];
    let sine = uniforms.sign * table[at + half];
    let turned = vec2(x[first] * cosine - x[second] * sine, x[second] * cosine + x[first] * sine);
    if uniforms.add != 0u {
        y[first] += turned.x;
        y[second] += turned.y;
    } else {
        y[first] = turned.x;
        y[second] = turned.y;
    }
}
