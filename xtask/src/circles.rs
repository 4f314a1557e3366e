//! `cargo xtask circles`: whether files of a crate use each other in a circle.
//!
//! A file uses another if it names something of the other's module: by `use`, or by a path that
//! begins with `crate`, `super`, `self` or a module of its own. A `mod` line is no use, and tests do
//! not count: what is behind `#[cfg(test)]` is passed over. Read as text, without a compiler, so
//! what macros make is not seen.

mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use self::text::{paths_in, tokens, without_tests};
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
