use super::*;
use crate::cgroup::kubelet::How;

fn watch(state: State) -> KubeletWatch {
    KubeletWatch { state, ..KubeletWatch::new(None) }
}

fn watched(by: By, reason: &'static str, why: &str) -> State {
    let found = KubeletCgroup {
        directory: "/kubelet".into(),
        id: CgroupId(7),
        comm: [0; 16],
        how: How::Place,
    };
    State::Watched(Watching { by, reason, why: why.to_owned() }, found)
}

#[test]
fn a_restart_is_no_wrong_place() {
    let why = || Missing { why: "not here".to_owned(), soon: false };
    let gone = watch(watched(By::SockOps, "", "")).missing(why(), 100);
    assert_eq!(gone, State::Gone(100));
    let gone = watch(gone);
    assert_eq!(gone.missing(why(), 99 + RESTART_NS), State::Gone(100));
    assert_eq!(gone.missing(why(), 100 + RESTART_NS), State::NotFound(why()));
    let never = State::NotFound(why());
    assert_eq!(watch(State::Off).missing(why(), 100), never, "at the start");
    assert_eq!(watch(never.clone()).missing(why(), 200), never);
}

#[test]
fn what_is_not_observed_says_why() {
    let whole = watched(By::SockOps, "", "");
    assert_eq!((whole.source(), whole.reason()), ("sock_ops", ""));
    assert_eq!(whole.describe(), "/kubelet, found in a usual place");
    let partly = watched(By::Tracepoint, "exclusive_program", "another program");
    assert_eq!((partly.source(), partly.reason()), ("tracepoint", "exclusive_program"));
    assert_eq!(partly.describe(), "/kubelet, found in a usual place, times alone: another program");
    let left_out = watched(By::Tracepoint, "no_cap_net_admin", "");
    assert_eq!(left_out.describe(), "/kubelet, found in a usual place, times alone");
    let refused = State::Refused(Refusal { reason: "refused_by_kernel", why: "no".to_owned() });
    for (state, reason) in [
        (refused, "refused_by_kernel"),
        (State::NotFound(Missing { why: String::new(), soon: true }), "kubelet_not_found"),
        (State::Gone(1), "kubelet_not_found"),
    ] {
        assert_eq!((state.source(), state.reason()), ("none", reason));
        assert!(state.describe().starts_with("not observed: "), "{state:?}");
    }
}

#[test]
fn only_another_cgroup_is_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("system.slice/kubelet.service");
    let away = root.path().join("away");
    let makes = |directory: &Path| {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("cgroup.events"), "populated 1\n").unwrap();
    };
    let mut watch = KubeletWatch::new(None);
    let was_restarted = |watch: &mut KubeletWatch| {
        let found = watch.find(root.path());
        watch.was_restarted(&found)
    };
    assert!(!was_restarted(&mut watch), "there is none");
    makes(&place);
    assert!(!was_restarted(&mut watch), "it is the first");
    assert!(!was_restarted(&mut watch));
    // Lost from sight for a while.
    std::fs::rename(&place, &away).unwrap();
    assert!(!was_restarted(&mut watch));
    std::fs::rename(&away, &place).unwrap();
    assert!(!was_restarted(&mut watch), "it is the same");
    // The old one is kept so that its inode's number is not given again.
    std::fs::rename(&place, &away).unwrap();
    assert!(!was_restarted(&mut watch), "it is not there yet");
    makes(&place);
    assert!(was_restarted(&mut watch));
    assert!(!was_restarted(&mut watch));
}

/// A cgroup of this name below the root, which has a process.
fn makes(root: &Path, name: &str) -> CgroupId {
    let directory = root.join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("cgroup.events"), "populated 1\n").unwrap();
    CgroupId(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(directory).unwrap()))
}

fn process(cgroup: CgroupId) -> Task {
    let key = crate::event::TaskKey { tgid: 5, start_boot_ns: 7 };
    Task { key, tid: 5, cgroup, comm: "kubelet".into() }
}

