//! Command `podvitals check`: what this host allows, what will work, and what is lost.

mod finding;
mod names;
mod traces;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::bpf::{
    load, object,
    plan::{self, Facts, Sizes},
    programs::{Attached, Programs},
    start::to_reattach,
    subjects::SubjectId,
    survey::Survey,
    tasks::self_check,
};
use crate::cgroup::kubelet::{self, Known};
use crate::cgroup::snapshot;
use crate::cli::CheckArgs;
use crate::escape;
use crate::kernel::{
    btf,
    capabilities::{self, Capabilities},
    cgroup_mount, host,
};
use crate::settings;

use finding::{Finding, Verdict};

/// Examines the host, prints the findings, and returns the exit status.
///
/// # Errors
/// Never; the type is that of the other commands.
pub fn main(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut findings = check_host(args.cgroup_root.as_deref(), args.kubelet_cgroup.as_deref());
    // Where there are no programs, nothing has dropped them yet. What follows tries the files that
    // the agent reads while it serves.
    if let Err(error) = capabilities::drop_unneeded(capabilities::Kubelet::Unwatched) {
        findings.push(Finding::bad("capabilities", Verdict::Degraded, error.to_string(), ""));
    }
    findings.extend(names::check(&args.pods, args.cgroup_root.as_deref()));
    findings.push(traces::check(&args.trace));
    crate::output::print(&render(&findings))?;
    Ok(ExitCode::from(worst(&findings).exit_status()))
}

fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|f| f.verdict).max().unwrap_or(Verdict::Ok)
}

fn render(findings: &[Finding]) -> String {
    let width = findings.iter().map(|f| f.what.len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let Finding { what, verdict, found, lost } = finding;
        let found = escape::line(found);
        let _ = writeln!(out, "{what:width$}  {:10}  {found}", verdict.word());
        if !lost.is_empty() {
            let _ = writeln!(out, "{:width$}  {:10}  lost: {lost}", "", "");
        }
    }
    let last = match worst(findings) {
        Verdict::Ok => "Everything works on this host.",
        Verdict::Degraded => "The agent runs on this host, without what is listed as lost.",
        Verdict::Fatal => "The agent cannot run on this host, for the reason above.",
    };
    let _ = writeln!(out, "\n{last}");
    out
}

/// Examines everything that needs no observation over time.
fn check_host(root: Option<&Path>, kubelet: Option<&Path>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match host::release() {
        Ok(release) => Finding::ok("kernel", release),
        Err(error) => Finding::bad("kernel", Verdict::Degraded, error.to_string(), ""),
    });
    check_cgroups(root, kubelet, &mut findings);
    check_programs(&mut findings);
    findings
}

/// Controllers, with the metrics that are lost without them.
const CONTROLLERS: [(&str, &str); 4] = [
    ("cpu", "CPU limits and throttling (CPU time itself needs no controller)"),
    ("memory", "all memory metrics, and OOM kills of containers at their limits"),
    ("io", ""),
    ("pids", "the number of tasks and its limit"),
];

fn check_cgroups(root: Option<&Path>, kubelet: Option<&Path>, findings: &mut Vec<Finding>) {
    let mounts = match cgroup_mount::find() {
        Ok(mounts) => mounts,
        Err(error) => {
            let lost = "all; /proc has to be mounted";
            findings.push(Finding::bad("cgroup v2", Verdict::Fatal, error.to_string(), lost));
            return;
        }
    };
    let Some(directory) = root.map(Path::to_owned).or(mounts.unified) else {
        let lost = "all; mount one: mount -t cgroup2 none /sys/fs/cgroup, or boot with \
                    systemd.unified_cgroup_hierarchy=1";
        findings.push(Finding::bad("cgroup v2", Verdict::Fatal, "not mounted", lost));
        return;
    };
    let offered = match cgroup_mount::controllers(&directory) {
        Ok(offered) => offered,
        Err(error) => {
            let found = format!("{}: {error}", settings::no_root(&directory));
            findings.push(Finding::bad("cgroup v2", Verdict::Fatal, found, "all"));
            return;
        }
    };
    findings.push(Finding::ok("cgroup v2", escape::path(&directory)));
    findings.push(check_kubelet(&directory, kubelet));
    for (name, lost) in CONTROLLERS {
        let what = format!("controller {name}");
        if offered.iter().any(|c| c == name) {
            findings.push(Finding::ok(&what, "offered"));
            continue;
        }
        let found = if mounts.legacy {
            "missing; cgroup v1 may have it: boot with systemd.unified_cgroup_hierarchy=1"
        } else {
            "missing"
        };
        findings.push(if lost.is_empty() {
            Finding::ok(&what, "not offered, and not needed")
        } else {
            Finding::bad(&what, Verdict::Degraded, found, lost)
        });
    }
}

