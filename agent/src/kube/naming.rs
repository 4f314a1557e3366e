//! Naming decisions: when a container gets its name, whether it is shown before, and when a decision
//! is revised. Pure.

use super::identity::Identity;

/// Longest time that a fact waits for the name of its container. After that the container is shown
/// under its ids until its name comes.
pub const TIMEOUT_NS: u64 = 10_000_000_000;

/// Longest time that a container waits for the source to say whether it is one of those in its
/// Pod's statuses. A healthy watch is heard of once a minute.
const SILENCE_NS: u64 = 90_000_000_000;

/// Time after which the link of a container that runs is there: the kubelet makes it next.
const LINK_LAG_NS: u64 = 2_000_000_000;

/// Source of the name that a container is shown under, the poorest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameSource {
    /// None: the container stands under its Pod's UID and its own id.
    Ids,
    /// The kubelet's log link.
    LogLink,
    /// The Pod source, or in host mode the cgroup's path: nothing better can come.
    Pod,
}

/// Name of a container as the sources of names report it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Complete identity: the Pod is known, and the container's place in it.
    FromPod(Box<Identity>),
    /// Names from the log link: without image and role, and with the Pod as its own workload.
    FromLogLink(Box<Identity>),
    /// No source has a name.
    Unnamed,
}

/// Evidence for a naming decision beside the name itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamingInput {
    /// Time for which the container has waited: since it began to run, if that was seen.
    pub waited_ns: u64,
    /// Time since the removal of the container's cgroup; `None` while it is there.
    pub gone_ns: Option<u64>,
    /// Whether init is still expected: the container's own program does not run yet, and its exec
    /// will be seen. Until then nothing distinguishes the container from a sandbox.
    pub init_may_come: bool,
    /// Whether a Pod source exists, which may still report more than the link.
    pub pods_may_come: bool,
    /// Whether the Pod source answers, so that it would report a change.
    pub pods_answer: bool,
    /// Whether any source of names exists, which may still report one.
    pub names_may_come: bool,
    /// Whether the log links can be read, and there are some: then a container has one.
    pub links_tell: bool,
    /// Whether init is called `pause`, as most sandboxes' is; `None` while init is not known.
    pub is_pause: Option<bool>,
    /// Whether this is the first of its Pod's containers that are there, as a sandbox is: the
    /// kubelet has it made before all others.
    pub is_first: bool,
    /// Whether another container of the Pod has, or had, a log link.
    pub sibling_linked: bool,
    /// Place of the container in its Pod's statuses.
    pub listing: Listing,
}

/// Place of a container in the statuses of its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Unknown: no source reports the Pod.
    Unknown,
    /// Absent from statuses in which some containers have no id yet: they are still to be created,
    /// or still to be reported.
    Incomplete,
    /// Absent from complete statuses, but perhaps created after them.
    Missing,
    /// Absent from complete statuses that are newer than the container by more than they lag.
    None,
}

impl NamingInput {
    /// Whether the Pod's statuses prove a container without a name to be a sandbox.
    const fn is_listed_out(&self) -> bool {
        match self.listing {
            // An application may be called `pause` as well, but it would be in the statuses. One
            // that is not the first may be a restart that the kubelet could not report yet.
            Listing::None => self.is_first || matches!(self.is_pause, Some(true)),
            Listing::Missing => matches!(self.is_pause, Some(true)),
            Listing::Unknown | Listing::Incomplete => false,
        }
    }

    /// Whether the log links prove it: the kubelet makes one for every container, and none for a
    /// sandbox.
    const fn is_linked_out(&self) -> bool {
        self.is_first && self.sibling_linked && self.waited_ns >= LINK_LAG_NS
    }

    /// Whether all else that is known of a container without a name agrees with its being the
    /// sandbox, and what tells it from a container may yet come.
    const fn may_be_sandbox(&self) -> bool {
        // A sandbox whose program is not called `pause` is alone for as long as the images are
        // pulled: minutes.
        let alone = match self.listing {
            Listing::Incomplete => true,
            Listing::Unknown => !self.pods_may_come && self.links_tell,
            Listing::Missing => self.pods_answer && self.waited_ns < SILENCE_NS,
            Listing::None => false,
        };
        self.is_first && alone
    }
}

/// Decision about the name of a container that waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Show the container under this identity from now on.
    Show(Box<Identity>, NameSource),
    /// Hide the container: it is a sandbox.
    Hide,
    /// Decide later.
    Wait,
}

/// Decides about the name of one container. `unnamed` makes an identity from its ids.
#[must_use]
pub fn decide(named: Named, unnamed: impl FnOnce() -> Identity, known: NamingInput) -> Decision {
    let timed_out = known.waited_ns >= TIMEOUT_NS;
    match named {
        Named::FromPod(identity) => return Decision::Show(identity, NameSource::Pod),
        // The API reports a container a second or so after the kubelet has made its link.
        Named::FromLogLink(_) if known.pods_may_come && !timed_out => return Decision::Wait,
        Named::FromLogLink(identity) => return Decision::Show(identity, NameSource::LogLink),
        Named::Unnamed => {}
    }
    if known.is_listed_out() || known.is_linked_out() {
        return Decision::Hide;
    }
    if known.names_may_come && !timed_out {
        // The kubelet makes the link when the container is created, and never for sandboxes. The
        // name `pause` decides nothing yet.
        return Decision::Wait;
    }
    let unnamed = || Decision::Show(Box::new(unnamed()), NameSource::Ids);
    match known.is_pause {
        Some(true) => Decision::Hide,
        // What was removed without ever having been reported was a sandbox as well, unless the source
        // had no time to say so.
        _ if known.may_be_sandbox() => match known.gone_ns {
            Some(gone_ns) if gone_ns >= TIMEOUT_NS && known.listing != Listing::Missing => {
                Decision::Hide
            }
            _ => Decision::Wait,
        },
        Some(false) => unnamed(),
        None if known.init_may_come => Decision::Wait,
        None if timed_out => unnamed(),
        None => Decision::Wait,
    }
}

/// Revision of a decision that was made without all that is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// Keep the decision.
    Keep,
    /// Show the container under this identity instead.
    Show(Box<Identity>, NameSource),
    /// Hide the container: it is a sandbox, and was shown by mistake.
    Hide,
}

/// Revises a decision: `shown` is the source of the name under which the container is shown, `None`
/// for one that was taken for a sandbox.
///
/// A shown container changes its name once at most: to that of the best source there is.
#[must_use]
pub fn revise(shown: Option<NameSource>, named: Named, known: NamingInput) -> Revision {
    match (shown, named) {
        (Some(NameSource::Pod), _) => Revision::Keep,
        (_, Named::FromPod(identity)) => Revision::Show(identity, NameSource::Pod),
        (None, Named::FromLogLink(identity)) => Revision::Show(identity, NameSource::LogLink),
        (Some(NameSource::Ids), Named::FromLogLink(identity)) if !known.pods_may_come => {
            Revision::Show(identity, NameSource::LogLink)
        }
        (Some(NameSource::Ids), Named::Unnamed)
            if known.is_listed_out() || known.is_linked_out() =>
        {
            Revision::Hide
        }
        _ => Revision::Keep,
    }
}

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;
