//! `cargo xtask circles`: whether files of a crate use each other in a circle.
//!
//! A file uses another if it names something of the other's module: by `use`, or by a path that
//! begins with `crate`, `super`, `self` or a module of its own. A `mod` line is no use, and tests do
//! not count: what is behind `#[cfg(test)]` is passed over. Read as text, without a compiler, so
//! what macros make is not seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// `cargo xtask circles`, and a part of the step "lints".
pub(crate) fn check() -> Result<()> {
    let (mut files, mut circles) = (0, Vec::new());
    for source in crates(&paths::root())? {
        let sources = read_crate(&source)?;
        files += sources.len();
        circles.extend(find(&uses(&sources)).into_iter().map(|circle| {
            let name = |module: &&Module| Some(sources.get(*module)?.0.as_str());
            let steps: Vec<_> = circle.iter().filter_map(name).collect();
            format!("{}: {}", source.display(), steps.join(" -> "))
        }));
    }
    if !circles.is_empty() {
        bail!("files that use each other in a circle:\n{}", circles.join("\n"));
    }
    println!("circles: none among {files} files");
    Ok(())
}

/// Path of a module below its crate's root, such as `["metrics", "store"]`.
type Module = Vec<String>;

/// The folders `src` of the workspace's crates.
fn crates(root: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("read {}", root.display()))? {
        let source = entry?.path().join("src");
        if source.join("lib.rs").exists() || source.join("main.rs").exists() {
            sources.push(source);
        }
    }
    sources.sort();
    Ok(sources)
}

/// All modules of a crate that is a file each: its name for people, and its tokens without tests.
fn read_crate(source: &Path) -> Result<BTreeMap<Module, (String, Vec<String>)>> {
    let mut modules = BTreeMap::new();
    let mut tests = Vec::new();
    let has_library = source.join("lib.rs").exists();
    let mut folders = vec![source.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(source)?.to_string_lossy().into_owned();
            let Some(module) = module_of(&name, has_library) else { continue };
            let text =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let (tokens, tested) = without_tests(&tokens(&text));
            tests.extend(tested.into_iter().map(|child| [module.clone(), vec![child]].concat()));
            modules.insert(module, (name, tokens));
        }
    }
    // A module that is there for tests only, and what is below it.
    modules.retain(|module, _| !tests.iter().any(|test: &Module| module.starts_with(test)));
    Ok(modules)
}

/// The module that a file is; `None` for a binary beside the library, and for what is no module.
fn module_of(name: &str, has_library: bool) -> Option<Module> {
    let path = name.strip_suffix(".rs")?;
    match path {
        "lib" => return Some(Vec::new()),
        "main" => return (!has_library).then(Vec::new),
        _ => {}
    }
    let path = path.strip_suffix("/mod").unwrap_or(path);
    Some(path.split('/').map(str::to_owned).collect())
}

/// The words and marks of a source text; comments are left out, texts in quotes are one mark.
fn tokens(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, token) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), "")
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), "")
        } else if let Some(length) = raw_string(rest).or_else(|| string(rest)) {
            (length, "\"")
        } else if first == '\'' {
            (character(rest), "")
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (end, rest.get(..end).unwrap_or_default())
        } else if rest.starts_with("::") {
            (2, "::")
        } else {
            let length = first.len_utf8();
            (
                length,
                if first.is_whitespace() { "" } else { rest.get(..length).unwrap_or_default() },
            )
        };
        if !token.is_empty() {
            tokens.push(token.to_owned());
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

/// Length of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let marks = after.len() - after.trim_start_matches('#').len();
    let body = after.trim_start_matches('#').strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(marks));
    let end = body.find(&close).map_or(body.len(), |end| end + close.len());
    Some(text.len() - body.len() + end)
}

/// Length of a string that begins here.
fn string(text: &str) -> Option<usize> {
    let body = text.strip_prefix("b\"").or_else(|| text.strip_prefix('"'))?;
    let mut escaped = false;
    let end = body.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(text.len() - body.len() + end.map_or(body.len(), |end| end + 1))
}

