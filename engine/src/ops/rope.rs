//! Rotary position embedding (Su et al. 2021, "RoFormer"): in each head, the pair of coordinates i
//! and i + size/2 is turned by the angle position · base^(−2i / size). This is the convention of
//! Hugging Face's Llama (`rotate_half`: halves, not neighbours, make pairs). Where a model was
//! stretched to longer contexts, other frequencies stand in place of base^(−2i / size).
//!
//! y₁ = x₁ cos − x₂ sin and y₂ = x₂ cos + x₁ sin. Derivative: the rotation back, by the negative
//! angle. Saves nothing. Cost an element: 3 flops, 8 bytes.
//!
//! The cosines and sines are computed in f64, once a process for each list of frequencies, for all
//! positions up to a power of two.

use super::cache::Places;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Ids, Shape, Tensor, uniforms};
use std::sync::{Arc, Mutex};

impl Tensor {
    /// Turns the heads of x (batch, time, heads, head size) by their positions: `offset` at the
    /// first time, one more at each after it. Llama's `base` is 10,000.
    ///
    /// # Panics
    /// If x does not have four axes or the head size is odd.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 0.0, 1.0, 0.0], [1, 2, 1, 2], &Device::cpu());
    /// let y = x.rope(0, 10_000.0).to_vec()?;
    /// assert_eq!(y, [1.0, 0.0, 1f32.cos(), 1f32.sin()]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn rope(&self, offset: usize, base: f32) -> Tensor {
        let shape = self.shape();
        let fits = shape.rank() == 4 && shape[3].is_multiple_of(2);
        assert!(fits, "rope: x must be (batch, time, heads, an even head size), not {shape}");
        let [y] = apply_built_in(Rope::new(offset, shape[1], shape[3], base), &[self]);
        y
    }

    /// The same by given frequencies, in radians a position: one for each pair of coordinates i and
    /// i + size/2. With those of [`frequencies`] it is [`Tensor::rope`], bit for bit.
    ///
    /// # Panics
    /// If x is not (batch, time, heads, head size) with a head size of twice as many as there are
    /// frequencies.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 0.0, 1.0, 0.0], [1, 2, 1, 2], &Device::cpu());
    /// let y = x.rope_by(0, &[0.25]).to_vec()?;
    /// assert_eq!(y, [1.0, 0.0, 0.25_f32.cos(), 0.25_f32.sin()]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn rope_by(&self, offset: usize, frequencies: &[f64]) -> Tensor {
        let (shape, size) = (self.shape(), 2 * frequencies.len());
        let fits = shape.rank() == 4 && shape[3] == size;
        assert!(fits, "rope: x must be (batch, time, heads, {size}), not {shape}");
        let [y] = apply_built_in(Rope::by(offset, shape[1], frequencies), &[self]);
        y
    }

    /// The same for rows of x (rows, heads, head size) that each have a place of their own.
    ///
    /// # Panics
    /// If x has another number of rows, or a head size of other than twice as many as there are
    /// frequencies.
    ///
    /// ```
    /// use neutreno_engine::ops::cache::{Places, Span};
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 0.0], [1, 1, 2], &Device::cpu());
    /// let places = Places::new(&[Span { sequence: 0, position: 3, tokens: 1 }], 8);
    /// let y = x.rope_at(&places, &[0.25]).to_vec()?;
    /// assert_eq!(y, [0.75_f32.cos(), 0.75_f32.sin()]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn rope_at(&self, places: &Places, frequencies: &[f64]) -> Tensor {
        let (shape, rows, size) = (self.shape(), places.rows(), 2 * frequencies.len());
        let fits = shape.rank() == 3 && shape[0] == rows && shape[2] == size;
        assert!(fits, "rope: x must be ({rows}, heads, {size}), not {shape}");
        let x = self.reshape([1, rows, shape[1], size]);
        let [y] = apply_built_in(Rope::at(places, frequencies), &[&x]);
        y.reshape(shape)
    }
}

