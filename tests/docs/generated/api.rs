//! The reference in docs/api.md, made from the published schemas.

use std::fmt::Write as _;

use arl_crds::reason::EventReason;
use serde_json::Value;

use crate::{DEFINITIONS, kind, schema};

/// Fields of a type that Kubernetes describes; what is inside them is left out.
const FOREIGN: [(&str, &str); 2] = [("spec.template", "PodTemplateSpec"), ("status.conditions", "[]Condition")];

/// All that a schema may say. What is not listed here would be missing in the reference without anybody noticing.
const KEYWORDS: [&str; 21] = [
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-validations",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
];

/// The Events.
pub fn events() -> String {
    let mut text = "| reason | type | |\n|---|---|---|\n".to_owned();
    for reason in EventReason::ALL {
        let type_ = if reason.is_warning() { "Warning" } else { "Normal" };
        let _ = writeln!(text, "| {} | {type_} | {} |", reason.as_str(), reason.meaning().trim());
    }
    text
}

pub fn reference() -> String {
    DEFINITIONS.iter().map(of_kind).collect()
}

fn of_kind(crd: &Value) -> String {
    let mut text = format!("## {}\n\n{}\n\n", kind(crd), one_line(&schema(crd)["description"]));
    identity(&mut text, crd);
    columns(&mut text, &crd["spec"]["versions"][0]);
    let mut rules = Vec::new();
    own_rules(schema(crd), "the whole object", &mut rules);
    for part in ["spec", "status"] {
        let _ = write!(
            text,
            "\n### {part} of a {}\n\n| field | type | default | limits | |\n|---|---|---|---|---|\n",
            kind(crd)
        );
        fields(&mut text, &schema(crd)["properties"][part], part, &mut rules);
    }
    let _ = writeln!(text, "\n### Rules of a {}\n", kind(crd));
    for Rule { of, cel, message } in rules {
        let _ = writeln!(text, "- {of}: {message}\n\n      {cel}\n");
    }
    text
}

fn words(list: &Value) -> String {
    let words: Vec<_> = list.as_array().into_iter().flatten().map(|w| format!("`{}`", w.as_str().unwrap())).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn identity(text: &mut String, crd: &Value) {
    let (spec, version) = (&crd["spec"], &crd["spec"]["versions"][0]);
    let name = |value: &Value| value.as_str().unwrap().to_owned();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "| {what} | {value} |");
    };
    line("apiVersion", format!("`{}/{}`", name(&spec["group"]), name(&version["name"])));
    line("---", "---".to_owned());
    line("scope", name(&spec["scope"]));
    line("resource", format!("`{}.{}`", name(&spec["names"]["plural"]), name(&spec["group"])));
    line("short names", words(&spec["names"]["shortNames"]));
    line("categories", words(&spec["names"]["categories"]));
    let selectors = version["selectableFields"].as_array().into_iter().flatten();
    let selectors: Vec<_> = selectors.map(|f| format!("`{}`", name(&f["jsonPath"]).trim_start_matches('.'))).collect();
    line(
        "field selectors",
        format!(
            "`metadata.name`, `metadata.namespace`{}",
            selectors.iter().fold(String::new(), |all, one| all + ", " + one)
        ),
    );
    let subresources = version["subresources"].as_object().unwrap();
    line("subresources", subresources.keys().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", "));
}

fn columns(text: &mut String, version: &Value) {
    text.push_str("\n| column of `kubectl get` | shows | |\n|---|---|---|\n");
    for column in version["additionalPrinterColumns"].as_array().unwrap() {
        let wide = (column["priority"].as_i64() > Some(0)).then(|| "Only with `-o wide`.".to_owned());
        let about = column["description"].as_str().map(|d| format!("{d}."));
        let about: Vec<_> = about.into_iter().chain(wide).collect();
        let path = column["jsonPath"].as_str().unwrap().trim_start_matches('.');
        let _ = writeln!(text, "| {} | `{path}` | {} |", column["name"].as_str().unwrap(), about.join(" "));
    }
}

/// A rule that the API server checks beyond types and limits.
struct Rule {
    of: String,
    cel: String,
    message: String,
}

fn own_rules(schema: &Value, of: &str, rules: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = |key: &str| rule[key].as_str().unwrap_or_else(|| panic!("{of}: a rule without {key}")).to_owned();
        rules.push(Rule { of: of.to_owned(), cel: text("rule"), message: text("message") });
    }
}

