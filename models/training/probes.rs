//! Measuring what the layers of a model compute of its task's probe sequences.

use super::{Error, Task};
use crate::measure::{Measured, measure};

/// Measures a model on the first `count` probe sequences of its task, at most `batch` and at most
/// 16 at a time; `None` if the task has none.
///
/// # Errors
/// If the device fails.
pub fn measure_probes<T: Task>(
    task: &T,
    model: &T::Model,
    count: usize,
    batch: usize,
) -> Result<Option<Measured>, Error> {
    let batch = batch.min(16);
    let mut parts = Vec::new();
    for first in (0..count).step_by(batch) {
        let Some(trace) = task.trace(model, first..(first + batch).min(count))? else { break };
        parts.push((measure(&trace)?, trace.states[0].shape()[0]));
    }
    Ok((!parts.is_empty()).then(|| Measured::mean(&parts)))
}
