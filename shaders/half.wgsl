// Rows of a matrix in half precision: two numbers of 16 bits in a word, the first in its lower half; a row
// begins with a whole word.

struct Rows {
    first_group: u32,
    // Of y.
    elements: u32,
    // The numbers of a row.
    columns: u32,
    // Whether the numbers are f16, and not bf16.
    is_f16: u32,
    // Whether the rows are those of ids, and not all.
    has_ids: u32,
}

@group(0) @binding(0) var<uniform> of_rows: Rows;
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

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
fn half_rows(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (of_rows.first_group + id.y * groups.x) * 64u;
    if index >= of_rows.elements {
        return;
    }
    var row = index / of_rows.columns;
    let column = index % of_rows.columns;
    if of_rows.has_ids != 0u {
        row = ids[row];
    }
    let word = words[row * ((of_rows.columns + 1u) / 2u) + column / 2u];
    y[index] = half_number((word >> (column % 2u * 16u)) & 0xffffu, of_rows.is_f16 != 0u);
}
