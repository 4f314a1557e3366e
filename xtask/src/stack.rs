//! `cargo xtask stack`: the agent on this very machine, with a real Prometheus and a real
//! Alertmanager that have what `deploy/` has for them.

mod check;
mod live;
mod screen;

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use testbed::agent::until;

pub(crate) use self::check::check;
use self::{
    live::{Live, Seen, What},
    screen::{INTERVAL_S, Pages, Screen},
};
use crate::{
    build,
    child::Child,
    demo::{self, Demo},
    monitoring::{
        self, alertmanager, prometheus,
        scrape_config::{self, Target},
        webhook::Webhook,
    },
    parts::{self, Release},
    paths, ports, stop,
    terminal::{say, try_say},
};

/// Usual ports: the servers' own.
const PROMETHEUS: u16 = 9090;
const ALERTMANAGER: u16 = 9093;
/// Time after the first scrape by when each rule has been evaluated with it: before, they miss the
/// agent.
const SETTLED: Duration = Duration::from_secs(INTERVAL_S + 1);
/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);
/// How often a start is looked at, and how often the servers are asked afterwards.
const START_POLL: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_secs(1);
/// How long the servers may give no answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// `--once`: time until an alert fires, and time until one is delivered.
const FIRST_FIRES: Duration = Duration::from_secs(120);
const FIRST_DELIVERED: Duration = Duration::from_secs(180);

/// Arguments of `cargo xtask stack`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop so many seconds after the start instead of at Ctrl-C.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Stop as soon as an alert has been delivered; fail if none fires within two minutes.
    #[arg(long)]
    once: bool,
    /// Start this binary instead of building one.
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Watch the demo even if containers run here.
    #[arg(long)]
    demo: bool,
    /// Port of the agent [default: 9550, or any if that is taken].
    #[arg(long = "agent.port", value_name = "PORT")]
    agent_port: Option<u16>,
    /// Port of Prometheus [default: 9090, or any if that is taken].
    #[arg(long = "prometheus.port", value_name = "PORT")]
    prometheus_port: Option<u16>,
    /// Port of Alertmanager [default: 9093, or any if that is taken].
    #[arg(long = "alertmanager.port", value_name = "PORT")]
    alertmanager_port: Option<u16>,
}

/// `cargo xtask stack`
pub(crate) fn command(args: &Args) -> Result<()> {
    demo::check_root()?;
    let agent = match &args.agent {
        Some(agent) => paths::absolute(agent)?,
        None => build::dynamic_release()?.agent,
    };
    let (mut stack, screen) = Stack::start(&agent, args)?;
    say(format_args!("\nAll runs:\n\n{screen}"))?;
    let ending = stack.watch(args)?;
    try_say(format_args!("{ending}: stopping"));
    stack.stop()?;
    try_say("all has ended");
    Ok(())
}

/// All that runs. Dropped, it ends from the top.
struct Stack {
    /// When the first of it was started; what is fetched and built before takes its own time.
    started: Instant,
    prometheus: Child,
    alertmanager: Child,
    agent: Child,
    demo: Option<Demo>,
    webhook: Webhook,
    prometheus_api: prometheus::Api,
    alertmanager_api: alertmanager::Api,
    /// Folder with the logs.
    logs: PathBuf,
}

impl Stack {
    /// Starts everything, and waits until each answers.
    fn start(agent: &Path, args: &Args) -> Result<(Self, Screen)> {
        // The fetching first: what is slow and may fail is done before anything runs.
        let programs = parts::prometheus(Release::Oldest)?;
        let alertmanager_program = parts::alertmanager(Release::Newest)?;
        let agent_port = ports::choose("the agent", args.agent_port, ports::AGENT)?;
        let prometheus_port = ports::choose("Prometheus", args.prometheus_port, PROMETHEUS)?;
        let alertmanager_port =
            ports::choose("Alertmanager", args.alertmanager_port, ALERTMANAGER)?;
        // Its port is Prometheus' own: so two stacks do not share a folder.
        let dir = paths::work(&format!("stack/{}", prometheus_port.address.port()))?;

        let started = Instant::now();
        let demo = Demo::start_unless_busy(agent, args.demo)?;
        say("starting the agent …")?;
        let mut agent_args = demo::agent_args(demo.as_ref());
        let agent_address = agent_port.release();
        agent_args.extend(["--web.listen-address".into(), agent_address.to_string().into()]);
        let log = dir.join("agent.log");
        let (agent, _) = demo::start_agent(agent, agent_address, &agent_args, Some(&log))?;

        say(format_args!("starting Alertmanager {} …", alertmanager_program.version))?;
        let webhook = Webhook::on_loopback()?;
        let config = alertmanager::example(webhook.address())?;
        let alertmanager_address = alertmanager_port.release();
        let mut command =
            alertmanager::command(&alertmanager_program, &dir, alertmanager_address, &config)?;
        let mut alertmanager = Child::spawn("alertmanager", &mut command)?;
        let alertmanager_api = alertmanager::Api(alertmanager_address);
        wait_ready("Alertmanager", &mut alertmanager, &dir, || alertmanager_api.ready())?;

        say(format_args!("starting Prometheus {} …", programs.version))?;
        let node = nix::unistd::gethostname().context("the host's name")?;
        let target = Target::agent(agent_address.to_string(), &node.to_string_lossy());
        let prometheus_address = prometheus_port.release();
        let config = prometheus::Config {
            listen: prometheus_address,
            interval_s: INTERVAL_S,
            scrape_configs: scrape_config::shipped(&scrape_config::targets(&[target]))?,
            rules: vec![monitoring::rules()],
            alertmanager: Some(alertmanager_address),
        };
        let mut command = config.command(programs.command(), &dir)?;
        let mut prometheus = Child::spawn("prometheus", &mut command)?;
        let prometheus_api = prometheus::Api(prometheus_address);
        wait_ready("Prometheus", &mut prometheus, &dir, || prometheus_api.ready())?;

        let screen = Screen {
            agent: agent_address,
            prometheus: prometheus_address,
            alertmanager: alertmanager_address,
            promtool: programs.promtool,
            amtool: alertmanager_program.amtool,
            logs: dir.clone(),
            pages: Pages::look(prometheus_address, alertmanager_address),
            is_demo: demo.is_some(),
        };
        let stack = Self {
            started,
            prometheus,
            alertmanager,
            agent,
            demo,
            webhook,
            prometheus_api,
            alertmanager_api,
            logs: dir,
        };
        Ok((stack, screen))
    }

