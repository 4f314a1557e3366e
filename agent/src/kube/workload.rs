//! Workloads: the object that a Pod belongs to, over rollouts and runs.
//!
//! Owners of owners are not requested from the API: their names follow from the way in which
//! controllers name their objects, and from what they write on the Pod. All such ways are in
//! [`above`]. Where the chain cannot be known, the workload is the direct owner.

use super::wire::{Metadata, OwnerReference};

/// Kind and name of the workload that a Pod belongs to: the Pod itself without an owner.
///
/// The mirror of a static Pod is owned by its Node, which has no influence on how the Pod stops.
pub(super) fn of(pod: &Metadata, created_unix_s: Option<i64>) -> (&str, &str) {
    let owners = pod.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner.filter(|owner| owner.kind != "Node") else {
        return ("Pod", pod.name.as_deref().unwrap_or_default());
    };
    above(owner, pod, created_unix_s)
        .filter(|(_, name)| !name.is_empty())
        .unwrap_or((&owner.kind, &owner.name))
}

/// The owner of a Pod's owner, if its name is known.
fn above<'a>(
    owner: &'a OwnerReference,
    pod: &Metadata,
    created_unix_s: Option<i64>,
) -> Option<(&'static str, &'a str)> {
    let labels = pod.labels.as_ref();
    let annotations = pod.annotations.as_ref();
    match owner.kind.as_str() {
        // Controllers name a ReplicaSet after the hash of its template, and put the hash on its
        // Pods (pkg/controller/deployment/sync.go, `getNewReplicaSet`, Kubernetes 1.37; Argo
        // Rollouts 1.8, rollout/sync.go, `createDesiredReplicaSet`).
        "ReplicaSet" => [
            ("Rollout", labels?.rollouts_pod_template_hash.as_deref()),
            ("Deployment", labels?.pod_template_hash.as_deref()),
        ]
        .into_iter()
        .find_map(|(kind, hash)| Some((kind, before(&owner.name, hash?)?))),
        // OpenShift numbers the ReplicationControllers of a DeploymentConfig, and writes its name
        // on their Pods.
        "ReplicationController" => {
            let config = annotations?.deployment_config.as_deref()?;
            let (name, version) = owner.name.rsplit_once('-')?;
            (name == config && is_number(version)).then_some(("DeploymentConfig", name))
        }
        "Job" => Some(("CronJob", cron_job(&owner.name, created_unix_s)?)),
        _ => None,
    }
}

/// The name before `-` and this hash.
fn before<'a>(name: &'a str, hash: &str) -> Option<&'a str> {
    name.strip_suffix(hash)?.strip_suffix('-').filter(|_| !hash.is_empty())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// The CronJob that created a Job of this name.
