// The norm of all gradients, and the factor that brings it to at most `max_norm`.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    parts: u32,
    // Of x.
    elements: u32,
    // The elements of a part.
    length: u32,
    max_norm: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> factor: array<f32>;

var<workgroup> totals: array<f32, 256>;

// Leaves the sum of every lane's total in totals[0], for lane 0 to read.
fn sum_lanes(lane: u32, total: f32) {
    totals[lane] = total;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            totals[lane] += totals[lane + width];
        }
    }
}

// y[part] = the sum of the squares of a part of x: a workgroup each.
@compute @workgroup_size(lanes)
fn clip_squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = uniforms.first_group + group.x + group.y * groups.x;
    if part >= uniforms.parts {
        return;
    }
    let end = min((part + 1u) * uniforms.length, uniforms.elements);
    var total = 0.0;
    for (var k = part * uniforms.length + lane; k < end; k += lanes) {
        total += x[k] * x[k];
    }
    sum_lanes(lane, total);
    if lane == 0u {
        y[part] = totals[0];
    }
}

// y = the root of the sum of x, and factor = min(1, max_norm / y); 0 if y is not finite, which is
// seen from its bits, since drivers compare NaN as they please.
@compute @workgroup_size(lanes)
fn clip_factor(@builtin(local_invocation_index) lane: u32) {
    var total = 0.0;
    for (var k = lane; k < uniforms.parts; k += lanes) {
        total += x[k];
    }
    sum_lanes(lane, total);
    if lane > 0u {
        return;
    }
    total = totals[0];
    if (bitcast<u32>(total) & 0x7f800000u) == 0x7f800000u {
        y[0] = total;
        factor[0] = 0.0;
        return;
    }
    let norm = sqrt(total);
    y[0] = norm;
    factor[0] = 1.0;
    if norm > uniforms.max_norm {
        factor[0] = uniforms.max_norm / norm;
    }
}