/// The kubelet's cgroup. Where none is named and no Pods run, there is no kubelet to miss.
fn check_kubelet(root: &Path, given: Option<&Path>) -> Finding {
    const WHAT: &str = "kubelet";
    const LOST: &str = "network probes: the kubelet's connections are not observed";
    match kubelet::find(root, Known { given, ..Known::default() }) {
        Ok(found) => {
            let directory = escape::path(&found.directory);
            Finding::ok(WHAT, format!("{directory}, found {}", found.how.describe()))
        }
        Err(why) if given.is_some() => Finding::bad(WHAT, Verdict::Degraded, why, LOST),
        Err(why) if names::has_pods(root) => {
            let found = format!(
                "{why}: the agent looks for its process; if it finds none, name the cgroup with \
                 --kubelet.cgroup"
            );
            Finding::bad(WHAT, Verdict::Degraded, found, LOST)
        }
        Err(_) => Finding::ok(WHAT, "none here, and no Pods"),
    }
}

/// The limit of locked memory, where it is scarce; if it is too small, `programs` reports that.
fn check_memlock(facts: &Facts, findings: &mut Vec<Finding>) {
    if let (Some(limit), Ok(sizes)) = (facts.memlock_bytes, plan::sizes(facts)) {
        let found = format!(
            "{} KiB, of which {} for events and room for {} cgroups",
            limit >> 10,
            sizes.events_bytes >> 10,
            sizes.tracked_max
        );
        findings.push(if sizes == Sizes::FULL {
            Finding::ok("RLIMIT_MEMLOCK", found)
        } else {
            let lost = format!("events of bursts (counted); {}", plan::MEMLOCK_REMEDY);
            Finding::bad("RLIMIT_MEMLOCK", Verdict::Degraded, found, &lost)
        });
    }
}

/// The source of each value. `iterator_runs`: the cgroup iterator was loaded.
fn check_sources(survey: &Survey, iterator_runs: bool, findings: &mut Vec<Finding>) {
    const FILES: &str = "nothing; values are read from the files of each cgroup, which costs more";
    let snapshot = match &survey.snapshot {
        Ok(snapshot) => snapshot,
        Err(error) => {
            findings.push(Finding::bad(
                "cgroup iterator",
                Verdict::Degraded,
                error.to_string(),
                FILES,
            ));
            return;
        }
    };
    for (controller, error) in &snapshot.missing {
        let what = format!("cgroup iterator: {controller}");
        findings.push(Finding::bad(&what, Verdict::Degraded, error.to_string(), FILES));
    }
    for (values, by_run) in snapshot::describe(snapshot::parts(snapshot.layout.known.into())) {
        let source = if by_run && iterator_runs { "by one iterator run" } else { "by files" };
        findings.push(Finding::ok("values", format!("{values}: {source}")));
    }
}

fn check_programs(findings: &mut Vec<Finding>) {
    const EVENTS: &str = "everything but CPU, memory, pressure and tasks of cgroups: no stop \
                          signals, ends, restarts and OOM kills";
    if let Err(error) = object::check() {
        findings.push(Finding::bad("programs", Verdict::Fatal, format!("{error:#}"), "all"));
        return;
    }
    let capabilities = match Capabilities::read() {
        Ok(capabilities) => capabilities,
        Err(error) => {
            findings.push(Finding::bad(
                "capabilities",
                Verdict::Degraded,
                error.to_string(),
                EVENTS,
            ));
            return;
        }
    };
    const ANSWERS: &str = "the answers to network probes: only the times of their connections are \
                           known";
    for (name, has, lost) in [
        ("CAP_BPF", capabilities.bpf, EVENTS),
        ("CAP_PERFMON", capabilities.perfmon, EVENTS),
        ("CAP_NET_ADMIN", capabilities.net_admin, ANSWERS),
    ] {
        findings.push(if has {
            Finding::ok(name, "permitted")
        } else {
            let found = "missing; run as root, or give it: capabilities.add in a Pod's securityContext, \
                         AmbientCapabilities= in a unit";
            Finding::bad(name, Verdict::Degraded, found, lost)
        });
    }
    let lockdown = host::lockdown();
    findings.push(match lockdown {
        host::Lockdown::Confidentiality => Finding::bad(
            "lockdown",
            Verdict::Degraded,
            "confidentiality",
            "programs may not read untyped memory; see below",
        ),
        other => Finding::ok("lockdown", format!("{other:?}").to_lowercase()),
    });
    let survey = match Survey::read(capabilities) {
        Ok(survey) => survey,
        Err(error) => {
            let found = format!("{error} (the kernel has to be built with CONFIG_DEBUG_INFO_BTF)");
            findings.push(Finding::bad("BTF", Verdict::Degraded, found, EVENTS));
            return;
        }
    };
    findings.push(Finding::ok("BTF", format!("{}, {} types", btf::VMLINUX, survey.types)));
    check_memlock(&survey.facts, findings);
    let loaded = load::load(&survey, 0);
    let programs = loaded.as_ref().map(|(programs, _)| programs);
    let iterator_runs = programs.is_ok_and(|it| it.is_attached(SubjectId::CgroupIter));
    check_sources(&survey, iterator_runs, findings);
    match loaded {
        Err(error) => {
            let found = format!("{error:#}");
            findings.push(Finding::bad("programs", Verdict::Degraded, found, EVENTS));
        }
        Ok((mut programs, _ring)) => {
            findings.extend(programs.attached.iter().map(check_program));
            findings.push(drop_capabilities(&programs));
            findings.push(self_check_programs(&mut programs, EVENTS));
        }
    }
}

