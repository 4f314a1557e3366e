use super::*;
use crate::bpf::subjects::{SubjectId, Variant};
use crate::kernel::{capabilities::Capabilities, host::Lockdown};

const FACTS: Facts = Facts {
    capabilities: Capabilities { bpf: true, perfmon: true, net_admin: true },
    lockdown: Lockdown::None,
    memory_offsets: true,
    snapshot_offsets: true,
    cgroup_iterator: true,
    sock_ops_offsets: true,
    sock_offsets: true,
    memlock_bytes: None,
    off: Vec::new(),
};

/// Fake kernel that refuses some objects and programs, and records the calls.
#[derive(Default)]
struct Fake {
    refused_objects: Vec<ObjectId>,
    refused_programs: Vec<&'static str>,
    loaded: Vec<ObjectId>,
    tried: Vec<&'static str>,
}

impl Kernel for Fake {
    fn load(&mut self, object: ObjectId) -> anyhow::Result<()> {
        if self.refused_objects.contains(&object) {
            bail!("no room for the maps of {}", object.name());
        }
        self.loaded.push(object);
        Ok(())
    }

    fn attach(&mut self, subject: &Subject, program: &'static str) -> anyhow::Result<()> {
        assert!(self.loaded.contains(&subject.object), "{program} before its object");
        self.tried.push(program);
        if self.refused_programs.contains(&program) {
            bail!("no {program} here");
        }
        Ok(())
    }
}

/// Parameters of a kernel whose tracepoints have what every subject needs.
fn parameters() -> Vec<Option<Parameter>> {
    let of = |subject: &Subject| {
        subject.parameter.map(|(_, name)| Parameter::StructPointer(name.to_owned()))
    };
    SUBJECTS.iter().map(of).collect()
}

fn outcome(attached: &[Attached], id: SubjectId) -> &Result<Variant, String> {
    &attached.iter().find(|attached| attached.subject.id == id).unwrap().outcome
}

fn by_object(attached: &[Attached], object: ObjectId) -> Vec<&Attached> {
    attached.iter().filter(|attached| attached.subject.object == object).collect()
}

#[test]
fn each_object_fails_without_the_other_and_with_its_reason() {
    for bad in ObjectId::ALL {
        let mut kernel = Fake { refused_objects: vec![bad], ..Fake::default() };
        let (loaded, attached) = carry_out(&FACTS, &parameters(), &mut kernel);
        let good: Vec<_> = ObjectId::ALL.into_iter().filter(|it| *it != bad).collect();
        assert_eq!((loaded, &kernel.loaded), (2, &good));
        for failed in by_object(&attached, bad) {
            let why = failed.outcome.as_ref().unwrap_err();
            assert!(why.contains(&format!("the object {}", bad.name())), "{why}");
            assert!(why.contains("no room for the maps"), "{why}");
            assert_eq!(failed.lost, failed.subject.lost);
        }
        for good in good {
            let its = by_object(&attached, good);
            let lives = |it: &&Attached| it.outcome.is_ok() || !it.is_wanted();
            assert!(!its.is_empty() && its.iter().all(|it| lives(it) && it.lost.is_empty()));
        }
    }
    let refused_objects = ObjectId::ALL.to_vec();
    let mut kernel = Fake { refused_objects, ..Fake::default() };
    let (loaded, attached) = carry_out(&FACTS, &parameters(), &mut kernel);
    assert_eq!(loaded, 0);
    assert!(attached.len() == SUBJECTS.len() && attached.iter().all(|it| it.outcome.is_err()));
}

#[test]
fn an_object_that_is_turned_off_is_not_loaded_and_loses_nothing() {
    let mut kernel = Fake::default();
    let facts = Facts { off: vec![ObjectId::Snapshot], ..FACTS };
    let (loaded, attached) = carry_out(&facts, &parameters(), &mut kernel);
    assert_eq!((loaded, kernel.loaded), (2, vec![ObjectId::Core, ObjectId::Probes]));
    let off = by_object(&attached, ObjectId::Snapshot);
    assert!(!off.is_empty() && off.iter().all(|it| it.outcome.is_err() && it.lost.is_empty()));
}