///
/// The controller names a Job after the minute for which it was scheduled, since 1970
/// (`pkg/controller/cronjob/cronjob_controllerv2.go`, `getJobName`, Kubernetes 1.37). A number or
/// date in a name that humans chose is no minute near the Pod's creation.
fn cron_job(job: &str, created_unix_s: Option<i64>) -> Option<&str> {
    /// Limit for a Job that is late or retries for long.
    const NEAR_S: u64 = 90 * 24 * 3600;
    let (name, minutes) = job.rsplit_once('-')?;
    let digits = minutes.len() >= 8 && is_number(minutes);
    let due_unix_s = minutes.parse::<i64>().ok()?.checked_mul(60)?;
    let near = created_unix_s.is_none_or(|created| created.abs_diff(due_unix_s) <= NEAR_S);
    (digits && near).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Creation of the Pods: minute 29,892,961.
    const CREATED_UNIX_S: i64 = 1_793_577_660;

    /// Workload of a Pod with this owner, and with this label or annotation.
    fn workload(kind: &str, name: &str, written: (&str, &str)) -> (String, String) {
        let (key, value) = written;
        let pod = json!({
            "name": "the-pod",
            "labels": {key: value, "app": "cart"},
            "annotations": {key: value},
            "ownerReferences": [
                {"apiVersion": "example.org/v1", "kind": "Watcher", "name": "w", "uid": "u0"},
                {"apiVersion": "v1", "kind": kind, "name": name, "uid": "u1", "controller": true},
            ],
        });
        let pod: Metadata = serde_json::from_value(pod).unwrap();
        let (kind, name) = of(&pod, Some(CREATED_UNIX_S));
        (kind.to_owned(), name.to_owned())
    }

    #[test]
    fn a_workload_outlives_its_rollouts_and_runs() {
        const HASH: &str = "pod-template-hash";
        const ARGO: &str = "rollouts-pod-template-hash";
        const CONFIG: &str = "openshift.io/deployment-config.name";
        const NONE: &str = "none";
        for (kind, name, written, workload_kind, workload_name) in [
            ("ReplicaSet", "web-7d4b9c6f5", (HASH, "7d4b9c6f5"), "Deployment", "web"),
            ("ReplicaSet", "a-b-c", (HASH, "c"), "Deployment", "a-b"),
            ("ReplicaSet", "cart-6d4c9f7b8", (ARGO, "6d4c9f7b8"), "Rollout", "cart"),
            ("ReplicaSet", "cart-7f9b5c6d4", (ARGO, "7f9b5c6d4"), "Rollout", "cart"),
            // The chain is not known: the direct owner.
            ("ReplicaSet", "foo-abc", (NONE, ""), "ReplicaSet", "foo-abc"),
            ("ReplicaSet", "foo-abc", (HASH, "xyz"), "ReplicaSet", "foo-abc"),
            ("ReplicaSet", "foo-abc", (ARGO, "bc"), "ReplicaSet", "foo-abc"),
            ("ReplicaSet", "foo-abc", ("hash", "abc"), "ReplicaSet", "foo-abc"),
            ("ReplicaSet", "fooabc", (HASH, "abc"), "ReplicaSet", "fooabc"),
            ("ReplicaSet", "-abc", (HASH, "abc"), "ReplicaSet", "-abc"),
            ("ReplicaSet", "foo-", (HASH, ""), "ReplicaSet", "foo-"),
            ("ReplicationController", "shop-12", (CONFIG, "shop"), "DeploymentConfig", "shop"),
            ("ReplicationController", "a-1-2", (CONFIG, "a-1"), "DeploymentConfig", "a-1"),
            ("ReplicationController", "shop-12", (NONE, ""), "ReplicationController", "shop-12"),
            ("ReplicationController", "shop-12", (CONFIG, "x"), "ReplicationController", "shop-12"),
            (
                "ReplicationController",
                "shop-x",
                (CONFIG, "shop"),
                "ReplicationController",
                "shop-x",
            ),
            ("ReplicationController", "shop-", (CONFIG, "shop"), "ReplicationController", "shop-"),
            ("ReplicationController", "-1", (CONFIG, ""), "ReplicationController", "-1"),
            ("Job", "report-29892960", (NONE, ""), "CronJob", "report"),
            ("Job", "import-20241105", (NONE, ""), "Job", "import-20241105"),
            ("Job", "import-1", (NONE, ""), "Job", "import-1"),
            ("Job", "import", (NONE, ""), "Job", "import"),
            ("Job", "import-+2989296", (NONE, ""), "Job", "import-+2989296"),
            ("Job", "i-99999999999999999999", (NONE, ""), "Job", "i-99999999999999999999"),
            // Owners of Pods that carry a template's hash as well.
            ("DaemonSet", "web-abc", (HASH, "abc"), "DaemonSet", "web-abc"),
            (
                "StatefulSet",
                "db",
                ("controller-revision-hash", "db-5d8f7c9b6"),
                "StatefulSet",
                "db",
            ),
            ("CloneSet", "kruise-abc", (HASH, "abc"), "CloneSet", "kruise-abc"),
            ("Workflow", "etl-x7k2p", (NONE, ""), "Workflow", "etl-x7k2p"),
            ("Node", "n1", (NONE, ""), "Pod", "the-pod"),
        ] {
            let expected = (workload_kind.to_owned(), workload_name.to_owned());
            assert_eq!(workload(kind, name, written), expected, "{kind} {name} {written:?}");
        }
    }

    #[test]
    fn a_pod_without_a_controller_is_its_own_workload() {
        for owners in ["null", "[]", r#"[{"kind":"Watcher","name":"w","uid":"u"}]"#] {
            let pod = format!(r#"{{"name":"lone","ownerReferences":{owners}}}"#);
            let pod: Metadata = serde_json::from_str(&pod).unwrap();
            assert_eq!(of(&pod, None), ("Pod", "lone"), "{owners}");
        }
    }
}