fn check_program(attached: &Attached) -> Finding {
    let what = format!("program {}", attached.name());
    let (verdict, found) = match (&attached.outcome, attached.program()) {
        (Err(why), _) if !attached.is_wanted() && attached.lost.is_empty() => {
            (Verdict::Ok, why.clone())
        }
        (Err(why), _) => (Verdict::Degraded, why.clone()),
        (_, Some(program)) if program != attached.name() => {
            let whole = attached.lost.is_empty();
            let verdict = if whole { Verdict::Ok } else { Verdict::Degraded };
            (verdict, format!("loads, as {program}"))
        }
        _ => (Verdict::Ok, "loads".to_owned()),
    };
    Finding::bad(&what, verdict, found, attached.lost)
}

/// Drops the capabilities that the agent drops once its programs are attached, and reports the
/// rest.
fn drop_capabilities(programs: &Programs) -> Finding {
    const WHAT: &str = "capabilities";
    match capabilities::drop_unneeded(to_reattach(Some(programs))) {
        Ok(kept) => {
            let found = format!(
                "while it serves: effective {}; permitted {}; bounding {}; dropped {}",
                kept.sets.effective, kept.sets.permitted, kept.bounding, kept.dropped
            );
            Finding::ok(WHAT, found)
        }
        Err(error) => Finding::bad(WHAT, Verdict::Degraded, error.to_string(), ""),
    }
}

/// The self-check, with the capabilities that the agent has while it serves.
fn self_check_programs(programs: &mut Programs, lost: &str) -> Finding {
    const WHAT: &str = "self-check";
    match programs.running_tasks().and_then(|found| self_check(&found.tasks)) {
        Ok(()) => Finding::ok(WHAT, "the offsets give this process's own data"),
        Err(error) => Finding::bad(WHAT, Verdict::Degraded, format!("{error:#}"), lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_exit_status() {
        let ok = Finding::ok("a", "x");
        let degraded = Finding::bad("b", Verdict::Degraded, "y", "z");
        let fatal = Finding::bad("c", Verdict::Fatal, "y", "z");
        let status = |f: &[Finding]| worst(f).exit_status();
        assert_eq!(status(&[]), 0);
        assert_eq!(status(std::slice::from_ref(&ok)), 0);
        assert_eq!(status(&[ok.clone(), degraded.clone()]), 1);
        assert_eq!(status(&[fatal, ok, degraded]), 2);
    }

    #[test]
    fn losses_are_printed() {
        let text = render(&[Finding::bad("b", Verdict::Degraded, "found", "this")]);
        assert!(text.contains("DEGRADED") && text.contains("lost: this"), "{text}");
    }

    #[test]
    fn a_finding_stays_one_line_and_steers_no_terminal() {
        let text = render(&[Finding::ok("cgroup v2", "/a\nforged ok\u{1b}[2J\u{202e}")]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.replace('\n', "").contains(escape::is_hostile), "{text:?}");
    }

    #[test]
    fn a_kubelet_is_missed_where_pods_run_or_it_was_named() {
        let root = tempfile::tempdir().unwrap();
        let verdict =
            |given: Option<&str>| check_kubelet(root.path(), given.map(Path::new)).verdict;
        assert_eq!(verdict(None), Verdict::Ok);
        assert_eq!(verdict(Some("no/such")), Verdict::Degraded);
        std::fs::create_dir(root.path().join("kubepods.slice")).unwrap();
        assert_eq!(verdict(None), Verdict::Degraded);
        let own = root.path().join("system.slice/kubelet.service");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("cgroup.events"), "").unwrap();
        let found = check_kubelet(root.path(), None);
        let words = format!("{}, found in a usual place", escape::path(&own));
        assert_eq!((found.verdict, found.found), (Verdict::Ok, words));
    }

    #[test]
    fn the_check_always_returns_findings() {
        // In a thread of its own, which drops capabilities for good.
        let check = || check_host(Some(Path::new("/no/such/directory")), None);
        let findings = std::thread::spawn(check).join().unwrap();
        assert!(findings.iter().any(|f| f.what == "cgroup v2" && f.verdict == Verdict::Fatal));
    }
}
