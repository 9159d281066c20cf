// The norm of all gradients, the factor that brings it to at most `max_norm`, and how often that was 0.

override lanes: u32 = 64u;

struct Squares {
    first_group: u32,
    parts: u32,
    // Of x.
    elements: u32,
    // The elements of a part.
    length: u32,
}

struct Factor {
    first_group: u32,
    parts: u32,
    max_norm: f32,
}

struct Values {
    first_group: u32,
    elements: u32,
    limit: f32,
}

@group(0) @binding(0) var<uniform> squares: Squares;
@group(0) @binding(0) var<uniform> limit: Factor;
@group(0) @binding(0) var<uniform> bounds: Values;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> factor: array<f32>;
@group(0) @binding(2) var<storage, read> loss: array<f32>;

@group(0) @binding(1) var<storage, read_write> values: array<f32>;

var<workgroup> shared_values: array<f32, 256>;

// The sum of every invocation's value, for every invocation.
fn sum_over_lanes(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    shared_values[lane] = value;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            shared_values[lane] += shared_values[lane + width];
        }
    }
    workgroupBarrier();
    return shared_values[0];
}

// y[part] = the sum of the squares of a part of x: a workgroup each.
@compute @workgroup_size(lanes)
fn clip_squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = squares.first_group + group.x + group.y * groups.x;
    if part >= squares.parts {
        return;
    }
    let end = min((part + 1u) * squares.length, squares.elements);
    var total = 0.0;
    for (var k = part * squares.length + lane; k < end; k += lanes) {
        total += x[k] * x[k];
    }
    total = sum_over_lanes(lane, total);
    if lane == 0u {
        y[part] = total;
    }
}

// From its bits, since drivers compare NaN as they please.
fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

// y = the root of the sum of x, and factor = min(1, max_norm / y); 0 if y is not finite.
@compute @workgroup_size(lanes)
fn clip_factor(@builtin(local_invocation_index) lane: u32) {
    var total = 0.0;
    for (var k = lane; k < limit.parts; k += lanes) {
        total += x[k];
    }
    total = sum_over_lanes(lane, total);
    if lane > 0u {
        return;
    }
    if !is_finite(total) {
        y[0] = total;
        factor[0] = 0.0;
        return;
    }
    let norm = sqrt(total);
    y[0] = norm;
    factor[0] = 1.0;
    if norm > limit.max_norm {
        factor[0] = limit.max_norm / norm;
    }
}

// Adds 1 to y where x, the factor, is 0: an update is left out.
@compute @workgroup_size(lanes)
fn clip_count(@builtin(local_invocation_index) lane: u32) {
    if lane == 0u && x[0] == 0.0 {
        y[0] += 1.0;
    }
}

// factor = x, the factor of the norm, or 0 if the loss is not finite.
@compute @workgroup_size(lanes)
fn clip_loss(@builtin(local_invocation_index) lane: u32) {
    if lane == 0u {
        factor[0] = select(0.0, x[0], is_finite(loss[0]));
    }
}

// Each value brought into [-limit, limit]. By their bits, of which those of larger magnitudes are larger
// numbers, and those of NaN larger than infinity's: it stays NaN.
@compute @workgroup_size(64)
fn clip_values(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (bounds.first_group + id.y * groups.x) * 64u;
    if i >= bounds.elements {
        return;
    }
    let bits = bitcast<u32>(values[i]);
    let magnitude = bits & 0x7fffffffu;
    if magnitude > bitcast<u32>(bounds.limit) && magnitude <= 0x7f800000u {
        values[i] = select(bounds.limit, -bounds.limit, bits != magnitude);
    }
}
