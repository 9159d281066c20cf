//! Finding where numbers stop being finite: the first op whose result holds a NaN or an infinity.

pub use crate::computation::NotFinite;

use crate::computation::{Computation, Search};
use crate::{Result, Tensor};
use std::sync::{Arc, Mutex};

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
    let search = Arc::new(Mutex::new(Search { ops: 0, found: Ok(None) }));
    let looking = Computation { search: Some(search.clone()), ..Computation::current() };
    let result = looking.run(work);
    let mut search = search.lock().expect("no code panics with it");
    (result, std::mem::replace(&mut search.found, Ok(None)))
}

/// Looks at what an op has made, if a search goes on that has found nothing yet.
pub(crate) fn look(op: &'static str, inputs: &[&Tensor], outputs: &[Tensor]) {
    let Some(search) = Computation::current().search else { return };
    // Reading waits for the device, whose threads may meanwhile come here for another computation:
    // the lock is not held over it.
    let (number, is_open) = {
        let mut search = search.lock().expect("no code panics with it");
        search.ops += 1;
        (search.ops, matches!(search.found, Ok(None)))
    };
    if is_open {
        let found = examine(op, number, inputs, outputs);
        search.lock().expect("no code panics with it").found = found;
    }
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
