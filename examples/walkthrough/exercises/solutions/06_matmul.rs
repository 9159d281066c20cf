// 6. Both derivatives of a matrix product
//
// C = A·B, where A has m rows and k columns, B has k rows and n columns, and all are
// row-major. The gradient of C comes from above, and A and B each want theirs. Each
// turns out to be a matrix product again.
//
// Mend the functions below.

/// The sizes m, k and n.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// C = A·B. (This one is right.)
pub fn multiply(a: &[f64], b: &[f64], Sizes { m, k, n }: Sizes) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for row in 0..m {
        for column in 0..n {
            for i in 0..k {
                c[row * n + column] += a[row * k + i] * b[i * n + column];
            }
        }
    }
    c
}

/// The gradient of A (m rows, k columns), from that of C (m rows, n columns).
pub fn gradient_of_a(of_c: &[f64], b: &[f64], Sizes { m, k, n }: Sizes) -> Vec<f64> {
    let mut of_a = vec![0.0; m * k];
    for row in 0..m {
        for i in 0..k {
            // SOLUTION
            for column in 0..n {
                of_a[row * k + i] += of_c[row * n + column] * b[i * n + column];
            }
            // INSTEAD
            // of_a[row * k + i] = of_c[row * n] * b[i * n];
            // END
        }
    }
    of_a
}

/// The gradient of B (k rows, n columns), from that of C.
pub fn gradient_of_b(a: &[f64], of_c: &[f64], Sizes { m, k, n }: Sizes) -> Vec<f64> {
    let mut of_b = vec![0.0; k * n];
    for i in 0..k {
        for column in 0..n {
            // SOLUTION
            for row in 0..m {
                of_b[i * n + column] += a[row * k + i] * of_c[row * n + column];
            }
            // INSTEAD
            // of_b[i * n + column] = a[i] * of_c[column];
            // let _ = m;
            // END
        }
    }
    of_b
}

// HINT
// Look at one element of A. Which elements of C does it take part in? Those of one
// whole row. Its gradient is a sum over them.
// HINT
// In C's element (row, column) the factor beside A's element (row, i) is B's element
// (i, column). So the gradients are C'·Bᵀ and Aᵀ·C', where C' is the gradient of C.
