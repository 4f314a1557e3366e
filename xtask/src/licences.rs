//! Whether every crate's licence is one that deny.toml allows.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{paths, shell};

/// cargo-deny where it is installed; else the licences, read from cargo itself.
pub(crate) fn check() -> Result<()> {
    if shell::output(Command::new("cargo").args(["deny", "--version"])).is_ok() {
        // Advisories need a database from the network and change without a commit: not here.
        let mut deny = shell::cargo();
        return shell::run(deny.args(["deny", "--locked", "check", "bans", "licenses", "sources"]));
    }
    let file = paths::root().join("deny.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let allowed = allowed(&text).context("no list `allow` under [licenses] in deny.toml")?;
    let tree = shell::output(shell::cargo().args([
        "tree",
        "--locked",
        "--workspace",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--format",
        "{l}\t{p}",
    ]))?;
    let crates: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    let refused: Vec<String> = crates
        .iter()
        .filter_map(|line| {
            let (licence, package) = line.split_once('\t')?;
            let why = match permits(licence, &allowed) {
                Some(true) => return None,
                Some(false) => "not in deny.toml's list",
                None => "not an SPDX expression",
            };
            Some(format!("{package}: {licence:?} is {why}"))
        })
        .collect();
    if !refused.is_empty() {
        bail!("{}", refused.join("\n"));
    }
    println!("licences of {} crates are all allowed (cargo-deny is not installed)", crates.len());
    Ok(())
}

/// The strings of `allow = [ … ]` in the section `[licenses]`.
fn allowed(deny: &str) -> Option<BTreeSet<String>> {
    let section = deny.split_once("\n[licenses]")?.1;
    let section = section.split_once("\n[").map_or(section, |(section, _)| section);
    let list = section.split_once("\nallow = [")?.1.split_once(']')?.0;
    let strings = list.lines().filter(|line| !line.trim_start().starts_with('#'));
    Some(strings.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned).collect())
}

/// Whether an SPDX expression can be met with allowed licences only; `None` if it is none.
/// `/` is the old spelling of OR.
fn permits(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = alternatives(&mut words, allowed)?;
    words.next().is_none().then_some(verdict)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn alternatives(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut verdict = conjunction(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        verdict |= conjunction(words, allowed)?;
    }
    Some(verdict)
}

fn conjunction(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut verdict = licence(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        verdict &= licence(words, allowed)?;
    }
    Some(verdict)
}

fn licence(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let name = words.next()?;
    if name == "(" {
        let verdict = alternatives(words, allowed)?;
        return words.next_if_eq(&")").map(|_| verdict);
    }
    if matches!(name, ")" | "OR" | "AND" | "WITH") {
        return None;
    }
    if words.next_if_eq(&"WITH").is_some() {
        return Some(allowed.contains(&format!("{name} WITH {}", words.next()?)));
    }
    Some(allowed.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_weighed() {
        let allowed = BTreeSet::from(
            ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
                .map(str::to_owned),
        );
        let permits = |expression| permits(expression, &allowed);
        assert_eq!(permits("MIT"), Some(true));
        assert_eq!(permits("MIT/Apache-2.0"), Some(true));
        assert_eq!(permits("LGPL-2.1-or-later"), Some(false));
        assert_eq!(permits("MIT OR LGPL-2.1-or-later"), Some(true));
        assert_eq!(permits("MIT AND LGPL-2.1-or-later"), Some(false));
        assert_eq!(permits("(MIT OR GPL-2.0) AND Unicode-3.0"), Some(true));
        assert_eq!(permits("MIT OR GPL-2.0 AND Unicode-3.0"), Some(true), "AND binds closer");
        assert_eq!(permits("Apache-2.0 WITH LLVM-exception"), Some(true));
        assert_eq!(permits("MIT WITH LLVM-exception"), Some(false));
        assert_eq!(permits(""), None);
        assert_eq!(permits("(MIT"), None);
        assert_eq!(permits("MIT Apache-2.0"), None);
    }

    #[test]
    fn the_list_is_read_from_deny_toml() {
        let text = include_str!("../../deny.toml");
        let allowed = allowed(text).unwrap();
        assert!(allowed.contains("Apache-2.0 WITH LLVM-exception"), "{allowed:?}");
        assert!(!allowed.contains("MPL-2.0"));
        assert_eq!(super::allowed("[bans]\nallow = [\"MIT\"]\n"), None);
    }
}
