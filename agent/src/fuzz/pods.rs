//! Pods as JSON: what the API server or the kubelet sends, some of which a tenant has written.

use super::seeds::texts;
use crate::kube::pod::Pod;
use crate::kube::{convert, list, quantity, wire};

/// Length limit of a name, in bytes.
const NAME_MAX: usize = 253;
/// Length limit of an image, in bytes.
const IMAGE_MAX: usize = 1024;
/// Limit of containers that are kept of a Pod.
const CONTAINERS_MAX: usize = 256;

/// The input as a Pod, as a list of Pods, and as a quantity.
pub(super) fn run(input: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(input) {
        check_quantity(text);
    }
    let list = list::pods_in(input);
    for pod in list.iter().flatten() {
        check(pod, input.len());
    }
    let Ok(pod) = serde_json::from_slice::<wire::Pod>(input) else { return list.is_some() };
    let ours = convert::pod(&pod);
    assert_eq!(ours, convert::pod(&pod), "the same Pod, converted to another");
    check(&ours, input.len());
    // Fields that are not read change nothing.
    if let Some(rest) = input.trim_ascii().strip_prefix(b"{") {
        let comma: &[u8] = if rest.trim_ascii().starts_with(b"}") { b"" } else { b"," };
        let more = [&b"{\"notRead\":[{\"a\":null},1e9,\"\\u00e4\"]"[..], comma, rest].concat();
        let more = serde_json::from_slice::<wire::Pod>(&more);
        assert_eq!(more.ok().map(|pod| convert::pod(&pod)), Some(ours));
    }
    true
}

/// The Pod, which is bounded whatever it was made from.
fn check(ours: &Pod, input_bytes: usize) {
    assert!(ours.containers.len() <= CONTAINERS_MAX, "{} containers", ours.containers.len());
    let mut bytes = 0;
    let mut kept = |text: &str, max: usize| {
        assert!(text.len() <= max, "{} bytes of text", text.len());
        bytes += text.len();
    };
    let names = [&ours.uid, &ours.namespace, &ours.name, &ours.reason, &ours.workload.name];
    for name in names.into_iter().chain(ours.mirror.as_ref().map(|mirror| &mirror.hash)) {
        kept(name, NAME_MAX);
    }
    for container in &ours.containers {
        kept(&container.name, NAME_MAX);
        kept(&container.image, IMAGE_MAX);
        for text in container.ids().chain(container.stop_signal.as_deref()) {
            kept(text, NAME_MAX);
        }
    }
    // A text is kept once, and the Pod's name or an owner's once more as the workload's.
    assert!(bytes <= 2 * input_bytes, "{bytes} bytes kept of {input_bytes}");
}

/// A larger unit rounds up the same amount.
fn check_quantity(text: &str) {
    let (millis, units) = (quantity::millis(text), quantity::units(text));
    if let Some(millis) = millis {
        assert_eq!(units, Some(millis.div_ceil(1000)), "{text:?}");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let long = "a\u{e4}".repeat(NAME_MAX);
    let image = "i".repeat(IMAGE_MAX + 1);
    let long = format!(
        r#"{{"metadata":{{"uid":"{long}","name":"{long}"}},"spec":{{"containers":[
           {{"name":"{long}","image":"{image}"}}]}}}}"#
    );
    let many = r#"{"name":"c"},"#.repeat(CONTAINERS_MAX);
    let many = format!(r#"{{"spec":{{"initContainers":[{many}{{}}],"containers":[{{}}]}}}}"#);
    texts(&[
        &long,
        &many,
        include_str!("../kube/testdata/deployment.json"),
        include_str!("../kube/testdata/static.json"),
        include_str!("../kube/testdata/cronjob.json"),
        include_str!("../kube/testdata/evicted.json"),
        r#"{"items":[{"metadata":{"uid":"u","name":"a"}},{}]}"#,
        "{}",
    ])
}
