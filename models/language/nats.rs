//! How unlikely each token of a text was: a number for each, where a loss is their mean.

use super::model::{LanguageModel, Pass};
use crate::engine::{Ids, Tensor, no_grad};

/// The most logits that are there at once: of a large vocabulary, those of all tokens would take more
/// memory than the model.
const AT_ONCE: usize = 1 << 23;

impl LanguageModel {
    /// −ln p of each target, (batch · time), as numbers to look at: nothing is kept for gradients, and
    /// there is no dropout. The targets are (batch, time) like the tokens; of one that is
    /// [`Ids::IGNORED`] the number means nothing.
    ///
    /// ```
    /// use neutreno_models::engine::{Device, Ids, Parameters};
    /// use neutreno_models::language::Pass;
    /// use neutreno_models::{LanguageModel, LanguageModelConfig};
    /// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
    /// let build = |builder: &mut _| LanguageModel::new(&config, builder);
    /// let (model, _) = Parameters::build(&Device::cpu(), 1, build);
    /// let [tokens, targets] = [vec![1, 2, 3], vec![2, 3, 4]].map(|ids| Ids::new(ids, [1, 3]));
    /// let nats = model.nats(&tokens, &targets).to_vec()?;
    /// let loss = model.loss(&tokens, &targets, &Pass::evaluation()).to_scalar()?;
    /// assert!((nats.iter().sum::<f32>() / 3.0 - loss).abs() < 1e-5);
    /// # Ok::<(), neutreno_models::engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the shapes differ, there are more tokens in a row than the longest context has, or an id is
    /// not in the vocabulary.
    #[track_caller]
    pub fn nats(&self, tokens: &Ids, targets: &Ids) -> Tensor {
        let (shape, of_targets) = (tokens.shape(), targets.shape());
        assert!(shape == of_targets, "tokens are {shape}, and targets {of_targets}");
        self.check_tokens(tokens);
        let counted = targets.as_slice().iter().filter(|target| **target != Ids::IGNORED);
        self.check_vocabulary(counted);
        no_grad(|| {
            let states = self.states(tokens, &Pass::evaluation(), None);
            let vocabulary = self.config().vocab_size;
            let (rows, at_once) = (shape.elements(), (AT_ONCE / vocabulary).max(1));
            let part = |first: usize| {
                let last = rows.min(first + at_once);
                let logits = self.output(&states.slice(0, first..last));
                let place = |(row, target): (usize, &u32)| {
                    let target = if *target == Ids::IGNORED { 0 } else { *target };
                    (row * vocabulary) as u32 + target
                };
                let places = targets.as_slice()[first..last].iter().enumerate().map(place);
                let places = Ids::new(places.collect::<Vec<u32>>(), [last - first]);
                let likely = logits.log_softmax(-1).reshape([(last - first) * vocabulary]);
                likely.gather(&places, 0).scale(-1.0)
            };
            let parts: Vec<Tensor> = (0..rows).step_by(at_once).map(part).collect();
            Tensor::concatenate(&parts.iter().collect::<Vec<_>>(), 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Device, Parameters};
    use crate::language::LanguageModelConfig;

    /// In one part and in several, against the loss of each token alone.
    #[test]
    fn each_number_is_the_loss_of_its_token() {
        for vocabulary in [20, AT_ONCE / 4] {
            let config = LanguageModelConfig::new(vocabulary, 4, 2, 2, 8);
            let build = |builder: &mut _| LanguageModel::new(&config, builder);
            let (model, _) = Parameters::build(&Device::cpu(), 1, build);
            let tokens = Ids::new((1..=6).collect::<Vec<_>>(), [2, 3]);
            let all = [2, Ids::IGNORED, 4, vocabulary as u32 - 1, 6, 0];
            let nats = model.nats(&tokens, &Ids::new(all.to_vec(), [2, 3]));
            assert!(!nats.is_tracked());
            for (place, nats) in nats.to_vec().unwrap().into_iter().enumerate() {
                if all[place] == Ids::IGNORED {
                    continue;
                }
                let mut one = vec![Ids::IGNORED; 6];
                one[place] = all[place];
                let loss = model.loss(&tokens, &Ids::new(one, [2, 3]), &Pass::evaluation());
                let loss = loss.to_scalar().unwrap();
                assert!((nats - loss).abs() < 1e-5 * loss, "{place}: {nats}, not {loss}");
            }
        }
    }
}
