//! Reading of one item of a Pod source: a Pod of ours, or a rejected item with its reason.

use super::json::member;
use super::pod::Pod;
use super::rejected::{Reason, Rejected};
use super::text::one_line;
use super::{convert, wire};

/// Longest item that is read, in bytes. etcd's limit of 1.5 MiB on an object is less than this in
/// JSON as well, so what is longer is no Pod.
pub(super) const ITEM_MAX: usize = 4 << 20;
/// Longest UID, name or version that is read of an item that is rejected.
const NAME_MAX: usize = 253;
/// Longest annotation that is read, in characters.
const ANNOTATION_MAX: usize = 256;
/// Longest error that is reported of an item.
const WHY_MAX: usize = 160;

/// What is wanted of a source's items.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Name of the node whose Pods are taken in, if it is known.
    pub node: Option<&'a str>,
    /// Name of the annotation that names a span, if it is read.
    pub link_annotation: Option<&'a str>,
}

/// Names of the Pod that an item is about, as far as they can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Namespace and name, for people.
    pub name: String,
    /// UID of the Pod.
    pub uid: Option<String>,
    /// Version of the resource.
    pub version: Option<String>,
}

/// The head of an item that is broken, or breaks off.
pub(super) fn head(item: &[u8]) -> Head {
    let metadata = member(item, "metadata").unwrap_or_default();
    let text = |name: &str| {
        let text: String = serde_json::from_slice(member(metadata, name)?).ok()?;
        (!text.is_empty() && text.len() <= NAME_MAX).then_some(text)
    };
    let name = match (text("namespace"), text("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (_, Some(name)) => name,
        _ => "an item without a name".to_owned(),
    };
    Head { name: one_line(&name, 2 * NAME_MAX), uid: text("uid"), version: text("resourceVersion") }
}

/// The Pod that an item is about, if it is one of this node and can be read.
pub(super) fn pod(item: &[u8], wanted: Wanted<'_>, rejected: &mut Rejected) -> Option<Pod> {
    let from: wire::Pod = match serde_json::from_slice(item) {
        Ok(from) => from,
        Err(error) => {
            let head = head(item);
            rejected.add(Reason::Malformed, head.uid.as_deref(), || {
                format!("{}: {}", head.name, one_line(&error.to_string(), WHY_MAX))
            });
            return None;
        }
    };
    let mut pod = convert::pod(&from);
    pod.traceparent = wanted.link_annotation.and_then(|name| annotation(item, name));
    let name = || one_line(&format!("{}/{}", pod.namespace, pod.name), 2 * NAME_MAX);
    let elsewhere = from.spec.node_name.as_deref().filter(|its| !its.is_empty());
    if let (Some(node), Some(its)) = (wanted.node, elsewhere)
        && node != its
    {
        rejected.add(Reason::OtherNode, Some(&pod.uid), || {
            format!("{} of node {}, not {node} (--node.name)", name(), one_line(its, NAME_MAX))
        });
        return None;
    }
    if pod.uid.is_empty() {
        rejected.add(Reason::NoUid, None, name);
        return None;
    }
    let spec = &from.spec;
    let lists = [&spec.init_containers, &spec.containers, &spec.ephemeral_containers];
    let all: usize = lists.into_iter().flatten().map(|list| list.len() + list.more).sum();
    if pod.containers.len() < all {
        rejected.add(Reason::Truncated, Some(&pod.uid), || {
            format!("{}: {} of {all} containers are kept", name(), pod.containers.len())
        });
    }
    Some(pod)
}

/// The value of an annotation; what is longer than any trace context is cut, so that it is none.
fn annotation(item: &[u8], name: &str) -> Option<String> {
    let annotations = member(member(item, "metadata")?, "annotations")?;
    let value: String = serde_json::from_slice(member(annotations, name)?).ok()?;
    Some(value.chars().take(ANNOTATION_MAX).collect())
}

/// An item over the limit.
pub(super) fn too_large(beginning: &[u8], rejected: &mut Rejected) {
    let head = head(beginning);
    rejected.add(Reason::TooLarge, head.uid.as_deref(), || {
        format!("{}: longer than {} MiB", head.name, ITEM_MAX >> 20)
    });
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{DEPLOYMENT, JOB};
    use super::*;

    /// The Pod's name, or the reason of its rejection.
    fn read(item: &str, node: Option<&str>) -> Result<String, &'static str> {
        let mut rejected = Rejected::default();
        let pod = pod(item.as_bytes(), Wanted { node, ..Wanted::default() }, &mut rejected);
        let reason = Reason::ALL.into_iter().find(|reason| rejected.count(*reason) > 0);
        assert_eq!(pod.is_none(), reason.is_some(), "{item}");
        pod.map(|pod| pod.name).ok_or_else(|| reason.unwrap().label())
    }

    #[test]
    fn an_item_costs_itself() {
        let job = || Ok("import-20241105-9q8w7".to_owned());
        assert_eq!(read(JOB, Some("n1")), job());
        assert_eq!(read(JOB, Some("n2")), Err("other_node"));
        assert_eq!(read(JOB, None), job(), "where the node's name is not known");
        assert_eq!(read(&JOB.replace("\"nodeName\"", "\"x\""), Some("n2")), job());
        assert_eq!(
            read(&JOB.replace("\"uid\": \"3", "\"uid\": \"\", \"x\": \"3"), None),
            Err("no_uid")
        );
        let wrong = [
            ("2026-11-02T00:00:01Z", "yesterday"),
            ("\"image\": \"registry.example/import:1\"", "\"image\": 7"),
            ("\"containers\": [", "\"containers\": [null, "),
            ("\"status\": {", "\"status\": [{"),
        ];
        for (from, to) in wrong {
            assert!(JOB.contains(from));
            assert_eq!(read(&JOB.replace(from, to), Some("n1")), Err("malformed"), "{to}");
        }
        for none in ["null", "7", "{", ""] {
            assert_eq!(read(none, None), Err("malformed"), "{none}");
        }
        assert_eq!(read("[]", None), Err("no_uid"));
    }

    #[test]
    fn the_head_of_a_broken_item_is_told() {
        let (beginning, _) = DEPLOYMENT.split_at(DEPLOYMENT.len() / 2);
        let told = head(beginning.as_bytes());
        assert_eq!(told.name, "shop/web-7d4b9c6f5-abcde");
        assert_eq!(told.uid.as_deref(), Some("11111111-2222-3333-4444-555555555555"));
        assert_eq!(told.version.as_deref(), Some("100"));
        assert_eq!(
            head(br#"{"metadata":{"name":"a\u001b[2J\nb","uid":7}}"#).name,
            r"a\u{1b}[2J\nb"
        );
        assert_eq!(head(b"").uid, None);
    }

    #[test]
    fn what_is_not_read_takes_no_room() {
        let long = "x".repeat(1 << 20);
        let fields = format!(
            r#""annotations": {{"a": "{long}"}}, "managedFields": [{{"x": "{long}"}}], "labels""#
        );
        let item = DEPLOYMENT.replace("\"labels\"", &fields);
        let mut rejected = Rejected::default();
        let wanted = Wanted { node: Some("n1"), ..Wanted::default() };
        let pod = pod(item.as_bytes(), wanted, &mut rejected).unwrap();
        assert!(pod.size_bytes() < 8_000 && rejected.is_empty(), "{}", pod.size_bytes());
    }

    #[test]
    fn a_pod_of_too_many_containers_is_cut_and_counted() {
        let many = r#"{"name":"c","image":"i"},"#.repeat(400);
        let item = JOB.replace("\"containers\": [", &format!("\"containers\": [{many}"));
        let mut rejected = Rejected::default();
        let pod = pod(item.as_bytes(), Wanted::default(), &mut rejected).unwrap();
        assert!(pod.containers.len() < 256 && rejected.count(Reason::Truncated) == 1);
    }

    #[test]
    fn an_annotation_is_read_if_it_is_asked_for() {
        let read = |annotations: &str| {
            let with = format!("\"annotations\": {annotations}, \"labels\"");
            let item = DEPLOYMENT.replace("\"labels\"", &with);
            let link_annotation = Some("tracing.k8s.io/traceparent");
            let wanted = Wanted { link_annotation, ..Wanted::default() };
            pod(item.as_bytes(), wanted, &mut Rejected::default()).unwrap().traceparent
        };
        let key = "tracing.k8s.io/traceparent";
        assert_eq!(
            read(&format!(r#"{{"a": "b", "{key}": "00-1\u0041"}}"#)).as_deref(),
            Some("00-1A")
        );
        let long = "é".repeat(10_000);
        assert_eq!(read(&format!(r#"{{"{key}": "{long}"}}"#)).unwrap().chars().count(), 256);
        for none in ["null", "{}", r#"{"other": "00-1"}"#] {
            assert_eq!(read(none), None, "{none}");
        }
        let item = DEPLOYMENT.replace("\"labels\"", r#""annotations": {"x": "y"}, "labels""#);
        let of =
            |wanted| pod(item.as_bytes(), wanted, &mut Rejected::default()).unwrap().traceparent;
        assert_eq!(of(Wanted::default()), None);
        assert_eq!(
            of(Wanted { link_annotation: Some("x"), ..Wanted::default() }).as_deref(),
            Some("y")
        );
    }
}
