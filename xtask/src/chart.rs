//! `cargo xtask chart`: the Helm chart in `deploy/chart`.
//!
//! What is also in the manifests is made from them: templates (`templates`), the rules and the
//! dashboards (a chart can read no file beside its own), and the table in its README.md (`table`).
//! By hand are `values.yaml`, its schema, the helpers and the notes.

mod edit;
mod helm;
mod objects;
mod render;
mod sources;
mod table;
mod templates;

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::paths;

use self::sources::{RULES, dashboards, files, read};
pub use self::{
    helm::{Helm, program as helm},
    sources::folder,
};

/// The lines between which README.md has the table.
const TABLE: [&str; 2] =
    ["<!-- values: written by `cargo xtask chart` -->", "<!-- end of values -->"];

/// `cargo xtask chart`: makes anew what is not up to date, names it, and checks the whole.
pub(crate) fn command() -> Result<()> {
    for (path, text) in stale()? {
        match text {
            Some(text) => {
                let folder = path.parent().context("a file without a folder")?;
                fs::create_dir_all(folder)
                    .with_context(|| format!("create {}", folder.display()))?;
                fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
                println!("written: {}", path.display());
            }
            None => {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
                println!("removed: {}", path.display());
            }
        }
    }
    if let Some(skipped) = check()? {
        println!("SKIPPED: {skipped}");
    }
    Ok(())
}

/// Lints, renders and packs the chart by the real helm; `Ok(Some(why))` if that is not to be had.
pub(crate) fn check() -> Result<Option<String>> {
    let Some(helm) = helm::program()? else {
        return Ok(Some("helm is built with Go, which is not installed here".to_owned()));
    };
    render::check(&helm).map(|()| None)
}

/// The files that are not what they would be made to, each with what it would be made to.
fn stale() -> Result<BTreeMap<PathBuf, Option<String>>> {
    let folder = folder();
    let wanted: BTreeMap<PathBuf, String> =
        made()?.into_iter().map(|(path, text)| (folder.join(path), text)).collect();
    let mut stale = BTreeMap::new();
    for path in files(&folder.join("files"))? {
        if !wanted.contains_key(&path) {
            stale.insert(path, None);
        }
    }
    for (path, text) in wanted {
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            stale.insert(path, Some(text));
        }
    }
    Ok(stale)
}

/// Path below the chart and text of all that is made.
fn made() -> Result<BTreeMap<String, String>> {
    let mut made = templates::all()?;
    let root = paths::root();
    made.insert("files/podvitals.rules.yaml".to_owned(), read(&root.join(RULES))?);
    for (name, text) in dashboards()? {
        made.insert(format!("files/dashboards/{name}"), text);
    }
    let readme = read(&folder().join("README.md"))?;
    let rows = table::rows(&read(&folder().join("values.yaml"))?)?;
    let [begin, end] = TABLE;
    let parts =
        readme.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    let (head, tail) = parts.with_context(|| format!("README.md has no {begin} … {end}"))?;
    let table = table::markdown(&rows);
    made.insert("README.md".to_owned(), format!("{head}{begin}\n\n{table}\n{end}{tail}"));
    Ok(made)
}

#[cfg(test)]
mod tests;