/// Length of a character, or of the mark of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        // What is escaped may be a quote; none can follow for 10 characters (`\u{10ffff}`).
        (Some((_, '\\')), Some(_)) => {
            chars.find(|(_, c)| *c == '\'').map_or(text.len(), |(at, _)| at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// The tokens without items behind `#[cfg(test)]`, and the modules in files that are such items.
fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut rest = tokens;
    while let Some((first, others)) = rest.split_first() {
        let behind = rest.split_at_checked(MARK.len()).filter(|(mark, _)| mark.iter().eq(&MARK));
        if let Some((_, item)) = behind {
            let (item, after) = item.split_at(item_length(item));
            if let [.., keyword, name, end] = item
                && (keyword.as_str(), end.as_str()) == ("mod", ";")
            {
                modules.push(name.clone());
            }
            rest = after;
        } else {
            kept.push(first.clone());
            rest = others;
        }
    }
    (kept, modules)
}

/// How many tokens an item has: to the `;` or the brace that ends it.
fn item_length(tokens: &[String]) -> usize {
    let mut depth = 0_usize;
    let mut is_use = false;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "use" if depth == 0 => is_use = true,
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The modules that each module uses.
fn uses(sources: &BTreeMap<Module, (String, Vec<String>)>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let of = |(module, (_, tokens)): (&'_ Module, &'_ (String, Vec<String>))| {
        let paths = paths_in(tokens);
        let used = paths.iter().filter_map(|path| resolve(path, module, sources));
        used.filter(|used| *used != module).cloned().collect::<BTreeSet<Module>>()
    };
    let key = |module: &Module| sources.get_key_value(module).map(|(module, _)| module);
    let used = sources.iter().map(|entry| (entry.0, of(entry)));
    used.map(|(module, used)| (module, used.iter().filter_map(key).collect())).collect()
}

/// The paths that stand in a file, those of a `use` with braces each for itself.
fn paths_in(tokens: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    // Depth of braces, and those at which a module within the file began.
    let (mut depth, mut inside) = (0_usize, Vec::new());
    let mut before = "";
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        let known = paths.len();
        rest = after;
        match token.as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inside.retain(|began| *began < depth);
            }
            "mod" if after.get(1).is_some_and(|token| token == "{") => inside.push(depth),
            "use" => rest = use_tree(after, &[], &mut paths),
            word if is_word(word) && before != "::" && before != "." => {
                let mut path = vec![token.clone()];
                while let [colons, word, after @ ..] = rest
                    && colons == "::"
                    && is_word(word)
                {
                    path.push(word.clone());
                    rest = after;
                }
                if path.len() > 1 {
                    paths.push(path);
                }
            }
            _ => {}
        }
        before = token;
        paths.iter_mut().skip(known).for_each(|path| leave(path, inside.len()));
    }
    paths
}

/// Makes a path within that many modules of a file one of the file.
fn leave(path: &mut Vec<String>, inside: usize) {
    let out = path.iter().take(inside).take_while(|word| *word == "super").count();
    if out > 0 {
        path.splice(..out, ["self".to_owned()]);
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Adds the paths of a tree of a `use`; returns what is behind it.
fn use_tree<'a>(
    tokens: &'a [String],
    prefix: &[String],
    paths: &mut Vec<Vec<String>>,
) -> &'a [String] {
    let mut path = prefix.to_vec();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        match token.as_str() {
            "{" => {
                rest = after;
                while let Some((token, after)) = rest.split_first() {
                    match token.as_str() {
                        "}" => return after,
                        "," => rest = after,
                        // A mark that no tree begins with is passed over.
                        mark if !is_word(mark) && mark != "*" && mark != "{" => rest = after,
                        _ => rest = use_tree(rest, &path, paths),
                    }
                }
                return rest;
            }
            "::" | "*" => rest = after,
            "as" => rest = after.get(1..).unwrap_or_default(),
            word if is_word(word) => {
                path.push(token.clone());
                rest = after;
            }
            _ => break,
        }
    }
    paths.push(path);
    rest
}

/// The module in which a path of `module` ends.
fn resolve<'a, V>(
    path: &[String],
    module: &Module,
    modules: &'a BTreeMap<Module, V>,
) -> Option<&'a Module> {
    let (first, rest) = path.split_first()?;
    let mut found = module.clone();
    match first.as_str() {
        "crate" => found.clear(),
        "self" => {}
        "super" => drop(found.pop()),
        child => {
            found.push(child.to_owned());
            if !modules.contains_key(&found) {
                return None;
            }
        }
    }
    for word in rest {
        if word == "super" {
            found.pop();
            continue;
        }
        found.push(word.clone());
        if !modules.contains_key(&found) {
            found.pop();
            break;
        }
    }
    modules.get_key_value(&found).map(|(module, _)| module)
}

/// A circle for each knot of modules that reach each other, each named once.
fn find<'a>(uses: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> Vec<Vec<&'a Module>> {
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for start in uses.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(circle) = shortest_circle(start, uses) {
            seen.extend(circle.iter().copied());
            circles.push(circle);
        }
    }
    circles
}

