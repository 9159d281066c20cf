// Attention of a few queries over what caches keep of their sequences. A workgroup takes one query row and
// head and a part of 256 keys: their scores, the largest of these, the sum of the exponentials relative to
// that, and the values that these weigh. What the parts leave is put together by a second pass.

override lanes: u32 = 64u;

struct Parts {
    first_group: u32,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
    // The positions of a sequence in the caches.
    context: u32,
    // Of 256 keys, of the row that sees most.
    parts: u32,
    // Of the caches: 0 for f32, 1 for bf16, 2 for f16.
    format: u32,
    scale: f32,
}

struct Combine {
    first_group: u32,
    // Of the output.
    elements: u32,
    head_size: u32,
    parts: u32,
}

struct Fidelity {
    first_group: u32,
    elements: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
    // The coefficient, unless it is an input.
    constant: f32,
    is_input: u32,
}

@group(0) @binding(0) var<uniform> of_parts: Parts;
@group(0) @binding(0) var<uniform> of_combine: Combine;
@group(0) @binding(0) var<uniform> of_fidelity: Fidelity;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<u32>;
@group(0) @binding(3) var<storage, read> v: array<u32>;
// For each row its position, its slot, the first slot of its sequence, and how many tokens it sees.
@group(0) @binding(4) var<storage, read> places: array<u32>;
// For each row, head and part: head_size sums of values, the largest score, the sum of exponentials.
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;
@group(0) @binding(1) var<storage, read> sums_of_parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> o: array<f32>;
@group(0) @binding(1) var<storage, read> own: array<f32>;
@group(0) @binding(2) var<storage, read> first: array<f32>;
@group(0) @binding(3) var<storage, read> coefficient: array<f32>;
@group(0) @binding(4) var<storage, read_write> o_with_fidelity: array<f32>;

const PART = 256u;
// Stands for minus infinity.
const MASKED = -1e30;

var<workgroup> scores: array<f32, 256>;
var<workgroup> shared_numbers: array<f32, 256>;

// The number of 16 bits. By whole numbers: what the language has for f16 may take small ones for zero.
fn half_number(bits: u32, is_f16: bool) -> f32 {
    if !is_f16 {
        return bitcast<f32>(bits << 16u);
    }
    let sign = (bits & 0x8000u) << 16u;
    let size = (bits & 0x7fffu) << 13u;
    // Exponents are counted from -15 there and from -127 here.
    if size >= 0x0f800000u {
        return bitcast<f32>(sign | (size + 0x70000000u));
    }
    if size >= 0x00800000u {
        return bitcast<f32>(sign | (size + 0x38000000u));
    }
    // Numbers below 2^-14, by their difference from 2^-14.
    let small = bitcast<f32>(size | 0x38800000u) - bitcast<f32>(0x38800000u);
    return bitcast<f32>(sign | bitcast<u32>(small));
}

fn cached_value(index: u32) -> f32 {
    if of_parts.format == 0u {
        return bitcast<f32>(v[index]);
    }
    return half_number((v[index / 2u] >> (index % 2u * 16u)) & 0xffffu, of_parts.format == 2u);
}

// The sum of products of a query with a key, which begin at these numbers.
fn score_of(query: u32, key: u32) -> f32 {
    var total = 0.0;
    if of_parts.format == 0u {
        for (var c = 0u; c < of_parts.head_size; c += 1u) {
            total += q[query + c] * bitcast<f32>(k[key + c]);
        }
        return total;
    }
    let is_f16 = of_parts.format == 2u;
    for (var c = 0u; c < of_parts.head_size; c += 2u) {
        let word = k[(key + c) / 2u];
        total += q[query + c] * half_number(word & 0xffffu, is_f16);
        total += q[query + c + 1u] * half_number(word >> 16u, is_f16);
    }
    return total;
}

@compute @workgroup_size(lanes)
fn cached_attention_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = of_parts.first_group + group.x + group.y * groups.x;
    if number >= of_parts.rows * of_parts.heads * of_parts.parts {
        return;
    }
    let part = number % of_parts.parts;
    let head = number / of_parts.parts % of_parts.heads;
    let row = number / of_parts.parts / of_parts.heads;
    let kv_head = head / (of_parts.heads / of_parts.kv_heads);
    let seen = places[4u * row + 3u];
    let start = part * PART;
    let count = min(max(seen, start) - start, PART);
    let stride = of_parts.head_size;
    let memory_row = places[4u * row + 2u] * of_parts.kv_heads + kv_head * of_parts.context + start;
    let memory = memory_row * stride;
    let query = (row * of_parts.heads + head) * of_parts.head_size;
    var largest = MASKED;
    for (var key = lane; key < count; key += lanes) {
        let score = score_of(query, memory + key * stride) * of_parts.scale;
        scores[key] = score;
        largest = max(largest, score);
    }
    shared_numbers[lane] = largest;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            shared_numbers[lane] = max(shared_numbers[lane], shared_numbers[lane + width]);
        }
    }
    workgroupBarrier();
    largest = shared_numbers[0];
    workgroupBarrier();
    var total = 0.0;
    for (var key = lane; key < count; key += lanes) {
        let weight = exp(max(scores[key] - largest, -80.0));
        scores[key] = weight;
        total += weight;
    }
    shared_numbers[lane] = total;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            shared_numbers[lane] += shared_numbers[lane + width];
        }
    }
    workgroupBarrier();
    let at = number * (of_parts.head_size + 2u);
    for (var c = lane; c < of_parts.head_size; c += lanes) {
        var sum = 0.0;
        for (var key = 0u; key < count; key += 1u) {
            sum += scores[key] * cached_value(memory + key * stride + c);
        }
        sums[at + c] = sum;
    }
    if lane == 0u {
        sums[at + of_parts.head_size] = largest;
        sums[at + of_parts.head_size + 1u] = shared_numbers[0];
    }
}

// o = the parts' values, each brought to the measure of the largest score of all, over their total.
@compute @workgroup_size(64)
fn cached_attention_combine(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (of_combine.first_group + id.y * groups.x) * 64u;
    if index >= of_combine.elements {
        return;
    }
    let size = of_combine.head_size;
    let begin = index / size * of_combine.parts * (size + 2u);
    var largest = MASKED;
    for (var part = 0u; part < of_combine.parts; part += 1u) {
        largest = max(largest, sums_of_parts[begin + part * (size + 2u) + size]);
    }
    var total = 0.0;
    var sum = 0.0;
    for (var part = 0u; part < of_combine.parts; part += 1u) {
        let at = begin + part * (size + 2u);
        let measure = exp(max(sums_of_parts[at + size] - largest, -80.0));
        total += measure * sums_of_parts[at + size + 1u];
        sum += measure * sums_of_parts[at + index % size];
    }
    o[index] = sum / total;
}

// o += c (v1 - v).
@compute @workgroup_size(64)
fn cached_attention_fidelity(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (of_fidelity.first_group + id.y * groups.x) * 64u;
    if index >= of_fidelity.elements {
        return;
    }
    let size = of_fidelity.head_size;
    let row = index / size / of_fidelity.heads;
    let kv_head = index / size % of_fidelity.heads / (of_fidelity.heads / of_fidelity.kv_heads);
    let at = (row * of_fidelity.kv_heads + kv_head) * size + index % size;
    var c = of_fidelity.constant;
    if of_fidelity.is_input != 0u {
        c = coefficient[0];
    }
    o_with_fidelity[index] += c * (first[at] - own[at]);
}