    /// Shows each change of an alert until there is a reason to stop, and tells it.
    fn watch(&mut self, args: &Args) -> Result<String> {
        let mut live = Live::default();
        let mut notifications = 0;
        let mut answered = Instant::now();
        let mut scraped = None;
        let mut fires = false;
        loop {
            if let Some(signal) = stop::signal() {
                return Ok(signal.to_string());
            }
            stop::check()?;
            self.check()?;
            let at = self.started.elapsed();
            let look = if scraped.is_some_and(|since: Instant| since.elapsed() > SETTLED) {
                self.look(&mut notifications)
            } else {
                let up = self.prometheus_api.value("up == 1");
                scraped = scraped.or_else(|| up.ok().flatten().map(|_| Instant::now()));
                Ok(Seen::default())
            };
            match look {
                Err(error) if answered.elapsed() > PATIENCE => {
                    return Err(error.context(format!("no answer for {PATIENCE:?}")));
                }
                // A busy machine; the next look may have it.
                Err(_) => {}
                Ok(seen) => {
                    answered = Instant::now();
                    let mut delivered = false;
                    for change in live.update(seen) {
                        say(format_args!("[{:7.1} s] {change}", at.as_secs_f64()))?;
                        fires |= change.what == What::Firing;
                        delivered |= matches!(change.what, What::Notified(_));
                    }
                    if args.once && delivered {
                        return Ok("an alert has been delivered".to_owned());
                    }
                }
            }
            if args.once && !fires && at > FIRST_FIRES {
                bail!("no alert fired within {FIRST_FIRES:?}");
            }
            if args.once && at > FIRST_DELIVERED {
                bail!("no alert was delivered within {FIRST_DELIVERED:?}");
            }
            if args.seconds.is_some_and(|seconds| at >= Duration::from_secs(seconds)) {
                return Ok("time is up".to_owned());
            }
            thread::sleep(POLL);
        }
    }

    /// What the servers say, and the notifications that are new.
    fn look(&self, notifications: &mut usize) -> Result<Seen> {
        let prometheus = self.prometheus_api.alerts()?;
        let alertmanager = self.alertmanager_api.alerts()?;
        let new = self.webhook.received(*notifications);
        *notifications += new.len();
        Ok(Seen { prometheus, alertmanager, notifications: new })
    }

    /// Fails if something has ended by itself.
    fn check(&mut self) -> Result<()> {
        let servers = [
            ("podvitals agent", &mut self.agent),
            ("prometheus", &mut self.prometheus),
            ("alertmanager", &mut self.alertmanager),
        ];
        for (name, server) in servers {
            if let Some(status) = server.ended()? {
                bail!("{name} ended by itself: {status}; its log is in {}", self.logs.display());
            }
        }
        if let Some(demo) = &mut self.demo
            && let Some(status) = demo.ended()?
        {
            bail!("podvitals demo ended by itself: {status}");
        }
        Ok(())
    }

    /// Ends everything in order.
    fn stop(mut self) -> Result<()> {
        self.prometheus.stop()?;
        self.alertmanager.stop()?;
        let status = self.agent.stop()?;
        if !status.success() {
            bail!("podvitals agent: {status}");
        }
        Ok(())
    }
}

/// Waits until a server is ready, and fails with its log if it ends.
fn wait_ready(
    name: &str,
    server: &mut Child,
    dir: &Path,
    ready: impl FnMut() -> Result<()>,
) -> Result<()> {
    let alive = || match server.ended()? {
        Some(status) => bail!("it ended ({status}); its log is in {}", dir.display()),
        None => stop::check(),
    };
    until(START, START_POLL, alive, ready).context(name.to_owned())
}
