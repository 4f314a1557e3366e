use super::*;
use proptest::prelude::*;

const ID: &str = "3a31a360e5aea903274416e0c4cf8ca8c050fd523cc5d91a82ec5707d5ee9fa1";
const UID: &str = "b15d8c96-12da-479d-8b9f-b569fbda4d2d";
const HASH: &str = "b1e89a2fcc688644de3eb95aee8025ce";

fn want(uid: &str, qos: Qos, container: Option<Runtime>, deeper: bool) -> Option<PodPath> {
    Some(PodPath {
        pod: PodName { uid: uid.to_owned(), qos },
        container: container.map(|runtime| ContainerName { id: ID.to_owned(), runtime }),
        deeper,
    })
}

#[test]
fn every_known_form_is_read() {
    use Qos::{BestEffort, Burstable, Guaranteed};
    let cases = [
        // systemd driver.
        (
            "containerd, burstable",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
            want(UID, Burstable, Some(Runtime::Containerd), false),
        ),
        (
            "CRI-O, best effort",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/crio-ID.scope",
            want(UID, BestEffort, Some(Runtime::CriO), false),
        ),
        (
            "CRI-O with crun's own child",
            "/kubepods.slice/kubepods-podUID_.slice/crio-ID.scope/container",
            want(UID, Guaranteed, Some(Runtime::CriO), true),
        ),
        (
            "Docker, guaranteed",
            "/kubepods.slice/kubepods-podUID_.slice/docker-ID.scope",
            want(UID, Guaranteed, Some(Runtime::Docker), false),
        ),
        (
            "Podman",
            "/kubepods.slice/kubepods-podUID_.slice/libpod-ID.scope",
            want(UID, Guaranteed, Some(Runtime::Podman), false),
        ),
        (
            "the Pod itself",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice",
            want(UID, Burstable, None, false),
        ),
        (
            "static Pod",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podHASH.slice/cri-containerd-ID.scope",
            want(HASH, Burstable, Some(Runtime::Containerd), false),
        ),
        (
            "kind",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
            want(UID, Burstable, Some(Runtime::Containerd), false),
        ),
        (
            "kind, guaranteed static Pod",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podHASH.slice/cri-containerd-ID.scope",
            want(HASH, Guaranteed, Some(Runtime::Containerd), false),
        ),
        (
            "kind seen from its host",
            "/system.slice/docker-ID.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUID_.slice",
            want(UID, Guaranteed, None, false),
        ),
        (
            "another cgroup root",
            "/a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-besteffort.slice/a-b-kubepods-besteffort-podUID_.slice/crio-ID.scope",
            want(UID, BestEffort, Some(Runtime::CriO), false),
        ),
        (
            "containerd with its own driver below a systemd Pod",
            "/kubepods.slice/kubepods-podUID_.slice/ID",
            want(UID, Guaranteed, Some(Runtime::Unknown), false),
        ),
        (
            "a container that runs systemd",
            "/kubepods.slice/kubepods-podUID_.slice/cri-containerd-ID.scope/system.slice/ssh.service",
            want(UID, Guaranteed, Some(Runtime::Containerd), true),
        ),
        (
            "Kata's sandbox has no container of its own",
            "/kubepods.slice/kubepods-podUID_.slice/kata_overhead",
            want(UID, Guaranteed, None, true),
        ),
        // cgroupfs driver.
        (
            "cgroupfs, burstable",
            "/kubepods/burstable/podUID/ID",
            want(UID, Burstable, Some(Runtime::Unknown), false),
        ),
        (
            "cgroupfs, best effort",
            "/kubepods/besteffort/podUID/ID",
            want(UID, BestEffort, Some(Runtime::Unknown), false),
        ),
        (
            "cgroupfs, guaranteed",
            "/kubepods/podUID/ID",
            want(UID, Guaranteed, Some(Runtime::Unknown), false),
        ),
        (
            "cgroupfs, CRI-O",
            "/kubepods/burstable/podUID/crio-ID",
            want(UID, Burstable, Some(Runtime::CriO), false),
        ),
        (
            "cgroupfs, static Pod",
            "/kubepods/burstable/podHASH/ID",
            want(HASH, Burstable, Some(Runtime::Unknown), false),
        ),
        (
            "cgroupfs, kind",
            "/kubelet/kubepods/besteffort/podUID/ID",
            want(UID, BestEffort, Some(Runtime::Unknown), false),
        ),
        (
            "cgroupfs, kind seen from its host",
            "/docker/ID/kubelet/kubepods/podUID/ID/init.scope",
            want(UID, Guaranteed, Some(Runtime::Unknown), true),
        ),
        (
            "a cluster in a Pod: the outer Pod counts",
            "/kubepods/podUID/ID/kubelet/kubepods/burstable/podHASH/ID",
            want(UID, Guaranteed, Some(Runtime::Unknown), true),
        ),
        (
            "a relative path out of a cgroup namespace",
            "/../../burstable/podUID/ID",
            want(UID, Burstable, Some(Runtime::Unknown), false),
        ),
        // A whole path as a name.
        (
            "a shim of WebAssembly",
            "/kubepods-burstable-podUID_.slice:cri-containerd:ID",
            want(UID, Burstable, Some(Runtime::Containerd), false),
        ),
        (
            "a shim of WebAssembly, guaranteed, with a cgroup inside",
            "/kubepods-podUID_.slice:crio:ID/x",
            want(UID, Guaranteed, Some(Runtime::CriO), true),
        ),
        (
            "a shim of WebAssembly in kind",
            "/docker/HASH/kubelet-kubepods-besteffort-podUID_.slice:new:ID",
            want(UID, BestEffort, Some(Runtime::Unknown), false),
        ),
        ("Kata's hypervisor", "/kata_kubepods-podUID_.slice:cri-containerd:ID", None),
        ("not a container's id", "/kubepods-podUID_.slice:cri-containerd:IDa", None),
        ("not a slice", "/kubepods-podUID_.scope:cri-containerd:ID", None),
        // Monitors.
        (
            "CRI-O's monitor",
            "/kubepods.slice/kubepods-podUID_.slice/crio-conmon-ID.scope",
            want(UID, Guaranteed, None, true),
        ),
        (
            "CRI-O's monitor, cgroupfs",
            "/kubepods/podUID/crio-conmon-ID",
            want(UID, Guaranteed, None, true),
        ),
        // No Pods.
        ("empty", "", None),
        ("the root", "/", None),
        ("only slashes", "//////", None),
        ("a unit", "/system.slice/containerd.service", None),
        ("a container outside", "/system.slice/docker-ID.scope", None),
        ("the class", "/kubepods.slice/kubepods-burstable.slice", None),
        ("no UID", "/kubepods.slice/kubepods-burstable-pod.slice", None),
        ("not its slice", "/xkubepods-podUID_.slice", None),
        ("not a Pod's parent", "/machine/podman", None),
        ("another suffix", "/kubepods.slice/kubepods-podUID_.scope", None),
    ];
    for (what, template, want) in cases {
        let path = template
            .replace("podUID_", &format!("pod{}", UID.replace('-', "_")))
            .replace("UID", UID)
            .replace("HASH", HASH)
            .replace("ID", ID);
        assert_eq!(parse(path.as_bytes()), want, "{what}: {path}");
    }
}

