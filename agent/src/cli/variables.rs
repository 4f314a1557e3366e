//! Environment variables: which of them are settings, and which only seem to be.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::Command;
use clap::builder::Resettable;

/// Begin of the name of each setting that is the agent's own.
const PREFIX: &str = "PODVITALS_";

/// The command, which takes a variable that is empty as one that is not set: templates leave those
/// without a value empty.
pub(super) fn without_empty(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            let is_empty = value.is_some_and(|value| value.is_empty());
            if is_empty { arg.env(Resettable::Reset) } else { arg }
        })
        .mut_subcommands(without_empty)
}

/// Variables that look like settings of this command and are none: most likely they are misspelt.
pub(super) fn unknown(command: &Command, names: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut known = BTreeSet::new();
    collect(command, &mut known);
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let names = names.filter(|name| name.starts_with(PREFIX) && !is_of_a_service(name));
    names.filter(|name| !known.contains(name)).collect()
}

fn collect(command: &Command, known: &mut BTreeSet<String>) {
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    known.extend(names.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|command| collect(command, known));
}

/// Whether the kubelet makes such a variable, for a Service whose name begins with `podvitals`
/// (`pkg/kubelet/envvars/envvars.go`, Kubernetes 1.37).
fn is_of_a_service(name: &str) -> bool {
    let is_part = |part| name.contains(part);
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || is_part("_SERVICE_PORT")
        || is_part("_PORT_")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn what_is_misspelt_is_found() {
        let unknown = |names: &[&str]| unknown(&Cli::command(), names.iter().map(OsString::from));
        let settings = [
            "PODVITALS_MODE",
            "PODVITALS_COLLECTOR_PROBES",
            "PODVITALS_TRACE_MIN_DURATION",
            "PODVITALS_KUBELET_ADDRESS",
            "NODE_NAME",
            "PATH",
        ];
        assert!(unknown(&settings).is_empty());
        let of_services = [
            "PODVITALS_SERVICE_HOST",
            "PODVITALS_PORT",
            "PODVITALS_METRICS_SERVICE_PORT_HTTP",
            "PODVITALS_PORT_9550_TCP_ADDR",
        ];
        assert!(unknown(&of_services).is_empty());
        let wrong = ["PODVITALS_COLLECTOR_PRBES", "PODVITALS_METRICS_LINGER"];
        assert_eq!(unknown(&wrong), wrong);
    }

    #[test]
    fn no_setting_looks_like_a_services_variable() {
        let mut known = BTreeSet::new();
        collect(&Cli::command(), &mut known);
        assert!(known.len() > 30 && !known.iter().any(|name| is_of_a_service(name)), "{known:?}");
    }
}
