//! How a tensor is printed by `{:?}`: its shape, its device and its numbers.

use crate::device::ALIGNMENT;
use crate::{Result, Shape, Tensor};
use std::fmt;

/// Of a longer axis only so many elements are shown at each end.
const AT_EACH_END: usize = 3;

/// Tensors of more elements than this are not copied to the host whole.
const WHOLE: usize = 1 << 16;

/// ```
/// use neutreno_engine::{Device, Tensor};
/// let x = Tensor::new(&[1.0, 0.25, -3.0, 1e-8], [2, 2], &Device::cpu());
/// assert!(format!("{x:?}").ends_with("[[1.0, 0.25], [-3.0, 1e-8]])"));
/// assert!(format!("{x:.1?}").ends_with("[[1.0, 0.2], [-3.0, 0.0]])"));
/// let long = Tensor::zeros([100], x.device());
/// assert!(format!("{long:?}").ends_with("[0.0, 0.0, 0.0, ..., 0.0, 0.0, 0.0])"));
/// ```
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let tracked = if self.is_tracked() { ", tracked" } else { "" };
        write!(f, "Tensor({} on {}{tracked}", self.shape(), self.device())?;
        if self.device().kind() != "plan" {
            match Numbers::of(self) {
                Ok(numbers) => {
                    write!(f, ", ")?;
                    numbers.write(f, &self.shape(), 0)?;
                }
                Err(error) => write!(f, ", not to be read: {error}")?,
            }
        }
        write!(f, ")")
    }
}

/// The numbers of a tensor: all of them, or `None` where only those around what is shown are read.
struct Numbers<'a> {
    tensor: &'a Tensor,
    all: Option<Vec<f32>>,
}

impl Numbers<'_> {
    fn of(tensor: &Tensor) -> Result<Numbers<'_>> {
        let whole = tensor.elements() <= WHOLE;
        let all = whole.then(|| tensor.to_vec()).transpose()?;
        Ok(Numbers { tensor, all })
    }

    fn at(&self, index: usize) -> Result<f32> {
        match &self.all {
            Some(all) => Ok(all[index]),
            None => {
                let start = index / ALIGNMENT * ALIGNMENT;
                let count = ALIGNMENT.min(self.tensor.elements() - start);
                let around = self.tensor.window(start, Shape::from([count])).to_vec()?;
                Ok(around[index - start])
            }
        }
    }

    /// Writes the part of these sizes that begins at number `start`.
    fn write(&self, f: &mut fmt::Formatter, sizes: &[usize], start: usize) -> fmt::Result {
        let Some((count, rest)) = sizes.split_first() else {
            return match self.at(start) {
                Ok(number) => fmt::Debug::fmt(&number, f),
                Err(_) => write!(f, "?"),
            };
        };
        let step: usize = rest.iter().product();
        write!(f, "[")?;
        let mut index = 0;
        while index < *count {
            if index > 0 {
                write!(f, ", ")?;
            }
            if *count > 2 * AT_EACH_END && index == AT_EACH_END {
                write!(f, "...")?;
                index = count - AT_EACH_END;
                continue;
            }
            self.write(f, rest, start + index * step)?;
            index += 1;
        }
        write!(f, "]")
    }
}

#[cfg(test)]
mod tests {
    use crate::device::Fault;
    use crate::{Device, Tensor};

    #[test]
    fn large_tensors_are_shown_by_their_ends() {
        let numbers: Vec<f32> = (0..70_000).map(|i| i as f32).collect();
        let x = Tensor::new(&numbers, [2, 5, 7_000], &Device::cpu());
        let text = format!("{:.0?}", x.tracked());
        assert!(text.contains("tracked, [[[0, 1, 2, ..., 6997, 6998, 6999], [7000, "), "{text}");
        assert!(text.ends_with("[63000, 63001, 63002, ..., 69997, 69998, 69999]]])"), "{text}");
    }

    #[test]
    fn there_may_be_no_numbers() {
        let device = Device::cpu();
        assert!(format!("{:?}", Tensor::zeros([2, 0], &device)).ends_with(", [[], []])"));
        assert!(format!("{:?}", Tensor::full(7.0, [], &device)).ends_with(", 7.0)"));
        assert_eq!(
            format!("{:?}", Tensor::zeros([3], &Device::plan())),
            "Tensor([3] on plan (plan))"
        );
        device.inject(Fault::NoMemory, 0);
        let text = format!("{:?}", Tensor::zeros([999], &device));
        assert!(text.contains("not to be read: the device"), "{text}");
    }
}
