//! The attention matrix P of one layer, made again row by row: memory grows as the number of
//! tokens, never as its square.

use super::rank::entropy;
use crate::engine::Result;
use crate::trace::AttentionTrace;
use rayon::prelude::*;

/// The tensors of one layer on the host, with their sizes.
pub(super) struct Attention {
    query: Heads,
    key: Heads,
    output: Heads,
    pub(super) mixed_value: Heads,
    first_value: Heads,
    causal: bool,
}

/// (batch, tokens, heads, head size).
pub(super) struct Heads {
    numbers: Vec<f32>,
    pub(super) batch: usize,
    pub(super) tokens: usize,
    heads: usize,
    size: usize,
}

impl Heads {
    pub(super) fn read(tensor: &crate::engine::Tensor) -> Result<Heads> {
        let shape = tensor.shape();
        let [batch, tokens, heads, size] = [0, 1, 2, 3].map(|axis| shape[axis]);
        Ok(Heads { numbers: tensor.to_vec()?, batch, tokens, heads, size })
    }

    /// One head of one sample: (tokens, head size).
    fn head(&self, sample: usize, head: usize) -> Vec<f64> {
        let vector = |token: usize| {
            let start = ((sample * self.tokens + token) * self.heads + head) * self.size;
            self.numbers[start..start + self.size].iter().map(|x| f64::from(*x))
        };
        (0..self.tokens).flat_map(vector).collect()
    }

    /// All heads of one sample side by side: the vectors, and how many numbers each has.
    pub(super) fn sample(&self, sample: usize) -> (Vec<f64>, usize) {
        let width = self.heads * self.size;
        let numbers = &self.numbers[sample * self.tokens * width..][..self.tokens * width];
        (numbers.iter().map(|x| f64::from(*x)).collect(), width)
    }
}

/// What is measured on the P of one head, the mean over the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct OfHead {
    pub(super) concentration: f64,
    pub(super) first_token: f64,
    pub(super) j: [f64; 2],
}

/// What is measured on P, the mean over the samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OfAttention {
    /// The entropy of the shares of attention that the tokens receive.
    pub(super) concentration: f64,
    /// The first token's share.
    pub(super) first_token: f64,
    /// J a token of two fields u, as the papers call them: the values and the outputs.
    pub(super) j: [f64; 2],
    /// E a token of the same two.
    pub(super) e: [f64; 2],
    /// The same but E of each head by itself.
    pub(super) heads: Vec<OfHead>,
}

impl Attention {
    pub(super) fn read(trace: &AttentionTrace, causal: bool) -> Result<Attention> {
        Ok(Attention {
            query: Heads::read(&trace.query)?,
            key: Heads::read(&trace.key)?,
            output: Heads::read(&trace.output)?,
            mixed_value: Heads::read(&trace.mixed_value)?,
            first_value: Heads::read(&trace.first_value)?,
            causal,
        })
    }

    /// `lambda` is that of E.
    pub(super) fn measure(&self, lambda: f64) -> OfAttention {
        let samples: Vec<OfAttention> = (0..self.query.batch)
            .into_par_iter()
            .map(|sample| self.sample(sample, lambda))
            .collect();
        let mean = |number: &dyn Fn(&OfAttention) -> f64| {
            samples.iter().map(number).sum::<f64>() / samples.len() as f64
        };
        OfAttention {
            concentration: mean(&|of| of.concentration),
            first_token: mean(&|of| of.first_token),
            j: [0, 1].map(|field| mean(&|of| of.j[field])),
            e: [0, 1].map(|field| mean(&|of| of.e[field])),
            heads: (0..self.heads())
                .map(|head| OfHead {
                    concentration: mean(&|of| of.heads[head].concentration),
                    first_token: mean(&|of| of.heads[head].first_token),
                    j: [0, 1].map(|field| mean(&|of| of.heads[head].j[field])),
                })
                .collect(),
        }
    }

