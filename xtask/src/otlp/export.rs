//! The agent's export: agents that watch one demo send their traces to different receivers in different
//! ways, and every receiver has the same.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use testbed::{
    http,
    otlp::{self, Span, SpanKind, Status, Tree},
};

use super::{
    collector::{self, Collector},
    jaeger,
    listen::Listen,
    rotel,
    work::{folder, now_unix_ns},
};
use crate::{
    child::Child,
    demo::{self, Demo},
    monitoring::until,
};

/// How long until a trace is sent: one of a Pod whose end nobody explains waits for 15 s.
const FIRST_TRACE: Duration = Duration::from_secs(120);
/// How long an agent may take to stop, the sending of what is left included.
const STOP: Duration = Duration::from_secs(7);
/// Kinds of traces, by the names of their roots.
const KINDS: [&str; 3] = ["pod startup", "container restart", "pod shutdown"];
/// How far from each other two agents may see one moment.
const APART_NS: u64 = 5_000_000;

/// An agent, and how it sends.
struct Sender {
    name: &'static str,
    protocol: &'static str,
    compression: &'static str,
    listen: Listen,
    agent: Option<Child>,
}

impl Sender {
    fn new(name: &'static str, protocol: &'static str, compression: &'static str) -> Result<Self> {
        Ok(Self { name, protocol, compression, listen: Listen::free()?, agent: None })
    }

    /// Starts the agent.
    fn start(&mut self, agent: &Path, demo: &Demo, work: &Path) -> Result<()> {
        let address = http::free_address()?;
        let to = if self.protocol == "grpc" { self.listen.grpc } else { self.listen.http };
        let mut args = demo.agent_args();
        let flags = [
            format!("--web.listen-address={address}"),
            format!("--trace.endpoint=http://{to}"),
            format!("--trace.protocol={}", self.protocol),
            format!("--trace.compression={}", self.compression),
            "--trace.schedule-delay=200".to_owned(),
        ];
        args.extend(flags.map(Into::into));
        let log = work.join(format!("agent-{}.log", self.name));
        self.agent = Some(demo::start_agent(agent, address, &args, Some(&log))?.0);
        Ok(())
    }

    /// Ends the agent, which sends what it has left.
    fn stop(&mut self) -> Result<()> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let start = Instant::now();
        let status = agent.stop()?;
        let took = start.elapsed();
        ensure!(status.success(), "the agent for {}: {status}", self.name);
        ensure!(took < STOP, "the agent for {} took {took:?} to stop", self.name);
        Ok(())
    }
}

/// The whole check.
pub(super) fn check(
    program: &Collector,
    work: &Path,
    agent: &Path,
    with_jaeger: bool,
) -> Result<()> {
    let [grpc_dir, http_dir, rotel_dir, jaeger_dir] =
        ["export-grpc", "export-http", "export-rotel", "export-jaeger"]
            .map(|name| folder(work, name));
    let (grpc_dir, http_dir, rotel_dir) = (grpc_dir?, http_dir?, rotel_dir?);
    let mut grpc = Sender::new("grpc", "grpc", "none")?;
    let mut by_http = Sender::new("http", "http/protobuf", "gzip")?;
    let mut to_rotel = Sender::new("rotel", "grpc", "gzip")?;
    let mut receivers = Vec::new();
    for (sender, dir) in [(&grpc, &grpc_dir), (&by_http, &http_dir)] {
        let config = collector::to_file(sender.listen, dir);
        receivers.push(Child::spawn("collector", &mut program.command(dir, &config)?)?);
    }
    let rotel = rotel::program()?;
    receivers.push(Child::spawn("rotel", &mut rotel.command(&rotel_dir, to_rotel.listen)?)?);
    let jaeger = if with_jaeger {
        let (sender, api) =
            (Sender::new("jaeger", "http/protobuf", "none")?, jaeger::Api(http::free_address()?));
        let mut command = jaeger::program()?.command(&jaeger_dir?, sender.listen, api.0)?;
        Some((sender, api, Child::spawn("jaeger", &mut command)?))
    } else {
        None
    };
    let (mut to_jaeger, jaeger) =
        jaeger.map_or((None, None), |(sender, api, child)| (Some(sender), Some((api, child))));
    let demo = Demo::start(agent)?;
    let mut senders = vec![&mut grpc, &mut by_http, &mut to_rotel];
    senders.extend(to_jaeger.as_mut());
    for sender in &mut senders {
        sender.start(agent, &demo, work)?;
    }
    let from_unix_ns = now_unix_ns()?;
    // Before the end, so that it is no agent's last words.
    until("a trace that began after all agents is sent", FIRST_TRACE, || {
        let trees = otlp::trees(&collector::spans(&grpc_dir)?)?;
        Ok(trees.iter().filter(|tree| tree.root.span.start_unix_ns > from_unix_ns).count() > 2)
    })?;
    let to_unix_ns = now_unix_ns()?;
    for sender in &mut senders {
        sender.stop()?;
    }
    drop(demo);
    let trees = otlp::trees(&collector::spans(&grpc_dir)?).context("by gRPC")?;
    for tree in &trees {
        sound(tree).with_context(|| format!("trace {}:\n{}", tree.trace_id, tree.outline()))?;
    }
    // What all agents have seen from its begin to its end.
    let common = |tree: &&Tree| {
        let Span { start_unix_ns, end_unix_ns, .. } = tree.root.span;
        start_unix_ns > from_unix_ns && end_unix_ns + 1_000_000_000 < to_unix_ns
    };
    let common: Vec<&Tree> = trees.iter().filter(common).collect();
    ensure!(common.len() > 2, "{} traces in common", common.len());
    let other = otlp::trees(&collector::spans(&http_dir)?).context("by HTTP")?;
    same(&common, &other).context("by HTTP with gzip")?;
    let log = rotel::log(&rotel_dir);
    let printed = fs::read_to_string(&log).with_context(|| log.display().to_string())?;
    printed_by_rotel(&common, &rotel::spans(&printed)?)?;
    if let Some((api, mut child)) = jaeger {
        let mut other = Vec::new();
        for tree in &common {
            other.extend(api.trace(&tree.trace_id)?);
        }
        same(&common, &otlp::trees(&other)?).context("in Jaeger")?;
        child.kill()?;
    }
    println!(
        "    ok      the agent's traces: {} of {} spans to a Collector by gRPC; of them {} are the same \
         by HTTP with gzip, and by gRPC with gzip to rotel{}",
        trees.len(),
        trees.iter().map(|tree| tree.nodes().len()).sum::<usize>(),
        common.len(),
        if with_jaeger { ", and by HTTP in Jaeger" } else { "" },
    );
    Ok(())
}

