// What the variants add around plain attention: see the entry points. Values (v, v1 and their
// gradients) are (batch, keys, kv_heads, head_size); results o and their gradients g are
// (batch, queries, heads, head_size), at the last positions of the values. The coefficients a, b and c
// are those of o = P (a v + b v1) + c (v1 - v).

override lanes: u32 = 64u;

struct Coefficients {
    first_group: u32,
    constant_a: f32,
    constant_b: f32,
    constant_c: f32,
    is_learned_a: u32,
    is_learned_b: u32,
    is_learned_c: u32,
}

@group(0) @binding(0) var<uniform> given: Coefficients;
@group(0) @binding(1) var<storage, read> learned_a: array<f32>;
@group(0) @binding(2) var<storage, read> learned_b: array<f32>;
@group(0) @binding(3) var<storage, read> learned_c: array<f32>;
@group(0) @binding(4) var<storage, read_write> gathered: array<f32>;

// a, b and c, constant or learned, side by side.
@compute @workgroup_size(1)
fn attention_values_coefficients() {
    gathered[0] = given.constant_a;
    gathered[1] = given.constant_b;
    gathered[2] = given.constant_c;
    if given.is_learned_a != 0u {
        gathered[0] = learned_a[0];
    }
    if given.is_learned_b != 0u {
        gathered[1] = learned_b[0];
    }
    if given.is_learned_c != 0u {
        gathered[2] = learned_c[0];
    }
}

struct Mix {
    first_group: u32,
    elements: u32,
}

@group(0) @binding(0) var<uniform> of_mix: Mix;
@group(0) @binding(1) var<storage, read> mix_v: array<f32>;
@group(0) @binding(2) var<storage, read> mix_v1: array<f32>;
@group(0) @binding(3) var<storage, read> mix_coefficients: array<f32>;
@group(0) @binding(4) var<storage, read_write> mixed: array<f32>;

// a v + b v1.
@compute @workgroup_size(64)
fn attention_values_mix(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (of_mix.first_group + id.y * groups.x) * 64u;
    if i < of_mix.elements {
        mixed[i] = mix_coefficients[0] * mix_v[i] + mix_coefficients[1] * mix_v1[i];
    }
}

struct RowSums {
    first_group: u32,
    rows: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
    // Whether there is a term c (v1 - v).
    has_fidelity: u32,
}

@group(0) @binding(0) var<uniform> of_sums: RowSums;
@group(0) @binding(1) var<storage, read> sums_g: array<f32>;
@group(0) @binding(2) var<storage, read> sums_o: array<f32>;
@group(0) @binding(3) var<storage, read> sums_v: array<f32>;
@group(0) @binding(4) var<storage, read> sums_v1: array<f32>;
@group(0) @binding(5) var<storage, read> sums_coefficients: array<f32>;
@group(0) @binding(6) var<storage, read_write> row_sums: array<f32>;

// The sum over channels of g (o - c (v1 - v)), for each row.
@compute @workgroup_size(64)
fn attention_values_row_sums(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = id.x + (of_sums.first_group + id.y * groups.x) * 64u;
    if row >= of_sums.rows {
        return;
    }
    let has_fidelity = of_sums.has_fidelity != 0u;
    let head = row % of_sums.heads / (of_sums.heads / of_sums.kv_heads);
    let query = row / of_sums.heads % of_sums.queries;
    let batch = row / of_sums.heads / of_sums.queries;
    let key = query + of_sums.keys - of_sums.queries;
    let start = row * of_sums.head_size;
    let own = ((batch * of_sums.keys + key) * of_sums.kv_heads + head) * of_sums.head_size;
    var total = 0.0;
    for (var channel = 0u; channel < of_sums.head_size; channel += 1u) {
        var attended = sums_o[start + channel];
        if has_fidelity {
            attended -= sums_coefficients[2] * (sums_v1[own + channel] - sums_v[own + channel]);
        }
        total += sums_g[start + channel] * attended;
    }
    row_sums[row] = total;
}

struct Sizes {
    queries: u32,
    keys: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
}

const NONE = 0xffffffffu;