/// A row for each field of an object, each followed by those inside it; required ones first.
fn fields(text: &mut String, object: &Value, path: &str, rules: &mut Vec<Rule>) {
    own_rules(object, &format!("`{path}`"), rules);
    let required: Vec<_> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut properties: Vec<_> = object["properties"].as_object().into_iter().flatten().collect();
    properties.sort_by_key(|(name, _)| !required.contains(&name.as_str()));
    for (name, field) in properties {
        let at = format!("{path}.{name}");
        let foreign = FOREIGN.iter().find(|(path, _)| *path == at).map(|(_, type_)| (*type_).to_owned());
        let default = match field.get("default") {
            _ if required.contains(&name.as_str()) => "*required*".to_owned(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let type_ = foreign.clone().unwrap_or_else(|| type_of(field, &at));
        let limits = if foreign.is_some() { String::new() } else { limits(field) };
        let about = one_line(&field["description"]);
        let _ = writeln!(text, "| `{at}` | {type_} | {default} | {limits} | {about} |");
        if foreign.is_some() {
            continue;
        }
        if field["items"]["properties"].is_object() {
            own_rules(field, &format!("`{at}`"), rules);
            fields(text, &field["items"], &format!("{at}[]"), rules);
        } else {
            fields(text, field, &at, rules);
        }
    }
}

fn type_of(schema: &Value, at: &str) -> String {
    for keyword in schema.as_object().unwrap().keys() {
        assert!(KEYWORDS.contains(&keyword.as_str()), "{at}: the reference has no place for {keyword}");
    }
    let name = schema["type"].as_str().unwrap_or_else(|| panic!("{at} has no type"));
    match name {
        "array" => format!("[]{}", type_of(&schema["items"], at)),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map[string]{}", type_of(&schema["additionalProperties"], at))
        }
        _ => schema["format"].as_str().map_or_else(|| name.to_owned(), |format| format!("{name} ({format})")),
    }
}

/// How far the numbers of a type go that have no limit of their own.
const INT32: [f64; 2] = [-2_147_483_648.0, 2_147_483_647.0];

fn limits(schema: &Value) -> String {
    let mut all = Vec::new();
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<_> = choices.iter().map(|c| format!("`{}`", c.as_str().unwrap())).collect();
        all.push(choices.join(", "));
    }
    for (low, high, unit) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " entries"),
    ] {
        // What the type says anyway is no limit worth reading.
        let told = |limit: &str| schema[limit].as_f64().filter(|limit| !INT32.contains(limit));
        all.extend(match (told(low), told(high)) {
            (None, None) => None,
            (Some(low), None) => Some(format!("at least {low}{unit}")),
            (None, Some(high)) => Some(format!("at most {high}{unit}")),
            (Some(low), Some(high)) => Some(format!("{low} to {high}{unit}")),
        });
    }
    all.extend(schema["pattern"].as_str().map(|pattern| format!("matches `{}`", in_a_cell(pattern))));
    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
    all.extend(keys.map(|key| format!("unique by `{}`", key.as_str().unwrap())));
    for (key, each) in [("items", "each"), ("additionalProperties", "each value")] {
        let inner = schema.get(key).map(limits).unwrap_or_default();
        if !inner.is_empty() {
            all.push(format!("{each}: {inner}"));
        }
    }
    all.join("; ")
}

fn in_a_cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn one_line(description: &Value) -> String {
    let words: Vec<_> = description.as_str().unwrap_or_default().split_whitespace().collect();
    in_a_cell(&words.join(" ")).replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_says_all_that_its_schema_says() {
        let spec = json!({"type": "object", "required": ["z"], "x-kubernetes-validations": [{"rule": "r", "message": "m"}],
        "properties": {
            "a": {"type": "array", "description": "A <b>\n| c.", "minItems": 1, "maxItems": 2,
                "items": {"type": "string", "maxLength": 3, "pattern": "^a|b$"}},
            "b": {"type": "integer", "format": "int32", "default": 7, "minimum": 0},
            "c": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 4},
            "d": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string", "enum": ["X", "Y"]}}}},
            "z": {"type": "boolean"},
        }});
        let (mut text, mut rules) = (String::new(), Vec::new());
        fields(&mut text, &spec, "spec", &mut rules);
        let expected = "\
            | `spec.z` | boolean | *required* |  |  |\n\
            | `spec.a` | []string |  | 1 to 2 items; each: at most 3 characters; matches `^a\\|b$` | A &lt;b> \\| c. |\n\
            | `spec.b` | integer (int32) | `7` | at least 0 |  |\n\
            | `spec.c` | map[string]string |  | at most 4 entries |  |\n\
            | `spec.d` | []object |  | unique by `k` |  |\n\
            | `spec.d[].k` | string |  | `X`, `Y` |  |\n";
        assert_eq!(text, expected);
        assert_eq!(rules.len(), 1);
        assert_eq!((rules[0].of.as_str(), rules[0].message.as_str()), ("`spec`", "m"));
    }

    #[test]
    #[should_panic(expected = "the reference has no place for multipleOf")]
    fn a_keyword_that_is_not_shown_is_an_error() {
        type_of(&json!({"type": "integer", "multipleOf": 2}), "spec.x");
    }
}
