//! Eigenvalues of symmetric matrices, and how many directions a set of vectors takes up.

/// The effective rank of vectors of `size` numbers each: exp(−Σ p ln p), where p are the
/// eigenvalues of (1/n) Σ v vᵀ, which is not centred, divided by their sum (Roy & Vetterli 2007).
/// From 1, when all vectors lie on a line, to `size`, when no direction is preferred; 0 if all
/// vectors are zero.
///
/// ```
/// use neutreno_models::measure::effective_rank;
/// assert!((effective_rank(&[1.0, 0.0, 0.0, 2.0], 2) - 1.6493).abs() < 1e-4);
/// ```
///
/// # Panics
/// If the numbers do not fill vectors.
pub fn effective_rank(vectors: &[f64], size: usize) -> f64 {
    assert!(size > 0 && vectors.len().is_multiple_of(size), "vectors of {size} numbers");
    let count = vectors.len() / size;
    // VᵀV and V·Vᵀ have the same eigenvalues but for zeros: the smaller one will do.
    let (n, matrix) = if count < size {
        let row = |i: usize| &vectors[i * size..(i + 1) * size];
        (count, products(count, |i, j| dot(row(i), row(j))))
    } else {
        let mut matrix = vec![0.0; size * size];
        for vector in vectors.chunks(size) {
            for (line, a) in matrix.chunks_mut(size).zip(vector) {
                line.iter_mut().zip(vector).for_each(|(sum, b)| *sum += a * b);
            }
        }
        (size, matrix)
    };
    // Rounding leaves small negative numbers where an eigenvalue is 0.
    let values: Vec<f64> = eigenvalues(matrix, n).into_iter().map(|x| x.max(0.0)).collect();
    let total: f64 = values.iter().sum();
    if total == 0.0 { 0.0 } else { entropy(values.iter().map(|value| value / total)).exp() }
}

/// −Σ p ln p, in nats.
pub(super) fn entropy(shares: impl Iterator<Item = f64>) -> f64 {
    -shares.filter(|p| *p > 0.0).map(|p| p * p.ln()).sum::<f64>()
}

fn products(n: usize, product: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..n * n).map(|index| product(index / n, index % n)).collect()
}

/// The eigenvalues of a symmetric n × n matrix, in no particular order: Householder's reflections
/// make it tridiagonal, and QL with implicit shifts makes that diagonal (Golub & Van Loan,
/// sections 8.3.1 and 8.3.5).
fn eigenvalues(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let mut beside: Vec<f64> = (0..n.saturating_sub(2)).map(|k| reflect(&mut a, n, k)).collect();
    if n >= 2 {
        beside.push(a[(n - 2) * n + n - 1]);
    }
    beside.push(0.0);
    let diagonal = (0..n).map(|i| a[i * n + i]).collect();
    of_tridiagonal(diagonal, beside)
}

/// Makes row and column `k` zero beyond their second neighbour, by a reflection I − 2 u uᵀ of the
/// rows and columns after `k`, and returns what stands beside the diagonal then.
fn reflect(a: &mut [f64], n: usize, k: usize) -> f64 {
    let first = k + 1;
    let mut u: Vec<f64> = (first..n).map(|i| a[i * n + k]).collect();
    let norm = u.iter().map(|x| x * x).sum::<f64>().sqrt();
    // Of the two reflections, the one that adds numbers of one sign.
    let beside = -norm.copysign(u[0]);
    u[0] -= beside;
    let length = u.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length == 0.0 {
        return beside;
    }
    u.iter_mut().for_each(|x| *x /= length);
    let row = |i: usize| (first + i) * n + first..(first + i + 1) * n;
    // With w = A u − (uᵀ A u) u, the reflected matrix is A − 2 u wᵀ − 2 w uᵀ.
    let mut w: Vec<f64> = (0..u.len()).map(|i| dot(&a[row(i)], &u)).collect();
    let projection = dot(&w, &u);
    w.iter_mut().zip(&u).for_each(|(w, u)| *w -= projection * u);
    for i in 0..u.len() {
        let line = &mut a[row(i)];
        for (j, x) in line.iter_mut().enumerate() {
            *x -= 2.0 * (u[i] * w[j] + w[i] * u[j]);
        }
    }
    beside
}

