// What the variants add around plain attention: see the entry points. Values (v, v1 and their
// gradients) are (batch, keys, kv_heads, head_size); results o and their gradients g are
// (batch, queries, heads, head_size), at the last positions of the values.

override lanes: u32 = 64u;

struct Factors {
    first_group: u32,
    constant_0: f32,
    constant_1: f32,
    constant_2: f32,
    is_learnt_0: u32,
    is_learnt_1: u32,
    is_learnt_2: u32,
}

struct Uniforms {
    first_group: u32,
    // Elements or rows.
    count: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
    // Of the gradients: whether that of v1; of a scalar: which of the three.
    which: u32,
    // Of the gradients: whether there is a fidelity term; of a scalar: the rows of a workgroup.
    more: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> constants: Factors;
@group(0) @binding(1) var<storage, read> learnt_0: array<f32>;
@group(0) @binding(2) var<storage, read> learnt_1: array<f32>;
@group(0) @binding(3) var<storage, read> learnt_2: array<f32>;
@group(0) @binding(4) var<storage, read_write> gathered: array<f32>;

// The three factors, constant or learnt, in one place.
@compute @workgroup_size(1)
fn attention_values_factors() {
    gathered[0] = constants.constant_0;
    gathered[1] = constants.constant_1;
    gathered[2] = constants.constant_2;
    if constants.is_learnt_0 != 0u {
        gathered[0] = learnt_0[0];
    }
    if constants.is_learnt_1 != 0u {
        gathered[1] = learnt_1[0];
    }
    if constants.is_learnt_2 != 0u {
        gathered[2] = learnt_2[0];
    }
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> mix_v: array<f32>;
@group(0) @binding(2) var<storage, read> mix_v1: array<f32>;
@group(0) @binding(3) var<storage, read> mix_factors: array<f32>;
@group(0) @binding(4) var<storage, read_write> mixed: array<f32>;

// own v + first v1.
@compute @workgroup_size(64)
fn attention_values_mix(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.count {
        mixed[i] = mix_factors[0] * mix_v[i] + mix_factors[1] * mix_v1[i];
    }
}

@group(0) @binding(1) var<storage, read> sums_g: array<f32>;
@group(0) @binding(2) var<storage, read> sums_o: array<f32>;
@group(0) @binding(3) var<storage, read> sums_v: array<f32>;
@group(0) @binding(4) var<storage, read> sums_v1: array<f32>;
@group(0) @binding(5) var<storage, read> sums_factors: array<f32>;
@group(0) @binding(6) var<storage, read_write> row_sums: array<f32>;

// The sum over channels of g (o - fidelity (v1 - v)), for each row.
@compute @workgroup_size(64)
fn attention_values_row_sums(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if row >= uniforms.count {
        return;
    }
    let has_fidelity = uniforms.which != 0u;
    let head = row % uniforms.heads / (uniforms.heads / uniforms.kv_heads);
    let query = row / uniforms.heads % uniforms.queries;
    let batch = row / uniforms.heads / uniforms.queries;
    let key = query + uniforms.keys - uniforms.queries;
    let start = row * uniforms.head_size;
    let own = ((batch * uniforms.keys + key) * uniforms.kv_heads + head) * uniforms.head_size;
    var total = 0.0;
    for (var c = 0u; c < uniforms.head_size; c += 1u) {
        var attended = sums_o[start + c];
        if has_fidelity {
            attended -= sums_factors[2] * (sums_v1[own + c] - sums_v[own + c]);
        }
        total += sums_g[start + c] * attended;
    }
    row_sums[row] = total;
}

// The element of g, of the first query head, for an element of the values; past the end where
// there is no query.
fn query_element(i: u32) -> u32 {
    let channel = i % uniforms.head_size;
    let row = i / uniforms.head_size;
    let head = row % uniforms.kv_heads * (uniforms.heads / uniforms.kv_heads);
    let position = row / uniforms.kv_heads % uniforms.keys + uniforms.queries;
    let batch = row / uniforms.kv_heads / uniforms.keys;
    if position < uniforms.keys {
        return 0xffffffffu;
    }
    let query = batch * uniforms.queries + position - uniforms.keys;
    return (query * uniforms.heads + head) * uniforms.head_size + channel;
}

@group(0) @binding(1) var<storage, read> d_mixed: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read> factors: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<f32>;

// Of v: own d_mixed - fidelity g; of v1: first d_mixed + fidelity g; g summed over the query heads
// of the kv head.
@compute @workgroup_size(64)
fn attention_values_gradients(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i >= uniforms.count {
        return;
    }
    let of_first = uniforms.which != 0u;
    var total = factors[uniforms.which] * d_mixed[i];
    let at = query_element(i);
    if uniforms.more != 0u && at != 0xffffffffu {
        let pull = select(-factors[2], factors[2], of_first);
        for (var member = 0u; member < uniforms.heads / uniforms.kv_heads; member += 1u) {
            total += pull * g[at + member * uniforms.head_size];
        }
    }
    if uniforms.add != 0u {
        total += gradient[i];
    }
    gradient[i] = total;
}

@group(0) @binding(3) var<storage, read> scalar_v: array<f32>;
@group(0) @binding(4) var<storage, read> scalar_v1: array<f32>;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

var<workgroup> totals: array<f32, 256>;

// The part of the gradient of a factor that some rows of the values make: of own, d_mixed v; of
// first, d_mixed v1; of fidelity, g (v1 - v).
@compute @workgroup_size(lanes)
fn attention_values_scalar(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let piece = uniforms.first_group + group.x + group.y * groups.x;
    if piece * uniforms.more >= uniforms.count {
        return;
    }
    let end = min((piece + 1u) * uniforms.more, uniforms.count) * uniforms.head_size;
    var total = 0.0;
    for (var i = piece * uniforms.more * uniforms.head_size + lane; i < end; i += lanes) {
        if uniforms.which == 0u {
            total += d_mixed[i] * scalar_v[i];
        } else if uniforms.which == 1u {
            total += d_mixed[i] * scalar_v1[i];
        } else {
            let at = query_element(i);
            if at != 0xffffffffu {
                for (var member = 0u; member < uniforms.heads / uniforms.kv_heads; member += 1u) {
                    let slope = g[at + member * uniforms.head_size];
                    total += slope * (scalar_v1[i] - scalar_v[i]);
                }
            }
        }
    }
    totals[lane] = total;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            totals[lane] += totals[lane + width];
        }
    }
    if lane == 0u {
        partial[piece] = totals[0];
    }
}
