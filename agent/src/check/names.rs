//! Names of Pods: whether their source can be used, and its files be read.

use std::io::ErrorKind;
use std::path::Path;

use super::finding::{Finding, Verdict};
use crate::cgroup::{role::Mode, tree::Tree, walk};
use crate::cli::PodsArgs;
use crate::kernel::cgroup_mount;
use crate::kube::client::{Endpoint, Trust};
use crate::kube::contact;
use crate::kube::credentials::check_authority;
use crate::kube::source::{self, Chosen};

const NAMES: &str = "names";
const LOST: &str = "owners, images, requests, grace periods and triggers";

/// Examines the source of names, and the files it needs, with the capabilities that this thread
/// has. The source is asked once.
pub(super) fn check(args: &PodsArgs, root: Option<&Path>) -> Vec<Finding> {
    let unified = || cgroup_mount::find().ok()?.unified;
    let root = root.map(Path::to_owned).or_else(unified);
    // A host without Pods lacks nothing.
    let has_pods = root.is_some_and(|root| has_pods(&root));
    let mut findings = Vec::new();
    let endpoint = source::choose(args.source, args.surroundings())
        .and_then(|chosen| Ok((args.endpoint(&chosen)?, chosen)));
    match endpoint {
        Ok((None, chosen)) if has_pods && matches!(chosen, Chosen::None(_)) => {
            let lost = format!("{LOST}; in a Pod, give it a service account and NODE_NAME");
            let found = chosen.describe();
            findings.push(Finding::bad(NAMES, Verdict::Degraded, found, &lost));
        }
        Ok((None, chosen)) => findings.push(Finding::ok(NAMES, chosen.describe())),
        Ok((Some(endpoint), chosen)) => {
            let files = check_endpoint(&endpoint);
            if files.iter().all(|finding| finding.verdict != Verdict::Fatal) {
                findings.push(check_answer(&endpoint, &chosen));
            }
            findings.extend(files);
        }
        Err(error) => {
            findings.push(Finding::bad(NAMES, Verdict::Fatal, error.to_string(), LOST));
        }
    }
    findings.push(check_log_dir(&args.log_dir, has_pods));
    findings
}

/// Whether Pods have cgroups here.
pub(super) fn has_pods(root: &Path) -> bool {
    let mut tree = Tree::new(Mode::Auto);
    tree.insert_all(root, &walk::walk(root).0);
    tree.has_kubepods()
}

fn check_answer(endpoint: &Endpoint, chosen: &Chosen) -> Finding {
    let source = chosen.describe();
    match contact::ask(chosen, endpoint) {
        Ok(()) => Finding::ok(NAMES, format!("{source}: it answers")),
        Err(why) => Finding::bad(NAMES, Verdict::Degraded, format!("{source}: {why}"), LOST),
    }
}

fn check_endpoint(endpoint: &Endpoint) -> Vec<Finding> {
    let token = match endpoint.token.as_ref().map(|file| (file.path.display(), file.check())) {
        None => Finding::ok("token", "none is sent without TLS"),
        Some((_, Ok(false))) => Finding::ok("token", "none: no file is named, and no Pod has one"),
        Some((file, Ok(true))) => Finding::ok("token", format!("{file}: readable")),
        Some((_, Err(error))) => Finding::bad("token", Verdict::Degraded, error, LOST),
    };
    let mut findings = vec![token];
    if let (Some("https"), Trust::Authority(file)) = (endpoint.url.scheme_str(), &endpoint.trust) {
        findings.push(match check_authority(file) {
            Ok(()) => Finding::ok("CA certificates", format!("{}: readable", file.display())),
            Err(error) => {
                Finding::bad("CA certificates", Verdict::Fatal, format!("{error:#}"), "all")
            }
        });
    }
    findings
}

fn check_log_dir(dir: &Path, has_pods: bool) -> Finding {
    const WHAT: &str = "log links";
    let found = dir.display();
    match std::fs::read_dir(dir).map(Iterator::count) {
        Ok(links) => Finding::ok(WHAT, format!("{found}: {links}")),
        Err(error) if error.kind() == ErrorKind::NotFound && !has_pods => {
            Finding::ok(WHAT, format!("{found}: not there, and no Pods"))
        }
        Err(error) => {
            let lost = "names while the Pod source does not answer (--pods.log-dir)";
            Finding::bad(WHAT, Verdict::Degraded, format!("{found}: {error}"), lost)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    /// The findings for these flags, as their names and verdicts.
    fn found(flags: &[&str]) -> Vec<(String, Verdict)> {
        let cli = Cli::try_parse_from(["podvitals", "check"].iter().chain(flags)).unwrap();
        let Some(Command::Check(args)) = cli.command else { panic!("{cli:?}") };
        let root = tempfile::tempdir().unwrap();
        let findings = check(&args.pods, Some(root.path()));
        findings.into_iter().map(|finding| (finding.what, finding.verdict)).collect()
    }

    #[test]
    fn files_are_tried() {
        const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kube/testdata/ca.pem");
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().to_str().unwrap();
        let (file, missing) = (&format!("{dir}/token"), &format!("{dir}/missing"));
        std::fs::write(file, "token").unwrap();
        let api = |url, token, ca, logs| {
            let flags = ["--api.url", url, "--node.name", "n1", "--pods.token-file", token];
            let files = ["--api.ca-file", ca, "--pods.log-dir", logs];
            let found = found(&[&flags[..], &files[..]].concat());
            found.into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>()
        };
        use Verdict::{Degraded, Fatal, Ok};
        // Nobody listens there.
        assert_eq!(api("https://127.0.0.1:1", file, CA, dir), [Degraded, Ok, Ok, Ok]);
        assert_eq!(api("https://127.0.0.1:1", missing, file, dir), [Degraded, Fatal, Ok]);
        assert_eq!(api("http://127.0.0.1:1", file, missing, file), [Degraded, Ok, Degraded]);
        assert_eq!(api("http://192.0.2.1", file, CA, missing), [Fatal, Ok]);
    }

    #[test]
    fn a_host_without_pods_lacks_nothing() {
        let flags = ["--pods.source", "none", "--pods.log-dir", "/no/such/directory"];
        let expected = [("names", Verdict::Ok), ("log links", Verdict::Ok)];
        assert_eq!(found(&flags), expected.map(|(what, verdict)| (what.to_owned(), verdict)));
    }
}
