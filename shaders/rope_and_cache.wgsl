// Queries and keys of new tokens, turned by their positions, and keys and values put in their places in
// caches, where those of one head lie one after another. An invocation makes one number of the queries, or
// one word of a cache, which in half precision holds two numbers, the first in its lower half.

struct Uniforms {
    first_group: u32,
    // Numbers of the queries and words of the caches.
    count: u32,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    // The numbers of a head, and its words in a cache.
    size: u32,
    length: u32,
    // The positions of a sequence.
    context: u32,
    // 0 for f32, 1 for bf16, 2 for f16.
    format: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
// For each position, size/2 cosines and size/2 sines.
@group(0) @binding(4) var<storage, read> table: array<f32>;
// For each row its position, its slot, the first slot of its sequence, and how many tokens it sees.
@group(0) @binding(5) var<storage, read> places: array<u32>;
@group(0) @binding(6) var<storage, read_write> turned: array<f32>;
@group(0) @binding(7) var<storage, read_write> keys: array<u32>;
@group(0) @binding(8) var<storage, read_write> values: array<u32>;

// The bits without the last `count`, to the nearest, and to even.
fn rounded(bits: u32, count: u32) -> u32 {
    let half = (1u << (count - 1u)) - 1u;
    return (bits + half + ((bits >> count) & 1u)) >> count;
}

// The nearest number of 16 bits; what is finite stays so.
fn nearest_half(bits: u32, is_f16: bool) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    // No number at all, and infinity.
    if size > 0x7f800000u {
        return sign | 0x7fffu;
    }
    if !is_f16 {
        if size == 0x7f800000u {
            return sign | 0x7f80u;
        }
        return sign | min(rounded(size, 16u), 0x7f7fu);
    }
    if size == 0x7f800000u {
        return sign | 0x7c00u;
    }
    // Below 2^-14 steps are 2^-24 everywhere.
    if size < 0x38800000u {
        return sign | rounded_small(size);
    }
    if size >= 0x47800000u {
        return sign | 0x7bffu;
    }
    return sign | min(rounded(size - 0x38000000u, 13u), 0x7bffu);
}

// A number below 2^-14 in steps of 2^-24, to the nearest, and to even.
fn rounded_small(size: u32) -> u32 {
    let exponent = size >> 23u;
    // Smaller than half a step.
    if exponent < 102u {
        return 0u;
    }
    return rounded((size & 0x7fffffu) | 0x800000u, 126u - exponent);
}

// Of a pair of coordinates, size/2 apart, the one that is number `channel` of its head.
fn turn(own: f32, other: f32, channel: u32, position: u32) -> f32 {
    let half = uniforms.size / 2u;
    let at = position * uniforms.size + channel % half;
    let across = other * table[at + half];
    return own * table[at] + select(across, -across, channel < half);
}

// The number of the same pair.
fn partner(index: u32, channel: u32) -> u32 {
    let half = uniforms.size / 2u;
    if channel < half {
        return index + half;
    }
    return index - half;
}

fn turned_key(index: u32, channel: u32, position: u32) -> u32 {
    return bitcast<u32>(turn(k[index], k[partner(index, channel)], channel, position));
}

// Where a cache has word `index` of new rows.
fn place_of(index: u32) -> u32 {
    let head = index / uniforms.length % uniforms.kv_heads;
    let place = 4u * (index / uniforms.length / uniforms.kv_heads);
    let first = places[place + 2u];
    let memory_row =
        first * uniforms.kv_heads + head * uniforms.context + places[place + 1u] - first;
    return memory_row * uniforms.length + index % uniforms.length;
}

// Two numbers as a word.
fn packed(low: u32, high: u32) -> u32 {
    let is_f16 = uniforms.format == 2u;
    return nearest_half(low, is_f16) | (nearest_half(high, is_f16) << 16u);
}

// Word `index` of turned keys.
fn key_word(index: u32) -> u32 {
    let position = places[4u * (index / uniforms.length / uniforms.kv_heads)];
    if uniforms.format == 0u {
        return turned_key(index, index % uniforms.size, position);
    }
    let channel = 2u * (index % uniforms.length);
    let low = turned_key(2u * index, channel, position);
    return packed(low, turned_key(2u * index + 1u, channel + 1u, position));
}

// Word `index` of values.
fn value_word(index: u32) -> u32 {
    if uniforms.format == 0u {
        return bitcast<u32>(v[index]);
    }
    return packed(bitcast<u32>(v[2u * index]), bitcast<u32>(v[2u * index + 1u]));
}

@compute @workgroup_size(64)
fn rope_and_cache(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    var index = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if index >= uniforms.count {
        return;
    }
    let queries = uniforms.rows * uniforms.heads * uniforms.size;
    if index < queries {
        let channel = index % uniforms.size;
        let position = places[4u * (index / uniforms.size / uniforms.heads)];
        turned[index] = turn(q[index], q[partner(index, channel)], channel, position);
        return;
    }
    index -= queries;
    let words = uniforms.rows * uniforms.kv_heads * uniforms.length;
    if index < words {
        keys[place_of(index)] = key_word(index);
        return;
    }
    index -= words;
    values[place_of(index)] = value_word(index);
}
