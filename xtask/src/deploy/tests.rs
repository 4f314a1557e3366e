use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::*;
use crate::image;

/// The base's files in the order of their use.
const BASE: [&str; 3] = ["namespace.yaml", "rbac.yaml", "daemonset.yaml"];
const FLAT: &str = "deploy/daemonset.yaml";
const FLAT_HEAD: &str = "\
# All that Podvitals needs in a cluster: kubectl apply --filename deploy/daemonset.yaml
# Written from deploy/base/; a change by hand is lost.

";

fn text(path: &str) -> String {
    fs::read_to_string(paths::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a file.
fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is deployed, by kind.
fn deployed() -> BTreeMap<String, Value> {
    let documents = documents(FLAT);
    let count = documents.len();
    let by_kind: BTreeMap<String, Value> =
        documents.into_iter().map(|it| (it["kind"].as_str().unwrap().to_owned(), it)).collect();
    assert_eq!(by_kind.len(), count, "one of each kind");
    by_kind
}

/// Every key anywhere in `value`.
fn keys(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| std::iter::once(key.as_str()).chain(keys(value)))
            .collect(),
        Value::Array(list) => list.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_flat_file_is_the_base() {
    let base = BASE.map(|file| text(&format!("deploy/base/{file}"))).join("---\n");
    let flat = format!("{FLAT_HEAD}{base}");
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(paths::root().join(FLAT), &flat).unwrap();
    }
    assert_eq!(text(FLAT), flat, "UPDATE_GOLDEN=1 rewrites {FLAT}");
    let kustomization = &documents("deploy/base/kustomization.yaml")[0];
    assert_eq!(kustomization["resources"], json!(BASE));
}

#[test]
fn rbac_is_pods_read_only() {
    let deployed = deployed();
    let kinds: Vec<&str> = deployed.keys().map(String::as_str).collect();
    let expected =
        ["ClusterRole", "ClusterRoleBinding", "DaemonSet", "Namespace", "ServiceAccount"];
    assert_eq!(kinds, expected);
    let rules = &deployed["ClusterRole"]["rules"];
    let only = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] },
    ]);
    assert_eq!(rules, &only);
    let name = &deployed["ClusterRole"]["metadata"]["name"];
    let binding = &deployed["ClusterRoleBinding"];
    assert_eq!(&binding["roleRef"]["name"], name);
    let account = &deployed["ServiceAccount"]["metadata"];
    let subject = json!({
        "kind": "ServiceAccount",
        "name": account["name"],
        "namespace": account["namespace"],
    });
    assert_eq!(binding["subjects"], json!([subject]));
    let pod = &deployed["DaemonSet"]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], account["name"]);
    let namespace = &deployed["Namespace"]["metadata"];
    assert_eq!(account["namespace"], namespace["name"]);
    assert_eq!(deployed["DaemonSet"]["metadata"]["namespace"], namespace["name"]);
    assert_eq!(namespace["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
}

#[test]
fn the_pod_has_no_right_too_many() {
    let daemon_set = &deployed()["DaemonSet"];
    for forbidden in ["hostPID", "hostNetwork", "hostIPC", "privileged", "hostPort", "procMount"] {
        assert!(!keys(daemon_set).contains(&forbidden), "{forbidden}");
    }
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(
        pod["securityContext"],
        json!({
            "runAsNonRoot": true,
            "runAsUser": image::USER,
            "runAsGroup": image::USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        })
    );
    let [container] = pod["containers"].as_array().unwrap().as_slice() else { panic!("{pod}") };
    assert!(pod.get("initContainers").is_none());
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["BPF", "PERFMON", "NET_ADMIN"] },
        })
    );
    let mut paths = Vec::new();
    for mount in container["volumeMounts"].as_array().unwrap() {
        assert_eq!(mount["readOnly"], true, "{mount}");
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        assert_eq!(volume["hostPath"]["path"], mount["mountPath"]);
        assert_eq!(volume["hostPath"]["type"], "Directory");
        paths.push(mount["mountPath"].as_str().unwrap());
    }
    assert_eq!(paths, ["/sys/fs/cgroup", "/var/log/containers"]);
    assert_eq!(pod["volumes"].as_array().unwrap().len(), paths.len());
}

