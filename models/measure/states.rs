//! What the vectors of a sequence say: how alike they are, and how much the first differs.

/// The mean of cos(h_i, h_j) over all pairs i ≠ j of vectors of `size` numbers. NaN for fewer than
/// two vectors. A vector of zeros is like no other.
///
/// ```
/// use neutreno_models::measure::token_similarity;
/// assert_eq!(token_similarity(&[3.0, 4.0, 6.0, 8.0], 2), 1.0);
/// assert_eq!(token_similarity(&[3.0, 0.0, 0.0, 8.0], 2), 0.0);
/// ```
pub fn token_similarity(vectors: &[f64], size: usize) -> f64 {
    // With û = h / ‖h‖: Σ_{i≠j} û_i·û_j = ‖Σ û‖² − Σ ‖û‖².
    let mut sum = vec![0.0; size];
    let mut own = 0.0;
    for vector in vectors.chunks(size) {
        let norm = norm(vector);
        if norm > 0.0 {
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x / norm);
            own += 1.0;
        }
    }
    let count = (vectors.len() / size) as f64;
    if count < 2.0 {
        return f64::NAN;
    }
    (sum.iter().map(|x| x * x).sum::<f64>() - own) / (count * (count - 1.0))
}

/// The norm of the first vector, divided by the mean norm of the others.
///
/// ```
/// use neutreno_models::measure::first_to_mean;
/// assert_eq!(first_to_mean(&[3.0, 4.0, 1.0, 0.0, 0.0, 3.0], 2), 2.5);
/// ```
pub fn first_to_mean(vectors: &[f64], size: usize) -> f64 {
    let norms: Vec<f64> = vectors.chunks(size).map(norm).collect();
    let (first, others) = norms.split_first().expect("there is a vector");
    first * others.len() as f64 / others.iter().sum::<f64>()
}

fn norm(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarities_known_exactly() {
        // Opposite, and the corners of a triangle.
        assert_eq!(token_similarity(&[1.0, 0.0, -2.0, 0.0], 2), -1.0);
        let (sin, cos) = (0.75_f64.sqrt(), -0.5);
        let triangle = [1.0, 0.0, cos, sin, cos, -sin];
        assert!((token_similarity(&triangle, 2) + 0.5).abs() < 1e-12);
        assert!(token_similarity(&[1.0, 2.0], 2).is_nan());
        assert_eq!(token_similarity(&[1.0, 0.0, 0.0, 0.0], 2), 0.0);
    }
}
