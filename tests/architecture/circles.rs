//! Circles among files that use each other.

use super::sources::Uses;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// For each use that lies on a circle, the shortest such circle: files, each with the names that it
/// uses of the next.
pub fn circles(uses: &Uses) -> Vec<String> {
    let mut used_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (user, used) in uses.keys() {
        used_by.entry(user).or_default().push(used);
    }
    let mut circles = BTreeSet::new();
    for (user, used) in uses.keys() {
        if let Some(mut way) = way(&used_by, used, user) {
            // The same circle is found from each of its files; it begins at the first by name.
            let first = (0..way.len()).min_by_key(|index| way[*index]).expect("two files or more");
            way.rotate_left(first);
            circles.insert(way);
        }
    }
    let describe = |way: &Vec<&str>| {
        let mut text = String::new();
        for (index, file) in way.iter().enumerate() {
            let next = way[(index + 1) % way.len()];
            let names = &uses[&(file.to_string(), next.to_string())];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            text += &format!("{file} uses {} of\n", names.join(", "));
        }
        text + way[0]
    };
    circles.iter().map(describe).collect()
}

/// The shortest way from one file to another along what they use, both included.
fn way<'a>(
    used_by: &BTreeMap<&'a str, Vec<&'a str>>,
    from: &'a str,
    to: &str,
) -> Option<Vec<&'a str>> {
    let mut came_from = BTreeMap::from([(from, from)]);
    let mut open = VecDeque::from([from]);
    while let Some(file) = open.pop_front() {
        if file == to {
            let mut way = vec![file];
            while way[way.len() - 1] != from {
                way.push(came_from[way[way.len() - 1]]);
            }
            way.reverse();
            return Some(way);
        }
        for next in used_by.get(file).into_iter().flatten() {
            if !came_from.contains_key(next) {
                came_from.insert(next, file);
                open.push_back(next);
            }
        }
    }
    None
}
