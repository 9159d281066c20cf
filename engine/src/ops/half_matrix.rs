//! Matrices in half precision: for models that are only read. Reading their weights is what takes the
//! time when tokens are generated one by one, and half as many bytes take half as long.

use super::half_rows::HalfRows;
use super::linear_half::LinearHalf;
use crate::autograd::apply_built_in;
use crate::half::{Half, packed};
use crate::{Device, Error, Ids, Result, Shape, Tensor};

/// A matrix of numbers of 16 bits on a device, two in a word of 32. It is read alone: there is no
/// derivative. What is computed from it is f32, with sums in f32.
///
/// ```
/// use neutreno_engine::half::Half;
/// use neutreno_engine::ops::half_matrix::HalfMatrix;
/// use neutreno_engine::{Device, Ids, Tensor};
/// let device = Device::cpu();
/// let weight = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.001], [2, 3], &device);
/// let weight = HalfMatrix::from_tensor(&weight, Half::Bf16)?;
/// assert_eq!(weight.embedding(&Ids::new(vec![1], [1])).to_vec()?, [4.0, 5.0, 6.0]);
/// let x = Tensor::new(&[1.0, 0.0, 10.0], [1, 3], &device);
/// assert_eq!(x.linear_half(&weight, None).to_vec()?, [31.0, 64.0]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HalfMatrix {
    half: Half,
    shape: [usize; 2],
    /// The words of each row, as f32 that are never taken for numbers; the last word of a row of odd
    /// length holds one number.
    words: Tensor,
}

impl HalfMatrix {
    /// A matrix of the nearest numbers, of two that are equally near the one with an even last bit.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if a finite number is so large that it would become infinite.
    ///
    /// # Panics
    /// If there are not as many numbers as the shape has.
    #[track_caller]
    pub fn new(
        numbers: &[f32],
        shape: [usize; 2],
        half: Half,
        device: &Device,
    ) -> Result<HalfMatrix> {
        Ok(HalfMatrix::from_bits(&nearest(numbers, half)?, shape, half, device))
    }

    /// A matrix of zeros, to be overwritten.
    pub fn zeros(shape: [usize; 2], half: Half, device: &Device) -> HalfMatrix {
        let [rows, columns] = shape;
        HalfMatrix { half, shape, words: Tensor::zeros([rows, columns.div_ceil(2)], device) }
    }

    /// A matrix of these bits, row-major, as files hold them: they are kept as they are.
    ///
    /// # Panics
    /// If there are not as many as the shape has.
    ///
    /// ```
    /// use neutreno_engine::half::Half;
    /// use neutreno_engine::ops::half_matrix::HalfMatrix;
    /// let bits = [0x3c00, 0xc000, 0x0001];
    /// let matrix = HalfMatrix::from_bits(&bits, [1, 3], Half::F16, &neutreno_engine::Device::cpu());
    /// assert_eq!(matrix.to_tensor().to_vec()?, [1.0, -2.0, 5.9604645e-8]);
    /// assert_eq!((matrix.bytes(), matrix.to_bits()?), (8, bits.to_vec()));
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn from_bits(bits: &[u16], shape: [usize; 2], half: Half, device: &Device) -> HalfMatrix {
        let [rows, columns] = shape;
        let fill = rows.checked_mul(columns) == Some(bits.len());
        assert!(fill, "{} numbers do not fill {rows} × {columns}", bits.len());
        let words = packed(bits, columns);
        let words = Tensor::new(bytemuck::cast_slice(&words), [rows, columns.div_ceil(2)], device);
        HalfMatrix { half, shape, words }
    }

    /// Puts other bits into some rows, from row `first` on; every handle sees them.
    ///
    /// # Panics
    /// If they are not those of whole rows, or of more than there are.
    #[track_caller]
    pub(crate) fn overwrite_rows(&self, first: usize, bits: &[u16]) {
        let [rows, columns] = self.shape;
        let count = bits.len() / columns.max(1);
        let fit = bits.len() == count * columns && first + count <= rows;
        assert!(fit, "{} numbers from row {first} on, of {rows} × {columns}", bits.len());
        let words = packed(bits, columns);
        let window = self.words.window(first * columns.div_ceil(2), [words.len()].into());
        window.overwrite(bytemuck::cast_slice(&words));
    }

    /// The same numbers as this matrix has, to the nearest.
    ///
    /// # Errors
    /// If the device failed, or as [`HalfMatrix::new`].
    ///
    /// # Panics
    /// If the tensor is no matrix.
    #[track_caller]
    pub fn from_tensor(matrix: &Tensor, half: Half) -> Result<HalfMatrix> {
        let shape = matrix.shape();
        let Ok(sizes) = shape[..].try_into() else {
            panic!("a matrix has two axes, not {shape}");
        };
        HalfMatrix::new(&matrix.to_vec()?, sizes, half, matrix.device())
    }

    /// The format of its numbers.
    pub fn half(&self) -> Half {
        self.half
    }

    /// The words of its rows.
    pub(super) fn words(&self) -> &Tensor {
        &self.words
    }

    /// Rows and columns.
    pub fn shape(&self) -> Shape {
        Shape::from(self.shape)
    }

    /// The device whose memory holds it.
    pub fn device(&self) -> &Device {
        self.words.device()
    }

    /// The bytes that its numbers take. A device may round up what it gives.
    pub fn bytes(&self) -> u64 {
        4 * self.words.elements() as u64
    }

    /// All of it in f32.
    pub fn to_tensor(&self) -> Tensor {
        let [numbers] = apply_built_in(self.rows(None), &[&self.words]);
        numbers
    }

