//! Numbers and texts by name: what a task measures beside what all tasks have.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Named values, as JSON holds them. A number that is not finite becomes null, which reads as NaN.
///
/// ```
/// # use neutreno::run::Values;
/// let mut scores = Values::default().with("top1_accuracy", 0.875);
/// scores.set("class_iou", vec![0.5, 0.25]);
/// assert_eq!(scores.number("top1_accuracy"), 0.875);
/// assert!(scores.number("mean_iou").is_nan());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(Map<String, Value>);

impl Values {
    /// The fields of a struct.
    ///
    /// # Panics
    /// If it is anything but a struct or a map with names.
    #[track_caller]
    pub fn of(fields: &impl Serialize) -> Values {
        match serde_json::to_value(fields) {
            Ok(Value::Object(map)) => Values(map),
            other => panic!("no fields with names: {other:?}"),
        }
    }

    /// Sets the value of that name.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// These values and one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Values {
        self.set(name, value);
        self
    }

    /// These values and all of `others`; those of the same name replace what was there.
    #[must_use]
    pub fn with_all(mut self, others: Values) -> Values {
        self.extend(others);
        self
    }

    /// Adds all of `others`; those of the same name replace what was there.
    pub fn extend(&mut self, others: Values) {
        self.0.extend(others.0);
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The number of that name; NaN if there is none.
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    /// The names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// JSON has no NaN and no infinity: they are written as null, which is read back as NaN.
pub(super) fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
