//! Source files, without what is not code.

use std::{fs, path::Path};

/// A source file without the text of comments, strings and tests.
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    pub code: String,
    /// Number of lines that are not tests.
    pub lines: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (code, lines_of_tests) = without_tests(&blank(text));
        Self { path: path.to_owned(), lines: code.lines().count() - lines_of_tests, code }
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A text with one space for each run of white space.
pub fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All files in the `src/` of these crates, except modules that are tests as a whole.
pub fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 10, "only {} files were found", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Replaces the content of comments, strings and characters with spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// The end of the comment, string or character that starts at `at`; `at` where none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let is = |index: usize, c: char| chars.get(index) == Some(&c);
    let find =
        |from: usize, matches: &dyn Fn(usize) -> bool| (from..chars.len()).find(|i| matches(*i)).unwrap_or(chars.len());
    match chars[at] {
        '/' if is(at + 1, '/') => find(at, &|i| chars[i] == '\n'),
        '/' if is(at + 1, '*') => (find(at + 2, &|i| chars[i] == '*' && is(i + 1, '/')) + 2).min(chars.len()),
        '"' => {
            let mut i = at + 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            (i + 1).min(chars.len())
        }
        'r' if at == 0 || !is_word(chars[at - 1]) || chars[at - 1] == 'b' => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if !is(at + 1 + hashes, '"') {
                return at;
            }
            let closes = |i: usize| chars[i] == '"' && (1..=hashes).all(|h| is(i + h, '#'));
            (find(at + 2 + hashes, &closes) + 1 + hashes).min(chars.len())
        }
        // A character, not a lifetime.
        '\'' if is(at + 1, '\\') => find(at + 3, &|i| chars[i] == '\'') + 1,
        '\'' if is(at + 2, '\'') => at + 3,
        _ => at,
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Empties every item under `#[cfg(test)]`; lines stay where they are. Also the number of lines that were emptied.
fn without_tests(code: &str) -> (String, usize) {
    const MARK: &str = "#[cfg(test)]";
    let mut rest = code;
    let mut out = String::new();
    let mut emptied = 0;
    while let Some(start) = rest.find(MARK) {
        out.push_str(&rest[..start]);
        let item = &rest[start..];
        let mut depth = 0_i32;
        let end = item.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0 && matches!(c, '}' | ';')
        });
        let length = end.map_or(item.len(), |(index, c)| index + c.len_utf8());
        let newlines = item[..length].matches('\n').count();
        out.push_str(&"\n".repeat(newlines));
        emptied += newlines;
        rest = &item[length..];
    }
    (out + rest, emptied)
}

/// Where `word` stands in `code` as a whole word; ends that are no letters may touch anything.
pub fn occurrences(code: &str, word: &str) -> Vec<usize> {
    let starts_free = |at: usize| !word.starts_with(is_word) || !code[..at].ends_with(is_word);
    let ends_free = |at: usize| !word.ends_with(is_word) || !code[at + word.len()..].starts_with(is_word);
    code.match_indices(word).map(|(at, _)| at).filter(|at| starts_free(*at) && ends_free(*at)).collect()
}

pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Number of arguments of the call whose `(` ends at `open`.
pub fn arguments(code: &str, open: usize) -> usize {
    let (mut depth, mut count, mut pending) = (0_i32, 0, false);
    for c in code[open..].chars() {
        match c {
            ')' | ']' | '}' if depth == 0 => break,
            '(' | '[' | '{' => (depth, pending) = (depth + 1, true),
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => (count, pending) = (count + 1, false),
            c if !c.is_whitespace() => pending = true,
            _ => {}
        }
    }
    count + usize::from(pending)
}
