//! Counter-based random numbers: Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel
//! random numbers: as easy as 1, 2, 3").
//!
//! A counter-based generator is a pure function of a key and a position, so there is no state to
//! lose: whoever knows the seed, the step and the place gets the same numbers again, in any order
//! and on any number of threads. That is what makes a run repeatable and resumable bit for bit,
//! and what lets a dropout mask be made again instead of stored.

/// What a stream of random numbers is drawn from. Derive one key an independent purpose.
///
/// ```
/// use neutreno_engine::random::Key;
/// let key = Key::new(1);
/// assert_eq!(key.named("weights"), Key::new(1).named("weights"));
/// assert_ne!(key.fold(0), key.fold(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    words: [u32; 2],
}

impl Key {
    /// The key of a seed.
    pub fn new(seed: u64) -> Key {
        Key { words: [seed as u32, (seed >> 32) as u32] }
    }

    /// The key of item `number` below this one (a step, a layer, an epoch).
    pub fn fold(self, number: u64) -> Key {
        Key { words: threefry(self.words, [number as u32, (number >> 32) as u32]) }
    }

    /// The key of a name below this one. A parameter's stream depends on its name alone, so
    /// parameters that two models share start alike.
    pub fn named(self, name: &str) -> Key {
        // 64-bit FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        self.fold(hash)
    }

    /// The two words that a shader needs to continue from this key.
    pub fn words(self) -> [u32; 2] {
        self.words
    }

    /// The random word at position `index`.
    pub fn bits(self, index: u64) -> u32 {
        let block = threefry(self.words, [(index >> 1) as u32, (index >> 33) as u32]);
        block[(index & 1) as usize]
    }

    /// The uniform number in [0, 1) at position `index`: 24 bits, so each is exact in f32.
    pub fn uniform(self, index: u64) -> f32 {
        (self.bits(index) >> 8) as f32 / (1u32 << 24) as f32
    }

    /// The generator that draws this key's numbers one after another.
    pub fn generator(self) -> Generator {
        Generator { key: self, position: 0 }
    }

    /// `count` uniform numbers in [low, high).
    pub fn uniforms(self, count: usize, low: f32, high: f32) -> Vec<f32> {
        self.endless_uniforms(low, high).take(count).collect()
    }

    pub(crate) fn endless_uniforms(self, low: f32, high: f32) -> impl Iterator<Item = f32> {
        (0..).map(move |i| low + (high - low) * self.uniform(i))
    }

    /// `count` normal numbers (Box & Muller 1958) with the mean and deviation given.
    ///
    /// ```
    /// # use neutreno_engine::random::Key;
    /// let numbers = Key::new(7).normals(10_000, 0.0, 2.0);
    /// let variance = numbers.iter().map(|x| x * x).sum::<f32>() / 10_000.0;
    /// assert!((variance - 4.0).abs() < 0.2);
    /// ```
    pub fn normals(self, count: usize, mean: f32, deviation: f32) -> Vec<f32> {
        self.endless_normals(mean, deviation).take(count).collect()
    }

    pub(crate) fn endless_normals(self, mean: f32, deviation: f32) -> impl Iterator<Item = f32> {
        let pair = move |i: u64| {
            // 1 − u is in (0, 1], where the logarithm is finite.
            let radius = (-2.0 * (1.0 - f64::from(self.uniform(2 * i))).ln()).sqrt();
            let angle = std::f64::consts::TAU * f64::from(self.uniform(2 * i + 1));
            [radius * angle.cos(), radius * angle.sin()]
        };
        (0..).flat_map(pair).map(move |x| mean + deviation * x as f32)
    }

    /// The numbers 0..count in a random order (Fisher & Yates).
    ///
    /// ```
    /// # use neutreno_engine::random::Key;
    /// let mut order = Key::new(3).permutation(100);
    /// order.sort_unstable();
    /// assert_eq!(order, (0..100).collect::<Vec<_>>());
    /// ```
    pub fn permutation(self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        let mut generator = self.generator();
        for last in (1..count).rev() {
            order.swap(last, generator.below(last as u64 + 1) as usize);
        }
        order
    }
}

/// A key's numbers in sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    key: Key,
    position: u64,
}

impl Generator {
    /// A uniform whole number in 0..bound, without bias (Lemire 2019).
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "below: the bound must be at least 1");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.word64()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// The next uniform number in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.word() >> 8) as f32 / (1u32 << 24) as f32
    }

    fn word(&mut self) -> u32 {
        let word = self.key.bits(self.position);
        self.position += 1;
        word
    }

    fn word64(&mut self) -> u64 {
        u64::from(self.word()) | u64::from(self.word()) << 32
    }
}

/// Threefry-2x32-20: two words of a counter, scrambled by two words of a key.
///
/// Twenty rounds without a loop or a branch, so that loops over counters become vector code.
#[inline(always)]
pub fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], 0x1BD1_1BDA ^ key[0] ^ key[1]];
    let round = |[a, b]: [u32; 2], rotation: u32| {
        let a = a.wrapping_add(b);
        [a, b.rotate_left(rotation) ^ a]
    };
    let odd = |state| round(round(round(round(state, 13), 15), 26), 6);
    let even = |state| round(round(round(round(state, 17), 29), 16), 24);
    let inject = |[a, b]: [u32; 2], number: usize| {
        let (first, second) = (keys[number % 3], keys[(number + 1) % 3]);
        [a.wrapping_add(first), b.wrapping_add(second).wrapping_add(number as u32)]
    };
    let state = inject(counter, 0);
    let state = inject(odd(state), 1);
    let state = inject(even(state), 2);
    let state = inject(odd(state), 3);
    let state = inject(even(state), 4);
    inject(odd(state), 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that come with Random123, the authors' own implementation.
    #[test]
    fn threefry_known_answers() {
        assert_eq!(threefry([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([!0, !0], [!0, !0]), [0x1cb9_96fc, 0xbb00_2be7]);
        assert_eq!(
            threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]),
            [0xc492_3a9c, 0x483d_f7a0]
        );
    }

    #[test]
    fn uniforms_have_the_right_moments() {
        let numbers = Key::new(5).uniforms(100_000, -1.0, 1.0);
        let mean = numbers.iter().sum::<f32>() / 1e5;
        let variance = numbers.iter().map(|x| x * x).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.01 && (variance - 1.0 / 3.0).abs() < 0.01);
    }
}