#[test]
fn roots_are_recognised() {
    for name in ["kubepods", "kubepods.slice", "kubelet-kubepods.slice", "a-b-kubepods.slice"] {
        assert_eq!(component(name.as_bytes(), b""), Component::Kubepods, "{name}");
    }
    for name in
        ["kubepods-burstable.slice", "xkubepods.slice", "kubelet", "mykubepods", "burstable"]
    {
        assert_eq!(component(name.as_bytes(), b""), Component::Other, "{name}");
    }
}

#[test]
fn ids_are_64_lower_case_digits() {
    assert!(container(&ID.as_bytes()[1..]).is_none());
    assert!(container(ID.to_uppercase().as_bytes()).is_none());
    assert!(container(format!("{ID}0").as_bytes()).is_none());
    assert!(container(format!("{ID}.scope").as_bytes()).is_none(), "no runtime uses this form");
    assert_eq!(component(format!("crio-conmon-{ID}").as_bytes(), b"burstable"), Component::Monitor);
    assert_eq!(
        component(format!("libpod-conmon-{ID}.scope").as_bytes(), b"machine.slice"),
        Component::Monitor
    );
    assert_eq!(
        container(format!("nerdctl-{ID}.scope").as_bytes()).map(|name| name.runtime),
        Some(Runtime::Containerd)
    );
}

