//! Paths of cgroups: names that the kubelet, a runtime or a tenant has chosen.

use crate::cgroup::path::{self, Component, PodName, Qos};

/// The input as a path.
pub(super) fn run(input: &[u8]) -> bool {
    let names: Vec<&[u8]> = input.split(|&b| b == b'/').filter(|name| !name.is_empty()).collect();
    let parents = std::iter::once(&b""[..]).chain(names.iter().copied());
    for (name, parent) in names.iter().zip(parents) {
        match path::component(name, parent) {
            Component::Pod(pod) => check_pod(&pod),
            Component::Container(container) => {
                check_id(&container.id);
                let scope = format!("cri-containerd-{}.scope", container.id);
                let id = path::container(scope.as_bytes()).map(|again| again.id);
                assert_eq!(id, Some(container.id));
            }
            Component::PodContainer(pod, container) => {
                check_pod(&pod);
                check_id(&container.id);
            }
            _ => {}
        }
    }

    let found = path::parse(input);
    let plain = names.join(&b'/');
    assert_eq!(path::parse(&plain), found, "slashes change the meaning");
    let Some(found) = found else { return false };
    check_pod(&found.pod);
    if let Some(container) = &found.container {
        check_id(&container.id);
    }
    // What lies below belongs to the same.
    let below = path::parse(&[&plain[..], b"/x"].concat());
    let below = below.map(|below| (below.pod, below.container, below.deeper));
    assert_eq!(below, Some((found.pod, found.container, true)));
    true
}

fn check_id(id: &str) {
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

/// Property: a Pod that is found has the characters of a UID, and both drivers' names for it are found again.
fn check_pod(pod: &PodName) {
    let is_uid = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    assert!(!pod.uid.is_empty() && pod.uid.bytes().all(is_uid), "{:?}", pod.uid);
    let (parent, class) = match pod.qos {
        Qos::Guaranteed => ("kubepods", ""),
        Qos::Burstable => ("burstable", "-burstable"),
        Qos::BestEffort => ("besteffort", "-besteffort"),
    };
    let cgroupfs = format!("pod{}", pod.uid);
    assert_eq!(path::pod(cgroupfs.as_bytes(), parent.as_bytes()).as_ref(), Some(pod));
    let systemd = format!("kubepods{class}-pod{}.slice", pod.uid.replace('-', "_"));
    assert_eq!(path::pod(systemd.as_bytes(), b"").as_ref(), Some(pod));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef".repeat(4);
    let uid = "12345678-90ab-cdef-1234-567890abcdef";
    let slice = format!("pod{}.slice", uid.replace('-', "_"));
    let paths = [
        format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{slice}/\
             cri-containerd-{id}.scope/container"
        ),
        format!("/kubepods/besteffort/pod{uid}/{id}"),
        format!("kubepods.slice/kubepods-{slice}/crio-conmon-{id}.scope"),
        format!("/kubepods-burstable-{slice}:cri-containerd:{id}/x"),
        format!(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
             kubelet-kubepods-besteffort-{slice}"
        ),
    ];
    paths.map(String::into_bytes).to_vec()
}
