//! Roles of cgroups that change with what becomes known.

use super::*;
use crate::cgroup::path::Origin;
use crate::kube::pods::Pods;
use crate::lifecycle::fact::FactKind;
use crate::lifecycle::subject::Birth;
use crate::metrics::collector::{Collector, Collectors};
use crate::node::registry::Registry;

/// The root of the hierarchy, as the tests make one.
fn root(world: &World) -> CgroupId {
    CgroupId(std::fs::metadata(world.dir.path()).unwrap().ino())
}

/// A machine on which nothing has a cgroup yet.
fn machine(mode: Mode) -> World {
    World::with(mode, false, &[])
}

/// Containers that are shown, by the labels of Pod and container.
fn names(world: &mut World) -> Vec<String> {
    let mut names: Vec<_> = world
        .shown("container_info")
        .iter()
        .filter_map(|line| {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                Some(rest.split_once('"')?.0.to_owned())
            };
            Some(format!("{}: {}", label("namespace")?, label("pod")?))
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_that_is_empty_when_it_is_made_is_no_container() {
    let mut world = machine(Mode::Auto);
    let docker = format!("docker-{}.scope", id('a'));
    world.mkdir(10, root(&world), "task", -9000);
    assert_eq!(names(&mut world), ["host: task"], "it may be a leaf");
    let usage = world.shown("terminations_total").len();
    assert!(usage > 0);
    world.mkdir(11, CgroupId(10), &docker, -8000);
    assert_eq!(names(&mut world), [format!("host: task/{docker}")]);
    assert_eq!(world.shown("terminations_total").len(), usage, "its series have ended");
    world.exec(11, 100, "web", -7900);
    world.terminate(11, 100, "runc", -7000);
    world.end(11, 100, ExitStatus::Code(0), -6900);
    world.removed(CgroupId(11), -6800);
    world.removed(CgroupId(10), -6000);
    let (facts, _) = world.facts();
    let ends = facts.iter().filter(|fact| matches!(fact.kind, FactKind::Ended(_)));
    assert_eq!(ends.count(), 1, "that of the container");
    assert!(!facts.iter().any(|fact| matches!(fact.kind, FactKind::StartFailed)));
    let retracted: Vec<_> = world.node.publish.recorder.retracted.iter().collect();
    assert_eq!(retracted, [&Subject::Container(Arc::clone(&world.node.publish.recorder.shown[0]))]);
}

#[test]
fn a_directory_of_any_name_is_shown_once_something_runs_in_it() {
    let seen = Birth::Seen { boot_ns: NOW.boot_ns };
    let pods = Pods::new();
    let mut registry = Registry::new("/nowhere".into(), false);
    let mut insert = |id: u64, name: &str| {
        registry.insert(CgroupId(id), None, Origin::Unit(name.into(), name.into()), seen);
    };
    insert(1, "ssh.service");
    insert(2, "folder");
    insert(3, "gone");
    let decide = |registry: &mut Registry, id: u64, after: u64| {
        let decided = registry.decide(CgroupId(id), &pods, true, NOW.boot_ns + after * SECOND);
        decided.map(|decided| decided.who.is_some())
    };
    assert_eq!(decide(&mut registry, 1, 0), Some(true), "a unit is one");
    assert_eq!(decide(&mut registry, 2, 9), None);
    assert_eq!(decide(&mut registry, 2, 10), Some(true), "an agent that comes now shows it too");
    assert!(registry.forget(CgroupId(3), NOW.boot_ns).is_none());
    assert_eq!(decide(&mut registry, 3, 1), Some(false), "nothing ever ran in it");
    let forgotten = registry.forget(CgroupId(3), NOW.boot_ns);
    assert!(forgotten.is_some_and(|forgotten| forgotten.subject.is_none()));
}

#[test]
fn pods_that_come_later_make_it_a_node() {
    let mut world = machine(Mode::Auto);
    let top = root(&world);
    world.mkdir(10, top, "ssh.service", -9000);
    world.exec(10, 100, "sshd", -8900);
    world.mkdir(11, top, "other.service", -8500);
    assert_eq!(names(&mut world), ["host: other.service", "host: ssh.service"]);
    world.mkdir(20, top, "kubepods", -8000);
    assert_eq!(names(&mut world), [""; 0]);
    world.mkdir(21, CgroupId(20), &format!("pod{UID}"), -7900);
    world.mkdir(22, CgroupId(21), &id('a'), -7800);
    world.exec(22, 200, "web", -7700);
    assert_eq!(names(&mut world), [format!(": {UID}")]);
    // The units' ends are nobody's business any more, and wait for nobody.
    world.end(10, 100, ExitStatus::Code(1), -7000);
    world.removed(CgroupId(10), -6900);
    world.node.tick(world.now(0));
    let (facts, _) = world.facts();
    assert!(!facts.iter().any(|fact| matches!(fact.kind, FactKind::Ended(_))));
    assert_eq!(world.value("events_dropped_total", "unmatched"), Some(0.0));
    // The kubelet's driver changes: the directory goes, another one comes.
    for gone in [22, 21, 20] {
        world.removed(CgroupId(gone), -5000);
    }
    world.mkdir(30, top, "kubepods.slice", -4000);
    world.mkdir(31, CgroupId(30), &format!("kubepods-pod{}.slice", UID.replace('-', "_")), -3900);
    world.mkdir(32, CgroupId(31), &format!("cri-containerd-{}.scope", id('b')), -3800);
    world.exec(32, 300, "web", -3700);
    assert!(world.shown("container_info").iter().any(|line| line.contains(&id('b'))));
    let page = world.node.facts(NOW);
    assert!(page.contains(&("mode".into(), "kubernetes".into())), "{page:?}");
}

#[test]
fn a_container_beside_its_pods_cgroup_has_its_pods_names() {
    let mut world = World::new(true);
    let name =
        format!("kubepods-burstable-pod{}.slice:cri-containerd:{}", UID.replace('-', "_"), id('a'));
    world.mkdir(1002, root(&world), &name, -9000);
    world.exec(1002, 200, "shim", -8900);
    world.status("a", &json!({"running": {}}), None);
    world.reported(-8000);
    let info = world.shown("container_info");
    assert!(info[0].contains("namespace=\"shop\",pod=\"web-7d4b9c6f5-abcde\""), "{info:?}");
    assert_eq!(world.node.publish.recorder.shown[0].pod_cgroup, Some(world.pod_cgroup));
    world.terminate(1002, 200, "containerd-shim", -500);
    world.end(1002, 200, ExitStatus::Code(0), -300);
    world.removed(CgroupId(1002), -250);
    assert_eq!(world.node.publish.recorder.gone.len(), 1);
}

#[test]
fn a_cgroup_without_a_place_counts_until_it_is_gone() {
    let mut world = World::new(false);
    world.mkdir(10, CgroupId(9), "cri-containerd-of-nobody.scope", -9000);
    world.mkdir(11, CgroupId(9), "another", -8900);
    assert_eq!(world.value("cgroups_unresolved", ""), Some(2.0));
    world.removed(CgroupId(10), -8000);
    assert_eq!(world.value("cgroups_unresolved", ""), Some(1.0));
}

#[test]
fn what_cannot_be_classified_is_counted_and_named() {
    let mut world = World::new(false);
    world.mkdir(10, world.pod_cgroup, "<new>-\u{1b}[2J", -9000);
    assert_eq!(world.value("cgroups_unresolved", ""), Some(1.0));
    let page = world.node.facts(NOW);
    let row = page.iter().find(|(name, _)| name == "cgroups in no known form").unwrap();
    assert!(row.1.starts_with("1: kubepods.slice/"), "{row:?}");
    assert!(row.1.ends_with(r"/<new>-\x1b[2J"), "{row:?}");
    world.mkdir(11, CgroupId(10), &id('a'), -8000);
    world.exec(11, 100, "web", -7900);
    assert_eq!(world.value("cgroups_unresolved", ""), Some(0.0), "it holds a container");
}

#[test]
fn what_runs_outside_of_pods_is_nobodys_event() {
    let mut world = World::new(false);
    world.mkdir(10, root(&world), "ssh.service", -9000);
    world.exec(10, 100, "sshd", -8900);
    world.end(10, 100, ExitStatus::Code(0), -8800);
    world.node.tick(world.now(0));
    assert_eq!(world.value("events_dropped_total", "unmatched"), Some(0.0));
    assert_eq!(names(&mut world), [""; 0]);
}

#[test]
fn a_blind_agent_goes_over_with_its_next_walk() {
    let mut world = machine(Mode::Auto);
    let make = |world: &World, path: &str| {
        std::fs::create_dir_all(world.dir.path().join(path)).unwrap();
    };
    make(&world, "a.service");
    make(&world, "ecs/task");
    world.node.tick(world.now(11_000));
    assert_eq!(names(&mut world), ["host: a.service", "host: ecs/task"]);
    make(&world, &format!("ecs/task/{}", id('b')));
    world.node.tick(world.now(22_000));
    let container = format!("host: ecs/task/{}", id('b'));
    assert_eq!(names(&mut world), ["host: a.service", &container]);
    make(&world, &format!("k3s/kubepods/besteffort/pod{UID}/{}", id('a')));
    world.node.tick(world.now(33_000));
    world.node.tick(world.now(44_000));
    assert_eq!(names(&mut world), [format!(": {UID}")]);
}

#[test]
fn the_page_begins_with_what_is_missing() {
    let collectors = Collectors::DEFAULT.without(Collector::Pressure);
    let options = StoreOptions { collectors, ..StoreOptions::default() };
    let mut world = World::with_room(false, options);
    let page = world.node.facts(NOW);
    let value = |name: &str| page.iter().find(|row| row.0 == name).map(|row| row.1.as_str());
    assert_eq!(page.get(1).map(|row| row.0.as_str()), Some("kernel events"));
    assert_eq!(value("kernel events"), Some("none; see podvitals check"));
    assert_eq!(value("collectors that are off"), Some("pressure, probe_phases"));
    assert_eq!(value("traces"), Some("sent"));
}
