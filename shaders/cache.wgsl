// Rows into their places in a cache, where those of one head lie one after another, and rows of a cache in
// f32. In half precision a word holds two numbers,
// the first in its lower half.

struct Write {
    first_group: u32,
    // Words to be written.
    count: u32,
    heads: u32,
    // The words of a head.
    length: u32,
    // The positions of a sequence.
    context: u32,
    // 0 for f32, 1 for bf16, 2 for f16.
    format: u32,
}

struct Read {
    first_group: u32,
    // Of y.
    elements: u32,
    heads: u32,
    // The numbers of a head.
    size: u32,
    context: u32,
    // The row of the memory where the sequence begins.
    first: u32,
    format: u32,
}

@group(0) @binding(0) var<uniform> of_write: Write;
@group(0) @binding(0) var<uniform> of_read: Read;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> words: array<u32>;
// For each row its position, its slot, the first slot of its sequence, and how many tokens it sees.
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> cache: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

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

@compute @workgroup_size(64)
fn cache_write(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (of_write.first_group + id.y * groups.x) * 64u;
    if index >= of_write.count {
        return;
    }
    let head = index / of_write.length % of_write.heads;
    let place = 4u * (index / of_write.length / of_write.heads);
    let first = places[place + 2u];
    let memory_row = first * of_write.heads + head * of_write.context + places[place + 1u] - first;
    let at = memory_row * of_write.length + index % of_write.length;
    if of_write.format == 0u {
        cache[at] = bitcast<u32>(x[index]);
        return;
    }
    let is_f16 = of_write.format == 2u;
    let low = nearest_half(bitcast<u32>(x[2u * index]), is_f16);
    let high = nearest_half(bitcast<u32>(x[2u * index + 1u]), is_f16);
    cache[at] = low | (high << 16u);
}

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

@compute @workgroup_size(64)
fn cache_read(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (of_read.first_group + id.y * groups.x) * 64u;
    if index >= of_read.elements {
        return;
    }
    let head = index / of_read.size % of_read.heads;
    let position = index / of_read.size / of_read.heads;
    let memory_row = of_read.first + head * of_read.context + position;
    let at = memory_row * of_read.size + index % of_read.size;
    if of_read.format == 0u {
        y[index] = bitcast<f32>(words[at]);
        return;
    }
    let bits = (words[at / 2u] >> (at % 2u * 16u)) & 0xffffu;
    y[index] = half_number(bits, of_read.format == 2u);
}