// The element of g, of the first query head, for an element of the values; NONE where there is no
// query.
fn query_element(i: u32, sizes: Sizes) -> u32 {
    let channel = i % sizes.head_size;
    let row = i / sizes.head_size;
    let head = row % sizes.kv_heads * (sizes.heads / sizes.kv_heads);
    let position = row / sizes.kv_heads % sizes.keys + sizes.queries;
    let batch = row / sizes.kv_heads / sizes.keys;
    if position < sizes.keys {
        return NONE;
    }
    let query = batch * sizes.queries + position - sizes.keys;
    return (query * sizes.heads + head) * sizes.head_size + channel;
}

struct Gradients {
    first_group: u32,
    elements: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
    // Whether the gradients of v and of v1 are wanted.
    needs_own: u32,
    needs_first: u32,
    has_fidelity: u32,
    // Whether they are added to what is there.
    add_own: u32,
    add_first: u32,
}

@group(0) @binding(0) var<uniform> of_gradients: Gradients;
@group(0) @binding(1) var<storage, read> d_mixed: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read> coefficients: array<f32>;
@group(0) @binding(4) var<storage, read_write> dv: array<f32>;
@group(0) @binding(5) var<storage, read_write> dv1: array<f32>;

// Of v: a d_mixed - c g; of v1: b d_mixed + c g; g summed over the query heads of the kv head.
@compute @workgroup_size(64)
fn attention_values_gradients(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let u = of_gradients;
    let i = id.x + (of_gradients.first_group + id.y * groups.x) * 64u;
    if i >= u.elements {
        return;
    }
    var own = coefficients[0] * d_mixed[i];
    var first = coefficients[1] * d_mixed[i];
    let at = query_element(i, Sizes(u.queries, u.keys, u.heads, u.kv_heads, u.head_size));
    if u.has_fidelity != 0u && at != NONE {
        for (var member = 0u; member < u.heads / u.kv_heads; member += 1u) {
            let term = coefficients[2] * g[at + member * u.head_size];
            own -= term;
            first += term;
        }
    }
    if u.needs_own != 0u {
        dv[i] = own + select(0.0, dv[i], u.add_own != 0u);
    }
    if u.needs_first != 0u {
        dv1[i] = first + select(0.0, dv1[i], u.add_first != 0u);
    }
}

struct OfCoefficient {
    first_group: u32,
    // Of the values.
    rows: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
    // 0, 1 or 2: a, b or c.
    coefficient: u32,
    // The rows that one workgroup sums over.
    rows_a_group: u32,
}

@group(0) @binding(0) var<uniform> of_coefficient: OfCoefficient;
@group(0) @binding(3) var<storage, read> scalar_v: array<f32>;
@group(0) @binding(4) var<storage, read> scalar_v1: array<f32>;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

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

// The part of the gradient of a coefficient that some rows of the values make: of a, d_mixed v; of b,
// d_mixed v1; of c, g (v1 - v).
@compute @workgroup_size(lanes)
fn attention_values_coefficient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let u = of_coefficient;
    let part = of_coefficient.first_group + group.x + group.y * groups.x;
    if part * u.rows_a_group >= u.rows {
        return;
    }
    let sizes = Sizes(u.queries, u.keys, u.heads, u.kv_heads, u.head_size);
    let end = min((part + 1u) * u.rows_a_group, u.rows) * u.head_size;
    var total = 0.0;
    for (var i = part * u.rows_a_group * u.head_size + lane; i < end; i += lanes) {
        if u.coefficient == 0u {
            total += d_mixed[i] * scalar_v[i];
        } else if u.coefficient == 1u {
            total += d_mixed[i] * scalar_v1[i];
        } else {
            let at = query_element(i, sizes);
            if at != NONE {
                for (var member = 0u; member < u.heads / u.kv_heads; member += 1u) {
                    let slope = g[at + member * u.head_size];
                    total += slope * (scalar_v1[i] - scalar_v[i]);
                }
            }
        }
    }
    total = sum_over_lanes(lane, total);
    if lane == 0u {
        partial[part] = total;
    }
}
