//! Names: late, missing, hostile.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::wait::WaitStatus;
use testbed::cgroup::{self, Cgroup};
use testbed::scrape::Key;

use super::common::{Case, ended_once, lives};
use crate::context::Context;
use crate::process::Spawn;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("name-missing", missing),
    || Case::new("name-late", late),
    || Case::new("name-nested-cgroup", nested),
    || Case::new("name-hostile", hostile),
];

/// Nobody tells the name: the Pod's UID and the beginning of the id stand in.
fn missing(context: &Context) -> Result<String> {
    let pod = context.node.pod("name-missing")?;
    let mut container = pod.container_without_link("app")?;
    container.start(&["--exit-after-ms", "900000"], context.timeout())?;
    let key = Key {
        namespace: String::new(),
        pod: pod.uid.clone(),
        container: container.id.chars().take(12).collect(),
    };
    // A fact waits 10 s for its name.
    let patient = context.timeout() + Duration::from_secs(15);
    context.eventually_within(patient, |s| {
        let view = s.of(&key);
        lives(&view)?;
        view.want_label("container_info", "container_id", &container.id)
    })?;
    Ok(String::new())
}

/// The kubelet makes the link after the start.
fn late(context: &Context) -> Result<String> {
    let pod = context.node.pod("name-late")?;
    let mut container = pod.container_without_link("app")?;
    container.start(&["--exit-after-ms", "300", "--code", "9"], context.timeout())?;
    container.wait(context.timeout())?;
    std::thread::sleep(Duration::from_millis(700));
    container.link()?;
    container.remove_cgroup()?;
    context.eventually_within(context.timeout() + Duration::from_secs(15), |s| {
        let view = s.of(&container.key);
        ended_once(&view, "error")?;
        view.want_label("container_last_termination_info", "exit_code", "9")
    })?;
    Ok(String::new())
}

/// A container with cgroups of its own (systemd, Docker inside): what happens there is its
/// children's business.
fn nested(context: &Context) -> Result<String> {
    let pod = context.node.pod("name-nested-cgroup")?;
    let mut container = pod.container("app")?;
    container.start(&["--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    let inner = container.dir.join("system.slice");
    cgroup::make(&inner)?;
    let deeper = inner.join(format!("docker-{}.scope", "ab".repeat(32)));
    cgroup::make(&deeper)?;
    let mut child = Spawn::scenarios(["work", "--exit-after-ms", "20"]).cgroup(&deeper).start()?;
    child.end_ns(context.timeout())?;
    child.reap()?;
    cgroup::remove(&inner)?;
    context.fence("name-nested-cgroup")?;
    context.eventually(|s| {
        let here = s.all("container_info", &[("pod_uid", &pod.uid)]).count();
        ensure!(here == 1, "{here} containers in the Pod, not 1");
        lives(&s.of(&container.key))
    })?;
    Ok(String::new())
}

/// Directories and links that no kubelet makes. Whatever they are shown as, the scrape stays
/// well-formed, and the others' series stay right.
fn hostile(context: &Context) -> Result<String> {
    let pod = context.node.pod("name-hostile")?;
    let mut container = pod.container("app")?;
    container.start(&["--exit-after-ms", "900000"], context.timeout())?;
    let mut made = Vec::new();
    let id = "cd".repeat(32);
    let names: [&[u8]; 11] = [
        b"cri-containerd-\xff\xfe\x80.scope",
        b"quote\"back\\slash{}=,.scope",
        b"cri-containerd-.scope",
        b"\xe2\x80\xae\xf0\x9f\x92\xa9.scope",
        b"kubepods-burstable-pod.slice",
        b"kubepods-burstable-pod\"} 1 # .slice",
        b" ",
        b"\x1b[2J\t\r",
        b"crio-conmon-.scope",
        b"docker-zz.scope",
        b"pod..%2f%00",
    ];
    let long = [b'x'; 255];
    for name in names.iter().copied().chain([&long[..]]) {
        for parent in [context.node.burstable(), pod.dir.clone()] {
            let dir = parent.join(OsStr::from_bytes(name));
            made.push(Cgroup::make(&dir)?);
            let mut process =
                Spawn::scenarios(["work", "--exit-after-ms", "0"]).cgroup(&dir).start()?;
            process.end_ns(context.timeout())?;
            let status = process.reap()?;
            ensure!(matches!(status, WaitStatus::Exited(_, 0)), "ended by {status:?}");
        }
    }
    // A real container under names that break naive encoders.
    let dir = pod.dir.join(format!("cri-containerd-{id}.scope"));
    made.push(Cgroup::make(&dir)?);
    let links: [Vec<u8>; 4] = [
        [b"a\"} 1\\_ns\xff_c-".as_slice(), id.as_bytes(), b".log"].concat(),
        b"no-underscore.log".to_vec(),
        b"__-.log".to_vec(),
        b"\xff_\xfe_\xfd-.log".to_vec(),
    ];
    let mut made_links = Links(Vec::new());
    for name in links {
        let path = context.node.log_dir().join(OsStr::from_bytes(&name));
        symlink("/nowhere", &path).with_context(|| format!("making {}", path.display()))?;
        made_links.0.push(path);
    }
    let mut process =
        Spawn::scenarios(["work", "--exit-after-ms", "900000"]).cgroup(&dir).start()?;
    process.expect_line("ready", context.timeout())?;

    context.fence("name-hostile")?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    drop(process);
    drop(made);
    context.fence("name-hostile-gone")?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    Ok(String::new())
}

/// Links that go in the end.
struct Links(Vec<PathBuf>);

impl Drop for Links {
    fn drop(&mut self) {
        for link in &self.0 {
            // Gone with the folder already: nothing to do.
            let _ = fs::remove_file(link);
        }
    }
}
