//! Whether a run can be gone on with, found out before anything is written.

use crate::engine::optim::Curve;
use crate::run::{Metric, RunFolder, STOPPED_EARLY, checkpoint};
use crate::settings::{Longer, Settings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What two runs differ in that must be the same when one goes on with the other, in words.
/// How long it trains, and when it is scored and shows something, may change; variants and seeds may come
/// in addition ([`Extension`](crate::extension::Extension)).
pub fn changes(before: &Value, now: &Value) -> Vec<String> {
    const FREE: [&str; 10] = [
        "steps",
        "evaluate_every",
        "patience",
        "sample_every",
        "measure_every",
        "evaluation_tokens",
        "final_evaluation_tokens",
        "evaluate_all",
        "evaluation_images",
        // It follows from the steps.
        "schedules",
    ];
    let mut problems = Vec::new();
    // What is not said is as if it were not asked for.
    let said = |value: &Value| if value.is_null() { "none".into() } else { value.to_string() };
    let mut compare = |name: &str, before: &Value, now: &Value| {
        if before != now {
            problems.push(format!("{name} was {} and would be {}", said(before), said(now)));
        }
    };
    for name in ["task", "tokenizer"] {
        compare(name, &before[name], &now[name]);
    }
    let (old, new) = (&before["settings"], &now["settings"]);
    let names = |settings: &Value| settings.as_object().cloned().unwrap_or_default();
    let names: BTreeSet<String> =
        [old, new].into_iter().flat_map(names).map(|(name, _)| name).collect();
    for name in names {
        // The warm-up is shortened where there are few steps.
        let follows = name == "warmup" && old["steps"] != new["steps"];
        if !FREE.contains(&name.as_str()) && !follows {
            compare(&name, &old[&name], &new[&name]);
        }
    }
    if before["from"]["files"] != now["from"]["files"] {
        problems.push("the model that it starts from is not the same: its files differ".into());
    }
    if before["data"]["hashes"] != now["data"]["hashes"] {
        problems.push("the data is not the same: its hashes differ".into());
    }
    problems
}

/// The settings of a run, from its `run.json`.
pub fn settings_of(facts: &Value) -> Result<Settings, String> {
    serde_json::from_value(facts["settings"].clone())
        .map_err(|error| format!("its settings in run.json cannot be read: {error}"))
}

/// The last step of a model with another learning rate than the settings give it now, if there is one: its
/// schedule was stretched after that step.
pub fn stretched_after(lines: &[Metric], settings: &Settings) -> Option<u64> {
    let is_other = |line: &&Metric| {
        let rate = settings.rate(line.step - 1);
        // Numbers that are read back may be off in their last digit.
        (line.learning_rate - rate).abs() > 1e-9 * rate.abs()
    };
    lines.iter().filter(|line| line.step > 0).filter(is_other).map(|line| line.step).max()
}

/// Lets the learning rate's schedule follow that of the run so far, and says how, if the number
/// of steps is another now.
pub fn lengthen(
    settings: &mut Settings,
    before: &Value,
    longer: Option<Longer>,
) -> Result<Option<String>, String> {
    let before = settings_of(before)?;
    let (old, steps) = (before.steps, settings.steps);
    if longer.is_some() && steps <= old {
        return Err(format!(
            "--longer says how the learning rate goes on after the {old} steps of the run; give \
             more with --steps"
        ));
    }
    settings.lengthen(&before, longer.unwrap_or(Longer::Stretch))?;
    // A rate that never falls goes on as it is.
    if steps <= old || (longer.is_none() && settings.decay == Curve::Constant) {
        return Ok(None);
    }
    Ok(Some(match longer {
        None => format!(
            "{steps} steps instead of {old}: the learning rate's schedule is stretched over all \
             of them, and jumps where steps were made already. --longer hold would keep the \
             rate of the end, --longer restart begin the schedule again"
        ),
        Some(Longer::Stretch) => format!(
            "{steps} steps instead of {old}: the learning rate's schedule is stretched over all"
        ),
        Some(Longer::Hold) => format!(
            "{steps} steps instead of {old}: the learning rate stays what it is after {old}"
        ),
        Some(Longer::Restart) => format!(
            "{steps} steps instead of {old}: after {old} the learning rate's schedule begins again"
        ),
    }))
}

/// Whether a model of before has the configuration of now. It is compared as it is read: older versions
/// wrote other keys for the same model.
pub fn is_same<C: Serialize + DeserializeOwned>(before: &Value, now: &C) -> bool {
    let before = serde_json::from_value::<C>(before.clone());
    before.is_ok_and(|before| json!(before) == json!(now))
}

/// Finds out whether what was made of a model so far can be gone on with, and how many steps that are;
/// `None` if there is nothing to go on from.
pub fn check_made<C: Serialize + DeserializeOwned>(
    folder: &RunFolder,
    (name, seed): (&str, u64),
    config: &C,
    steps: u64,
) -> Result<Option<u64>, String> {
    let Some(folder) = folder.find_model(name, seed) else { return Ok(None) };
    let result = folder.result();
    let early = result.as_ref().is_some_and(|result| result.results.get(STOPPED_EARLY).is_some());
    let result = result.map(|result| result.steps);
    if result == Some(steps) || early {
        return Ok(result);
    }
    let found = checkpoint::newest(&folder).0;
    let is_of = |found: &checkpoint::Found| {
        found.state.seed == seed && is_same(&found.state.config, config)
    };
    if let Some(other) = found.as_ref().filter(|found| !is_of(found)) {
        return Err(format!("{} is of another model or seed", other.path.display()));
    }
    let step = found.map(|found| found.state.step);
    let made = result.max(step).unwrap_or(0);
    if made > steps {
        return Err(format!(
            "{name} (seed {seed}) has made {made} steps already; --steps {made}, or more, goes on"
        ));
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::LanguageModelConfig;
    use crate::variant::{Variant, VariantConfig};

    /// Every model called itself a Llama once, and had no biases to speak of.
    #[test]
    fn a_model_of_an_older_version_is_the_same() {
        let variant = VariantConfig::new(Variant::Neutreno);
        let now = LanguageModelConfig { variant, ..LanguageModelConfig::new(50, 16, 3, 2, 8) };
        let mut before = json!(now);
        before["model_type"] = "llama".into();
        let keys = before.as_object_mut().unwrap();
        assert!(["guard", "attention_bias"].iter().all(|key| keys.remove(*key).is_some()));
        assert!(is_same(&before, &now));
        for (key, value) in [("hidden_size", json!(32)), ("neutreno_lambda", json!(0.5))] {
            let mut other = before.clone();
            other[key] = value;
            assert!(!is_same(&other, &now), "{key}");
        }
        assert!(!is_same(&json!({}), &now));
    }

    #[test]
    fn what_only_one_of_two_runs_says_is_a_change() {
        let run = |settings: Value| json!({ "settings": settings });
        let without = run(json!({ "width": 8, "recompute": null, "steps": 5 }));
        let with = run(json!({ "width": 8, "average": 0.9, "steps": 9, "schedules": [1] }));
        assert_eq!(changes(&with, &without), ["average was 0.9 and would be none"]);
        assert_eq!(changes(&without, &with), ["average was none and would be 0.9"]);
        assert_eq!(changes(&with, &with), [""; 0]);
    }
}