/// Checks what holds of every trace of the agent.
///
/// # Errors
/// What does not hold.
pub fn sound(tree: &Tree) -> Result<()> {
    let root = &tree.root.span;
    ensure!(KINDS.contains(&root.name.as_str()), "a trace is called {:?}", root.name);
    ensure!(root.resource_text("service.name") == "podvitals", "another service");
    for key in ["k8s.pod.uid", "k8s.pod.name", "k8s.namespace.name", "podvitals.workload.name"] {
        ensure!(!root.resource_text(key).is_empty(), "its resource has no {key}");
    }
    for (_, node) in tree.nodes() {
        let span = &node.span;
        let of = || format!("span {:?}", span.name);
        ensure!(span.kind == SpanKind::Internal, "{}: {:?}", of(), span.kind);
        ensure!(span.text("podvitals.trace") == root.name, "{}: of another kind", of());
        let uid = span.text("k8s.pod.uid");
        ensure!(uid == root.resource_text("k8s.pod.uid"), "{}: of Pod {uid}", of());
        ensure!(span.resource == root.resource, "{}: another resource", of());
        ensure!(span.scope.name == "podvitals", "{}: scope {:?}", of(), span.scope);
        ensure!(span.start_unix_ns <= span.end_unix_ns, "{}: ends before it starts", of());
        let inside = |unix_ns: u64| (root.start_unix_ns..=root.end_unix_ns).contains(&unix_ns);
        ensure!(inside(span.start_unix_ns) && inside(span.end_unix_ns), "{}: outside", of());
        for event in &span.events {
            ensure!(inside(event.unix_ns), "{}: event {:?} is outside", of(), event.name);
        }
        match &span.status {
            Status::Error(message) => ensure!(!message.is_empty(), "{}: no message", of()),
            Status::Unset => {}
            Status::Ok => bail!("{}: set to ok", of()),
        }
    }
    Ok(())
}

