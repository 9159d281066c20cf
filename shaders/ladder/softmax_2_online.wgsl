// The softmax of softmax_1_passes, with its first two passes in one: the sum is kept for the largest number so
// far, and made smaller when a larger one comes (Milakov and Gimelshein, 2018). The row comes from memory twice,
// for one more exponential a number.

struct Uniforms {
    first_group: u32,
    rows: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// The largest of some numbers, and the sum of exp(x - largest) over them.
struct Part {
    largest: f32,
    sum: f32,
}

var<workgroup> parts: array<Part, 64>;

// ANCHOR: join
// What two parts are together.
fn join(one: Part, other: Part) -> Part {
    let largest = max(one.largest, other.largest);
    let sum = one.sum * exp(one.largest - largest) + other.sum * exp(other.largest - largest);
    return Part(largest, sum);
}
// ANCHOR_END: join

// All invocations' parts together, for every invocation.
fn join_group(lane: u32, part: Part) -> Part {
    parts[lane] = part;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            parts[lane] = join(parts[lane], parts[lane + width]);
        }
    }
    workgroupBarrier();
    return parts[0];
}

@compute @workgroup_size(64)
fn softmax_2_online(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.width;
    var part = Part(x[start], 0.0);
    for (var j = lane; j < uniforms.width; j += 64u) {
        part = join(part, Part(x[start + j], 1.0));
    }
    part = join_group(lane, part);
    for (var j = lane; j < uniforms.width; j += 64u) {
        y[start + j] = exp(x[start + j] - part.largest) / part.sum;
    }
}
