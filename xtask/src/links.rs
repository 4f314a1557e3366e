//! Whether each link of the Markdown files leads somewhere: to a file or a folder that is there, and
//! to a heading of it.
//!
//! Only what is in the work tree is looked at; what is on the web is not asked.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::paths;

/// Folders that hold what is built or installed.
const MADE: [&str; 4] = ["target", "node_modules", "dist", "vendor"];

#[test]
fn each_link_leads_somewhere() {
    let root = paths::root();
    let files = markdown(&root);
    assert!(files.contains(&root.join("README.md")), "{files:?}");
    let mut links = 0;
    let mut faults = Vec::new();
    for file in &files {
        let name = file.strip_prefix(&root).unwrap().display();
        for (line, target) in targets(&fs::read_to_string(file).unwrap()) {
            links += 1;
            if let Some(fault) = fault(file, &target) {
                faults.push(format!("{name}:{line}: {target}: {fault}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(links > 50, "only {links} links are seen");
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let text = "# One `two`, three\n[a](b.md#c) `[no](link)` [![p](p.png)](q)\n```\n[no](link)\n```\n\
                [d](#e)\n# One two three\n# A [link](x.md)";
    let found = [(2, "b.md#c"), (2, "p.png"), (2, "q"), (6, "#e"), (8, "x.md")]
        .map(|(line, target)| (line, target.to_owned()));
    assert_eq!(targets(text), found);
    let anchors = ["one-two-three", "one-two-three-1", "a-link"].map(str::to_owned);
    assert_eq!(headings(text), BTreeSet::from(anchors));
    let readme = paths::root().join("docs/README.md");
    for there in ["../README.md", "../README.md#try-it", "runbooks", "https://example.com/none"] {
        assert_eq!(fault(&readme, there), None, "{there}");
    }
    assert_eq!(fault(&readme, "none.md"), Some("there is no such file"));
    assert_eq!(fault(&readme, "../README.md#none"), Some("there is no such heading"));
}

/// All Markdown files that somebody wrote.
fn markdown(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !MADE.contains(&&*name) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|it| it == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// What is wrong with a link in `file`.
fn fault(file: &Path, target: &str) -> Option<&'static str> {
    if target.contains("://") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => file.to_path_buf(),
        path => file.parent()?.join(path),
    };
    // `..` of a folder that is not there is the parent for a reader, and an error for the kernel.
    let path = normal(&path);
    if !path.exists() {
        return Some("there is no such file");
    }
    let is_there = anchor.is_empty()
        || fs::read_to_string(path).is_ok_and(|text| headings(&text).contains(anchor));
    (!is_there).then_some("there is no such heading")
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path {
        if part == ".." {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

/// Lines that are no code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Targets of links and pictures, with the number of the line.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece is code.
        let words: String = line.split('`').step_by(2).collect();
        for rest in words.split("](").skip(1) {
            targets.extend(rest.split_once(')').map(|(target, _)| (number, target.to_owned())));
        }
    }
    targets
}

/// Anchors of the headings, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let Some((marks, title)) = line.split_once(' ') else { continue };
        if marks.is_empty() || !marks.bytes().all(|byte| byte == b'#') {
            continue;
        }
        let anchor = slug(title);
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let new = std::iter::once(anchor.clone()).chain(again).find(|it| !anchors.contains(it));
        anchors.extend(new);
    }
    anchors
}

/// Of a link only the text counts; of the rest letters, digits, `-`, `_` and spaces.
fn slug(title: &str) -> String {
    let mut words = String::new();
    for (at, part) in title.split("](").enumerate() {
        words.push_str(if at == 0 { part } else { part.split_once(')').map_or("", |it| it.1) });
    }
    let kept = words.trim().chars().filter(|it| it.is_alphanumeric() || "-_ ".contains(*it));
    kept.flat_map(char::to_lowercase).map(|it| if it == ' ' { '-' } else { it }).collect()
}
