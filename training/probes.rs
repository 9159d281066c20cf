//! Measuring what the layers of a model compute of its task's probe sequences.

use crate::error::Error;
use crate::measure::{Measured, measure};
use crate::task::Task;

/// Sequences that go through the model at once.
const AT_ONCE: usize = 8;

/// The work of a measurement grows as the square of a sequence's tokens. Once the squares of all
/// sequences measured come to this, it is enough: 16 sequences of 512 tokens.
const ENOUGH: usize = 16 * 512 * 512;

/// Measures a model on the first `count` probe sequences of its task, fewer if they are long, in
/// batches no larger than `batch`; `None` if the task has none.
///
/// # Errors
/// If the device fails.
pub fn measure_probes<T: Task>(
    task: &T,
    model: &T::Model,
    count: usize,
    batch: usize,
) -> Result<Option<Measured>, Error> {
    let batch = batch.min(AT_ONCE);
    let (mut parts, mut work) = (Vec::new(), 0);
    for first in (0..count).step_by(batch) {
        let Some(trace) = task.trace(model, first..(first + batch).min(count))? else { break };
        let shape = trace.states[0].shape();
        parts.push((measure(&trace)?, shape[0]));
        work += shape[0] * shape[1].pow(2);
        if work >= ENOUGH {
            break;
        }
    }
    Ok((!parts.is_empty()).then(|| Measured::mean(&parts)))
}

/// Lets a model compute what [`measure_probes`] looks at first, which is as much as it ever looks at
/// at once.
pub(crate) fn trace_first<T: Task>(task: &T, model: &T::Model, batch: usize) -> Result<(), Error> {
    task.trace(model, 0..batch.min(AT_ONCE)).map(drop)
}
