// y = x * factor where the element's random word is large enough, else 0; or y += that.

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
    key_0: u32,
    key_1: u32,
    // Of the upper 24 bits of a word, below which the element is dropped.
    threshold: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn mix(state: vec2<u32>, rotation: u32) -> vec2<u32> {
    let a = state.x + state.y;
    return vec2(a, ((state.y << rotation) | (state.y >> (32u - rotation))) ^ a);
}

// Threefry-2x32 with 20 rounds: the random words of elements 2 * block and 2 * block + 1.
fn threefry(block: u32) -> vec2<u32> {
    let key = vec2(uniforms.key_0, uniforms.key_1);
    var keys = array(key.x, key.y, 0x1BD11BDAu ^ key.x ^ key.y);
    var state = vec2(block, 0u) + key;
    for (var i = 1u; i <= 5u; i++) {
        if i % 2u == 1u {
            state = mix(mix(mix(mix(state, 13u), 15u), 26u), 6u);
        } else {
            state = mix(mix(mix(mix(state, 17u), 29u), 16u), 24u);
        }
        state += vec2(keys[i % 3u], keys[(i + 1u) % 3u] + i);
    }
    return state;
}

fn write(i: u32, word: u32) {
    if i < uniforms.elements {
        let before = select(0.0, y[i], uniforms.add != 0u);
        y[i] = before + select(0.0, x[i] * uniforms.factor, (word >> 8u) >= uniforms.threshold);
    }
}

@compute @workgroup_size(64)
fn dropout_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let block = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    let words = threefry(block);
    write(2u * block, words.x);
    write(2u * block + 1u, words.y);
}