    fn sample(&self, sample: usize, lambda: f64) -> OfAttention {
        let (tokens, heads, size) = (self.query.tokens, self.query.heads, self.query.size);
        let mut received = vec![0.0; tokens];
        let mut each = Vec::new();
        let (mut j, mut distance) = ([0.0; 2], [0.0; 2]);
        for head in 0..heads {
            let group = head / (heads / self.key.heads);
            let first = self.first_value.head(sample, group);
            let fields = [self.mixed_value.head(sample, group), self.output.head(sample, head)];
            let mut energies = fields.each_ref().map(|field| Energy::new(field, size));
            let mut of_head = vec![0.0; tokens];
            self.rows(sample, head, |row, weights| {
                received.iter_mut().zip(weights).for_each(|(sum, p)| *sum += p);
                of_head.iter_mut().zip(weights).for_each(|(sum, p)| *sum += p);
                energies.iter_mut().for_each(|energy| energy.add(row, weights));
            });
            for (field, energy) in energies.iter().enumerate() {
                j[field] += energy.total;
                distance[field] += squared_distance(&fields[field], &first);
            }
            let queries = tokens as f64;
            each.push(OfHead {
                concentration: entropy(of_head.iter().map(|share| share / queries)),
                first_token: of_head[0] / queries,
                j: [0, 1].map(|field| energies[field].total / queries),
            });
        }
        // Every row of P sums to 1, so all that is received is one share a query and head.
        let all = (heads * tokens) as f64;
        OfAttention {
            concentration: entropy(received.iter().map(|share| share / all)),
            first_token: received[0] / all,
            j: j.map(|j| j / all),
            e: [0, 1].map(|field| (j[field] + lambda / 2.0 * distance[field]) / all),
            heads: each,
        }
    }

    /// Calls `visit` with each row of P of one head: its number, and the weights of the tokens
    /// that it sees.
    pub(super) fn rows(&self, sample: usize, head: usize, mut visit: impl FnMut(usize, &[f64])) {
        let (tokens, size) = (self.query.tokens, self.query.size);
        let query = self.query.head(sample, head);
        let key = self.key.head(sample, head / (self.query.heads / self.key.heads));
        let scale = (size as f64).sqrt().recip();
        let mut row = vec![0.0; tokens];
        for (number, query) in query.chunks(size).enumerate() {
            let seen = if self.causal { number + 1 } else { tokens };
            let weights = &mut row[..seen];
            for (weight, key) in weights.iter_mut().zip(key.chunks(size)) {
                *weight = scale * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>();
            }
            let largest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            weights.iter_mut().for_each(|weight| *weight = (*weight - largest).exp());
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            visit(number, weights);
        }
    }

    pub(super) fn tokens(&self) -> usize {
        self.query.tokens
    }

    pub(super) fn heads(&self) -> usize {
        self.query.heads
    }
}

/// J(u) = ½ Σ_xy k(x, y) ‖u(x) − u(y)‖² (Nguyen et al. 2023, section 2), added up row by row.
struct Energy<'a> {
    u: &'a [f64],
    size: usize,
    /// ‖u(y)‖².
    squares: Vec<f64>,
    /// Σ_y k(x, y) u(y) of the row at hand.
    mean: Vec<f64>,
    total: f64,
}

impl<'a> Energy<'a> {
    fn new(u: &'a [f64], size: usize) -> Energy<'a> {
        let squares = u.chunks(size).map(|u| u.iter().map(|x| x * x).sum()).collect();
        Energy { u, size, squares, mean: vec![0.0; size], total: 0.0 }
    }

    /// Adds the row of `x`; the weights are those of the first tokens.
    fn add(&mut self, x: usize, weights: &[f64]) {
        // ½ Σ_y k (‖u(x)‖² + ‖u(y)‖² − 2 u(x)·u(y)).
        self.mean.fill(0.0);
        let (mut sum, mut squares) = (0.0, 0.0);
        for ((weight, u), square) in weights.iter().zip(self.u.chunks(self.size)).zip(&self.squares)
        {
            self.mean.iter_mut().zip(u).for_each(|(mean, u)| *mean += weight * u);
            sum += weight;
            squares += weight * square;
        }
        let own = &self.u[x * self.size..(x + 1) * self.size];
        let product: f64 = own.iter().zip(&self.mean).map(|(u, mean)| u * mean).sum();
        self.total += 0.5 * (sum * self.squares[x] + squares) - product;
    }
}

fn squared_distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::random::Key;
    use crate::engine::{Device, Tensor};

    /// One layer whose output is that of attention, and whose first value is its own.
    fn layer(query: &Tensor, key: &Tensor, value: &Tensor, causal: bool) -> Attention {
        let trace = AttentionTrace {
            query: query.clone(),
            output: query.attention(key, value, None, causal),
            key: key.clone(),
            value: value.clone(),
            first_value: value.clone(),
            mixed_value: value.clone(),
        };
        Attention::read(&trace, causal).unwrap()
    }

    fn normal(key: u64, shape: [usize; 4], deviation: f32, device: &Device) -> Tensor {
        let numbers = Key::new(key).normals(shape.iter().product(), 0.0, deviation);
        Tensor::new(&numbers, shape, device)
    }

