//! What a run does so that nothing is lost.

use crate::engine::Device;
use serde::{Deserialize, Serialize};

/// How often a checkpoint is written, how many are kept, and what happens when a number stops being
/// finite or the device fails. None of this changes what is learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Safety {
    /// A checkpoint every so many steps; 0 for none by steps. There is one before every evaluation
    /// and at every interruption anyway.
    pub checkpoint_steps: u64,
    /// A checkpoint every so many minutes; infinite for none by time.
    pub checkpoint_minutes: f64,
    /// How many checkpoints are kept, the latest ones; the best is kept beside them.
    pub keep: usize,
    /// What to do when the loss or a gradient is not finite.
    pub on_nonfinite: OnNonFinite,
    /// When a number is not finite, finds the first parameter, op or gradient that was not. Each
    /// step then waits for the device.
    pub debug_nonfinite: bool,
    /// Notes a hash of all parameters in the metrics every so many steps; 0 for never.
    pub hash_steps: u64,
    /// What to do when the device fails.
    pub on_device_loss: OnDeviceLoss,
    /// The bytes that tensors and working memory may take. A run that would need more is refused.
    pub memory_limit: Option<u64>,
}

impl Safety {
    /// Lets a device see to the limit on its memory: a sixteenth above it, so that where it is close
    /// not all that waits in the pool to be used again has to be given back in every step.
    pub(crate) fn limit_memory(&self, device: &Device) {
        if let Some(limit) = self.memory_limit {
            device.set_memory_limit(limit + limit / 16);
        }
    }
}

impl Default for Safety {
    fn default() -> Safety {
        Safety {
            checkpoint_steps: 0,
            checkpoint_minutes: 10.0,
            keep: 2,
            on_nonfinite: OnNonFinite::Stop,
            debug_nonfinite: false,
            hash_steps: 0,
            on_device_loss: OnDeviceLoss::Stop,
            memory_limit: None,
        }
    }
}

/// What to do when the loss or a gradient is not finite. The parameters stay as they are in either
/// case: the optimiser leaves such a step out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNonFinite {
    /// The run stops with an error.
    Stop,
    /// The step is left out and counted.
    Skip,
}

/// What to do when the device fails: it is lost, does not come to an end, or has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDeviceLoss {
    /// The run stops with an error.
    Stop,
    /// The device is opened again, and the model goes on from its latest checkpoint. The run stops
    /// if that fails three times without reaching a new checkpoint.
    Retry,
}
