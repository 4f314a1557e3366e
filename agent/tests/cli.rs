//! The binary as people meet it: what it says when it cannot run, and its exit status.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

use std::net::TcpListener;
use std::process::Output;

fn podvitals(arguments: &[&str]) -> Output {
    testbed::child::command(env!("CARGO_BIN_EXE_podvitals"))
        .args(arguments)
        // The machine that runs the tests may have settings of its own.
        .env_remove("PODVITALS_CGROUP_ROOT")
        .env_remove("PODVITALS_MODE")
        // An agent that runs there may have the default port.
        .env("PODVITALS_WEB_LISTEN_ADDRESS", "127.0.0.1:0")
        .output()
        .unwrap()
}

/// Standard error of a run that failed as it should.
fn refused(arguments: &[&str]) -> String {
    let output = podvitals(arguments);
    assert!(!output.status.success(), "{arguments:?} {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_directory_that_is_no_cgroup_is_refused_by_name() {
    let said = refused(&[
        "agent",
        "--cgroup.root",
        "/proc/self/fd",
        "--web.listen-address",
        "127.0.0.1:0",
    ]);
    assert!(said.contains("/proc/self/fd") && said.contains("--cgroup.root"), "{said}");
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let said = refused(&["agent", "--web.listen-address", &address]);
    assert!(said.contains(&address) && said.contains("--web.listen-address"), "{said}");
}

#[test]
fn unusable_settings_are_refused_by_name() {
    for (flag, value) in [
        ("--web.listen-address", "nowhere"),
        ("--mode", "cloud"),
        ("--pods.source", "oracle"),
        ("--api.url", "foo"),
        ("--metrics.retention", "soon"),
        ("--metrics.max-series", "-1"),
        ("--log.level", "=loud="),
        ("--log.level", ""),
        ("--cgroup.root", "/proc"),
        ("--cgroup.root", "/proc/version"),
    ] {
        let said = refused(&["agent", &format!("{flag}={value}")]);
        assert!(said.contains(flag), "{flag}: {said}");
    }
    // A value that looks like a flag is one of the flag before it all the same.
    let said = refused(&["agent", "--metrics.retention", "-1"]);
    assert!(said.contains("--metrics.retention") && said.contains("whole number"), "{said}");
    let said = refused(&["agent", "--cgroup.root", "/proc"]);
    assert!(said.contains("cgroup.controllers") && said.contains("mounted"), "{said}");
}

#[test]
fn a_variable_that_is_empty_is_not_set() {
    let help = podvitals(&["agent", "--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    let variables: Vec<_> = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split(['=', ']', ',']).next())
        .filter(|name| name.starts_with("PODVITALS_") || *name == "NODE_NAME")
        .collect();
    assert!(variables.len() > 30, "{variables:?}");
    let mut agent = testbed::child::command(env!("CARGO_BIN_EXE_podvitals"));
    agent.args(["agent", "--cgroup.root", "/no/such/directory"]);
    for variable in &variables {
        agent.env(variable, "");
    }
    let said = String::from_utf8(agent.output().unwrap().stderr).unwrap();
    assert!(said.contains("/no/such/directory"), "what is wrong is something else: {said}");
    let wrong = agent.env("PODVITALS_MODE", "cloud").output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("--mode"), "{said}");
}

#[test]
fn what_is_wrong_is_told_harmlessly() {
    for wrong in ["--mode=\u{1b}[2Jx", "--\u{1b}]0;x\u{7}", "--metrics.retention=1\r\n2\u{202e}"] {
        let said = refused(&["agent", wrong]);
        let is_harmless = |c: char| (!c.is_control() || c == '\n') && c != '\u{202e}';
        assert!(said.chars().all(is_harmless), "{said:?}");
        assert!(said.starts_with("error: "), "{said:?}");
    }
    let version = podvitals(&["--version"]);
    assert!(version.status.success() && version.stdout.starts_with(b"podvitals "), "{version:?}");
}

#[test]
fn help_tells_every_setting_and_its_variable() {
    let output = podvitals(&["agent", "--help"]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for word in ["--mode", "--cgroup.root", "--pods.log-dir", "PODVITALS_WEB_LISTEN_ADDRESS"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn check_without_a_cgroup_hierarchy_cannot_run() {
    let output = podvitals(&["check", "--cgroup.root", "/no/such/directory"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("CANNOT RUN") && said.contains("/no/such/directory"), "{said}");
}

#[test]
fn the_catalogue_is_printed() {
    let output = podvitals(&["catalogue"]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("podvitals_shutdown_duration_seconds "));
    let words: Vec<_> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[1..5], ["histogram", "workload", "shutdown", "22"], "{said}");
    let output = podvitals(&["catalogue", "--json"]);
    assert!(output.stdout.starts_with(b"[\n  {\n"));
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_no_panic() {
    for command in ["catalogue", "check"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let child = testbed::child::command(env!("CARGO_BIN_EXE_podvitals"))
            .arg(command)
            .stdout(full)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{command}");
        assert!(said.contains("cannot write to the standard output"), "{command}: {said}");
        assert!(!said.contains("panicked"), "{command}: {said}");
    }
}

#[test]
fn check_names_the_iterator_only_where_it_loads() {
    let text = String::from_utf8(podvitals(&["check"]).stdout).unwrap();
    let has = |start: &str, part: &str| {
        text.lines().any(|line| line.starts_with(start) && line.contains(part))
    };
    assert!(!has("values", "iterator run") || has("program cgroup_iter", " loads"), "{text}");
}
