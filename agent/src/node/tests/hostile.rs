//! Names that Pods and directories may have, and that no name of a good one looks like.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::*;

#[test]
fn units_that_differ_in_bytes_that_are_no_text_stay_two() {
    let dir = tempfile::tempdir().unwrap();
    let names: [&[u8]; 5] = [
        b"a\xff.service",
        b"a\xfe.service",
        b"a\\xff.service",
        b"a\x1b[2J.service",
        b"a\\x2db.service",
    ];
    for name in names {
        std::fs::create_dir(dir.path().join(OsStr::from_bytes(name))).unwrap();
    }
    let options = Options {
        mode: Mode::Host,
        cgroup_root: dir.path().to_owned(),
        log_dir: dir.path().join("logs"),
        pods: None,
        store: StoreOptions::default(),
        traces: None,
        probes: false,
        kubelet_cgroup: None,
        max_fds: 10,
    };
    let mut node = Node::new(options, None);
    node.start(NOW);
    let collection = node.collect(NOW);
    let text = node.expose(&collection, Format::Text).for_reader(Seen::ALL, |chunk| chunk);
    let text = String::from_utf8(text.concat()).unwrap();
    assert!(!text.replace('\n', "").contains(crate::escape::is_hostile));
    for shown in [
        "a\\\\xff.service",
        "a\\\\xfe.service",
        "a\\\\x5cxff.service",
        "a\\\\x1b[2J.service",
        "a\\\\x2db.service",
    ] {
        let start = format!("podvitals_container_info{{namespace=\"host\",pod=\"{shown}\",");
        let count = text.lines().filter(|line| line.starts_with(&start)).count();
        assert_eq!(count, 1, "{shown}: {text}");
    }
}
