//! The three parts of a data set.

use serde::{Deserialize, Serialize};

/// One thing for each part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splits<T> {
    /// What models are trained on.
    pub train: T,
    /// What choices are made by.
    pub validation: T,
    /// What is looked at once, at the end.
    pub test: T,
}

impl<T> Splits<T> {
    /// The parts by reference.
    pub fn as_ref(&self) -> Splits<&T> {
        Splits { train: &self.train, validation: &self.validation, test: &self.test }
    }

    /// Each part turned into something else.
    ///
    /// ```
    /// use neutreno::data::Splits;
    /// let lengths = Splits { train: "abc", validation: "d", test: "" }.map(str::len);
    /// assert_eq!(lengths, Splits { train: 3, validation: 1, test: 0 });
    /// ```
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> Splits<U> {
        Splits { train: f(self.train), validation: f(self.validation), test: f(self.test) }
    }

    /// As [`Splits::map`], up to the first error.
    ///
    /// # Errors
    /// The first that `f` returns.
    pub fn try_map<U, E>(self, mut f: impl FnMut(T) -> Result<U, E>) -> Result<Splits<U>, E> {
        Ok(Splits { train: f(self.train)?, validation: f(self.validation)?, test: f(self.test)? })
    }

    /// The parts with their names: `train`, `validation`, `test`.
    ///
    /// ```
    /// use neutreno::data::Splits;
    /// let lengths = Splits { train: 900, validation: 50, test: 50 };
    /// assert_eq!(lengths.named()[0], ("train", 900));
    /// ```
    pub fn named(self) -> [(&'static str, T); 3] {
        [("train", self.train), ("validation", self.validation), ("test", self.test)]
    }

    /// The parts in order: train, validation, test.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        [&self.train, &self.validation, &self.test].into_iter()
    }
}
