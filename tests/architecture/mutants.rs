//! The list of what dev/sim-mutants breaks, held against the sources: what is not found there can break nothing.

use std::collections::BTreeMap;

use crate::source::squeezed;

/// What cannot be applied, applied one after the other as dev/sim-mutants does.
pub fn stale(list: &str, files: &mut BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    let (mut name, mut old, mut new) = (String::new(), String::new(), String::new());
    for line in list.lines().chain(["== "]) {
        let (heading, removed) = (line.strip_prefix("== "), line.strip_prefix('-'));
        if !old.is_empty() && (heading.is_some() || removed.is_some() && !new.is_empty()) {
            let wrong = apply(&squeezed(&old), &squeezed(&new), files);
            found.extend(wrong.map(|what| format!("{name}: {what}")));
            (old, new) = (String::new(), String::new());
        }
        if let Some(heading) = heading {
            heading.split(' ').next().unwrap_or_default().clone_into(&mut name);
        } else if let Some(removed) = removed {
            old.extend([removed, " "]);
        } else if let Some(added) = line.strip_prefix('+') {
            new.extend([added, " "]);
        }
    }
    found
}

fn apply(old: &str, new: &str, files: &mut BTreeMap<String, String>) -> Option<String> {
    let places: usize = files.values().map(|text| text.matches(old).count()).sum();
    let text = files.values_mut().find(|text| text.contains(old)).filter(|_| places == 1);
    let Some(text) = text else { return Some(format!("`{old}` is there {places} times, and has to be once")) };
    *text = text.replacen(old, new, 1);
    None
}
