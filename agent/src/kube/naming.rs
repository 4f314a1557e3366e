//! Naming decisions: when a container gets its name, and whether it is shown before. Pure.

use super::identity::Identity;

/// Longest time that a fact waits for the name of its container. After that the container is shown
/// under its ids for the rest of its life.
pub const TIMEOUT_NS: u64 = 10_000_000_000;

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
    /// Whether init is still expected: the container's own program does not run yet, and its exec
    /// will be seen. Until then nothing distinguishes the container from a sandbox.
    pub init_may_come: bool,
    /// Whether a Pod source exists, which may still report more than the link.
    pub pods_may_come: bool,
    /// Whether any source of names exists, which may still report one.
    pub names_may_come: bool,
    /// Whether init is the sandbox's `pause`; `None` while init is not known.
    pub is_pause: Option<bool>,
    /// Place of the container in its Pod's statuses.
    pub listing: Listing,
}

/// Place of a container in the statuses of its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Unknown: the Pod is not known, or some of its containers have no id yet.
    Open,
    /// Absent from complete statuses, but perhaps created after them.
    Missing,
    /// Absent from complete statuses that are newer than the container by more than they lag.
    None,
}

/// Decision about a container's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Show the container under this identity from now on.
    Show(Box<Identity>),
    /// Hide the container for ever: it is a sandbox.
    Hide,
    /// Decide later.
    Wait,
}

/// Decides about the name of one container. `unnamed` makes an identity from its ids.
#[must_use]
pub fn decide(named: Named, unnamed: impl FnOnce() -> Identity, known: NamingInput) -> Decision {
    let timed_out = known.waited_ns >= TIMEOUT_NS;
    match named {
        Named::FromPod(identity) => return Decision::Show(identity),
        // The API reports a container a second or so after the kubelet has made its link.
        Named::FromLogLink(_) if known.pods_may_come && !timed_out => return Decision::Wait,
        Named::FromLogLink(identity) => return Decision::Show(identity),
        Named::Unnamed => {}
    }
    match (known.listing, known.is_pause) {
        // An application may be called `pause` as well, but it would be in the statuses.
        (Listing::None, _) | (Listing::Missing, Some(true)) => return Decision::Hide,
        _ => {}
    }
    if known.names_may_come && !timed_out {
        // The kubelet makes the link when the container is created, and never for sandboxes. The
        // name `pause` decides nothing yet.
        return Decision::Wait;
    }
    match known.is_pause {
        Some(true) => Decision::Hide,
        Some(false) => Decision::Show(Box::new(unnamed())),
        None if known.init_may_come => Decision::Wait,
        None if timed_out => Decision::Show(Box::new(unnamed())),
        None => Decision::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pod: &str) -> Box<Identity> {
        Box::new(Identity {
            namespace: String::new(),
            pod: pod.into(),
            container: "c".into(),
            pod_uid: String::new(),
            container_id: String::new(),
            image: String::new(),
            role: "unknown",
            qos: "",
            runtime: "unknown",
            workload_kind: "Pod".into(),
            workload: pod.into(),
        })
    }

    const EARLY: NamingInput = NamingInput {
        waited_ns: TIMEOUT_NS - 1,
        init_may_come: false,
        pods_may_come: true,
        names_may_come: true,
        is_pause: Some(false),
        listing: Listing::Open,
    };
    const LATE: NamingInput = NamingInput { waited_ns: TIMEOUT_NS, ..EARLY };

    fn ask(named: Named, known: NamingInput) -> Decision {
        decide(named, || *identity("unnamed"), known)
    }

    fn from_pod() -> Named {
        Named::FromPod(identity("pod"))
    }

    fn link() -> Named {
        Named::FromLogLink(identity("link"))
    }

    fn show(name: &str) -> Decision {
        Decision::Show(identity(name))
    }

    #[test]
    fn a_name_from_the_pod_is_used_at_once() {
        for is_pause in [None, Some(true), Some(false)] {
            for listing in [Listing::Open, Listing::Missing, Listing::None] {
                let known = NamingInput { is_pause, listing, waited_ns: 0, ..EARLY };
                assert_eq!(ask(from_pod(), known), show("pod"));
            }
        }
    }

    #[test]
    fn a_log_link_is_used_at_once_without_a_pod_source() {
        assert_eq!(ask(link(), NamingInput { pods_may_come: false, ..EARLY }), show("link"));
        assert_eq!(ask(link(), EARLY), Decision::Wait);
        assert_eq!(ask(link(), LATE), show("link"));
        // Sandboxes have no link, whatever their Pod's statuses report.
        assert_eq!(ask(link(), NamingInput { listing: Listing::None, ..LATE }), show("link"));
    }

    #[test]
    fn a_container_waits_for_its_name_up_to_the_timeout() {
        assert_eq!(ask(Named::Unnamed, EARLY), Decision::Wait);
        assert_eq!(ask(Named::Unnamed, LATE), show("unnamed"));
        assert_eq!(ask(Named::Unnamed, NamingInput { is_pause: None, ..LATE }), show("unnamed"));
        // A slow runtime has not started it yet.
        let early = NamingInput { is_pause: None, init_may_come: true, ..LATE };
        assert_eq!(ask(Named::Unnamed, early), Decision::Wait);
    }

    #[test]
    fn without_names_init_distinguishes_sandboxes_from_containers() {
        let alone =
            NamingInput { names_may_come: false, pods_may_come: false, waited_ns: 0, ..EARLY };
        assert_eq!(ask(Named::Unnamed, NamingInput { is_pause: None, ..alone }), Decision::Wait);
        assert_eq!(
            ask(Named::Unnamed, NamingInput { is_pause: Some(true), ..alone }),
            Decision::Hide
        );
        assert_eq!(ask(Named::Unnamed, alone), show("unnamed"));
        assert_eq!(
            ask(Named::Unnamed, NamingInput { is_pause: Some(true), ..LATE }),
            Decision::Hide
        );
    }

    #[test]
    fn complete_statuses_reveal_sandboxes_at_once() {
        let pause = NamingInput { is_pause: Some(true), waited_ns: 0, ..EARLY };
        assert_eq!(ask(Named::Unnamed, pause), Decision::Wait, "it may be an application's name");
        let missing = NamingInput { listing: Listing::Missing, ..pause };
        assert_eq!(ask(Named::Unnamed, missing), Decision::Hide);
        let other = NamingInput { is_pause: Some(false), ..missing };
        assert_eq!(
            ask(Named::Unnamed, other),
            Decision::Wait,
            "it may be a restart that is not reported yet"
        );
        assert_eq!(
            ask(Named::Unnamed, NamingInput { listing: Listing::None, ..other }),
            Decision::Hide
        );
    }
}
