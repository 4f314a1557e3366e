//! The Collector, and what the scenarios tell of themselves.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use testbed::{otlp::Span, scrape::Scrape};
use xtask::{
    child::Child,
    otlp::{
        Listen,
        collector::{self, Collector},
    },
};

use super::known::{End, Known, Told};
use crate::cluster::{Cluster, text};

/// Where it takes OTLP/gRPC.
pub(crate) const GRPC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4317);
/// Where it takes OTLP/HTTP.
const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4318);
/// How long it may take to start.
const START: Duration = Duration::from_secs(60);
/// How long nothing may change until all is taken that an agent has sent.
const QUIET: Duration = Duration::from_secs(1);

/// The receiver, and what the scenarios know.
pub(crate) struct Traces {
    program: Collector,
    dir: PathBuf,
    child: Mutex<Option<Child>>,
    known: Mutex<Known>,
}

impl Traces {
    /// Starts the Collector.
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let dir = cluster.dir().join("traces");
        // An earlier run's.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let traces = Self {
            program: collector::program()?,
            dir,
            child: Mutex::new(None),
            known: Mutex::new(Known { agents: 1, ..Known::default() }),
        };
        traces.resume(cluster)?;
        Ok(traces)
    }

    /// Starts the Collector again, which goes on with its file.
    pub(crate) fn resume(&self, cluster: &Cluster) -> Result<()> {
        let config = collector::to_file(Listen { grpc: GRPC, http: HTTP }, &self.dir);
        let command = self.program.command(&self.dir, &config)?;
        *self.child() = Some(cluster.spawn_lasting("collector", command)?);
        cluster.wait("the Collector listens", START, || {
            if let Some(status) = self.child().as_mut().map(Child::ended).transpose()?.flatten() {
                bail!("it has ended: {status} (log: {})", collector::log(&self.dir).display());
            }
            Ok(cluster.is_open(GRPC).then_some(()))
        })
    }

    /// Ends the Collector.
    pub(crate) fn stop(&self) -> Result<()> {
        match self.child().take() {
            Some(mut child) => child.stop().map(drop),
            None => bail!("the Collector does not run"),
        }
    }

    /// What it has received so far.
    pub(crate) fn spans(&self) -> Result<Vec<Span>> {
        collector::spans(&self.dir)
    }

    /// A scenario's Pod is there.
    pub(crate) fn saw(&self, name: &str, pod: &Value) {
        self.known().seen.insert(name.to_owned(), pod.clone());
    }

    /// UID of a scenario's Pod.
    pub(crate) fn uid(&self, name: &str) -> Result<String> {
        let known = self.known();
        let uid = known.seen.get(name).and_then(|pod| text(pod, "/metadata/uid"));
        uid.map(str::to_owned).with_context(|| format!("no UID of {name}"))
    }

    /// Each container of a Pod runs.
    pub(crate) fn ran(&self, pod: &Value) {
        self.known().ran.push(pod.clone());
    }

    /// The agent has told an end of a scenario's Pod, which the API has, or not any more.
    pub(crate) fn ended(&self, name: &str, pod: Option<&Value>, end: &End) -> Result<()> {
        let mut known = self.known();
        let seen =
            pod.or_else(|| known.seen.get(name)).with_context(|| format!("no Pod {name}"))?;
        let uid = text(seen, "/metadata/uid").context("a Pod without a UID")?.to_owned();
        let can_restart = text(seen, "/spec/restartPolicy") != Some("Never");
        let stays = pod.is_some_and(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        // The kubelet counts one for an evicted Pod, whose containers it has lost sight of.
        let restarts = seen.pointer("/status/containerStatuses/0/restartCount");
        let restarts = restarts.and_then(Value::as_u64).filter(|_| can_restart).unwrap_or(0);
        let is_final = !(stays && can_restart);
        let (pod, end) = (name.to_owned(), end.clone());
        known.told.push(Told { pod, uid, is_final, restarts, end });
        Ok(())
    }

    /// A scenario's first try has failed: what was told in it may not be so.
    pub(crate) fn forget(&self, name: &str) {
        let mut known = self.known();
        known.told.retain(|told| told.pod != name);
        known.ran.retain(|pod| text(pod, "/metadata/name") != Some(name));
        known.failed.insert(name.to_owned());
    }

    /// Another agent counts what is sent from now on: the one before has ended.
    pub(crate) fn new_agent(&self, cluster: &Cluster, agent: SocketAddr) -> Result<()> {
        let counts = || -> Result<_> {
            Ok((
                self.spans()?.len(),
                exported(&Scrape::parse(&cluster.fetch(agent, "/metrics")?)?)?,
            ))
        };
        let (received, exported) = cluster.wait("no span is on its way", START, || {
            let before = counts()?;
            thread::sleep(QUIET);
            Ok((counts()? == before).then_some(before))
        })?;
        let mut known = self.known();
        known.agents += 1;
        known.earlier = received.checked_sub(exported).with_context(|| {
            format!("the new agent has sent {exported} spans, and {received} came in all")
        })?;
        Ok(())
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the scenarios know.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The spans that a receiver has taken from the agent, says the agent.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
pub(super) fn exported(scrape: &Scrape) -> Result<usize> {
    Ok(scrape.value("trace_spans_exported_total", &[])? as usize)
}