/// The frequencies of a rotation by `base` in heads of size `size`, in radians a position: base^(−2i /
/// size) for each pair i of coordinates.
///
/// ```
/// use neutreno_engine::ops::rope::frequencies;
/// let slower: Vec<f64> = frequencies(4, 10_000.0).map(|frequency| frequency / 2.0).collect();
/// assert_eq!(slower, [0.5, 0.005]);
/// ```
pub fn frequencies(size: usize, base: f32) -> impl Iterator<Item = f64> + Clone {
    (0..size / 2).map(move |pair| f64::from(base).powf(-2.0 * pair as f64 / size as f64))
}

/// A rotation of (batch, time, heads, head size).
#[derive(Clone, Debug)]
pub struct Rope {
    offset: usize,
    /// The places of the times, if they do not follow each other from `offset` on.
    places: Option<Places>,
    /// Whether to turn by the negative angle.
    back: bool,
    /// In radians a position, one for each pair of coordinates.
    frequencies: Arc<[f64]>,
    /// The bits of a row for each position: size/2 cosines, then size/2 sines. (Ids, because
    /// those are the numbers on the host of which a device keeps a copy.)
    table: Ids,
}

impl Rope {
    /// The rotation of positions from `offset` on, `time` of them, of heads of size `size`.
    pub fn new(offset: usize, time: usize, size: usize, base: f32) -> Rope {
        Rope::turning(offset, time, frequencies(size, base))
    }

    /// The same by given frequencies, one for each pair of coordinates.
    pub fn by(offset: usize, time: usize, frequencies: &[f64]) -> Rope {
        Rope::turning(offset, time, frequencies.iter().copied())
    }

    fn turning(offset: usize, time: usize, frequencies: impl Iterator<Item = f64> + Clone) -> Rope {
        let Turns { frequencies, table } = turns(offset + time, frequencies);
        Rope { offset, places: None, back: false, frequencies, table }
    }

    /// The same for times that have places of their own.
    pub fn at(places: &Places, frequencies: &[f64]) -> Rope {
        let end = places.positions().max().map_or(0, |last| last + 1);
        let Turns { frequencies, table } = turns(end, frequencies.iter().copied());
        let places = Some(places.clone());
        Rope { offset: 0, places, back: false, frequencies, table }
    }

    /// The position of the first time.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// The cosines and sines of that time after the first, where times follow each other.
    #[inline(always)]
    pub(super) fn turn(&self, time: usize) -> Turn<'_> {
        let size = self.table.shape()[1];
        let table: &[f32] = bytemuck::cast_slice(self.table.as_slice());
        table[(self.offset + time) * size..][..size].split_at(size / 2)
    }

    /// The cosines and sines of all positions.
    pub(super) fn table(&self) -> Ids {
        self.table.clone()
    }

    /// How many times, and how large a row of all heads and one head are.
    fn sizes(&self, x: &Shape) -> [usize; 3] {
        [x[1], x[2] * x[3], x[3]]
    }
}

/// The cosines and the sines of a position.
pub(super) type Turn<'a> = (&'a [f32], &'a [f32]);

/// Frequencies, and their table.
#[derive(Clone)]
struct Turns {
    frequencies: Arc<[f64]>,
    table: Ids,
}

/// The table of at least `positions` positions. Models go by few lists of frequencies, so looking
/// them up is a comparison or two, without memory being taken.
fn turns(positions: usize, frequencies: impl Iterator<Item = f64> + Clone) -> Turns {
    static MADE: Mutex<Vec<Turns>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bits = |frequency: f64| frequency.to_bits();
    let belongs = |known: &Turns| {
        let known = known.frequencies.iter().copied();
        known.map(bits).eq(frequencies.clone().map(bits))
    };
    if let Some(index) = made.iter().position(belongs) {
        if made[index].table.shape()[0] >= positions {
            return made[index].clone();
        }
        made.swap_remove(index);
    }
    let positions = positions.next_power_of_two();
    let frequencies: Arc<[f64]> = frequencies.collect();
    let row = |position: usize| {
        let angles = frequencies.iter().map(move |frequency| position as f64 * frequency);
        let both = angles.clone().map(f64::cos).chain(angles.map(f64::sin));
        both.map(|value| (value as f32).to_bits())
    };
    let bits: Vec<u32> = (0..positions).flat_map(row).collect();
    let table = Ids::new(bits, [positions, 2 * frequencies.len()]);
    let turns = Turns { frequencies, table };
    made.push(turns.clone());
    turns
}