/// Whether another receiver has these traces: the same ids, names and words, and nearly the same times,
/// since each agent has its own clock readings.
fn same(wanted: &[&Tree], has: &[Tree]) -> Result<()> {
    let has: BTreeMap<&str, &Tree> =
        has.iter().map(|tree| (tree.trace_id.as_str(), tree)).collect();
    for tree in wanted {
        let outline = tree.outline();
        let other = has.get(tree.trace_id.as_str());
        let other =
            other.with_context(|| format!("trace {} is lost:\n{outline}", tree.trace_id))?;
        for ((_, one), (_, two)) in tree.nodes().into_iter().zip(other.nodes()) {
            let (one, two) = (&one.span, &two.span);
            let what = |span: &Span| {
                (
                    span.span_id.clone(),
                    span.name.clone(),
                    span.parent_id.clone(),
                    span.resource.clone(),
                )
            };
            ensure!(what(one) == what(two), "{one:#?} is {two:#?}");
            // Jaeger has them in another order.
            let names = |span: &Span| {
                let mut names: Vec<_> = span.events.iter().map(|it| it.name.clone()).collect();
                names.sort();
                names
            };
            ensure!(names(one) == names(two), "{one:#?} is {two:#?}");
            for (one, two) in
                [(one.start_unix_ns, two.start_unix_ns), (one.end_unix_ns, two.end_unix_ns)]
            {
                ensure!(one.abs_diff(two) < APART_NS, "{one} is {two} in\n{outline}");
            }
        }
        ensure!(tree.nodes().len() == other.nodes().len(), "{outline}is\n{}", other.outline());
    }
    Ok(())
}

fn printed_by_rotel(wanted: &[&Tree], printed: &[rotel::Printed]) -> Result<()> {
    for tree in wanted {
        for (_, node) in tree.nodes() {
            let wanted = rotel::Printed::of(&node.span);
            let found = printed.iter().any(|span| {
                let near = |one: u64, two: u64| one.abs_diff(two) < APART_NS;
                let ids = |it: &rotel::Printed| {
                    (it.trace_id.clone(), it.span_id.clone(), it.parent_id.clone(), it.name.clone())
                };
                ids(span) == ids(&wanted)
                    && near(span.start_unix_ns, wanted.start_unix_ns)
                    && near(span.end_unix_ns, wanted.end_unix_ns)
            });
            ensure!(found, "rotel has no {wanted:#?}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let text = fs::read_to_string(
            crate::paths::root().join("xtask/src/waterfall/testdata/shutdown.json"),
        );
        let mut spans = otlp::from_lines(&text.unwrap()).unwrap();
        for span in &mut spans {
            let text = |text: &str| otlp::Value::Text(text.to_owned());
            span.resource.insert("k8s.pod.uid".to_owned(), text("u"));
            span.resource.insert("podvitals.workload.name".to_owned(), text("web"));
            span.attributes.insert("k8s.pod.uid".to_owned(), text("u"));
            span.attributes.insert("podvitals.trace".to_owned(), text("pod shutdown"));
        }
        otlp::trees(&spans).unwrap().remove(0)
    }

    #[test]
    fn a_trace_that_is_not_sound_is_found() {
        sound(&tree()).unwrap();
        let spoiled: [fn(&mut Tree); 9] = [
            |tree| tree.root.span.name = "other".to_owned(),
            |tree| drop(tree.root.span.resource.remove("k8s.pod.uid")),
            |tree| tree.root.children[0].span.kind = SpanKind::Server,
            |tree| drop(tree.root.children[0].span.attributes.remove("podvitals.trace")),
            |tree| drop(tree.root.children[0].span.attributes.remove("k8s.pod.uid")),
            |tree| tree.root.children[0].span.start_unix_ns -= 10_000_000_000,
            |tree| tree.root.children[0].span.end_unix_ns = 0,
            |tree| tree.root.children[0].span.events[0].unix_ns = 0,
            |tree| tree.root.span.status = Status::Error(String::new()),
        ];
        for (n, spoil) in spoiled.iter().enumerate() {
            let mut tree = tree();
            spoil(&mut tree);
            assert!(sound(&tree).is_err(), "{n}");
        }
    }

    #[test]
    fn what_a_receiver_has_otherwise_is_found() {
        let wanted = tree();
        let all = |tree: Tree| same(&[&wanted], &[tree]);
        all(wanted.clone()).unwrap();
        assert!(same(&[&wanted], &[]).is_err());
        let spoiled: [fn(&mut Tree); 5] = [
            |tree| tree.trace_id = "0".to_owned(),
            |tree| tree.root.children[0].span.span_id = "0".to_owned(),
            |tree| tree.root.span.end_unix_ns += APART_NS,
            |tree| drop(tree.root.children.pop()),
            |tree| drop(tree.root.children[0].span.events.pop()),
        ];
        for (n, spoil) in spoiled.iter().enumerate() {
            let mut tree = tree();
            spoil(&mut tree);
            assert!(all(tree).is_err(), "{n}");
        }
    }

    #[test]
    fn a_span_that_rotel_does_not_print_is_found() {
        let tree = tree();
        let mut printed: Vec<_> =
            tree.nodes().iter().map(|(_, node)| rotel::Printed::of(&node.span)).collect();
        printed_by_rotel(&[&tree], &printed).unwrap();
        printed.pop();
        assert!(printed_by_rotel(&[&tree], &printed).is_err());
    }
}
