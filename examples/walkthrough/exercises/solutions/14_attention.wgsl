// 14. Attention of one head
//
// Query i looks at the keys 0 to i: scores s[j] = q[i]·k[j] / √8, weights p =
// softmax(s), and the output is Σ p[j] v[j]. Queries, keys and values have 8 channels:
// channel c of token t is at 8 t + c. Each invocation does one query.
//
// Task: the kernel is right, but puts the scores of all queries against all keys into
// memory, tokens² of them. Do without: no `scores`, and nothing else whose size hangs
// on the number of tokens. Keep for each query three things only: the largest score so
// far, the sum of exp(score − largest), and the sum of exp(score − largest)·v.

struct Uniforms {
    tokens: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
// SOLUTION
// INSTEAD
// @group(0) @binding(5) var<storage, read_write> scores: array<f32>;
// END

fn score(query: u32, key: u32) -> f32 {
    var sum = 0.0;
    for (var c = 0u; c < 8u; c++) {
        sum += q[8u * query + c] * k[8u * key + c];
    }
    return sum / sqrt(8.0);
}

@compute @workgroup_size(64)
fn attention(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if i >= uniforms.tokens {
        return;
    }
    var largest = -3.4e38;
    var sum = 0.0;
    var mean: array<f32, 8>;
    // SOLUTION
    for (var j = 0u; j <= i; j++) {
        let s = score(i, j);
        let next = max(largest, s);
        let before = exp(largest - next);
        let power = exp(s - next);
        largest = next;
        sum = sum * before + power;
        for (var c = 0u; c < 8u; c++) {
            mean[c] = mean[c] * before + power * v[8u * j + c];
        }
    }
    // INSTEAD
    // for (var j = 0u; j <= i; j++) {
    //     let s = score(i, j);
    //     scores[i * uniforms.tokens + j] = s;
    //     largest = max(largest, s);
    // }
    // for (var j = 0u; j <= i; j++) {
    //     let power = exp(scores[i * uniforms.tokens + j] - largest);
    //     sum += power;
    //     for (var c = 0u; c < 8u; c++) {
    //         mean[c] += power * v[8u * j + c];
    //     }
    // }
    // END
    for (var c = 0u; c < 8u; c++) {
        out[8u * i + c] = mean[c] / sum;
    }
}

// HINT
// One loop over the keys does it. When a score comes that is larger than all before,
// what was summed up with the old largest must be made smaller. By which factor?
// HINT
// exp(s − old) · exp(old − new) is exp(s − new): so both sums are multiplied by
// exp(old − new), before the new term exp(s − new) is added. If the largest stays the
// same, that factor is 1.
