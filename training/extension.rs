//! A run that is gone on with may get more variants and more seeds. What it has stays, and comes first.

use crate::settings::Settings;
use crate::variant::VariantConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// All that a run has to train, with what is new.
pub struct Extension {
    pub variants: Vec<VariantConfig>,
    pub seeds: Vec<u64>,
    /// How many of each were there before.
    before: (usize, usize),
}

impl Extension {
    /// What a run has, by its `run.json`, and after it what is asked for now and is new.
    ///
    /// # Errors
    /// In words: `run.json` is not what a run writes; a variant of that name has other constants there.
    pub fn of(
        facts: &Value,
        variants: &[VariantConfig],
        seeds: &[u64],
    ) -> Result<Extension, String> {
        let mut all: Vec<VariantConfig> = fact(facts, "variants")?;
        let mut all_seeds: Vec<u64> = fact(facts, "seeds")?;
        let before = (all.len(), all_seeds.len());
        for variant in variants {
            let of_run = all[..before.0].iter().find(|other| other.name() == variant.name());
            match of_run {
                None => all.push(variant.clone()),
                Some(other) if other == variant => {}
                Some(other) => return Err(other_constants(other, variant)),
            }
        }
        let new = seeds.iter().filter(|seed| !all_seeds.contains(seed));
        let new: Vec<u64> = new.copied().collect();
        all_seeds.extend(new);
        Ok(Extension { variants: all, seeds: all_seeds, before })
    }

    /// What is new in the run, in words; `None` if nothing is.
    pub fn news(&self) -> Option<String> {
        let names = self.variants[self.before.0..].iter().map(VariantConfig::name);
        let seeds = self.seeds[self.before.1..].iter().map(|seed| format!("seed {seed}"));
        let news: Vec<String> = names.chain(seeds).collect();
        (!news.is_empty()).then(|| news.join(", "))
    }
}

/// One model cannot be trained again as another, nor two have one name.
fn other_constants(before: &VariantConfig, now: &VariantConfig) -> String {
    let named = VariantConfig { constants_in_name: true, ..now.clone() };
    let shown = |config: &VariantConfig| serde_json::to_string(config).unwrap_or_default();
    format!(
        "{} has other constants in this run: {}, and not {}. Beside it there may be one that has them \
         in its name, as typed with --variant, like {}",
        now.name(),
        shown(before),
        shown(now),
        named.typed(),
    )
}

fn fact<T: DeserializeOwned>(facts: &Value, name: &str) -> Result<T, String> {
    serde_json::from_value(facts[name].clone())
        .map_err(|error| format!("its {name} in run.json cannot be read: {error}"))
}

/// Whether the learning rate of some of the first `made` steps is another now.
pub fn rates_differ(before: &Settings, now: &Settings, made: u64) -> bool {
    (0..made).any(|step| before.rate(step) != now.rate(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Variant;
    use serde_json::json;

    #[test]
    fn what_a_run_has_stays_and_comes_first() {
        let [transformer, neutreno, _, svformer] = Variant::ALL.map(VariantConfig::new);
        let facts = json!({ "variants": [neutreno, transformer], "seeds": [7, 1] });
        let asked = [svformer.clone(), transformer.clone()];
        let extension = Extension::of(&facts, &asked, &[1, 2]).unwrap();
        assert_eq!(extension.variants, [neutreno.clone(), transformer, svformer]);
        assert_eq!(extension.seeds, [7, 1, 2]);
        assert_eq!(extension.news().unwrap(), "svformer, seed 2");
        assert_eq!(Extension::of(&facts, &[], &[7]).unwrap().news(), None);

        let other = VariantConfig { neutreno_lambda: Some(0.2), ..neutreno };
        let refused = Extension::of(&facts, std::slice::from_ref(&other), &[]).err().unwrap();
        assert!(refused.contains("neutreno has other constants in this run"), "{refused}");
        assert!(refused.ends_with("like neutreno:0.2"), "{refused}");
        let named = VariantConfig { constants_in_name: true, ..other };
        let news = Extension::of(&facts, &[named], &[]).unwrap().news();
        assert_eq!(news.unwrap(), "neutreno-0.2");
        assert!(Extension::of(&json!({}), &[], &[]).is_err());
    }
}
