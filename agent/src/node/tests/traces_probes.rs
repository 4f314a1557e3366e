//! Attempts of probes in traces.

use serde_json::json;

use super::traces::{ALL, drawn, kinds};
use super::{KILLED, MS, NOW, World};
use crate::cgroup::CgroupId;
use crate::kube::pod::Handler;
use crate::lifecycle::fact::{
    Fact, FactKind, ProbeAttempt, ProbeKind,
    ProbeResult::{self, Failure, Refused, Success, Timeout},
};
use crate::lifecycle::subject::Subject;

impl World {
    /// An attempt over HTTP, from so many milliseconds before now, of a container that is shown.
    fn probed(&mut self, cgroup: u64, probe: ProbeKind, at_ms: i64, ms: u64, result: ProbeResult) {
        let shown = &self.node.publish.recorder.shown;
        let who = shown.iter().find(|who| who.cgroup == CgroupId(cgroup)).unwrap().clone();
        let start_boot_ns = NOW.boot_ns.saturating_add_signed(at_ms * MS.cast_signed());
        let end_boot_ns = start_boot_ns + ms * MS;
        let attempt = ProbeAttempt {
            probe,
            handler: Handler::Http,
            result,
            start_boot_ns,
            end_boot_ns,
            timeout_s: 1,
            failures_left: Some(1),
            status: (result == Failure).then_some(500),
            network: None,
            exec: None,
        };
        let fact = Fact { time_boot_ns: end_boot_ns, kind: FactKind::Probed(attempt) };
        self.node.publish.fact(&Subject::Container(who), &fact);
    }
}

#[test]
fn a_restart_begins_with_the_probes_that_led_to_it() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.runs();
    let liveness = ProbeKind::Liveness;
    world.probed(1002, liveness, -6900, 3, Failure);
    world.probed(1002, liveness, -6000, 5, Success);
    world.probed(1002, liveness, -5000, 4, Failure);
    world.probed(1002, ProbeKind::Readiness, -4500, 1000, Timeout);
    world.probed(1002, liveness, -4000, 1000, Timeout);
    world.terminate(1002, 200, "runc", -3000);
    world.end(1002, 200, KILLED, -2000);
    world.made(1003, 'b', -1500);
    world.exec(1003, 300, "web", -1400);
    world.status("b", &json!({"running": {}}), Some(("a", "Error")));
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 1.into();
    world.pod["status"]["containerStatuses"][0]["ready"] = false.into();
    world.reported(-1350);
    world.probed(1003, ProbeKind::Readiness, -1300, 1, Refused);
    world.probed(1003, ProbeKind::Readiness, -1200, 800, Success);
    world.pod["status"]["containerStatuses"][0]["ready"] = true.into();
    world.reported(-300);
    assert_eq!(world.trigger().as_deref(), Some("liveness"));
    world.node.tick(world.now(-200));
    assert_eq!(kinds(&sent), ["pod startup", "container restart"]);
    let sent = sent.lock().unwrap().clone();
    assert!(!drawn(&sent[0]).contains("probe attempt"), "it was ready before the first");
    let why = "liveness probe failed; SIGKILL 1.0 s after its stop signal";
    assert_eq!(
        drawn(&sent[1]),
        format!(
            "container restart: -5000 .. -300 ERROR {why}\n  \
             probe attempt: -5000 .. -4996 ERROR status 500\n  \
             probe attempt: -4000 .. -3000 ERROR no answer within 1 s\n  \
             container termination: -3000 .. -2000 ERROR {why}\n    \
             * stop signal at -3000\n    \
             * end at -2000\n    \
             grace period: -3000 .. -2000 ERROR {why}\n  \
             back-off: -2000 .. -1500\n  \
             runtime start: -1500 .. -1400\n  \
             readiness: -1400 .. -300\n    \
             probe attempt: -1300 .. -1299\n    \
             probe attempt: -1200 .. -400\n"
        )
    );
    let slow = sent[1].spans.last().unwrap();
    let told = |key: &str| {
        let found = slow.attributes.iter().find(|it| it.key.as_str() == key);
        found.map(|it| it.value.to_string()).unwrap_or_default()
    };
    assert_eq!(told("podvitals.probe"), "readiness");
    assert_eq!(told("podvitals.probe.handler"), "http");
    assert_eq!(told("podvitals.probe.result"), "success");
    assert_eq!(told("podvitals.probe.timeout_s"), "1");
}

#[test]
fn a_startup_that_never_gets_ready_tells_of_its_probes() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.pod["spec"]["containers"][0]["startupProbe"] = json!({"httpGet": {"port": 80}});
    world.made(1001, '0', -9000);
    world.exec(1001, 100, "pause", -8900);
    world.made(1002, 'a', -8500);
    world.exec(1002, 200, "web", -8250);
    world.status("a", &json!({"running": {}}), None);
    for at_ms in [-7000, -6000] {
        world.pod["status"]["containerStatuses"][0]["ready"] = false.into();
        world.pod["status"]["containerStatuses"][0]["started"] = false.into();
        world.reported(at_ms);
    }
    world.probed(1002, ProbeKind::Startup, -5000, 1000, Timeout);
    world.deleted(-3000);
    world.reported(-3000);
    assert_eq!(kinds(&sent), ["pod startup"]);
    let startup = sent.lock().unwrap()[0].clone();
    assert_eq!(
        drawn(&startup),
        "pod startup: -9000 .. -4000 ERROR not ready: web\n  \
         container startup: -9000 .. -4000\n    \
         pull and create: -9000 .. -8500\n    \
         runtime start: -8500 .. -8250\n    \
         probe attempt: -5000 .. -4000\n"
    );
}