impl Kernel for Rope {
    fn name(&self) -> &'static str {
        if self.back { "rope_backward" } else { "rope" }
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [positions, size] = [self.table.shape()[0], self.table.shape()[1]];
        let x = inputs[0];
        if x.rank() != 4 || x[3] != size || !size.is_multiple_of(2) {
            return Err(format!(
                "x is {x}, not (batch, time, heads, {size}) with an even last size"
            ));
        }
        match &self.places {
            // The table was made for them.
            Some(places) if places.rows() == x[1] => {}
            Some(places) => return Err(format!("{} places for {} times", places.rows(), x[1])),
            None if self.offset.checked_add(x[1]).is_none_or(|end| end > positions) => {
                return Err(format!("positions up to {} + {}, of {positions}", self.offset, x[1]));
            }
            None => {}
        }
        Ok(vec![x])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 3, 2 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let table: &[f32] = bytemuck::cast_slice(self.table.as_slice());
        let places = self.places.as_ref().map(|places| places.table().as_slice());
        let (offset, sign) = (self.offset, if self.back { -1.0 } else { 1.0 });
        let [time, width, size] = self.sizes(&inputs[0].shape);
        let (x, add) = (inputs[0].data, outputs[0].add);
        let body = Rotation { x, table, offset, places, time, width, size, sign, add };
        simd::for_long_rows(&mut outputs[0], width, &body);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let [time, width, size] = self.sizes(&inputs[0].shape);
        let rows = inputs[0].shape[0] * time;
        let table = gpu.ids(&self.table);
        let sign = if self.back { -1.0f32 } else { 1.0 };
        let (offset, add) = (self.offset, outputs[0].add);
        let places = self.places.as_ref().map(|places| gpu.ids(places.table()));
        let has_places = places.is_some();
        let uniforms = uniforms! { rows, time, width, size, offset, has_places, add, sign };
        let inputs = [&inputs[0], &table, places.as_ref().unwrap_or(&table)];
        gpu.dispatch_rows("rope_forward", &inputs, &[&outputs[0]], uniforms, rows);
    }
}

struct Rotation<'a> {
    x: &'a [f32],
    /// A row for each position.
    table: &'a [f32],
    offset: usize,
    /// For each time, its position and what else belongs to a place.
    places: Option<&'a [u32]>,
    time: usize,
    width: usize,
    size: usize,
    sign: f32,
    add: bool,
}

impl simd::Rows for Rotation<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let Rotation { width, size, .. } = *self;
        for (row, y) in (first..).zip(rows.chunks_exact_mut(width)) {
            let time = row % self.time;
            let position = match self.places {
                Some(places) => places[Places::COLUMNS * time] as usize,
                None => self.offset + time,
            };
            let turn = self.table[position * size..][..size].split_at(size / 2);
            let x = self.x[row * width..][..width].chunks_exact(size);
            for (y, x) in y.chunks_exact_mut(size).zip(x) {
                rotate(x, y, turn, self.sign, self.add);
            }
        }
    }
}

/// One head.
#[inline(always)]
pub(super) fn rotate(x: &[f32], y: &mut [f32], (cosines, sines): Turn, sign: f32, add: bool) {
    let half = cosines.len();
    let (x1, x2) = x.split_at(half);
    let (y1, y2) = y.split_at_mut(half);
    for pair in 0..half {
        let (cos, sin) = (cosines[pair], sign * sines[pair]);
        let (first, second) = (x1[pair] * cos - x2[pair] * sin, x2[pair] * cos + x1[pair] * sin);
        y1[pair] = if add { y1[pair] + first } else { first };
        y2[pair] = if add { y2[pair] + second } else { second };
    }
}

