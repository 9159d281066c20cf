// 3. Softmax, and the derivative of the cross-entropy
//
// Softmax makes probabilities of any numbers (logits): each becomes exp(x), divided by
// the sum of all. The cross-entropy is −ln of the probability of the right answer, the
// target. What a model learns from is its derivative by the logits.
//
// Mend both functions below.

/// The probabilities of logits. It must work for logits of any size: exp(1000) is infinite.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    // SOLUTION
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
    // INSTEAD
    // let powers: Vec<f64> = logits.iter().map(|logit| logit.exp()).collect();
    // END
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The derivative of −ln(softmax(logits)[target]) by each of the logits.
pub fn loss_gradient(logits: &[f64], target: usize) -> Vec<f64> {
    // SOLUTION
    let mut gradient = softmax(logits);
    gradient[target] -= 1.0;
    gradient
    // INSTEAD
    // let mut gradient = vec![0.0; logits.len()];
    // gradient[target] = -1.0 / softmax(logits)[target];
    // gradient
    // END
}

// HINT
// Softmax stays the same if the same number is taken from all logits. Which one makes
// the largest power exp(0)? For the derivative write the loss as ln(Σ exp(x)) − x of
// the target: two short terms.
// HINT
// The derivative of ln(Σ exp(x)) by one logit is its probability. The other term is −1
// for the target, and 0 for all others.