/// Σ x y, in eight sums beside each other: a processor adds to them at once, where to one it must wait for each
/// product.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    for (x, y) in x.iter().zip(y) {
        sums.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    let rest = x_rest.iter().zip(y_rest).map(|(x, y)| x * y);
    sums.into_iter().chain(rest).sum()
}

fn of_tridiagonal(mut d: Vec<f64>, mut e: Vec<f64>) -> Vec<f64> {
    let n = d.len();
    let negligible =
        |d: &[f64], e: f64, m: usize| e.abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs());
    for l in 0..n {
        // Each pass brings e[l] closer to zero; three are usual, and 50 never needed.
        for _ in 0..50 {
            let Some(m) = (l..n).find(|m| *m == n - 1 || negligible(&d, e[*m], *m)) else { break };
            if m == l {
                break;
            }
            let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            let mut g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut sin, mut cos, mut p) = (1.0, 1.0, 0.0);
            let mut done = true;
            for i in (l..m).rev() {
                let (f, b) = (sin * e[i], cos * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    done = false;
                    break;
                }
                (sin, cos) = (f / r, g / r);
                g = d[i + 1] - p;
                let r = (d[i] - g) * sin + 2.0 * cos * b;
                p = sin * r;
                d[i + 1] = g + p;
                g = cos * r - b;
            }
            if done {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::random::Key;

    fn normals(key: u64, count: usize) -> Vec<f64> {
        Key::new(key).normals(count, 0.0, 1.0).into_iter().map(f64::from).collect()
    }

    /// The second differences of n points: 2 − 2 cos(π k / (n + 1)).
    #[test]
    fn eigenvalues_known_in_closed_form() {
        let n = 12;
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            matrix[i * n + i] = 2.0;
            if i > 0 {
                matrix[i * n + i - 1] = -1.0;
                matrix[(i - 1) * n + i] = -1.0;
            }
        }
        let mut values = eigenvalues(matrix, n);
        values.sort_by(f64::total_cmp);
        for (k, value) in values.iter().enumerate() {
            let angle = std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64;
            assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-12);
        }
    }

    /// The sums of eigenvalues and of their squares are those of any symmetric matrix's trace and
    /// squared elements.
    #[test]
    fn eigenvalues_keep_the_invariants() {
        for n in [1, 2, 3, 17, 40] {
            let half = normals(n as u64, n * n);
            let matrix = products(n, |i, j| half[i * n + j] + half[j * n + i]);
            let trace: f64 = (0..n).map(|i| matrix[i * n + i]).sum();
            let squares: f64 = matrix.iter().map(|x| x * x).sum();
            let values = eigenvalues(matrix, n);
            assert!((values.iter().sum::<f64>() - trace).abs() < 1e-10 * n as f64);
            let found: f64 = values.iter().map(|x| x * x).sum();
            assert!((found / squares - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn ranks_known_exactly() {
        let unit = |n: usize| products(n, |i, j| f64::from(u8::from(i == j)));
        for n in [1, 2, 5, 32] {
            assert!((effective_rank(&unit(n), n) - n as f64).abs() < 1e-9);
        }
        // All the same vector, more and fewer of them than they have numbers.
        for count in [3, 30] {
            assert!((effective_rank(&normals(1, 7).repeat(count), 7) - 1.0).abs() < 1e-9);
        }
        // Two directions with three quarters and one quarter of the squares.
        let two = [3_f64.sqrt(), 0.0, 0.0, 0.0, 1.0, 0.0];
        let expected = entropy([0.75, 0.25].into_iter()).exp();
        assert!((effective_rank(&two, 3) - expected).abs() < 1e-9);
        assert_eq!(effective_rank(&[0.0; 6], 3), 0.0);
        // Vectors of zeros change no rank, whether all are then fewer or more than they have numbers.
        let some = normals(2, 20);
        let padded = [&some[..], &[0.0; 50]].concat();
        assert!((effective_rank(&some, 5) - effective_rank(&padded, 5)).abs() < 1e-9);
    }
}
