//! How fast the pairs of coordinates of a head turn from position to position, where a model was
//! stretched to a longer context than it was first trained with.

use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// How the frequencies of the rotary position embedding are changed for longer contexts; in
/// `config.json` the key `rope_scaling`.
///
/// ```
/// use neutreno_models::language::RopeScaling;
/// let twice_as_long = RopeScaling::Linear { factor: 2.0 };
/// assert_eq!(twice_as_long.scale(0.5), 0.25);
/// let text = serde_json::to_string(&twice_as_long).unwrap();
/// assert_eq!(text, r#"{"rope_type":"linear","factor":2.0}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// All turn more slowly by a factor (Chen et al. 2023, arXiv 2306.15595).
    Linear {
        /// What frequencies are divided by.
        factor: f64,
    },
    /// Of Llama 3.1 (Grattafiori et al. 2024, arXiv 2407.21783): what turns around more than
    /// `high_freq_factor` times in the original context stays as it is; what turns around less than
    /// `low_freq_factor` times turns more slowly by the factor; between the two it is a mix of both.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Fewer turns than this in the original context make a low frequency.
        low_freq_factor: f64,
        /// More turns than this make a high one.
        high_freq_factor: f64,
        /// The context of the first training, in tokens.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// What becomes of a frequency, in radians a position.
    pub fn scale(&self, frequency: f64) -> f64 {
        match *self {
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let turns = original_max_position_embeddings as f64 * frequency / TAU;
                let high = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let high = high.clamp(0.0, 1.0);
                high * frequency + (1.0 - high) * frequency / factor
            }
        }
    }

    /// What is wrong with the constants, if anything.
    ///
    /// # Errors
    /// A message that names the key and the number.
    pub fn check(&self) -> Result<(), String> {
        let (RopeScaling::Linear { factor } | RopeScaling::Llama3 { factor, .. }) = *self;
        if !(factor.is_finite() && factor >= 1.0) {
            return Err(format!("rope_scaling: factor must be at least 1, not {factor}"));
        }
        let RopeScaling::Llama3 {
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: original,
            ..
        } = *self
        else {
            return Ok(());
        };
        if !(low > 0.0 && low < high && high.is_finite()) {
            return Err(format!(
                "rope_scaling: low_freq_factor must be more than 0 and less than \
                 high_freq_factor, not {low} beside {high}"
            ));
        }
        if original == 0 {
            return Err(
                "rope_scaling: original_max_position_embeddings must be at least 1".to_owned()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA: RopeScaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };

    /// By turns in 8,192 positions.
    #[test]
    fn high_frequencies_stay_and_low_ones_are_divided() {
        let scaled = |turns: f64| LLAMA.scale(turns * TAU / 8192.0) * 8192.0 / TAU;
        for (turns, expected) in [
            (100.0, 100.0),
            (4.0, 4.0),
            (1.0, 0.125),
            (0.5, 0.0625),
            // Halfway between one turn and four.
            (2.5, 0.5 * 2.5 + 0.5 * 2.5 / 8.0),
        ] {
            assert!((scaled(turns) - expected).abs() < 1e-12, "{turns}: {}", scaled(turns));
        }
    }

    #[test]
    fn constants_out_of_range_are_named() {
        let llama = |low_freq_factor, high_freq_factor, original_max_position_embeddings| {
            RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            }
        };
        for (scaling, words) in [
            (RopeScaling::Linear { factor: 0.5 }, "factor must be at least 1, not 0.5"),
            (RopeScaling::Linear { factor: f64::NAN }, "not NaN"),
            (llama(4.0, 4.0, 8192), "not 4 beside 4"),
            (llama(0.0, 4.0, 8192), "not 0 beside 4"),
            (llama(1.0, 4.0, 0), "original_max_position_embeddings"),
        ] {
            let problem = scaling.check().unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
        LLAMA.check().unwrap();
    }
}
