//! Reads an exposition as strictly as those who scrape it.

use std::collections::BTreeSet;

/// What is wrong with a text as OpenMetrics, as far as readers stumble over it.
/// <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>
pub fn faults(text: &str) -> Vec<String> {
    let (mut faults, mut seen, mut types) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    if !text.ends_with("\n# EOF\n") && text != "# EOF\n" {
        faults.push("no end".to_owned());
    }
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            if !types.insert(rest.split(' ').next().unwrap_or_default()) {
                faults.push(format!("twice: {line}"));
            }
        } else if !line.starts_with('#') {
            let (sample, exemplar) = line.split_once(" # ").unzip();
            let Some((name, value)) = sample.unwrap_or(line).rsplit_once(' ') else {
                faults.push(line.to_owned());
                continue;
            };
            let family = name.split('{').next().unwrap_or_default();
            let suffixes = ["", "_total", "_bucket", "_count", "_sum"];
            let is_typed = suffixes.iter().filter_map(|suffix| family.strip_suffix(suffix)).any(|f| types.contains(f));
            let points_nowhere = exemplar.is_some_and(|exemplar| {
                let value = exemplar.split_once("} ").map(|(_, value)| value);
                !family.ends_with("_bucket") || value.is_none_or(|value| value.parse::<f64>().is_err())
            });
            if value.parse::<f64>().is_err() || !is_typed || points_nowhere || !seen.insert(name) {
                faults.push(line.to_owned());
            }
        }
    }
    faults
}