    /// Its bits, row-major.
    ///
    /// # Errors
    /// If the device failed.
    pub fn to_bits(&self) -> Result<Vec<u16>> {
        let columns = self.shape[1];
        let words = self.words.to_vec()?;
        let rows = words.chunks_exact(columns.div_ceil(2).max(1));
        let halves = |word: &f32| [word.to_bits() as u16, (word.to_bits() >> 16) as u16];
        Ok(rows.flat_map(|row| row.iter().flat_map(halves).take(columns)).collect())
    }

    /// The rows that belong to `ids`, in f32: shape of `ids` + (columns).
    ///
    /// # Panics
    /// If an id is not below the number of rows.
    #[track_caller]
    pub fn embedding(&self, ids: &Ids) -> Tensor {
        let [rows, columns] = self.shape;
        if let Some((_, id)) = ids.first_outside(rows) {
            panic!("embedding: id {id} is outside the vocabulary of {rows}");
        }
        let [numbers] = apply_built_in(self.rows(Some(ids.clone())), &[&self.words]);
        numbers.reshape(&[&ids.shape()[..], &[columns]].concat()[..])
    }

    fn rows(&self, ids: Option<Ids>) -> HalfRows {
        HalfRows { half: self.half, columns: self.shape[1], ids }
    }
}

/// The bits of the nearest numbers.
///
/// # Errors
/// [`Error::TooLarge`] if a finite number would become infinite.
pub(crate) fn nearest(numbers: &[f32], half: Half) -> Result<Vec<u16>> {
    let bits: Vec<u16> = numbers.iter().map(|number| half.nearest(*number)).collect();
    let became_infinite =
        |(number, bits): &(&f32, &u16)| number.is_finite() && !half.value(**bits).is_finite();
    match numbers.iter().zip(&bits).find(became_infinite) {
        Some((number, _)) => Err(Error::TooLarge { number: *number, format: half.name() }),
        None => Ok(bits),
    }
}

impl Tensor {
    /// x Wᵀ + b as [`Tensor::linear`], with W in half precision; x, b and the result are f32, and so are
    /// the sums. Of few rows it takes the time that reading W does.
    ///
    /// # Panics
    /// If the shapes do not fit, or if x or b is tracked: there is no derivative.
    ///
    /// ```
    /// use neutreno_engine::half::Half;
    /// use neutreno_engine::ops::half_matrix::HalfMatrix;
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let weight = HalfMatrix::new(&[1.0, 0.5, 0.0, 2.0], [2, 2], Half::F16, &device)?;
    /// let x = Tensor::new(&[1.0, 2.0], [1, 2], &device);
    /// let bias = Tensor::new(&[10.0, 20.0], [2], &device);
    /// assert_eq!(x.linear_half(&weight, Some(&bias)).to_vec()?, [12.0, 24.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn linear_half(&self, weight: &HalfMatrix, bias: Option<&Tensor>) -> Tensor {
        let inputs: Vec<&Tensor> = [self, &weight.words].into_iter().chain(bias).collect();
        let op = LinearHalf { half: weight.half, inputs: weight.shape[1] };
        let [y] = apply_built_in(op, &inputs);
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    #[test]
    fn what_would_become_infinite_is_an_error_and_what_was_stays() {
        let device = Device::cpu();
        let make = |number, half| HalfMatrix::new(&[1.0, number], [1, 2], half, &device);
        let problem = make(65_520.0, Half::F16).expect_err("too large").to_string();
        assert_eq!(problem, "6.552e4 is too large for F16, which would make it infinite");
        assert_eq!(make(65_519.0, Half::F16).unwrap().to_tensor().to_vec().unwrap()[1], 65_504.0);
        assert!(make(65_520.0, Half::Bf16).is_ok() && make(f32::MAX, Half::Bf16).is_err());
        let infinite = make(f32::INFINITY, Half::F16).unwrap();
        let one = Tensor::new(&[1.0, 1.0], [2], &device);
        assert_eq!(one.linear_half(&infinite, None).to_vec().unwrap(), [f32::INFINITY]);
    }

    #[test]
    #[should_panic(expected = "linear_half has no derivative")]
    fn a_tracked_input_is_refused() {
        let device = Device::cpu();
        let weight = HalfMatrix::new(&[1.0], [1, 1], Half::Bf16, &device).unwrap();
        Tensor::full(1.0, [1], &device).tracked().linear_half(&weight, None);
    }

    /// Of a size that the pool does not round up.
    #[test]
    fn a_matrix_takes_its_own_bytes() {
        let device = Device::cpu();
        let matrix = HalfMatrix::from_bits(&[0; 256 * 512], [256, 512], Half::Bf16, &device);
        assert_eq!((matrix.bytes(), device.memory().in_use), (2 * 256 * 512, 2 * 256 * 512));
    }

    #[test]
    fn results_depend_neither_on_threads_nor_on_other_rows() {
        let [outputs, inputs] = [700, 301];
        let numbers = |seed, count| Key::new(seed).uniforms(count, -1.0, 1.0);
        let (x, w) = (numbers(1, 40 * inputs), numbers(2, outputs * inputs));
        for half in [Half::Bf16, Half::F16] {
            let run = |threads, rows: usize| {
                let device = Device::cpu_with_threads(threads);
                let weight = HalfMatrix::new(&w, [outputs, inputs], half, &device).unwrap();
                let x = Tensor::new(&x[..rows * inputs], [rows, inputs], &device);
                x.linear_half(&weight, None).to_vec().unwrap()
            };
            for rows in [1, 3, 8, 40] {
                assert_eq!(run(1, rows), run(3, rows), "{half:?} {rows}");
            }
            assert_eq!(run(2, 1), run(2, 8)[..outputs], "{half:?}");
        }
    }
}
