//! Whether every crate's licence is one that deny.toml allows, and every npm package's too.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

use crate::{paths, shell};

/// The npm packages that check and draw the dashboards. Nothing of them is shipped.
const NPM_LOCKS: [&str; 2] = ["dashboards/schema/package-lock.json", "draw/package-lock.json"];
/// What only they may have beside deny.toml's list.
const NPM_ONLY: [&str; 3] = ["BlueOak-1.0.0", "OFL-1.1", "Unlicense"];
/// Packages whose description names no licence. The first two are in the public domain by a file of
/// theirs; the third, a function of ten lines that Grafana's library depends on, says nothing at all.
const NPM_UNTOLD: [&str; 3] = [
    "node_modules/fast-shallow-equal",
    "node_modules/react-universal-interface",
    "node_modules/get-document",
];

/// Licences of crates are checked by cargo-deny where it is installed, else as cargo itself tells them.
pub(crate) fn check() -> Result<()> {
    crates()?;
    let packages = npm_packages()?;
    println!("licences of {packages} npm packages are all allowed");
    Ok(())
}

/// How many npm packages there are; fails if the licence of one is not allowed.
fn npm_packages() -> Result<usize> {
    let mut allowed = allowed(&read("deny.toml")?)?;
    for name in NPM_ONLY {
        allowed.push(Licensee::parse(name).with_context(|| name.to_owned())?);
    }
    let mut count = 0;
    for lock in NPM_LOCKS {
        let text = read(lock)?;
        count += npm(&serde_json::from_str(&text).context(lock)?, &allowed).context(lock)?;
    }
    Ok(count)
}

fn read(name: &str) -> Result<String> {
    let file = paths::root().join(name);
    fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

/// How many packages a lock file has; fails if a licence is missing or not allowed.
fn npm(lock: &Value, allowed: &[Licensee]) -> Result<usize> {
    let packages = lock.get("packages").and_then(Value::as_object).context("no packages")?;
    // The first is the folder itself.
    let packages = packages.iter().filter(|(path, _)| !path.is_empty());
    let refused: Vec<String> = packages
        .clone()
        .filter_map(|(path, package)| {
            let licence = package.get("license").and_then(Value::as_str);
            if licence.is_none() && NPM_UNTOLD.contains(&path.as_str()) {
                return None;
            }
            let licence = licence.unwrap_or_default();
            let error = permit(licence, allowed).err()?;
            Some(format!("{path}: {licence:?}: {error:#}"))
        })
        .collect();
    if !refused.is_empty() {
        bail!("{}", refused.join("\n"));
    }
    Ok(packages.count())
}

fn crates() -> Result<()> {
    if shell::output(Command::new("cargo").args(["deny", "--version"])).is_ok() {
        // Advisories need a database from the network and change without a commit: not here.
        let mut deny = shell::cargo();
        return shell::run(deny.args(["deny", "--locked", "check", "bans", "licenses", "sources"]));
    }
    let allowed =
        allowed(&read("deny.toml")?).context("the list `allow` under [licenses] in deny.toml")?;
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
            let error = permit(licence, &allowed).err()?;
            Some(format!("{package}: {licence:?}: {error:#}"))
        })
        .collect();
    if !refused.is_empty() {
        bail!("{}", refused.join("\n"));
    }
    println!("licences of {} crates are all allowed (cargo-deny is not installed)", crates.len());
    Ok(())
}

/// The strings of `allow = [ … ]` in the section `[licenses]`.
fn allowed(deny: &str) -> Result<Vec<Licensee>> {
    let section = deny.split_once("\n[licenses]").context("no such section")?.1;
    let section = section.split_once("\n[").map_or(section, |(section, _)| section);
    let (_, list) = section.split_once("\nallow = [").context("no such list")?;
    let (list, _) = list.split_once(']').context("no end of the list")?;
    let lines = list.lines().filter(|line| !line.trim_start().starts_with('#'));
    let names = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    names.map(|name| Licensee::parse(name).with_context(|| name.to_owned())).collect()
}

/// Fails unless an SPDX expression can be met with allowed licences only. `/` is the old spelling of
/// OR.
fn permit(expression: &str, allowed: &[Licensee]) -> Result<()> {
    // As cargo-deny: crates of old have names that SPDX has replaced.
    let mode =
        ParseMode { allow_slash_as_or_operator: true, allow_deprecated: true, ..ParseMode::STRICT };
    let expression = Expression::parse_mode(expression, mode).context("no SPDX expression")?;
    if !expression.evaluate(|licence| allowed.iter().any(|it| it.satisfies(licence))) {
        bail!("not in deny.toml's list");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_weighed() {
        let allowed: Vec<Licensee> =
            ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
                .map(|name| Licensee::parse(name).unwrap())
                .into();
        let permits = |expression: &str| permit(expression, &allowed).is_ok();
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "MIT OR LGPL-2.1-or-later",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "MIT OR GPL-2.0-only AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(permits(good), "{good}");
        }
        for bad in [
            "LGPL-2.1-or-later",
            "MIT AND LGPL-2.1-or-later",
            "MIT WITH LLVM-exception",
            "",
            "(MIT",
            "MIT Apache-2.0",
        ] {
            assert!(!permits(bad), "{bad}");
        }
    }

    #[test]
    fn all_npm_packages_are_allowed() {
        assert!(npm_packages().unwrap() > 0);
    }

    #[test]
    fn an_npm_package_without_a_licence_is_refused() {
        let allowed = [Licensee::parse("MIT").unwrap()];
        let lock = |package: &str| {
            let text = format!(r#"{{"packages": {{"": {{}}, "node_modules/a": {package}}}}}"#);
            npm(&serde_json::from_str(&text).unwrap(), &allowed)
        };
        assert_eq!(lock(r#"{"license": "(MIT OR GPL-2.0)"}"#).unwrap(), 1);
        for bad in [r#"{"license": "GPL-2.0"}"#, "{}"] {
            let error = lock(bad).unwrap_err().to_string();
            assert!(error.contains("node_modules/a"), "{error}");
        }
    }

    #[test]
    fn the_list_is_read_from_deny_toml() {
        let allowed = allowed(include_str!("../../deny.toml")).unwrap();
        assert!(permit("Apache-2.0 WITH LLVM-exception", &allowed).is_ok(), "{allowed:?}");
        assert!(permit("MPL-2.0", &allowed).is_err());
        super::allowed("[bans]\nallow = [\"MIT\"]\n").unwrap_err();
    }
}
