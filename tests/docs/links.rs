//! Links inside the repository lead somewhere.

use std::path::{Component, Path};

use crate::{
    markdown::{Page, pages},
    root,
};

/// The path of a link in `page`, from the top of the repository.
fn target(page: &str, link: &str) -> String {
    let mut parts = Vec::new();
    for part in Path::new(page).parent().unwrap().join(link).components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_str().unwrap().to_owned()),
            _ => {}
        }
    }
    parts.join("/")
}

/// The links of `page` that lead nowhere.
fn broken<'a>(page: &'a Page, all: &[Page]) -> Vec<&'a str> {
    let leads_somewhere = |link: &str| {
        if link.starts_with("https://") {
            return true;
        }
        let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
        let path = if file.is_empty() { page.path.clone() } else { target(&page.path, file) };
        let exists = root().join(&path).exists();
        let has = |anchor: &str| {
            let found = all.iter().chain([page]).find(|p| p.path == path);
            found.is_some_and(|p| p.anchors.iter().any(|a| a == anchor))
        };
        anchor.map_or(exists, has)
    };
    page.links.iter().map(String::as_str).filter(|link| !leads_somewhere(link)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let all = pages();
    let checked: usize = all.iter().map(|page| page.links.len()).sum();
    assert!(checked > 40, "only {checked} links were found");
    let found: Vec<_> =
        all.iter().flat_map(|page| broken(page, &all).into_iter().map(move |l| (&page.path, l))).collect();
    assert_eq!(found, []);
}

#[test]
fn the_link_check_can_fail() {
    let links = "[a](limits.md) [b](limits.md#sizes) [c](#here) [d](../README.md) [e](https://x.y) \
                 [f](nosuch.md) [g](limits.md#nosuch) [h](#nosuch) [i](../docs)";
    let page = Page::new("docs/new.md", &format!("# Here\n\n{links}\n"));
    assert_eq!(broken(&page, &pages()), ["nosuch.md", "limits.md#nosuch", "#nosuch"]);
}
