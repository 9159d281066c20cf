//! The head of chapter 10 that has nothing to do half of the time.

use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Initial, Result, Tensor};

pub const LETTERS: usize = 8;
const AXES: usize = LETTERS / 2;
const TEXTS: usize = 32;

/// A head with a query for each letter, which wants that letter, and one more query, which wants nothing.
/// It has a key and a value for each letter, before them perhaps those of a token that begins each text.
pub struct Head {
    query: Tensor, // (letters + 1, channels)
    key: Tensor,   // (keys, channels)
    value: Tensor, // (keys, axes)
}

// ANCHOR: head
impl Head {
    /// P in texts that lack the keys where `absent` (texts, 1, keys) is −10³⁰, and 0 elsewhere.
    fn weights(&self, absent: &Tensor) -> Tensor {
        self.query.matmul_with(&self.key, false, true).add(absent).softmax(-1)
    }

    /// The mean squared error, where a query counts as often as `asked` (texts, letters + 1, 1) says.
    pub fn loss(&self, [absent, asked]: &[Tensor; 2]) -> Tensor {
        let error = self.weights(absent).matmul(&self.value).subtract(&wanted(self.query.device()));
        error.power(2.0).multiply(asked).sum(&[0, 1, 2], false)
    }
}
// ANCHOR_END: head

/// What the queries want: letter 0 up along the first axis, letter 1 down along it, letter 2 up along the
/// second, ...; and the last query nothing.
fn wanted(device: &Device) -> Tensor {
    let mut wanted = [0.0; (LETTERS + 1) * AXES];
    for letter in 0..LETTERS {
        wanted[letter * AXES + letter / 2] = if letter % 2 == 0 { 1.0 } else { -1.0 };
    }
    Tensor::new(&wanted, [LETTERS + 1, AXES], device)
}

/// Texts of half of the letters: which keys they lack, and how often each query is asked in them; the one
/// that wants nothing as often as all others together.
pub fn texts(keys: usize, key: Key, device: &Device) -> [Tensor; 2] {
    const HALF: usize = LETTERS / 2;
    let (mut absent, mut asked) = (vec![0.0; TEXTS * keys], vec![0.0; TEXTS * (LETTERS + 1)]);
    for text in 0..TEXTS {
        let order = key.fold(text as u64).permutation(LETTERS);
        order[..HALF].iter().for_each(|i| asked[text * (LETTERS + 1) + i] = 1.0);
        asked[text * (LETTERS + 1) + LETTERS] = HALF as f32;
        order[HALF..].iter().for_each(|i| absent[text * keys + keys - LETTERS + i] = -1e30);
    }
    let asked = Tensor::new(&asked, [TEXTS, LETTERS + 1, 1], device);
    [Tensor::new(&absent, [TEXTS, 1, keys], device), asked.scale(0.5 / (HALF * TEXTS) as f32)]
}

impl Head {
    /// With small numbers to begin with, none of which means anything yet.
    pub fn new(keys: usize, builder: &mut Builder) -> Head {
        let start = Initial::Normal { deviation: 0.05 };
        let [query, key, value] =
            [("query", [LETTERS + 1, 8]), ("key", [keys, 8]), ("value", [keys, AXES])]
                .map(|(name, shape)| builder.parameter(name, shape, start, true));
        Head { query, key, value }
    }

    /// The error, the weight that the query which wants nothing gives to the first key, and the norms of
    /// the first value and, in the mean, of the others.
    pub fn numbers(&self, texts: &[Tensor; 2]) -> Result<[f64; 4]> {
        let (weights, values) = (self.weights(&texts[0]).to_vec()?, self.value.to_vec()?);
        let keys = values.len() / AXES;
        let norms: Vec<f64> = values.chunks(AXES).map(norm).collect();
        let others = norms[1..].iter().sum::<f64>() / (keys - 1) as f64;
        let idle = weights[LETTERS * keys..].iter().step_by((LETTERS + 1) * keys);
        let weight = f64::from(idle.sum::<f32>()) / TEXTS as f64;
        Ok([f64::from(self.loss(texts).to_scalar()?), weight, norms[0], others])
    }
}

/// How long a vector is.
pub fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}
