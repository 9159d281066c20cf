//! Sums of the gradients of several backward passes, each made by itself: element by element, in the
//! order in which they are added. Where a backward pass adds to gradients that are there
//! ([`Tensor::backward_into`](crate::Tensor::backward_into)), a kernel may add within a longer sum;
//! here the result depends on the summands alone, wherever each of them was made.

use super::Parameters;
use crate::device::Copy;
use crate::tensor::launch_into;
use crate::{Gradients, Result};

impl Parameters {
    /// Adds the gradients of another backward pass to these: sum ← sum + more, for each number. What
    /// did not arrive counts as zero.
    ///
    /// ```
    /// use neutreno_engine::{Builder, Device, Initial, Parameters};
    /// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Full(3.0), true);
    /// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let [mut sum, mut more] = [parameters.gradients(), parameters.gradients()];
    /// (&x * &x).sum_all().backward_into(&mut sum)?;
    /// x.sum_all().backward_into(&mut more)?;
    /// parameters.add_gradients(&mut sum, &more);
    /// assert_eq!(sum.get(&x).unwrap().to_vec()?, [7.0, 7.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If one of the two does not come from [`Parameters::gradients`] of these parameters.
    #[track_caller]
    pub fn add_gradients(&self, sum: &mut Gradients, more: &Gradients) {
        for (sum, more) in self.pieces(sum).iter().zip(self.pieces(more)) {
            launch_into(&Copy, &[&more.gradients], &[(&sum.gradients, true)]);
        }
        for parameter in self.learnt() {
            if more.constant(&parameter.tensor).is_some() {
                sum.note_provided(&parameter.tensor);
            }
        }
    }

    /// The gradients as one row of numbers: those of one flat piece after the other
    /// ([`Parameters::pieces`]), with the zeros between them and where none arrived.
    ///
    /// # Errors
    /// If the device failed.
    ///
    /// # Panics
    /// If `gradients` does not come from [`Parameters::gradients`] of these parameters.
    #[track_caller]
    pub fn read_gradients(&self, gradients: &Gradients) -> Result<Vec<f32>> {
        let mut numbers = Vec::new();
        for piece in self.pieces(gradients) {
            numbers.extend(piece.gradients.to_vec()?);
        }
        Ok(numbers)
    }

    /// Puts other numbers in the place of the gradients of all parameters that are learnt: as many, and in
    /// the same order, as [`Parameters::read_gradients`] returns.
    ///
    /// ```
    /// use neutreno_engine::{Builder, Device, Initial, Parameters};
    /// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Full(3.0), true);
    /// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let mut gradients = parameters.gradients();
    /// (&x * &x).sum_all().backward_into(&mut gradients)?;
    /// let halves = parameters.read_gradients(&gradients)?.iter().map(|g| g / 2.0).collect::<Vec<_>>();
    /// parameters.overwrite_gradients(&mut gradients, &halves);
    /// assert_eq!(gradients.get(&x).unwrap().to_vec()?, [3.0, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the number of numbers differs, or `gradients` does not come from [`Parameters::gradients`] of
    /// these parameters.
    #[track_caller]
    pub fn overwrite_gradients(&self, gradients: &mut Gradients, numbers: &[f32]) {
        let pieces = self.pieces(gradients);
        let all: usize = pieces.iter().map(|piece| piece.gradients.elements()).sum();
        assert!(all == numbers.len(), "{} numbers for {all} gradients", numbers.len());
        let mut rest = numbers;
        for piece in pieces {
            let (own, after) = rest.split_at(piece.gradients.elements());
            piece.gradients.overwrite(own);
            rest = after;
        }
        self.note_gradients(gradients);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Device, Initial, Tensor};

    fn make(p: &mut Builder) -> [Tensor; 3] {
        ["a", "b", "c"].map(|name| p.parameter(name, [3], Initial::Full(2.0), name == "a"))
    }

    #[test]
    fn what_arrived_in_either_is_in_the_sum() {
        let ([a, b, c], parameters) = Parameters::build(&Device::cpu(), 1, make);
        let [mut sum, mut more] = [parameters.gradients(), parameters.gradients()];
        // What lies in the memory from before must not count.
        a.sum_all().add(&b.sum_all()).add(&c.sum_all()).backward_into(&mut sum).unwrap();
        sum.clear();
        a.sum_all().backward_into(&mut sum).unwrap();
        a.sum_all().add(&b.sum_all().scale(5.0)).backward_into(&mut more).unwrap();
        parameters.add_gradients(&mut sum, &more);
        assert_eq!(parameters.missing_gradients(&sum), ["c"]);
        assert_eq!(sum.get(&a).unwrap().to_vec().unwrap(), [2.0; 3]);
        assert_eq!(sum.get(&b).unwrap().to_vec().unwrap(), [5.0; 3]);
        let numbers = parameters.read_gradients(&sum).unwrap();
        assert_eq!(numbers.iter().sum::<f32>(), 3.0 * (2.0 + 5.0));
        parameters.overwrite_gradients(&mut sum, &vec![4.0; numbers.len()]);
        assert!(parameters.missing_gradients(&sum).is_empty());
        let gradients = |piece: crate::Piece| piece.gradients.to_vec().unwrap();
        assert!(parameters.pieces(&sum).into_iter().all(|piece| gradients(piece)[..3] == [4.0; 3]));
    }

    #[test]
    #[should_panic(expected = "5 numbers for 192 gradients")]
    fn too_few_numbers_are_refused() {
        let (_, parameters) = Parameters::build(&Device::cpu(), 1, make);
        parameters.overwrite_gradients(&mut parameters.gradients(), &[0.0; 5]);
    }
}