#[test]
fn its_process_is_looked_for_where_no_place_has_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let odd = makes(root, "odd");
    let mut tree = Tree::new(crate::cgroup::tree::Mode::Kubernetes);
    tree.insert_root(CgroupId(1), root.to_owned());
    tree.insert(odd, CgroupId(1), b"odd");

    let mut watch = KubeletWatch::new(None);
    let missing = watch.find(root).unwrap_err();
    assert!(!missing.soon && missing.why.ends_with(REMEDY), "{missing:?}");
    assert!(watch.is_searched_for(&Err(missing), 1));
    watch.search(Some(&[process(odd)]), &tree);
    let missing = watch.find(root).unwrap_err();
    assert!(missing.soon && missing.why.ends_with(REMEDY), "{missing:?}");
    watch.search(Some(&[process(odd)]), &tree);
    let found = watch.find(root);
    let cgroup = found.as_ref().unwrap();
    assert_eq!((cgroup.id, cgroup.how), (odd, How::Process));
    assert_eq!(&cgroup.comm, b"kubelet\0\0\0\0\0\0\0\0\0", "others may be there too");
    assert!(!watch.is_searched_for(&found, 1), "it is known");
    assert!(!watch.was_restarted(&found));

    // It is there no more, for longer than a restart takes; or another process is.
    std::fs::write(root.join("odd/cgroup.events"), "populated 0\n").unwrap();
    assert!(!watch.is_searched_for(&found, 100), "it may come back");
    assert!(!watch.is_searched_for(&found, 99 + RESTART_NS));
    assert!(watch.is_searched_for(&found, 100 + RESTART_NS));
    makes(root, "odd");
    assert!(!watch.is_searched_for(&found, 100 + RESTART_NS), "it is back");
    watch.silence.begin(0);
    watch.silence.is_new(u64::MAX, |_| true);
    assert!(watch.is_searched_for(&found, 1));
    watch.silence.begin(0);

    // A restart is noticed by the name.
    let made = |name: &str| {
        let name = Some(name.as_bytes().to_vec());
        let made = CgroupMade { cgroup: odd, parent: CgroupId(1), name, untracked: false };
        EventKind::CgroupMade(made)
    };
    assert!(watch.is_concerned(&made("odd")) && !watch.is_concerned(&made("even")));
    makes(root, "system.slice/kubelet.service");
    let found = watch.find(root);
    assert_eq!(found.as_ref().unwrap().how, How::Place);
    std::fs::write(root.join("system.slice/kubelet.service/cgroup.events"), "").unwrap();
    assert_eq!(watch.find(root).unwrap().how, How::Process, "nobody is in the usual one");

    // Others are learned as well, up to a limit, and the first stays.
    for (n, name) in ["a", "b", "c", "d", "e"].iter().enumerate() {
        let id = CgroupId(20 + n as u64);
        tree.insert(id, CgroupId(1), name.as_bytes());
        let there = [Task { cgroup: id, ..process(odd) }];
        watch.search(Some(&there), &tree);
        watch.search(Some(&there), &tree);
    }
    let learned: Vec<_> =
        watch.learned.iter().map(|it| it.directory.file_name().unwrap()).collect();
    assert_eq!(learned, ["odd", "a", "b", "e"]);

    let mut named = KubeletWatch::new(Some("named".into()));
    let missing = named.find(root);
    assert!(missing.as_ref().unwrap_err().why.contains("named"));
    assert!(!named.is_searched_for(&missing, u64::MAX), "the user knows");
}

#[test]
fn a_silent_cgroup_is_told_until_it_is_heard() {
    let long = u64::MAX;
    let mut watch = watch(watched(By::SockOps, "", ""));
    watch.listen(long, |_| false);
    assert_eq!(watch.reason(), "", "no probe is due");
    watch.listen(long, |_| true);
    assert_eq!((watch.state().source(), watch.reason()), ("sock_ops", "no_connections"));
    let words = watch.describe();
    assert!(words.contains("/kubelet, found in a usual place; but not one"), "{words}");
    assert!(words.contains("--kubelet.cgroup"), "{words}");
    watch.heard(long);
    assert_eq!(watch.reason(), "");
    assert_eq!(watch.describe(), watch.state().describe());
    let mut gone = self::watch(State::Gone(1));
    gone.listen(long, |_| true);
    assert_eq!(gone.reason(), "kubelet_not_found");
}
