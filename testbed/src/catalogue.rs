//! The agent's catalogue of metric families, as `podvitals catalogue` prints it: what a host has to
//! show.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::child;

/// First two numbers of a kernel's release.
pub type Release = (u32, u32);

/// A metric family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name, with its prefix.
    pub name: String,
    /// Type, as a `# TYPE` line has it.
    pub kind: String,
    /// Conditions without which the family is not exported.
    pub needs: Vec<Need>,
}

/// A condition of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A controller of cgroup v2.
    Controller(String),
    /// A kernel of this release or later.
    Linux(Release),
    /// A Pod source.
    Pods,
    /// A receiver of traces.
    Traces,
}

/// A host without a Pod source and without a receiver of traces, and what of the catalogue it can show.
#[derive(Clone, Debug)]
pub struct Host<'a> {
    /// The controllers that its cgroup v2 hierarchy offers.
    pub controllers: &'a [String],
    /// Its kernel's release.
    pub release: Release,
}

impl Host<'_> {
    /// The reason why the host does not show the family; `None` if it has to.
    #[must_use]
    pub fn excuse(&self, family: &Family) -> Option<String> {
        family.needs.iter().find_map(|need| match need {
            Need::Pods => Some("there is no Pod source".to_owned()),
            Need::Traces => Some("there is no receiver of traces".to_owned()),
            Need::Controller(name) if self.controllers.contains(name) => None,
            Need::Controller(name) => {
                Some(format!("this cgroup v2 hierarchy has no {name} controller"))
            }
            Need::Linux(since) if self.release >= *since => None,
            Need::Linux((major, minor)) => Some(format!("Linux {major}.{minor} or later has it")),
        })
    }
}

/// The catalogue of the agent at `path`.
///
/// # Errors
/// The agent does not start, or prints something else.
pub fn read(agent: &Path) -> Result<Vec<Family>> {
    let output = child::command(agent)
        .arg("catalogue")
        .output()
        .with_context(|| format!("running {} catalogue", agent.display()))?;
    ensure!(output.status.success(), "the catalogue ended with {}", output.status);
    parse(&String::from_utf8(output.stdout).context("the catalogue is not UTF-8")?)
}

/// The first two numbers of a release such as `5.10.0-32-amd64`.
#[must_use]
pub fn release(text: &str) -> Option<Release> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Parses the table: a head, then a line of 7 words for each family.
fn parse(text: &str) -> Result<Vec<Family>> {
    let family = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, kind, _scope, _collector, _series, _labels, needs] = words[..] else {
            bail!("a line of the catalogue has not 7 words: {line}");
        };
        let needs = needs.split(',').filter(|need| *need != "-").map(need);
        Ok(Family { name: name.into(), kind: kind.into(), needs: needs.collect::<Result<_>>()? })
    };
    text.lines().skip(1).map(family).collect()
}

fn need(text: &str) -> Result<Need> {
    match text.split_once('=') {
        None if text == "pods" => Ok(Need::Pods),
        None if text == "traces" => Ok(Need::Traces),
        Some(("controller", name)) => Ok(Need::Controller(name.to_owned())),
        Some(("linux", since)) => {
            Ok(Need::Linux(release(since).with_context(|| format!("the release of {text:?}"))?))
        }
        _ => bail!("the catalogue has an unknown need: {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
name  type   scope      collector  series  labels         needs
a     gauge  container  memory     1       namespace,pod  controller=memory,linux=5.19
b     gauge  node       agent      1       -              -
c     gauge  container  grace      1       namespace      pods
d     gauge  node       agent      1       -              traces
";

    #[test]
    fn a_family_is_excused_by_what_it_needs() {
        let families = parse(TABLE).unwrap();
        let excuses = |controllers: &[String], release| {
            let host = Host { controllers, release };
            families.iter().map(|family| host.excuse(family)).collect::<Vec<_>>()
        };
        let memory = ["memory".to_owned()];
        let new = excuses(&memory, (5, 19));
        assert_eq!(new.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true, true]);
        assert!(excuses(&memory, (5, 18))[0].as_ref().unwrap().contains("5.19"));
        assert!(excuses(&[], (6, 1))[0].as_ref().unwrap().contains("memory"));
        assert_eq!(families[1].needs, []);
    }

    #[test]
    fn an_unknown_need_is_an_error() {
        for wrong in ["luck", "linux=new", "controller"] {
            assert!(parse(&TABLE.replace("pods", wrong)).is_err(), "{wrong}");
        }
        assert!(parse("name\nshort line\n").is_err());
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(release("5.10.0-32-cloud-amd64"), Some((5, 10)));
        assert_eq!(release("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(release("7.3+deb13-amd64"), Some((7, 3)));
        assert_eq!(release("next"), None);
    }
}