impl Op for Rope {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let rope = Rope { back: !self.back, ..self.clone() };
        context.accumulate_with(&rope, &[&gradient], &[0]);
    }
}

/// x turned, from the definition.
fn reference(rope: &Rope, x: &Array64) -> Array64 {
    let [time, width, size] = rope.sizes(&x.shape);
    let half = size / 2;
    let element = |index: usize| {
        let time = index / width % time;
        let position = match &rope.places {
            Some(places) => places.positions().nth(time).expect("a place for each time"),
            None => rope.offset + time,
        };
        let position = position as f64;
        let (row, coordinate) = (x.row(index / size), index % size);
        let angle = position * rope.frequencies[coordinate % half];
        let rotated =
            if coordinate < half { -row[coordinate + half] } else { row[coordinate - half] };
        row[coordinate] * angle.cos() + rotated * angle.sin()
    };
    Array64::from_fn(x.shape, element)
}

impl Proven for Rope {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![reference(self, &inputs[0])]
    }

    fn cases() -> Vec<Case> {
        let case = |shape: [usize; 4], offset: usize, base: f32| {
            let op = Rope::new(offset, shape[1], shape[3], base);
            Case::new(format!("{shape:?} from {offset}, base {base}"), op).input(shape)
        };
        // More rows than there are positions.
        let starts = [0, 1, 2].map(|sequence| Span { sequence, position: 0, tokens: 3 });
        let starts = Rope::at(&Places::new(&starts, 4), &[1.0, 0.5]);
        let by = |shape: [usize; 4], offset: usize, frequencies: &[f64]| {
            let op = Rope::by(offset, shape[1], frequencies);
            Case::new(format!("{shape:?} from {offset} by {frequencies:?}"), op).input(shape)
        };
        use super::cache::Span;
        let spans = [(1, 40, 3), (0, 7, 1), (4, 300, 1)];
        let spans = spans.map(|(sequence, position, tokens)| Span { sequence, position, tokens });
        let at = |shape: [usize; 4], frequencies: &[f64]| {
            let op = Rope::at(&Places::new(&spans, 64), frequencies);
            Case::new(format!("{shape:?} at places"), op).input(shape)
        };
        vec![
            at([2, 5, 3, 8], &[1.0, 0.3, 0.0125, 0.0]),
            Case::new("many from 0", starts).input([1, 9, 1, 4]),
            case([1, 1, 1, 2], 0, 1e4),
            case([1, 1, 1, 2], 5, 1e4),
            case([2, 3, 2, 6], 0, 1e4),
            case([1, 17, 3, 34], 100_000, 5e5),
            case([2, 257, 3, 16], 63, 1e4),
            by([2, 5, 3, 8], 7, &[1.0, 0.3, 0.0125, 0.0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    /// Written out, since the reference of the proof takes the frequencies as they are.
    #[test]
    fn a_base_gives_its_powers_and_the_same_bits_as_they_do() {
        let [first, second, third] = [1.0, 0.1, 0.01];
        let found: Vec<f64> = frequencies(6, 1e3).collect();
        for (found, expected) in found.iter().zip([first, second, third]) {
            assert!((found - expected).abs() < 1e-15, "{found}, not {expected}");
        }
        let numbers: Vec<f32> = (0..36).map(|number| number as f32 - 9.5).collect();
        let x = Tensor::new(&numbers, [1, 3, 2, 6], &Device::cpu());
        let bits = |x: Tensor| x.to_vec().unwrap().into_iter().map(f32::to_bits);
        assert!(bits(x.rope(40, 1e3)).eq(bits(x.rope_by(40, &found))));
        let slower = found.iter().map(|frequency| frequency / 2.0).collect::<Vec<_>>();
        assert!(!bits(x.rope(40, 1e3)).eq(bits(x.rope_by(40, &slower))));
    }
}
