//! When a container gets its name, and what is done until then. Pure.

use super::identity::Identity;

/// A fact waits for its name at most this long; then the container is shown under its ids for the
/// rest of its life.
pub const PATIENCE_NS: u64 = 10_000_000_000;

/// What is known about a container that has no name yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How long it has been waiting.
    pub waited_ns: u64,
    /// A source of names exists, so that one may still come.
    pub names_may_come: bool,
    /// Whether its init is the sandbox's `pause`; `None` while init is not known.
    pub is_pause: Option<bool>,
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

/// Decides about one container. `named` is what a source of names says of it, `unnamed` its ids.
#[must_use]
pub fn decide(
    named: Option<Identity>,
    unnamed: impl FnOnce() -> Identity,
    known: Known,
) -> Decision {
    if let Some(identity) = named {
        return Decision::Show(Box::new(identity));
    }
    let patience_over = known.waited_ns >= PATIENCE_NS;
    if known.names_may_come && !patience_over {
        // The kubelet makes the link when the container is created, for sandboxes never. An
        // application may be called `pause` as well, so that name alone decides nothing yet.
        return Decision::Wait;
    }
    match known.is_pause {
        Some(true) => Decision::Hide,
        Some(false) => Decision::Show(Box::new(unnamed())),
        None if patience_over => Decision::Show(Box::new(unnamed())),
        None => Decision::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pod: &str) -> Identity {
        Identity {
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
        }
    }

    fn ask(named: bool, waited_ns: u64, names_may_come: bool, is_pause: Option<bool>) -> Decision {
        let known = Known { waited_ns, names_may_come, is_pause };
        decide(named.then(|| identity("named")), || identity("unnamed"), known)
    }

    #[test]
    fn a_name_is_used_at_once() {
        assert_eq!(ask(true, 0, true, None), Decision::Show(Box::new(identity("named"))));
        assert_eq!(ask(true, 0, true, Some(true)), Decision::Show(Box::new(identity("named"))));
    }

    #[test]
    fn a_name_is_waited_for_and_then_done_without() {
        assert_eq!(ask(false, PATIENCE_NS - 1, true, Some(false)), Decision::Wait);
        let shown = Decision::Show(Box::new(identity("unnamed")));
        assert_eq!(ask(false, PATIENCE_NS, true, Some(false)), shown);
        assert_eq!(ask(false, PATIENCE_NS, true, None), shown);
    }

    #[test]
    fn without_names_init_tells_sandboxes_from_containers() {
        assert_eq!(ask(false, 0, false, None), Decision::Wait);
        assert_eq!(ask(false, 0, false, Some(true)), Decision::Hide);
        assert_eq!(
            ask(false, 0, false, Some(false)),
            Decision::Show(Box::new(identity("unnamed")))
        );
        assert_eq!(ask(false, PATIENCE_NS, true, Some(true)), Decision::Hide);
    }
}