#[test]
fn a_refused_program_is_replaced_by_its_variant_and_leaves_the_others() {
    let mut kernel = Fake {
        refused_programs: vec!["mark_victim", "cgroup_rmdir", "running_tasks", "visible_tasks"],
        ..Fake::default()
    };
    let (_, attached) = carry_out(&FACTS, &parameters(), &mut kernel);
    let of = |id| outcome(&attached, id);
    assert_eq!(of(SubjectId::MarkVictim), &Ok(Variant::Typed));
    assert_eq!(of(SubjectId::CgroupRmdir), &Err("no cgroup_rmdir here".into()));
    assert_eq!(of(SubjectId::RunningTasks), &Err("no running_tasks here".into()), "the first's");
    assert_eq!(of(SubjectId::CgroupMkdir), &Ok(Variant::Untyped));
    assert!(!kernel.tried.contains(&"cgroup_mkdir_typed"), "not if the better one runs");
    let scope = attached.iter().find(|it| it.subject.id == SubjectId::MarkVictim).unwrap();
    assert_eq!(scope.lost, scope.subject.lost_typed);
}

/// The tracepoint is for where one of the programs on the kubelet's cgroup is not loaded, or where the
/// cgroup does not take them, which is not known yet.
#[test]
fn the_kubelet_is_observed_by_its_cgroup_or_by_the_tracepoint() {
    const ON_CGROUP: [SubjectId; 3] =
        [SubjectId::KubeletSockOps, SubjectId::KubeletIngress, SubjectId::KubeletEgress];
    let wanted = |attached: &[Attached], id| {
        attached.iter().find(|it| it.subject.id == id).unwrap().is_wanted()
    };
    let (_, attached) = carry_out(&FACTS, &parameters(), &mut Fake::default());
    assert!(ON_CGROUP.iter().all(|id| outcome(&attached, *id).is_ok()));
    assert_eq!(outcome(&attached, SubjectId::InetSockSetState), &Ok(Variant::Typed));

    let refused_programs = vec!["inet_sock_set_state"];
    let mut kernel = Fake { refused_programs, ..Fake::default() };
    let (_, attached) = carry_out(&FACTS, &parameters(), &mut kernel);
    let spare = attached.iter().find(|it| it.subject.id == SubjectId::InetSockSetState).unwrap();
    assert!(spare.outcome.is_err() && spare.lost.is_empty() && !spare.is_wanted(), "not needed");

    let capabilities = Capabilities { net_admin: false, ..FACTS.capabilities };
    let facts = Facts { capabilities, ..FACTS };
    let mut kernel = Fake::default();
    let (_, attached) = carry_out(&facts, &parameters(), &mut kernel);
    assert_eq!(outcome(&attached, SubjectId::InetSockSetState), &Ok(Variant::Typed));
    assert!(!kernel.tried.iter().any(|program| program.starts_with("kubelet")), "no use");
    for id in ON_CGROUP {
        let on_cgroup = attached.iter().find(|it| it.subject.id == id).unwrap();
        assert!(on_cgroup.outcome.as_ref().unwrap_err().contains("CAP_NET_ADMIN"));
        assert!(!on_cgroup.lost.is_empty() && !on_cgroup.is_wanted(), "left out on purpose");
    }

    let refused_programs = vec!["kubelet_egress"];
    let mut kernel = Fake { refused_programs, ..Fake::default() };
    let (_, attached) = carry_out(&FACTS, &parameters(), &mut kernel);
    assert_eq!(outcome(&attached, SubjectId::InetSockSetState), &Ok(Variant::Typed));
    assert!(wanted(&attached, SubjectId::KubeletEgress), "a defect");
}

#[test]
fn the_end_of_the_verifiers_log_is_kept() {
    let log = "the call failed: Verifier output: 0: R1=ctx\n1: (79) r2 = *(u64 *)(r1 +0)\n\
               access beyond struct task_struct at off 99999 size 4\n\
               verification time 10 usec\nstack depth 0\nprocessed 2 insns\n";
    assert_eq!(
        reason(log),
        "the call failed: Verifier output: 0: R1=ctx; 1: (79) r2 = *(u64 *)(r1 +0); access \
         beyond struct task_struct at off 99999 size 4"
    );
    let explained = "the call failed: Verifier output: 0: R1=ctx()\nReason:\n  R1 is an integer.\n\
                     At:\n  signal_generate @ mod.rs:2095:9\nsubprog 0 insns_self 41\n";
    assert_eq!(
        reason(explained),
        "the call failed: Verifier output: 0: R1=ctx(); R1 is an integer."
    );
    assert_eq!(reason("short"), "short");
    assert_eq!(reason(""), "");
}
