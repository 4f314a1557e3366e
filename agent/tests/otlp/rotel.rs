//! Rotel, a receiver by others, and what it says it got. `ROTEL` names its program.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::trace::endpoint::Protocol;
use agent::trace::otlp;

use crate::receiver::{BOTH, settings, settled, trace, until};

struct Rotel {
    process: Child,
    grpc: String,
    http: String,
    said: Arc<Mutex<String>>,
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Rotel {
    fn start(program: &std::ffi::OsStr) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (grpc, http) = (free(), free());
        let mut process = Command::new(program)
            .args(["start", "--exporter", "blackhole", "--debug-log", "traces"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let said = Arc::<Mutex<String>>::default();
        let notes = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                *notes.lock().unwrap() += &(line + "\n");
            }
        });
        Self { process, grpc: format!("http://{grpc}"), http: format!("http://{http}"), said }
    }
}

#[test]
fn rotel_gets_what_was_sent() {
    let Some(program) = std::env::var_os("ROTEL") else {
        println!("SKIPPED: ROTEL names no program of rotel");
        return;
    };
    let rotel = Rotel::start(&program);
    let mut sent = Vec::new();
    for protocol in BOTH {
        for is_gzip in [false, true] {
            let url = if protocol == Protocol::Grpc { &rotel.grpc } else { &rotel.http };
            let mut settings = settings(url, protocol);
            settings.gzip = is_gzip;
            until("receiver", || otlp::probe(settings.clone()).ok());
            let handle = otlp::start(settings).unwrap();
            for n in 0..3 {
                let pod = format!("{}-gzip-{is_gzip}-{n}", protocol.name().replace('/', "-"));
                assert!(handle.queue.push(trace(&pod, 5)));
                sent.push(pod);
            }
            let stats = settled(&handle, 15);
            assert_eq!(stats.spans_exported, 15);
            assert!(stats.export_failures.iter().all(|(_, count)| *count == 0), "{stats:?}");
            handle.shutdown(Duration::from_secs(5));
        }
    }
    let said = until("spans in what rotel says", || {
        let said = rotel.said.lock().unwrap().clone();
        let all = sent.iter().all(|pod| said.contains(pod.as_str()));
        all.then_some(said)
    });
    let counted = |what: &str| said.matches(what).count();
    // 12 traces of 5 spans: each once, with its ids, names, times and attributes.
    for pod in &sent {
        assert_eq!(counted(&format!("Str({pod})")), 1, "{pod}: {said}");
    }
    println!(
        "rotel has {} traces; its words about one:\n{}",
        sent.len(),
        said.lines().take(40).collect::<Vec<_>>().join("\n")
    );
}
