//! Names of parameters in few words.

use std::collections::BTreeMap;

/// Names in few words: those that differ only in the number of their layer are one, with its layers.
pub(crate) fn by_layers(names: &[String]) -> String {
    let mut all = BTreeMap::<(&str, &str), Vec<usize>>::new();
    for name in names {
        match in_layer(name) {
            Some((before, layer, after)) => all.entry((before, after)).or_default().push(layer),
            None => drop(all.entry((name, "")).or_default()),
        }
    }
    let shown = |((first, rest), mut layers): (_, Vec<usize>)| {
        layers.sort_unstable();
        match layers[..] {
            [] => format!("{first}{rest}"),
            [one] => format!("{first}{one}.{rest}"),
            [from, .., to] if to - from + 1 == layers.len() => format!("{first}{from}–{to}.{rest}"),
            [from, ..] => format!("{first}{from}.{rest} and those of {} others", layers.len() - 1),
        }
    };
    all.into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// What stands before the number of a layer, the number, and what stands after it.
fn in_layer(name: &str) -> Option<(&str, usize, &str)> {
    let mut start = 0;
    for part in name.split('.') {
        if let Ok(layer) = part.parse() {
            return Some((&name[..start], layer, name.get(start + part.len() + 1..)?));
        }
        start += part.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_joined() {
        let names = ["a.b.2.c", "a.b.0.c", "a.b.1.c", "head", "x.4.y", "x.9.y", "z.3.w", "last.7"];
        let names = names.map(String::from);
        let expected = "a.b.0–2.c, head, last.7, x.4.y and those of 1 others, z.3.w";
        assert_eq!(by_layers(&names), expected);
    }
}
