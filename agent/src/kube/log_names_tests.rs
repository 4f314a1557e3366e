use super::*;
use proptest::prelude::*;

const ID: &str = "3a31a360e5aea903274416e0c4cf8ca8c050fd523cc5d91a82ec5707d5ee9fa1";

fn link(pod: &str, namespace: &str, container: &str, id: &str) -> String {
    format!("{pod}_{namespace}_{container}-{id}.log")
}

fn name(namespace: &str, pod: &str, container: &str) -> LogName {
    let [namespace, pod, container] = [namespace, pod, container].map(str::to_owned);
    LogName { namespace, pod, container }
}

#[test]
fn names_of_real_links_are_split() {
    for (pod, namespace, container) in [
        ("coredns-668d6bf9bc-8kqzl", "kube-system", "coredns"),
        ("kube-apiserver-kind-control-plane", "kube-system", "kube-apiserver"),
        ("etcd-node.example.org", "kube-system", "etcd"),
        ("web-0", "default", "istio-proxy-2"),
    ] {
        let file = link(pod, namespace, container, ID);
        let parts = Parts { pod, namespace, container, container_id: ID };
        assert_eq!(parse(file.as_bytes()), Some(parts), "{file}");
    }
}

#[test]
fn other_file_names_are_refused() {
    for file in [
        "",
        ".log",
        "syslog.log",
        "a_b_c.log",
        "a_b_c-123.log",
        &link("a", "b", "c", ID).replace(".log", ".lo"),
        &link("a", "b", "c", &ID.to_uppercase()),
        &link("", "b", "c", ID),
        &link("a", "", "c", ID),
        &link("a", "b", "", ID),
        &link("a", "b", "c_d", ID),
        &format!("a_b-{ID}.log"),
        &format!("a_b_{ID}.log"),
    ] {
        assert_eq!(parse(file.as_bytes()), None, "{file}");
    }
    let mut file = b"a\xff".to_vec();
    file.extend_from_slice(link("", "b", "c", ID).as_bytes());
    assert_eq!(parse(&file), None, "no UTF-8");
}

#[test]
fn names_outlive_their_links_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let mut names = LogNames::new(dir.path().join("containers"));
    assert!(!names.available());
    assert!(names.refresh(|_| true).is_err());

    let mut names = LogNames::new(dir.path());
    assert!(names.available());
    // As on a node: the agent cannot see the link's target.
    let file = dir.path().join(link("web-0", "shop", "app", ID));
    std::os::unix::fs::symlink("/nowhere/0.log", &file).unwrap();
    fs::write(dir.path().join("other.log"), "").unwrap();
    assert_eq!(names.lookup(ID), None, "not read yet");
    let start = Instant::now();
    names.refresh_at(start, |_| true).unwrap();
    assert_eq!(names.lookup(ID), Some(&name("shop", "web-0", "app")));
    assert_eq!(names.len(), 1);

    fs::remove_file(&file).unwrap();
    names.refresh_at(start + KEEP / 2, |_| false).unwrap();
    assert!(names.lookup(ID).is_some());
    names.refresh_at(start + KEEP, |_| false).unwrap();
    assert!(names.is_empty());
}

#[test]
fn links_of_the_dead_take_no_place_of_the_living() {
    let dir = tempfile::tempdir().unwrap();
    let id = |at: usize| format!("{at:064x}");
    for at in 0..500 {
        fs::write(dir.path().join(link("a", "b", "c", &id(at))), "").unwrap();
    }
    let mut names = LogNames::new(dir.path());
    let start = Instant::now();
    names.refresh_at(start, |_| false).unwrap();
    assert!(names.is_empty() && names.any(), "they tell that there are links");
    names.refresh_at(start, |wanted| wanted == id(499)).unwrap();
    assert_eq!(names.len(), 1);
    assert!(names.lookup(&id(499)).is_some());
    names.refresh_at(start, |wanted| wanted == id(3)).unwrap();
    assert!(names.lookup(&id(3)).is_some() && names.len() == 2, "it may have facts to come");
}

#[test]
fn a_directory_that_takes_long_is_listed_seldom() {
    let mut names = LogNames::new("/nowhere");
    let end = Instant::now();
    names.listed(end, CHEAP);
    assert_eq!(names.rests_until, None);
    names.listed(end, Duration::from_secs(1));
    assert_eq!(names.rests_until, Some(end + Duration::from_secs(9)));
    assert!(names.refresh(|_| true).is_ok(), "it is not looked at");
}

proptest! {
    #[test]
    fn any_bytes_are_safe(bytes in any::<Vec<u8>>()) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_likely_name_is_safe(parts in prop::collection::vec("([a-z]|_|-|\\.log|[0-9a-f]{64}|.)", 0..10)) {
        let _ = parse(parts.concat().as_bytes());
    }

    #[test]
    fn names_round_trip(
        pod in "[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?",
        namespace in "[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?",
        container in "[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?",
        id in "[0-9a-f]{64}",
    ) {
        let file = link(&pod, &namespace, &container, &id);
        let parts = Parts { pod: &pod, namespace: &namespace, container: &container, container_id: &id };
        prop_assert_eq!(parse(file.as_bytes()), Some(parts));
    }
}