    /// Without preferences, token y receives Σ_{x ≥ y} 1 / x of a causal mask, and all receive the
    /// same without a mask.
    #[test]
    fn concentration_of_uniform_attention() {
        for (tokens, expected) in [(64, 3.7539), (128, 4.4386), (256, 5.1273), (2048, 7.2025)] {
            let zeros = Tensor::zeros([1, tokens, 1, 1], &Device::cpu());
            let measured = layer(&zeros, &zeros, &zeros, true).measure(0.0);
            assert!((measured.concentration - expected).abs() < 1e-4, "{measured:?}");
            let harmonic: f64 = (1..=tokens).map(|x| 1.0 / x as f64).sum();
            assert!((measured.first_token - harmonic / tokens as f64).abs() < 1e-9);
        }
        let zeros = Tensor::zeros([2, 50, 4, 2], &Device::cpu());
        let measured = layer(&zeros, &zeros, &zeros, false).measure(0.0);
        assert!((measured.concentration - 50_f64.ln()).abs() < 1e-9);
    }

    /// The rows that are made again are those that the engine attends with, also where heads share
    /// keys and values.
    #[test]
    fn rows_are_the_engines() {
        let device = Device::cpu();
        for causal in [true, false] {
            let query = normal(1, [2, 9, 4, 3], 2.0, &device);
            let [key, value] = [2, 3].map(|key| normal(key, [2, 9, 2, 3], 1.0, &device));
            let attention = layer(&query, &key, &value, causal);
            for (sample, head) in [(0, 0), (1, 1), (1, 3)] {
                let values = attention.mixed_value.head(sample, head / 2);
                let outputs = attention.output.head(sample, head);
                attention.rows(sample, head, |row, weights| {
                    for channel in 0..3 {
                        let terms = weights.iter().zip(values.chunks(3));
                        let sum: f64 = terms.map(|(weight, value)| weight * value[channel]).sum();
                        assert!((sum - outputs[row * 3 + channel]).abs() < 1e-5);
                    }
                });
            }
        }
    }

    #[test]
    fn constant_tokens_have_no_energy() {
        let device = Device::cpu();
        let [query, key] = [1, 2].map(|key| normal(key, [1, 12, 2, 4], 1.0, &device));
        let constant = Tensor::full(0.7, [1, 12, 2, 4], &device);
        let measured = layer(&query, &key, &constant, false).measure(0.6);
        assert!(measured.j.iter().chain(&measured.e).all(|energy| energy.abs() < 1e-6));
    }

    /// J by its definition, on a few tokens; and E, which adds the distance to the first value.
    #[test]
    fn energies_are_those_of_the_definition() {
        let device = Device::cpu();
        let [query, key, value] = [1, 2, 3].map(|key| normal(key, [1, 5, 1, 2], 1.0, &device));
        let attention = layer(&query, &key, &value, true);
        let u = attention.mixed_value.head(0, 0);
        let mut j = 0.0;
        attention.rows(0, 0, |x, weights| {
            for (y, weight) in weights.iter().enumerate() {
                j += 0.5 * weight * squared_distance(&u[2 * x..2 * x + 2], &u[2 * y..2 * y + 2]);
            }
        });
        let measured = attention.measure(0.4);
        assert!((measured.j[0] - j / 5.0).abs() < 1e-9);
        assert!((measured.e[0] - measured.j[0]).abs() < 1e-12, "the value is the first value");
        let moved = squared_distance(&attention.output.head(0, 0), &u) / 5.0;
        assert!((measured.e[1] - measured.j[1] - 0.2 * moved).abs() < 1e-9);
    }

    /// With Q = K and no mask the kernel k = exp(q·k / √d) is symmetric, and one attention step is
    /// a step down its energy: J(P u) ≤ J(u).
    #[test]
    fn a_symmetric_step_lowers_the_energy() {
        let device = Device::cpu();
        for seed in 0..20 {
            let query = normal(seed, [1, 16, 1, 4], 1.5, &device);
            let value = normal(seed + 100, [1, 16, 1, 4], 1.0, &device);
            let attention = layer(&query, &query, &value, false);
            let q = attention.query.head(0, 0);
            let energy = |u: &[f64]| {
                let mut energy = Energy::new(u, 4);
                for x in 0..16 {
                    let product =
                        |y: usize| (0..4).map(|c| q[4 * x + c] * q[4 * y + c]).sum::<f64>() / 2.0;
                    let kernel: Vec<f64> = (0..16).map(|y| product(y).exp()).collect();
                    energy.add(x, &kernel);
                }
                energy.total
            };
            let before = energy(&attention.mixed_value.head(0, 0));
            let after = energy(&attention.output.head(0, 0));
            assert!(after < before, "{after} {before}");
        }
    }
}
