//! The table of the operator's rights in docs/install.md is its ClusterRole.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::read;

/// `resource verb` for each row of the table, but the Lease's, which is a Role's.
fn documented(page: &str) -> BTreeSet<String> {
    let table = page.split("| resource | verbs | for |\n|---|---|---|\n").nth(1).expect("the table of rights");
    let rows = table.lines().take_while(|line| line.starts_with('|')).filter(|line| !line.contains("lease"));
    rows.flat_map(|row| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.split(['(', ';']).next().unwrap().trim()).collect();
        combined(cells[1].split(", "), &cells[2].split(", ").collect::<Vec<_>>())
    })
    .collect()
}

fn combined<'a>(resources: impl Iterator<Item = &'a str>, verbs: &[&str]) -> Vec<String> {
    resources.flat_map(|resource| verbs.iter().map(move |verb| format!("{resource} {verb}"))).collect()
}

#[test]
fn the_table_of_rights_is_the_role() {
    let found: Vec<Value> = serde_saphyr::from_multiple(&read("deploy/kustomize/base/rbac.yaml")).unwrap();
    let role = found.iter().find(|document| document["kind"] == "ClusterRole").expect("a ClusterRole");
    let words = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let granted: BTreeSet<_> = role["rules"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| {
            let (resources, verbs) = (words(rule, "resources"), words(rule, "verbs"));
            combined(resources.iter().map(String::as_str), &verbs.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(documented(&read("docs/install.md")), granted, "docs/install.md (left) and the ClusterRole (right)");
}
