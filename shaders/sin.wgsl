// y = sin(x + quarters * pi / 2), so sin x with 0 quarters and cos x with 1; dx = dy * the same with
// one quarter more.

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
    quarters: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// The bits of 1 / (2 pi), after 32 zeros.
const INVERSE = array<u32, 8>(
    0u, 0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u, 0x36d8a566u, 0x4f10e410u, 0x7f9458eau,
);

// The 32 bits of 1 / (2 pi) from bit `start` on.
fn inverse_bits(start: u32) -> u32 {
    var words = INVERSE;
    let word = start / 32u;
    let shift = start % 32u;
    // Two shifts, since one by 32 means nothing.
    return (words[word] << shift) | ((words[word + 1u] >> 1u) >> (31u - shift));
}

// x / (2 pi) without its whole part, times 2^32, for finite x >= 1/2. Whole numbers keep every digit that
// matters, whatever the driver does to sums of real ones. x is a whole number of 24 bits times a power of
// two, which moves bit `start` of 1 / (2 pi) to the first place behind the point.
fn turns(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let whole = (bits & 0x7fffffu) | 0x800000u;
    let start = max(bits >> 23u, 118u) - 118u;
    let next = inverse_bits(start + 32u);
    // What `whole` times the next 32 bits carries over, from its halves; within 2 of it.
    let high = (whole >> 8u) * (next >> 16u);
    let low = (whole & 255u) * (next >> 16u) + (((whole >> 8u) * (next & 0xffffu)) >> 8u);
    return whole * inverse_bits(start) + (high >> 8u) + (low >> 16u);
}

// sin(x + quarters * pi / 2).
fn sine(x: f32, quarters: u32) -> f32 {
    let magnitude = abs(x);
    var n = 0u;
    var r = magnitude;
    if magnitude > 0.78 {
        let fraction = turns(magnitude);
        n = (fraction + 0x20000000u) >> 30u;
        // 2 pi / 2^32.
        r = f32(bitcast<i32>(fraction - (n << 30u))) * 1.4629181e-9;
    }
    if x < 0.0 {
        n = 4u - n;
        r = -r;
    }
    n += quarters;
    let s = r * r;
    let odd = r + r * s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s / 362880.0)));
    let even = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0 + s / 40320.0)));
    let value = select(even, odd, (n & 1u) == 0u);
    return select(-value, value, (n & 2u) == 0u);
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn sin_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        y[i] = sine(x[i], uniforms.quarters);
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn sin_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let before = select(0.0, dx[i], uniforms.add != 0u);
        dx[i] = before + dy[i] * sine(saved_x[i], uniforms.quarters + 1u);
    }
}