#[test]
fn every_node_has_one_and_its_probes_fit_the_image() {
    let daemon_set = &deployed()["DaemonSet"];
    let spec = &daemon_set["spec"];
    assert_eq!(spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "10%");
    assert_eq!(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
    let container = &pod["containers"][0];
    assert_eq!(container["image"], image::AGENT);
    assert_eq!(format!("{}/tcp", container["ports"][0]["containerPort"]), image::PORT);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
    }
    let node = json!({ "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } });
    assert_eq!(container["env"], json!([node]));
}

#[test]
fn both_scrapes_keep_the_labels_and_name_the_node() {
    let monitor = &documents("deploy/podmonitor.yaml")[0]["spec"];
    let endpoint = &monitor["podMetricsEndpoints"][0];
    assert_eq!(endpoint["honorLabels"], true);
    let labels = &deployed()["DaemonSet"]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&monitor["selector"]["matchLabels"], labels);
    let node = json!({
        "sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node",
    });
    assert!(endpoint["relabelings"].as_array().unwrap().contains(&node));

    let job = &documents(SCRAPE_CONFIG)[0]["scrape_configs"][0];
    assert_eq!(job["honor_labels"], true);
    // One job, by whichever of the two: the rules name it.
    assert_eq!(labels[monitor["jobLabel"].as_str().unwrap()], job["job_name"]);
    let node = json!({
        "source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node",
    });
    assert!(job["relabel_configs"].as_array().unwrap().contains(&node));
    let keep = &job["relabel_configs"][0]["regex"];
    let name = labels["app.kubernetes.io/name"].as_str().unwrap();
    assert_eq!(keep, &format!("{name};{}", endpoint["port"].as_str().unwrap()));
    // The operator leaves out by itself what has ended.
    let ended = json!({
        "source_labels": ["__meta_kubernetes_pod_phase"],
        "regex": "Succeeded|Failed",
        "action": "drop",
    });
    assert!(job["relabel_configs"].as_array().unwrap().contains(&ended));
}

#[test]
fn the_network_policy_is_about_the_pod_and_its_port() {
    let [policy] = documents("deploy/networkpolicy.yaml").try_into().unwrap();
    let daemon_set = &deployed()["DaemonSet"];
    assert_eq!(policy["metadata"]["namespace"], daemon_set["metadata"]["namespace"]);
    let labels = &daemon_set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    let [rule] = policy["spec"]["ingress"].as_array().unwrap().as_slice() else {
        panic!("{policy}")
    };
    let port = &daemon_set["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"];
    assert_eq!(rule["ports"], json!([{ "protocol": "TCP", "port": port }]));
    let [from] = rule["from"].as_array().unwrap().as_slice() else { panic!("{rule}") };
    assert!(from["namespaceSelector"].is_object() && from["podSelector"].is_object());
}

/// The folders below a folder of `deploy/`, and what their `kustomization.yaml` has.
fn kustomizations(folder: &str) -> BTreeMap<String, Value> {
    let folder = paths::root().join("deploy").join(folder);
    let read = |dir: fs::DirEntry| {
        let text = fs::read_to_string(dir.path().join("kustomization.yaml")).unwrap();
        (dir.file_name().into_string().unwrap(), serde_saphyr::from_str(&text).unwrap())
    };
    fs::read_dir(folder).unwrap().map(|dir| read(dir.unwrap())).collect()
}

#[test]
fn an_overlay_is_the_base_with_the_component_of_its_name() {
    let components = kustomizations("components");
    let patching = components.iter().filter(|(_, it)| it.get("patches").is_some());
    let patching: Vec<&String> = patching.map(|(name, _)| name).collect();
    let overlays = kustomizations("overlays");
    assert_eq!(overlays.keys().collect::<Vec<_>>(), patching);
    for (name, overlay) in overlays {
        let made = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["../../base"],
            "components": [format!("../../components/{name}")],
        });
        assert_eq!(overlay, made);
    }
}

