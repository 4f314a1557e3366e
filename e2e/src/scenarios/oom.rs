//! Out of memory: whose limit, and who died.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    context::{Context, and, container, main_container, want, with},
    figure::Figure,
    scenario::{Scenario, When},
};
use crate::cluster::text;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::together("oom-of-the-container", of_the_container).with_each_runtime(),
    Scenario::together("oom-of-the-pod", of_the_pod).with_each_runtime(),
    Scenario {
        name: "oom-of-a-child-and-all-others",
        run: of_a_child_and_all_others,
        when: When::Oom { single_process: false },
        each_runtime: true,
    },
    Scenario {
        name: "oom-of-a-child-alone",
        run: of_a_child_alone,
        when: When::Oom { single_process: true },
        each_runtime: true,
    },
];

/// Two containers with a limit, so that the Pod's, which is their sum, is not met first: it also
/// counts the sandbox.
fn limited(main: Value) -> Value {
    let limits = json!({ "resources": { "limits": { "memory": "64Mi" } } });
    let other = container("other", &["--on-signal", "TERM=exit:0"]);
    json!({ "containers": [with(main, &limits), with(other, &limits)], "restartPolicy": "Never" })
}

const LEAK: [&str; 4] = ["--allocate-mib", "400", "--allocate-after", "3"];

fn of_the_container(context: &Context<'_>) -> Result<Vec<Figure>> {
    init_dies(context, &limited(main_container(&LEAK)), "container")
}

fn of_the_pod(context: &Context<'_>) -> Result<Vec<Figure>> {
    let spec = json!({
        "containers": [main_container(&LEAK)],
        "restartPolicy": "Never",
        "resources": { "limits": { "memory": "64Mi" } },
    });
    init_dies(context, &spec, "pod")
}

/// The kubelet sets `memory.oom.group`: one OOM, and all processes of the container die.
fn of_a_child_and_all_others(context: &Context<'_>) -> Result<Vec<Figure>> {
    let args = [&LEAK[..], &["--allocate-in-child"]].concat();
    init_dies(context, &limited(main_container(&args)), "container")
}

fn init_dies(context: &Context<'_>, spec: &Value, scope: &'static str) -> Result<Vec<Figure>> {
    context.cluster.apply(&context.pod(spec).to_string())?;
    let (uid, reason) = context.pod_until("its container has ended", |pod| {
        let statuses = pod.pointer("/status/containerStatuses")?.as_array()?;
        let main = statuses.iter().find(|it| text(it, "/name") == Some("main"))?;
        let reason = text(main, "/state/terminated/reason")?;
        Some((text(pod, "/metadata/uid")?.to_owned(), reason.to_owned()))
    })?;
    let end = context.ended()?;
    let witness = kernel_log(context, &uid)?;
    // What the runtime reported is another witness, and not always right: the agent counts it.
    let observed = and(&context.workload(), &[("observed", "oom")]);
    let wrong = u8::from(reason != "OOMKilled");
    let mismatches = context.eventually(|scrape| {
        let counted = scrape.sum("termination_reason_mismatch_total", &observed).unwrap_or(0.0);
        Figure::same(&format!("mismatches, where the runtime says {reason}"), counted, wrong)
    })?;
    let scrape = context.scrape()?;
    let oom = |labels| scrape.value("oom_events_total", &and(&context.workload(), labels));
    let figures = vec![
        Figure::same("cause", &end.cause, "oom")?,
        Figure::same("signal", &end.signal, "SIGKILL")?,
        Figure::same("OOMs", oom(&[])?, witness.len())?,
        Figure::same("whose limit", scope, witness.join(", "))?,
        Figure::same(
            &format!("OOMs of the {scope} that killed init"),
            oom(&[("scope", scope), ("victim", "init")])?,
            1,
        )?,
        mismatches,
    ];
    context.delete(&[])?;
    Ok(figures)
}

/// The OOMs of a Pod, by the kernel's log: whose limit each was about.
fn kernel_log(context: &Context<'_>, uid: &str) -> Result<Vec<&'static str>> {
    // The name of the Pod's cgroup has its UID, with systemd's driver with underscores.
    let pattern = uid.replace('-', "[-_]");
    let found = context.cluster.node_exec(&format!("dmesg | grep oom-kill: | grep '{pattern}'"))?;
    let limited = found.text.lines().filter_map(|line| {
        line.split(',').find_map(|field| field.trim().strip_prefix("oom_memcg="))
    });
    // The container's is one level below the Pod's.
    let below_pod = |path: &str| {
        let pod = path.split('/').position(|part| part.contains("pod") && part.len() > 36);
        pod.is_some_and(|at| path.split('/').count() > at + 1)
    };
    Ok(limited.map(|path| if below_pod(path) { "container" } else { "pod" }).collect())
}

/// The container lives on, and the API says nothing.
fn of_a_child_alone(context: &Context<'_>) -> Result<Vec<Figure>> {
    let args = [&LEAK[..], &["--allocate-in-child"]].concat();
    context.run_pod(&limited(main_container(&args)))?;
    let child = and(&context.workload(), &[("scope", "container"), ("victim", "child")]);
    let ooms = context.eventually(|scrape| {
        want(scrape, "oom_events_total", &child, 1.0)?;
        scrape.value("oom_events_total", &context.workload())
    })?;
    let acts = context.acts(context.name, "main")?;
    let signal = acts.first("child_end")?.number("signal")?;
    let scrape = context.scrape()?;
    let deaths = scrape.value("terminations_total", &context.workload())?;
    let pod = context.cluster.pod(context.name)?.context("no Pod")?;
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).context("no phase")?;
    let figures = vec![
        Figure::same("OOMs of a child", ooms, u8::from(signal == 9.0))?,
        Figure::same("deaths of the container", deaths, u8::from(phase != "Running"))?,
    ];
    context.delete(&[])?;
    Ok(figures)
}
