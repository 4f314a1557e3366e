//! Whether every crate's licence is one that deny.toml allows.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, bail};
use spdx::{Expression, Licensee, ParseMode};

use crate::{paths, shell};

/// Licences are checked by cargo-deny where it is installed, else as cargo itself tells them.
pub(crate) fn check() -> Result<()> {
    if shell::output(Command::new("cargo").args(["deny", "--version"])).is_ok() {
        // Advisories need a database from the network and change without a commit: not here.
        let mut deny = shell::cargo();
        return shell::run(deny.args(["deny", "--locked", "check", "bans", "licenses", "sources"]));
    }
    let file = paths::root().join("deny.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let allowed = allowed(&text).context("the list `allow` under [licenses] in deny.toml")?;
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
    fn the_list_is_read_from_deny_toml() {
        let allowed = allowed(include_str!("../../deny.toml")).unwrap();
        assert!(permit("Apache-2.0 WITH LLVM-exception", &allowed).is_ok(), "{allowed:?}");
        assert!(permit("MPL-2.0", &allowed).is_err());
        super::allowed("[bans]\nallow = [\"MIT\"]\n").unwrap_err();
    }
}