/// The shortest way from a module back to itself.
fn shortest_circle<'a>(
    start: &'a Module,
    uses: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
) -> Option<Vec<&'a Module>> {
    let mut from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut next = vec![start];
    while !next.is_empty() {
        let mut further = Vec::new();
        for module in next {
            for used in uses.get(module).into_iter().flatten() {
                if *used == start {
                    let mut circle = vec![start];
                    let mut at = module;
                    while at != start {
                        circle.insert(1, at);
                        at = from.get(at)?;
                    }
                    circle.push(start);
                    return Some(circle);
                }
                if !from.contains_key(used) {
                    from.insert(used, module);
                    further.push(*used);
                }
            }
        }
        next = further;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> BTreeMap<Module, (String, Vec<String>)> {
        let source = |(name, text): &(&str, &str)| {
            let (tokens, _) = without_tests(&tokens(text));
            (module_of(name, true).unwrap(), ((*name).to_owned(), tokens))
        };
        files.iter().map(source).collect()
    }

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let sources = sources(files);
        let name = |module: &&Module| sources[*module].0.clone();
        let found = find(&uses(&sources));
        found.iter().map(|circle| circle.iter().map(name).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_circle_over_three_files_is_found() {
        let files = [
            ("lib.rs", "pub mod a; mod b; pub mod c;"),
            ("a/mod.rs", "pub mod x; use crate::{b::{self, Thing as Other}, missing::Item};"),
            ("a/x.rs", "use super::Item;"),
            ("b.rs", "fn f() { super::c::f(); }"),
            ("c.rs", "use std::fmt; type T = crate::a::Item;"),
        ];
        assert_eq!(circles(&files), ["a/mod.rs b.rs c.rs a/mod.rs"]);
        assert_eq!(circles(&files[..4]), [""; 0]);
    }

    #[test]
    fn parent_and_child_are_a_circle_if_both_name_the_other() {
        let child = ("a/x.rs", "use super::Item; use self::own;");
        assert_eq!(circles(&[("a.rs", "mod x; pub struct Item;"), child]), [""; 0]);
        for uses in ["use x::f;", "fn g() { x::f() }", "pub use self::x::*;", "use crate::a::x;"] {
            let parent = format!("mod x; {uses} pub struct Item;");
            assert_eq!(circles(&[("a.rs", &parent), child]), ["a.rs a/x.rs a.rs"], "{uses}");
        }
    }

    #[test]
    fn tests_comments_and_texts_are_no_use() {
        let a = r##"
            // use crate::b;
            /* use crate::b; */
            /// [`crate::b::X`]
            const TEXT: (&str, &str, char, &'static str) = ("\" crate::b", r#"" crate::b "#, '"', "");
            #[cfg(test)]
            use crate::b::{X, Y};
            #[cfg(test)]
            #[path = "a_tests.rs"]
            mod tests;
            #[cfg(test)]
            impl A { fn b(&self) -> [crate::b::X; 2] { loop {} } }
            fn after(x: &'a u8) { x.b::<u8>(); }
        "##;
        assert_eq!(circles(&[("a.rs", a), ("b.rs", "use crate::a;")]), [""; 0]);
        let inline = "use crate::b; mod m { use super::*; mod n { use super::super::c; } } mod b;";
        assert_eq!(circles(&[("a.rs", inline), ("b.rs", ""), ("lib.rs", "use a::X;")]), [""; 0]);
        let outer = "mod m { use super::super::X; } mod b;";
        assert_eq!(circles(&[("a.rs", outer), ("lib.rs", "use a::X;")]).len(), 1);
        let (kept, modules) = without_tests(&tokens(a));
        assert_eq!(modules, ["tests"]);
        assert!(kept.contains(&"after".to_owned()));
        assert_eq!(circles(&[("a.rs", "use crate::b;"), ("b.rs", "use crate::a;")]).len(), 1);
        assert_eq!(paths_in(&tokens("use {a::{b, r#c, *}, {d}, ;, } ! use")).len(), 6);
    }

    #[test]
    fn a_crate_is_read_without_its_tests() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        write("lib.rs", "mod a; #[cfg(test)] mod tests;");
        write("main.rs", "use krate::a;");
        write("a/mod.rs", "#[cfg(test)] mod fixture;");
        write("a/fixture.rs", "use super::super::tests;");
        write("tests.rs", "use crate::a;");
        write("notes.txt", "");
        let names: Vec<_> =
            read_crate(folder.path()).unwrap().into_values().map(|(name, _)| name).collect();
        assert_eq!(names, ["lib.rs", "a/mod.rs"]);
    }
}
