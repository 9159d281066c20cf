//! Measuring what the layers of a model compute of its task's probe sequences.

use crate::error::Error;
use crate::measure::{Measured, measure};
use crate::ranks::{self, Alone, Ranks};
use crate::task::Task;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many probe sequences are measured while training.
pub(crate) const PROBES: usize = 16;

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
    measure_probes_on(&Alone, task, model, count, batch)
}

/// The same on all of these ranks together: of R, rank k measures the batches with the numbers k, R + k,
/// 2 R + k, ... All come to what one would.
///
/// # Errors
/// If the device fails, or another rank has ended.
pub(crate) fn measure_probes_on<T: Task>(
    ranks: &dyn Ranks,
    task: &T,
    model: &T::Model,
    count: usize,
    batch: usize,
) -> Result<Option<Measured>, Error> {
    let batch = batch.min(AT_ONCE);
    let (mut parts, mut work) = (Vec::new(), 0);
    'rounds: for round in (0..count).step_by(batch * ranks.size()) {
        let first = round + batch * ranks.rank();
        let probes = first..(first + batch).min(count);
        let mine = if probes.is_empty() { None } else { Part::of(task, model, probes)? };
        // One that is measured in vain takes no time: the others of its round are measured meanwhile.
        for part in Part::gather(ranks, mine)? {
            let Some(part) = part.filter(|_| work < ENOUGH) else { break 'rounds };
            work += part.sequences * part.tokens.pow(2);
            let sequences = part.sequences;
            parts.push((part.measured(), sequences));
        }
    }
    Ok((!parts.is_empty()).then(|| Measured::mean(&parts)))
}

/// What was measured of a batch, as it goes from rank to rank.
#[derive(Serialize, Deserialize)]
struct Part {
    sequences: usize,
    tokens: usize,
    /// The numbers of each measurement, as whole numbers, since JSON knows no NaN.
    bits: BTreeMap<String, Vec<u64>>,
}

impl Part {
    /// Measures a batch; `None` if the task has no such sequences.
    fn of<T: Task>(
        task: &T,
        model: &T::Model,
        probes: std::ops::Range<usize>,
    ) -> Result<Option<Part>, Error> {
        let Some(trace) = task.trace(model, probes)? else { return Ok(None) };
        let shape = trace.states[0].shape();
        let bits = |numbers: Vec<f64>| numbers.into_iter().map(f64::to_bits).collect();
        let measured = measure(&trace)?.0.into_iter();
        let bits = measured.map(|(name, numbers)| (name, bits(numbers))).collect();
        Ok(Some(Part { sequences: shape[0], tokens: shape[1], bits }))
    }

    /// What each rank has, in their order.
    fn gather(ranks: &dyn Ranks, mine: Option<Part>) -> Result<Vec<Option<Part>>, Error> {
        if ranks.size() == 1 {
            return Ok(vec![mine]);
        }
        let mine = serde_json::to_vec(&mine).expect("numbers and names are valid JSON");
        let all = ranks.gather(&mine)?;
        let read = |text: &Vec<u8>| serde_json::from_slice(text);
        let all: Result<Vec<_>, _> = all.iter().map(read).collect();
        Ok(all.map_err(|error| {
            ranks::Error::Connection(format!("what a rank has measured cannot be read: {error}"))
        })?)
    }

    fn measured(self) -> Measured {
        let numbers = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
        Measured(self.bits.into_iter().map(|(name, bits)| (name, numbers(bits))).collect())
    }
}

/// Lets a model compute what [`measure_probes`] looks at first, which is as much as it ever looks at
/// at once.
pub(crate) fn trace_first<T: Task>(task: &T, model: &T::Model, batch: usize) -> Result<(), Error> {
    task.trace(model, 0..batch.min(AT_ONCE)).map(drop)
}