#[test]
fn components_change_what_is_there_and_each_something_else() {
    let deployed = deployed();
    let container_names = |daemon_set: &Value| -> Vec<Value> {
        let containers = &daemon_set["spec"]["template"]["spec"]["containers"];
        containers.as_array().unwrap().iter().map(|it| it["name"].clone()).collect()
    };
    // What is changed, by name of the variable or path of the field: two components that change the
    // same thing could not be combined.
    let mut changed: Vec<String> = Vec::new();
    let mut patches = 0;
    for (name, component) in kustomizations("components") {
        assert_eq!(component["kind"], "Component", "{name}");
        for patch in component["patches"].as_array().into_iter().flatten() {
            patches += 1;
            let body: Value = serde_saphyr::from_str(patch["patch"].as_str().unwrap()).unwrap();
            if let Some(target) = patch.get("target") {
                let known = &deployed[target["kind"].as_str().unwrap()];
                assert_eq!(target["name"], known["metadata"]["name"]);
                changed.push(format!("{}{}", target["kind"], body[0]["path"]));
                continue;
            }
            // A container of another name would be a second one.
            assert_eq!(body["metadata"]["name"], deployed["DaemonSet"]["metadata"]["name"]);
            assert_eq!(container_names(&body), container_names(&deployed["DaemonSet"]));
            let container = &body["spec"]["template"]["spec"]["containers"][0];
            let env = container["env"].as_array().into_iter().flatten();
            changed.extend(env.map(|variable| variable["name"].to_string()));
            changed.extend(
                container["securityContext"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|it| it.0.clone()),
            );
        }
    }
    assert_eq!(patches, 5);
    let all = changed.len();
    changed.sort();
    changed.dedup();
    assert_eq!(changed.len(), all, "{changed:?}");
}

#[test]
fn the_dockerfile_makes_the_same_image() {
    let dockerfile = text("Dockerfile");
    let made = image::agent(Path::new("/dev/null"), image::AGENT).unwrap();
    let user = format!("USER {}\n", made.config.user);
    let port = format!("EXPOSE {}\n", image::PORT);
    let entrypoint = format!("ENTRYPOINT {}\n", json!(made.config.entrypoint));
    for line in [user, port, entrypoint] {
        assert!(dockerfile.contains(&line), "{line}");
    }
    for (key, value) in &made.config.labels {
        let line = format!("LABEL {key}={value:?}\n");
        assert!(dockerfile.contains(&line), "{line}");
    }
    assert_eq!(dockerfile.matches("LABEL ").count(), made.config.labels.len());
    let names = made.files[0].capabilities.iter().map(|it| it.name()).collect::<Vec<_>>();
    assert!(dockerfile.contains(&format!("setcap {}=p /podvitals\n", names.join(","))));
    // The binary can be given no more than the Pod has.
    let pod = &deployed()["DaemonSet"]["spec"]["template"]["spec"];
    let added = pod["containers"][0]["securityContext"]["capabilities"]["add"].as_array().unwrap();
    let added = added.iter().map(|it| format!("cap_{}", it.as_str().unwrap().to_lowercase()));
    assert_eq!(names, added.collect::<Vec<_>>());
}

#[test]
fn only_the_discovery_is_left_out() {
    let config = text(SCRAPE_CONFIG);
    let plain = without_discovery(&config).unwrap();
    let kept: Vec<&str> = plain.lines().filter(|line| !line.contains("static_configs")).collect();
    let gone: Vec<&str> = config.lines().filter(|line| !kept.contains(line)).collect();
    let expected = [
        "    kubernetes_sd_configs:",
        "      - role: pod",
        "        namespaces:",
        "          names: [podvitals]",
    ];
    assert_eq!(gone, expected);
}
