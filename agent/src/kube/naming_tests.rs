//! Naming decisions, as data.

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
    gone_ns: None,
    init_may_come: false,
    pods_may_come: true,
    pods_answer: true,
    names_may_come: true,
    links_tell: false,
    is_pause: Some(false),
    is_first: true,
    sibling_linked: false,
    listing: Listing::Unknown,
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

fn show(pod: &str) -> Decision {
    let source = match pod {
        "pod" => NameSource::Pod,
        "link" => NameSource::LogLink,
        _ => NameSource::Ids,
    };
    Decision::Show(identity(pod), source)
}

#[test]
fn a_name_from_the_pod_is_used_at_once() {
    for is_pause in [None, Some(true), Some(false)] {
        for listing in [Listing::Incomplete, Listing::Missing, Listing::None] {
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
    let alone = NamingInput { names_may_come: false, pods_may_come: false, waited_ns: 0, ..EARLY };
    assert_eq!(ask(Named::Unnamed, NamingInput { is_pause: None, ..alone }), Decision::Wait);
    assert_eq!(ask(Named::Unnamed, NamingInput { is_pause: Some(true), ..alone }), Decision::Hide);
    assert_eq!(ask(Named::Unnamed, alone), show("unnamed"));
    assert_eq!(ask(Named::Unnamed, NamingInput { is_pause: Some(true), ..LATE }), Decision::Hide);
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
    let absent = NamingInput { listing: Listing::None, ..other };
    assert_eq!(ask(Named::Unnamed, absent), Decision::Hide);
    // After an outage the API has statuses that are older than they look.
    let second = NamingInput { is_first: false, ..absent };
    assert_eq!(ask(Named::Unnamed, second), Decision::Wait);
}

#[test]
fn the_first_of_a_pod_waits_for_as_long_as_the_statuses_are_incomplete() {
    let pulling = NamingInput { listing: Listing::Incomplete, ..LATE };
    for is_pause in [None, Some(false)] {
        let known = NamingInput { is_pause, ..pulling };
        assert_eq!(ask(Named::Unnamed, known), Decision::Wait);
        let removed = NamingInput { gone_ns: Some(TIMEOUT_NS - 1), ..known };
        assert_eq!(ask(Named::Unnamed, removed), Decision::Wait);
        let removed = NamingInput { gone_ns: Some(TIMEOUT_NS), ..known };
        assert_eq!(ask(Named::Unnamed, removed), Decision::Hide);
    }
    assert_eq!(
        ask(Named::Unnamed, NamingInput { is_pause: Some(true), ..pulling }),
        Decision::Hide
    );
    assert_eq!(ask(link(), pulling), show("link"));
    assert_eq!(ask(from_pod(), pulling), show("pod"));
    // Another is there before it: a container that the API is slow to report.
    let second = NamingInput { is_first: false, ..pulling };
    assert_eq!(ask(Named::Unnamed, second), show("unnamed"));
}

#[test]
fn the_first_of_a_pod_waits_until_the_source_must_have_said_whether_it_is_reported() {
    let unreported = NamingInput { listing: Listing::Missing, ..LATE };
    for is_pause in [None, Some(false)] {
        for gone_ns in [None, Some(TIMEOUT_NS)] {
            let known = NamingInput { is_pause, gone_ns, ..unreported };
            assert_eq!(ask(Named::Unnamed, known), Decision::Wait, "a sandbox made again");
            let listed_out = NamingInput { listing: Listing::None, ..known };
            assert_eq!(ask(Named::Unnamed, listed_out), Decision::Hide);
            // The source is silent, or fails: nobody knows.
            let silent = NamingInput { waited_ns: SILENCE_NS, ..known };
            let fails = NamingInput { pods_answer: false, ..known };
            for known in [silent, fails] {
                assert_eq!(ask(Named::Unnamed, known), show("unnamed"));
            }
            let second = NamingInput { is_first: false, ..known };
            assert_eq!(ask(Named::Unnamed, second), show("unnamed"));
        }
    }
}

#[test]
fn the_first_of_a_pod_waits_for_a_link_where_containers_have_one() {
    let linked = NamingInput { pods_may_come: false, links_tell: true, ..LATE };
    for waited_ns in [TIMEOUT_NS, 30 * TIMEOUT_NS] {
        let known = NamingInput { waited_ns, ..linked };
        assert_eq!(ask(Named::Unnamed, known), Decision::Wait, "images are pulled");
        assert_eq!(ask(link(), known), show("link"));
        let removed = NamingInput { gone_ns: Some(TIMEOUT_NS), ..known };
        assert_eq!(ask(Named::Unnamed, removed), Decision::Hide);
        let second = NamingInput { is_first: false, ..known };
        assert_eq!(ask(Named::Unnamed, second), show("unnamed"));
    }
    // Nobody has a link, so that none is missing.
    let none = NamingInput { links_tell: false, ..linked };
    assert_eq!(ask(Named::Unnamed, none), show("unnamed"));
}

#[test]
fn the_first_of_a_pod_has_no_link_when_others_have_one_so_it_is_the_sandbox() {
    for pods_may_come in [false, true] {
        let linked = NamingInput { sibling_linked: true, pods_may_come, ..LATE };
        assert_eq!(ask(Named::Unnamed, linked), Decision::Hide);
        let second = NamingInput { is_first: false, ..linked };
        assert_eq!(ask(Named::Unnamed, second), show("unnamed"));
        let early = NamingInput { waited_ns: 0, ..linked };
        assert_eq!(ask(Named::Unnamed, early), Decision::Wait, "the links may not be read yet");
        let short = NamingInput { waited_ns: LINK_LAG_NS, ..linked };
        assert_eq!(ask(Named::Unnamed, short), Decision::Hide, "the Pod may be gone before long");
    }
}

#[test]
fn a_better_source_renames_once() {
    let pods = LATE;
    let no_pods = NamingInput { pods_may_come: false, ..LATE };
    let (ids, by_link) = (Some(NameSource::Ids), Some(NameSource::LogLink));
    let to_pod = Revision::Show(identity("pod"), NameSource::Pod);
    let to_link = Revision::Show(identity("link"), NameSource::LogLink);
    for (shown, named, known, revision) in [
        (ids, from_pod(), pods, &to_pod),
        (by_link, from_pod(), pods, &to_pod),
        // The Pod source is the best there is: one change, and not two.
        (ids, link(), pods, &Revision::Keep),
        (ids, link(), no_pods, &to_link),
        (by_link, link(), no_pods, &Revision::Keep),
        (by_link, Named::Unnamed, pods, &Revision::Keep),
        (ids, Named::Unnamed, pods, &Revision::Keep),
        (Some(NameSource::Pod), from_pod(), pods, &Revision::Keep),
        // It was taken for a sandbox.
        (None, from_pod(), pods, &to_pod),
        (None, link(), pods, &to_link),
        (None, Named::Unnamed, pods, &Revision::Keep),
    ] {
        assert_eq!(revise(shown, named.clone(), known), *revision, "{shown:?} {named:?}");
    }
}

#[test]
fn a_sandbox_that_is_shown_by_mistake_is_taken_back() {
    let revised = |shown, known| revise(Some(shown), Named::Unnamed, known);
    let complete = NamingInput { listing: Listing::None, ..LATE };
    let linked = NamingInput { sibling_linked: true, ..LATE };
    for known in [complete, linked] {
        assert_eq!(revised(NameSource::Ids, known), Revision::Hide);
        assert_eq!(revised(NameSource::LogLink, known), Revision::Keep, "it has a link");
        assert_eq!(revised(NameSource::Pod, known), Revision::Keep, "it was reported");
        let second = NamingInput { is_first: false, ..known };
        assert_eq!(revised(NameSource::Ids, second), Revision::Keep);
    }
    let incomplete = NamingInput { listing: Listing::Incomplete, ..LATE };
    assert_eq!(revised(NameSource::Ids, incomplete), Revision::Keep);
}
