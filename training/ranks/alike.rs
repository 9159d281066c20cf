//! Whether all ranks train the same, found out before any of them does.

use super::{Error, Place, Ranks};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is known of a rank.
#[derive(Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Where it computes.
    pub place: Place,
    /// What must be the same on all: values, or values by name.
    pub same: Map<String, Value>,
}

/// Finds out whether all ranks train the same. The first one gets the places of all, in their order, and the
/// others none.
///
/// # Errors
/// On the first rank, if something is not the same on all: which rank and what. The others then wait to
/// be ended by it.
pub(crate) fn compare(ranks: &dyn Ranks, facts: &Facts) -> Result<Vec<Place>, Error> {
    let text = serde_json::to_vec(facts).expect("text and JSON");
    let all = ranks.gather(&text)?;
    if !ranks.leads() {
        return Ok(Vec::new());
    }
    let read = |text: &Vec<u8>| {
        // Of another version it may be in another form.
        serde_json::from_slice(text).map_err(|_| {
            let what = "the ranks are not all of one version of this program";
            Error::Differ(what.into())
        })
    };
    let all = all.iter().map(read).collect::<Result<Vec<Facts>, Error>>()?;
    let (first, others) = all.split_first().expect("the first rank is among them");
    for other in others {
        if let Some(what) = difference(&first.same, &other.same) {
            let names =
                format!("{} does not train the same as {}", other.place.name, first.place.name);
            return Err(Error::Differ(format!("{names}: {what}")));
        }
    }
    Ok(all.into_iter().map(|facts| facts.place).collect())
}

/// What is to be known of ranks that train together: a line that says where they run, and one for each whose
/// device differs from that of the first.
pub(crate) fn described(all: &[Place]) -> Vec<String> {
    let mut said = vec![format!("training on {} ranks: {}", all.len(), hosts(all))];
    let (first, others) = all.split_first().expect("the first rank is among them");
    for other in others.iter().filter(|other| other.device != first.device) {
        said.push(format!(
            "{} computes on {} and {} on {}: the last bits of results may depend on who computed what",
            first.name, first.device, other.name, other.device
        ));
    }
    said
}

/// How many ranks are where.
fn hosts(all: &[Place]) -> String {
    let mut hosts: Vec<(&str, usize)> = Vec::new();
    for Place { host, .. } in all {
        match hosts.iter_mut().find(|(name, _)| name == host) {
            Some((_, count)) => *count += 1,
            None => hosts.push((host, 1)),
        }
    }
    let host = |(host, count): &(&str, usize)| format!("{count} on {host}");
    hosts.iter().map(host).collect::<Vec<_>>().join(", ")
}

/// The first value that differs, in words.
fn difference(one: &Map<String, Value>, other: &Map<String, Value>) -> Option<String> {
    let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
    let missing = Value::Null;
    for key in keys {
        let [here, there] = [one, other].map(|values| values.get(key).unwrap_or(&missing));
        if let (Value::Object(here), Value::Object(there)) = (here, there) {
            if let Some(found) = difference(here, there) {
                return Some(format!("{key}, {found}"));
            }
        } else if here != there {
            return Some(format!("{key} is {there} there and {here} here"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Threads;
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_named() {
        let compared = |other: Value, device: &str| {
            let same = json!({ "version": "1", "data": { "train": "ab", "test": "cd" } });
            Threads::run(3, |ranks| {
                let (same, device) = match ranks.rank() {
                    2 => (&other, device),
                    _ => (&same, "x"),
                };
                let same = same.as_object().unwrap().clone();
                let (name, host) = (ranks.name(), "here".into());
                let place = Place { name, host, device: device.into() };
                let all = compare(ranks, &Facts { place, same })?;
                Ok::<_, Error>(if ranks.leads() { described(&all) } else { Vec::new() })
            })
        };
        let same = json!({ "data": { "test": "cd", "train": "ab" }, "version": "1" });
        let said = compared(same.clone(), "x");
        assert_eq!(said[0], Ok(vec!["training on 3 ranks: 3 on here".into()]));
        assert_eq!(said[1], Ok(vec![]));
        let said = compared(same, "y")[0].clone().unwrap();
        assert!(said[1].starts_with("rank 0 on thread 0 computes on x and rank 2"), "{said:?}");
        for (other, what) in [
            (
                json!({ "version": "2", "data": { "train": "ab", "test": "cd" } }),
                "version is \"2\" there and \"1\" here",
            ),
            (
                json!({ "version": "1", "data": { "train": "ab", "test": "ce" } }),
                "data, test is \"ce\" there and \"cd\" here",
            ),
            (
                json!({ "version": "1", "data": { "train": "ab", "test": "cd" }, "lr": 1 }),
                "lr is 1 there and null here",
            ),
        ] {
            let said = compared(other, "x")[0].clone().unwrap_err();
            let names = "rank 2 on thread 2 does not train the same as rank 0 on thread 0: ";
            assert_eq!(said, format!("{names}{what}"));
        }
    }
}
