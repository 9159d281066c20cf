//! Finding where numbers stop being finite: the first op whose result holds a NaN or an infinity.

use crate::{Result, Tensor};
use std::cell::RefCell;
use std::fmt;

/// An op whose result was not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// The op's name.
    pub op: &'static str,
    /// Which of the ops that ran it was, from 1.
    pub number: usize,
    /// The shape of the result.
    pub shape: String,
    /// How many of its numbers are not finite.
    pub count: usize,
    /// The inputs, from 1, that were not finite either.
    pub inputs: Vec<usize>,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let NotFinite { op, number, shape, count, .. } = self;
        write!(f, "op {number}, {op}: {count} numbers of its result {shape} are not finite, ")?;
        match &self.inputs[..] {
            [] => write!(f, "though all its inputs are"),
            inputs => write!(f, "and neither are its inputs {inputs:?}"),
        }
    }
}

/// A search that goes on.
struct Search {
    ops: usize,
    found: Result<Option<NotFinite>>,
}

thread_local! {
    static SEARCH: RefCell<Option<Search>> = const { RefCell::new(None) };
}

/// Runs `work` and looks at the result of every op in it (not of derivatives). Every op then waits
/// for the device.
///
/// ```
/// use neutreno_engine::finite::find_not_finite;
/// use neutreno_engine::{Device, Tensor};
/// let x = Tensor::new(&[1.0, 100.0], [2], &Device::cpu());
/// let (_, found) = find_not_finite(|| x.scale(2.0).exp().sum_all());
/// let found = found?.expect("e to the 200 is too large for f32");
/// assert_eq!((found.op, found.number, found.count), ("exp", 2, 1));
/// assert!(found.inputs.is_empty());
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
pub fn find_not_finite<R>(work: impl FnOnce() -> R) -> (R, Result<Option<NotFinite>>) {
    struct Stop;
    impl Drop for Stop {
        fn drop(&mut self) {
            SEARCH.take();
        }
    }
    SEARCH.set(Some(Search { ops: 0, found: Ok(None) }));
    let _stop = Stop;
    let result = work();
    let found = SEARCH.take().map_or(Ok(None), |search| search.found);
    (result, found)
}

/// Looks at what an op has made, if a search goes on that has found nothing yet.
pub(crate) fn look(op: &'static str, inputs: &[&Tensor], outputs: &[Tensor]) {
    SEARCH.with_borrow_mut(|search| {
        let Some(search) = search else { return };
        search.ops += 1;
        if matches!(search.found, Ok(None)) {
            search.found = examine(op, search.ops, inputs, outputs);
        }
    });
}

fn examine(
    op: &'static str,
    number: usize,
    inputs: &[&Tensor],
    outputs: &[Tensor],
) -> Result<Option<NotFinite>> {
    for output in outputs {
        let count = not_finite(output)?;
        if count > 0 {
            let counts = (1..).zip(inputs).map(|(number, input)| Ok((number, not_finite(input)?)));
            let counts: Vec<(usize, usize)> = counts.collect::<Result<_>>()?;
            let inputs = counts.iter().filter(|(_, count)| *count > 0).map(|(number, _)| *number);
            let (shape, inputs) = (output.shape().to_string(), inputs.collect());
            return Ok(Some(NotFinite { op, number, shape, count, inputs }));
        }
    }
    Ok(None)
}

fn not_finite(tensor: &Tensor) -> Result<usize> {
    Ok(tensor.to_vec()?.iter().filter(|number| !number.is_finite()).count())
}
