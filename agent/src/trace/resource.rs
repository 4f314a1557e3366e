//! The resource of a Pod's spans, by OpenTelemetry's conventions. Pure.

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute as semconv;

use super::model::Resource;
use super::names;
use super::tree::attribute;
use crate::kube::identity::Identity;

/// The resource of a Pod. `common`: attributes of this node and of what the user has set, which give
/// way to the Pod's own.
#[must_use]
pub(super) fn of(identity: &Identity, common: &[KeyValue]) -> Resource {
    let mut attributes = vec![
        attribute(names::POD, identity.pod.clone()),
        attribute(names::POD_UID, identity.pod_uid.clone()),
        attribute(names::WORKLOAD_KIND, identity.workload_kind.clone()),
        attribute(names::WORKLOAD, identity.workload.clone()),
    ];
    if !identity.namespace.is_empty() {
        attributes.push(attribute(names::NAMESPACE, identity.namespace.clone()));
    }
    let workload = match identity.workload_kind.as_str() {
        "Deployment" => Some(semconv::K8S_DEPLOYMENT_NAME),
        "StatefulSet" => Some(semconv::K8S_STATEFULSET_NAME),
        "DaemonSet" => Some(semconv::K8S_DAEMONSET_NAME),
        "ReplicaSet" => Some(semconv::K8S_REPLICASET_NAME),
        "Job" => Some(semconv::K8S_JOB_NAME),
        "CronJob" => Some(semconv::K8S_CRONJOB_NAME),
        _ => None,
    };
    attributes.extend(workload.map(|key| KeyValue::new(key, identity.workload.clone())));
    for given in common {
        if !attributes.iter().any(|own| own.key == given.key) {
            attributes.push(given.clone());
        }
    }
    Resource { attributes }
}
