// Cross-entropy of rows of logits. The products around it are dispatches of matmul.wgsl, the mean is
// one of cross_entropy.wgsl.

override lanes: u32 = 64u;

struct Rows {
    first_group: u32,
    rows: u32,
    // The first of these rows among all.
    first: u32,
    vocabulary: u32,
    // Whether the gradient of the logits takes their place.
    has_gradient: u32,
    label_smoothing: f32,
    scale: f32,
}

struct Scale {
    first_group: u32,
    elements: u32,
    // Whether the result is added to what is there.
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Rows;
@group(0) @binding(0) var<uniform> of_scale: Scale;

@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;

const LOWEST = -3.4e38;

var<workgroup> shared_values: array<f32, 256>;

// The largest of every invocation's value, for every invocation.
fn max_over_lanes(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    shared_values[lane] = value;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            shared_values[lane] = max(shared_values[lane], shared_values[lane + width]);
        }
    }
    workgroupBarrier();
    return shared_values[0];
}

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

// The loss of a row a workgroup, and the gradient of its logits in their place.
@compute @workgroup_size(lanes)
fn linear_cross_entropy_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.vocabulary;
    let spread = uniforms.label_smoothing / f32(uniforms.vocabulary);
    let share = 1.0 - uniforms.label_smoothing;
    // The largest logit so far, and the sum of exponentials relative to it: one pass, not two.
    var own = LOWEST;
    var sum = 0.0;
    var total = 0.0;
    for (var i = lane; i < uniforms.vocabulary; i += lanes) {
        let logit = logits[start + i];
        if logit > own {
            sum *= exp(own - logit);
            own = logit;
        }
        sum += exp(logit - own);
        total += logit;
    }
    let largest = max_over_lanes(lane, own);
    sum = sum_over_lanes(lane, sum * exp(own - largest));
    total = sum_over_lanes(lane, total) - f32(uniforms.vocabulary) * largest;
    let wanted = targets[uniforms.first + row];
    let counts = wanted < uniforms.vocabulary;
    // The lane that overwrites the target's logit below reads it here: no other may. Where there is no
    // target that is one lane as well.
    if lane == wanted % lanes {
        var loss = 0.0;
        if counts {
            loss = log(sum) - share * (logits[start + wanted] - largest) - spread * total;
        }
        losses[uniforms.first + row] = loss;
    }
    if uniforms.has_gradient == 0u {
        return;
    }
    let scale = select(0.0, uniforms.scale, counts);
    for (var i = lane; i < uniforms.vocabulary; i += lanes) {
        let aim = spread + select(0.0, share, i == wanted);
        logits[start + i] = scale * (exp(logits[start + i] - largest) / sum - aim);
    }
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// y = factor · x, or y += factor · x.
@compute @workgroup_size(64)
fn linear_cross_entropy_scale(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (of_scale.first_group + id.y * groups.x) * 64u;
    if i >= of_scale.elements {
        return;
    }
    var value = factor[0] * x[i];
    if of_scale.add != 0u {
        value += y[i];
    }
    y[i] = value;
}