#[test]
fn machines_and_their_monitors_are_recognised() {
    let cases: [(&str, &str, Component); 14] = [
        ("lxc.payload.web", "", Component::Machine),
        ("web", "lxc.payload", Component::Machine),
        ("101", "lxc", Component::Machine),
        ("systemd-nspawn@web.service", "machine.slice", Component::Machine),
        ("machine-web.scope", "user.slice", Component::Machine),
        ("vm.libvirt-qemu", "machine", Component::Machine),
        ("lxc.monitor.web", "", Component::Monitor),
        ("lxc.monitor", "", Component::Monitor),
        ("lxc.monitor.web", "lxc", Component::Monitor),
        ("lxc.pivot", "", Component::Monitor),
        ("lxc", "", Component::Other),
        ("lxc.payload", "", Component::Other),
        ("machine-web.slice", "machine.slice", Component::Other),
        ("web.service", "system.slice", Component::Other),
    ];
    for (name, parent, want) in cases {
        assert_eq!(component(name.as_bytes(), parent.as_bytes()), want, "{parent}/{name}");
    }
    let whole = format!(":docker:{ID}");
    assert!(matches!(component(whole.as_bytes(), b""), Component::Container(_)));
    assert!(has_container_id(format!("new_{ID}.x").as_bytes()));
    assert!(!has_container_id(format!("new-{ID}0").as_bytes()));
}

#[test]
fn bytes_that_are_no_text_are_no_name() {
    let mut name = b"kubepods-pod".to_vec();
    name.extend_from_slice(b"\xff\xfe.slice");
    assert_eq!(component(&name, b"kubepods.slice"), Component::Other);
    assert_eq!(component(b"pod\xff", b"kubepods"), Component::Other);
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::Guaranteed), Just(Qos::Burstable), Just(Qos::BestEffort)]
}

fn class(qos: Qos) -> &'static str {
    match qos {
        Qos::Guaranteed => "",
        Qos::Burstable | Qos::BestEffort => qos.label(),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(name in any::<Vec<u8>>(), parent in any::<Vec<u8>>()) {
        let _ = component(&name, &parent);
        let _ = parse(&name);
    }

    #[test]
    fn any_path_of_likely_parts_is_survived(parts in prop::collection::vec(
        "(kubepods|pod|-|burstable|besteffort|\\.slice|\\.scope|/|crio-|conmon-|[a-f0-9]{64}|_|.)", 0..16)
    ) {
        let path = parts.concat();
        let _ = parse(path.as_bytes());
        let _ = component(path.as_bytes(), b"kubepods");
        let _ = has_container_id(path.as_bytes());
    }

    #[test]
    fn systemd_names_come_back(
        uid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}",
        qos in qos(),
        above in prop_oneof![Just(String::new()), "[a-z]{1,8}(-[a-z]{1,8}){0,2}-"],
    ) {
        let dash = if class(qos).is_empty() { "" } else { "-" };
        let name = format!("{above}kubepods-{}{dash}pod{}.slice", class(qos), uid.replace('-', "_"));
        prop_assert_eq!(component(name.as_bytes(), b""), Component::Pod(PodName { uid, qos }));
    }

    #[test]
    fn cgroupfs_names_come_back(
        uid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}",
        qos in qos(),
        id in "[0-9a-f]{64}",
    ) {
        let path = format!("/kubepods/{}/pod{uid}/{id}", class(qos));
        let container = Some(ContainerName { id, runtime: Runtime::Unknown });
        let pod = PodName { uid, qos };
        prop_assert_eq!(parse(path.as_bytes()), Some(PodPath { pod, container, deeper: false }));
    }

    #[test]
    fn container_names_come_back(id in "[0-9a-f]{64}", which in 0..4_usize, scope in any::<bool>()) {
        let (prefix, runtime) = [
            ("cri-containerd-", Runtime::Containerd),
            ("crio-", Runtime::CriO),
            ("docker-", Runtime::Docker),
            ("libpod-", Runtime::Podman),
        ][which];
        let name = format!("{prefix}{id}{}", if scope { ".scope" } else { "" });
        prop_assert_eq!(container(name.as_bytes()), Some(ContainerName { id, runtime }));
    }
}
