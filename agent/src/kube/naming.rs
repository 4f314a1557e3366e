//! When a container gets its name, and what is done until then. Pure.

use super::identity::Identity;

/// A fact waits for its name at most this long; then the container is shown under its ids for the
/// rest of its life.
pub const TIMEOUT_NS: u64 = 10_000_000_000;

/// What the sources say of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// All that there is to know: its Pod is known, and which of its containers it is.
    FromPod(Box<Identity>),
    /// The link's names: no image, no role, and the Pod is taken for its own workload.
    FromLogLink(Box<Identity>),
    /// Nothing.
    Unnamed,
}

/// What else is known about a container that has no name yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamingInput {
    /// How long it has been waiting: since it began to run, if that was seen.
    pub waited_ns: u64,
    /// Its own program has not begun to run, and that will be seen: so far there is no more to
    /// show of it than of a sandbox.
    pub init_may_come: bool,
    /// A source of Pods exists, so that more than the link may still be said.
    pub pods_may_come: bool,
    /// Any source of names exists, so that one may still come.
    pub names_may_come: bool,
    /// Whether its init is the sandbox's `pause`; `None` while init is not known.
    pub is_pause: Option<bool>,
    /// What its Pod's statuses say.
    pub listing: Listing,
}

/// What the statuses of a container's Pod say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Its Pod is not known, or containers without an id are in its list.
    Open,
    /// All containers have an id, and this is none of them. It may be younger than the list.
    Missing,
    /// The same, and the list is younger than the container by more than it lags.
    None,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Show it under this identity from now on.
    Show(Box<Identity>),
    /// It is a sandbox: never show it.
    Hide,
    /// Ask again later.
    Wait,
}

/// Decides about one container. `unnamed` is its identity by its ids.
#[must_use]
pub fn decide(named: Named, unnamed: impl FnOnce() -> Identity, known: NamingInput) -> Decision {
    let timed_out = known.waited_ns >= TIMEOUT_NS;
    match named {
        Named::FromPod(identity) => return Decision::Show(identity),
        // The API tells of a container a second or so after the kubelet has made its link.
        Named::FromLogLink(_) if known.pods_may_come && !timed_out => return Decision::Wait,
        Named::FromLogLink(identity) => return Decision::Show(identity),
        Named::Unnamed => {}
    }
    match (known.listing, known.is_pause) {
        // An application may be called `pause` as well, but it would be in the list.
        (Listing::None, _) | (Listing::Missing, Some(true)) => return Decision::Hide,
        _ => {}
    }
    if known.names_may_come && !timed_out {
        // The kubelet makes the link when the container is created, for sandboxes never. That a
        // container is called `pause` decides nothing yet.
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

    fn whole() -> Named {
        Named::FromPod(identity("whole"))
    }

    fn link() -> Named {
        Named::FromLogLink(identity("link"))
    }

    fn show(name: &str) -> Decision {
        Decision::Show(identity(name))
    }

    #[test]
    fn a_whole_name_is_used_at_once() {
        for is_pause in [None, Some(true), Some(false)] {
            for listing in [Listing::Open, Listing::Missing, Listing::None] {
                let known = NamingInput { is_pause, listing, waited_ns: 0, ..EARLY };
                assert_eq!(ask(whole(), known), show("whole"));
            }
        }
    }

    #[test]
    fn a_link_is_used_at_once_if_nothing_better_may_come() {
        assert_eq!(ask(link(), NamingInput { pods_may_come: false, ..EARLY }), show("link"));
        assert_eq!(ask(link(), EARLY), Decision::Wait);
        assert_eq!(ask(link(), LATE), show("link"));
        // Sandboxes have no link, whatever their Pod's statuses say.
        assert_eq!(ask(link(), NamingInput { listing: Listing::None, ..LATE }), show("link"));
    }

    #[test]
    fn a_name_is_waited_for_and_then_done_without() {
        assert_eq!(ask(Named::Unnamed, EARLY), Decision::Wait);
        assert_eq!(ask(Named::Unnamed, LATE), show("unnamed"));
        assert_eq!(ask(Named::Unnamed, NamingInput { is_pause: None, ..LATE }), show("unnamed"));
        // A slow runtime has not even started it.
        let early = NamingInput { is_pause: None, init_may_come: true, ..LATE };
        assert_eq!(ask(Named::Unnamed, early), Decision::Wait);
    }

    #[test]
    fn without_names_init_tells_sandboxes_from_containers() {
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
    fn a_complete_list_tells_sandboxes_at_once() {
        let pause = NamingInput { is_pause: Some(true), waited_ns: 0, ..EARLY };
        assert_eq!(ask(Named::Unnamed, pause), Decision::Wait, "it may be an application's name");
        let missing = NamingInput { listing: Listing::Missing, ..pause };
        assert_eq!(ask(Named::Unnamed, missing), Decision::Hide);
        let other = NamingInput { is_pause: Some(false), ..missing };
        assert_eq!(
            ask(Named::Unnamed, other),
            Decision::Wait,
            "it may be a restart not listed yet"
        );
        assert_eq!(
            ask(Named::Unnamed, NamingInput { listing: Listing::None, ..other }),
            Decision::Hide
        );
    }
}
