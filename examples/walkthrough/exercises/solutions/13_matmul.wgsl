// 13. A matrix product in tiles
//
// C = A·B with A of m rows and k columns, B of k rows and n columns. A workgroup makes
// a square of 16 × 16 elements of C. These need 16 rows of A and 16 columns of B, each
// element of which is used 16 times.
//
// Task: the kernel is right, but fetches everything from memory anew for every use. Go
// along k in steps of 16: fetch a square of A and one of B into workgroup memory, each
// invocation one number of either, and multiply these. The sizes are no multiples of
// 16.

struct Uniforms {
    m: u32,
    k: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

var<workgroup> square_a: array<f32, 256>;
var<workgroup> square_b: array<f32, 256>;

@compute @workgroup_size(16, 16)
fn matmul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) id: vec3<u32>,
) {
    let row = group.y * 16u + id.y;
    let column = group.x * 16u + id.x;
    var sum = 0.0;
    // SOLUTION
    let lane = id.y * 16u + id.x;
    for (var first = 0u; first < uniforms.k; first += 16u) {
        square_a[lane] = 0.0;
        square_b[lane] = 0.0;
        if row < uniforms.m && first + id.x < uniforms.k {
            square_a[lane] = a[row * uniforms.k + first + id.x];
        }
        if first + id.y < uniforms.k && column < uniforms.n {
            square_b[lane] = b[(first + id.y) * uniforms.n + column];
        }
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) {
            sum += square_a[id.y * 16u + i] * square_b[i * 16u + id.x];
        }
        workgroupBarrier();
    }
    // INSTEAD
    // if row < uniforms.m && column < uniforms.n {
    //     for (var i = 0u; i < uniforms.k; i++) {
    //         sum += a[row * uniforms.k + i] * b[i * uniforms.n + column];
    //     }
    // }
    // END
    if row < uniforms.m && column < uniforms.n {
        c[row * uniforms.n + column] = sum;
    }
}

// HINT
// In each step: fetch, barrier, multiply, barrier. The second keeps invocations that
// are ahead from overwriting what others still read. Invocations outside of C help
// with fetching.
// HINT
// The invocation (id.x, id.y) fetches A's element (row, first + id.x) and B's (first +
// id.y, column), or 0 where there is none, and adds square_a[id.y * 16 + i] ·
// square_b[i * 16 + id.x] over the 16 values of i.
