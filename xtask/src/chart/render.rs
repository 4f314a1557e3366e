//! The chart as the real helm sees it: linted, rendered, packed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::{
    helm::Helm,
    objects::{CONTAINER, Objects, POD, deployed, equal, manifest, objects, one, set},
    sources::{self, RULES, files, folder, read},
};
use crate::{paths, shell};

/// Where the values for the tests are, which are no part of the chart.
const VALUES: &str = "ci";
/// A chart is kept whole in the Secret of each of its releases, which holds 1 MiB; what is rendered
/// comes to that. The end-to-end test looks at the Secret itself.
const PACKAGE_MAX: u64 = 256 << 10;

/// All that is checked with `helm`.
pub(super) fn check(helm: &Helm) -> Result<()> {
    println!("helm {}", shell::output(&mut helm.command(&["version", "--short"]))?.trim());
    let chart = folder();
    for file in value_files()? {
        let mut lint = vec!["lint", "--strict", "--quiet"];
        lint.extend(file.as_ref().map_or(vec![], |file| vec!["--values", file.as_str()]));
        let ended = shell::ended(helm.command(&lint).arg(&chart), "")?;
        // What it finds is not what it complains about.
        let found = String::from_utf8_lossy(&ended.stdout);
        ensure!(ended.status.success(), "helm {}: {found}{}", lint.join(" "), ended.stderr);
        let name = file.as_ref().and_then(|file| Path::new(file).file_name()?.to_str());
        println!("    ok      lint, {}", name.unwrap_or("defaults"));
    }
    let rendered = Rendered { helm, chart: &chart };
    defaults(&rendered)?;
    components(&rendered)?;
    collectors(&rendered)?;
    everything(&rendered)?;
    another_release(&rendered)?;
    refusals(&rendered)?;
    package(helm, &chart)
}

/// Values files for the tests, and none.
fn value_files() -> Result<Vec<Option<String>>> {
    let mut all: Vec<String> = files(&folder().join(VALUES))?
        .iter()
        .map(|path| path.to_str().map(str::to_owned).context("a path that is no text"))
        .collect::<Result<_>>()?;
    all.sort();
    Ok(std::iter::once(None).chain(all.into_iter().map(Some)).collect())
}

struct Rendered<'a> {
    helm: &'a Helm,
    chart: &'a Path,
}

impl Rendered<'_> {
    /// The objects with the arguments given.
    fn with(&self, args: &[&str]) -> Result<Objects> {
        self.release("podvitals", "podvitals", args)
    }

    /// The objects with values of the tests.
    fn file(&self, name: &str) -> Result<Objects> {
        let file = self.chart.join(VALUES).join(name);
        self.with(&["--values", file.to_str().context("a path that is no text")?])
    }

    fn release(&self, name: &str, namespace: &str, args: &[&str]) -> Result<Objects> {
        let mut command = self.helm.command(&["template", name, "--namespace", namespace]);
        command.args(args).arg(self.chart);
        objects(&shell::output(&mut command)?)
    }
}

fn defaults(rendered: &Rendered<'_>) -> Result<()> {
    equal("the defaults are deploy/daemonset.yaml", &rendered.with(&[])?, &deployed()?)
}

/// The body of the patch of a component that has a target or not.
fn patch(component: &str, targeted: bool) -> Result<Value> {
    let file = format!("deploy/components/{component}/kustomization.yaml");
    let component: Value = serde_saphyr::from_str(&read(&paths::root().join(file))?)?;
    let patches = component.pointer("/patches").and_then(Value::as_array).context("no patches")?;
    let patch = patches.iter().find(|patch| patch.get("target").is_some() == targeted);
    let body = patch.and_then(|patch| patch.get("patch")?.as_str()).context("no such patch")?;
    Ok(serde_saphyr::from_str(body)?)
}

/// Adds the environment variables of a component.
fn add_env(objects: &mut Objects, component: &str) -> Result<()> {
    let pointer = format!("{CONTAINER}/env");
    let body = patch(component, false)?;
    let more =
        body.pointer(&pointer).and_then(Value::as_array).context("no env in the component")?;
    let env = one(objects, "DaemonSet")?.pointer_mut(&pointer).and_then(Value::as_array_mut);
    env.context("no env")?.extend(more.iter().cloned());
    Ok(())
}

fn components(rendered: &Rendered<'_>) -> Result<()> {
    let mut wanted = deployed()?;
    let rules = patch("kubelet-source", true)?.pointer("/0/value").cloned();
    set(one(&mut wanted, "ClusterRole")?, "", "rules", rules.context("no rules")?)?;
    add_env(&mut wanted, "kubelet-source")?;
    equal("pods.source=kubelet is its component", &rendered.file("kubelet.yaml")?, &wanted)?;

    let mut wanted = deployed()?;
    add_env(&mut wanted, "otlp")?;
    equal("traces.endpoint is its component", &rendered.file("otlp.yaml")?, &wanted)?;

    let mut wanted = deployed()?;
    let context = format!("{CONTAINER}/securityContext");
    let options = patch("selinux", false)?.pointer(&format!("{context}/seLinuxOptions")).cloned();
    let options = options.context("no seLinuxOptions")?;
    set(one(&mut wanted, "DaemonSet")?, &context, "seLinuxOptions", options)?;
    equal("selinux is its component", &rendered.file("selinux.yaml")?, &wanted)?;

    let mut wanted = deployed()?;
    let context = format!("{context}/capabilities");
    let add = patch("without-net-admin", false)?.pointer(&format!("{context}/add")).cloned();
    set(one(&mut wanted, "DaemonSet")?, &context, "add", add.context("no capabilities")?)?;
    equal("netAdmin is its component", &rendered.file("without-net-admin.yaml")?, &wanted)
}

fn collectors(rendered: &Rendered<'_>) -> Result<()> {
    let mut wanted = deployed()?;
    let off = ["cpu", "memory", "pressure", "prestop", "probes", "requests", "startup", "tasks"];
    let off = off.map(|name| format!("--no-collector.{name}"));
    let args: Vec<&str> = ["agent"].into_iter().chain(off.iter().map(String::as_str)).collect();
    let daemon_set = one(&mut wanted, "DaemonSet")?;
    set(daemon_set, CONTAINER, "args", json!(args))?;
    // Nothing but probes needs NET_ADMIN.
    let context = format!("{CONTAINER}/securityContext/capabilities");
    set(daemon_set, &context, "add", json!(["BPF", "PERFMON"]))?;
    equal("collectors that are off", &rendered.file("collectors-off.yaml")?, &wanted)
}

/// `ci/all.yaml`, value by value.
fn everything(rendered: &Rendered<'_>) -> Result<()> {
    let mut wanted = deployed()?;
    let account = one(&mut wanted, "ServiceAccount")?;
    set(account, "/metadata", "name", json!("agent"))?;
    set(account, "/metadata", "annotations", json!({ "example.com/role": "reader" }))?;
    let binding = one(&mut wanted, "ClusterRoleBinding")?;
    set(binding, "/subjects/0", "name", json!("agent"))?;
    let account = wanted.remove(&("ServiceAccount".to_owned(), "podvitals".to_owned()));
    wanted.insert(("ServiceAccount".to_owned(), "agent".to_owned()), account.unwrap_or_default());
    daemon_set(one(&mut wanted, "DaemonSet")?)?;
    let monitoring = json!({ "app.kubernetes.io/name": "podvitals", "release": "monitoring" });
    wanted.extend(manifest("deploy/podmonitor.yaml")?);
    let monitor = one(&mut wanted, "PodMonitor")?;
    set(monitor, "/metadata", "labels", monitoring.clone())?;
    set(monitor, "/spec/podMetricsEndpoints/0", "interval", json!("15s"))?;
    let drop = json!([{
        "sourceLabels": ["__name__"],
        "regex": "podvitals_container_tasks(_limit)?",
        "action": "drop",
    }]);
    set(monitor, "/spec/podMetricsEndpoints/0", "metricRelabelings", drop)?;
    wanted.extend(manifest("deploy/networkpolicy.yaml")?);
    wanted.extend([(("PrometheusRule".to_owned(), "podvitals".to_owned()), rules(&monitoring)?)]);
    wanted.extend(config_maps()?);
    equal("everything on and changed", &rendered.file("all.yaml")?, &wanted)
}

fn daemon_set(object: &mut Value) -> Result<()> {
    let template = "/spec/template/metadata";
    set(object, &format!("{template}/labels"), "example.com/team", json!("node"))?;
    set(object, &format!("{template}/annotations"), "example.com/team", json!("node"))?;
    set(object, "/spec/updateStrategy/rollingUpdate", "maxUnavailable", json!(2))?;
    set(object, POD, "serviceAccountName", json!("agent"))?;
    set(object, POD, "imagePullSecrets", json!([{ "name": "registry" }]))?;
    set(object, POD, "priorityClassName", Value::Null)?;
    let control_plane = json!({
        "key": "node-role.kubernetes.io/control-plane",
        "operator": "Exists",
        "effect": "NoSchedule",
    });
    set(object, POD, "tolerations", json!([control_plane]))?;
    set(object, &format!("{POD}/nodeSelector"), "example.com/watched", json!("true"))?;
    let amd64 = json!({ "key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"] });
    let terms = json!([{ "matchExpressions": [amd64] }]);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let affinity = json!({ "nodeAffinity": { required: { "nodeSelectorTerms": terms } } });
    set(object, POD, "affinity", affinity)?;
    let digest = "0123456789abcdef".repeat(4);
    let image = format!("registry.example/podvitals:0.2.0@sha256:{digest}");
    set(object, CONTAINER, "image", json!(image))?;
    set(object, CONTAINER, "imagePullPolicy", json!("Always"))?;
    let args = [
        "agent",
        "--collector.probe_phases",
        "--web.listen-address=:9551",
        "--log.format=json",
        "--metrics.max-series=200000",
    ];
    set(object, &format!("{CONTAINER}/ports/0"), "containerPort", json!(9551))?;
    set(object, CONTAINER, "args", json!(args))?;
    let env = object.pointer_mut(&format!("{CONTAINER}/env")).and_then(Value::as_array_mut);
    env.context("no env")?.extend([
        json!({ "name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "https://traces.example/otlp" }),
        json!({ "name": "OTEL_EXPORTER_OTLP_PROTOCOL", "value": "http/protobuf" }),
        json!({ "name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {
            "secretKeyRef": { "name": "traces", "key": "headers" },
        } }),
        json!({ "name": "OTEL_EXPORTER_OTLP_CERTIFICATE", "value": "/etc/podvitals/otlp/ca.crt" }),
        json!({ "name": "PODVITALS_LOG_LEVEL", "value": "debug" }),
    ]);
    let authority = json!({ "name": "otlp-ca", "configMap": { "name": "authority" } });
    let mount = json!({ "name": "otlp-ca", "mountPath": "/etc/podvitals/otlp", "readOnly": true });
    for (pointer, item) in
        [(format!("{POD}/volumes"), authority), (format!("{CONTAINER}/volumeMounts"), mount)]
    {
        let list = object.pointer_mut(&pointer).and_then(Value::as_array_mut);
        list.with_context(|| format!("no {pointer}"))?.push(item);
    }
    set(object, &format!("{CONTAINER}/resources/requests"), "cpu", json!("20m"))?;
    set(object, &format!("{CONTAINER}/resources/limits"), "memory", json!("128Mi"))
}

/// The rules as they stand in `deploy/alerts`, with nothing of them taken for a template's.
fn rules(labels: &Value) -> Result<Value> {
    let text = read(&paths::root().join(RULES))?;
    let spec: Value = serde_saphyr::from_str(&text).with_context(|| RULES.to_owned())?;
    ensure!(text.contains("{{ $labels."), "no template in {RULES}: the check sees nothing");
    Ok(json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": { "name": "podvitals", "namespace": "podvitals", "labels": labels },
        "spec": spec,
    }))
}

/// A ConfigMap for each dashboard, with its very text.
fn config_maps() -> Result<Objects> {
    let mut objects = Objects::new();
    for (file, text) in sources::dashboards()? {
        let uid = file.trim_end_matches(".json");
        let name = format!("podvitals-dashboard-{}", uid.trim_start_matches("podvitals-"));
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": "monitoring",
                "labels": { "app.kubernetes.io/name": "podvitals", "grafana_dashboard": "1" },
                "annotations": { "grafana_folder": "Podvitals" },
            },
            "data": { file: text },
        });
        objects.insert(("ConfigMap".to_owned(), name), object);
    }
    ensure!(!objects.is_empty(), "no dashboards");
    Ok(objects)
}

/// A release of another name, in a namespace that YAML would take for a number: no object of it has the name of the first one's, and no selector finds
/// the other's Pods.
fn another_release(rendered: &Rendered<'_>) -> Result<()> {
    let mut objects = rendered.release(
        "trial",
        "123",
        &["--set", "podMonitor.enabled=true", "--set", "prometheusRule.enabled=true"],
    )?;
    let named: Vec<_> = objects.keys().filter(|(_, name)| name != "trial-podvitals").collect();
    ensure!(named.is_empty(), "a release of another name has {named:?}");
    for object in objects.values() {
        if let Some(namespace) = object.pointer("/metadata/namespace") {
            ensure!(namespace == "123", "in another namespace: {object}");
        }
    }
    let labels =
        json!({ "app.kubernetes.io/name": "podvitals", "app.kubernetes.io/instance": "trial" });
    let binding = one(&mut objects, "ClusterRoleBinding")?;
    let subject = json!([
        { "kind": "ServiceAccount", "name": "trial-podvitals", "namespace": "123" },
    ]);
    ensure!(binding.pointer("/subjects") == Some(&subject), "{binding}");
    ensure!(binding.pointer("/roleRef/name") == Some(&json!("trial-podvitals")), "{binding}");
    let selector = |object: &Value| object.pointer("/spec/selector/matchLabels").cloned();
    for kind in ["DaemonSet", "PodMonitor"] {
        let object = one(&mut objects, kind)?;
        ensure!(selector(object).as_ref() == Some(&labels), "{object}");
    }
    let pods = one(&mut objects, "DaemonSet")?.pointer("/spec/template/metadata/labels").cloned();
    ensure!(pods == Some(labels), "{pods:?}");
    println!("    ok      a release of another name");
    Ok(())
}

/// What a values file may not have, and what must be in the complaint.
const REFUSED: [(&str, &str); 34] = [
    ("podmonitor.enabled=true", "podmonitor"),
    ("image.tags=1.0", "tags"),
    ("collectors.presure=false", "presure"),
    ("resources.limit.memory=1Gi", "limit"),
    ("tolerations[0].operater=Exists", "operater"),
    ("pods.source=docker", "source"),
    ("podMonitor.interval=often", "interval"),
    ("podMonitor.metricRelabelings[0].source_labels[0]=__name__", "source_labels"),
    ("podLabels.app\\.kubernetes\\.io/name=other", "/podLabels/"),
    ("podMonitor.labels.app\\.kubernetes\\.io/name=other", "/podMonitor/labels/"),
    ("podAnnotations.kubectl\\.kubernetes\\.io/default-container=x", "/podAnnotations/"),
    // Nothing is written into a manifest but the value itself.
    ("priorityClassName=a\n      hostPID: true", "/priorityClassName"),
    ("serviceAccount.name=a # b", "/serviceAccount/name"),
    ("dashboards.namespace=a: b", "/dashboards/namespace"),
    ("dashboards.label=\"", "/dashboards/label"),
    ("dashboards.label=app.kubernetes.io/name", "/dashboards/label"),
    ("image.repository=registry.example/podvitals:1", "/image/repository"),
    ("image.tag=a b", "/image/tag"),
    // The agent takes no flag twice, nor the API server a variable.
    ("extraArgs[0]=--no-collector.cpu", "/extraArgs/0"),
    ("extraArgs[0]=--web.listen-address=127.0.0.1:9550", "/extraArgs/0"),
    ("extraEnv[0].name=PODVITALS_WEB_LISTEN_ADDRESS", "/extraEnv/0/name"),
    ("port=80", "/port"),
    ("extraEnv[0].name=NODE_NAME", "/extraEnv/0/name"),
    ("extraEnv[0].name=OTEL_EXPORTER_OTLP_ENDPOINT", "/extraEnv/0/name"),
    ("traces.endpoint=otel-collector:4317", "/traces/endpoint"),
    ("traces.endpoint=http://user:secret@collector", "/traces/endpoint"),
    ("traces.protocol=http/json", "/traces/protocol"),
    ("traces.headersSecret=a b", "/traces/headersSecret"),
    // What a null takes away.
    ("traces=null", "traces"),
    ("collectors.probes=null", "probes"),
    ("image=null", "image"),
    ("serviceAccount.create=null", "create"),
    // Anybody could scrape.
    ("networkPolicy.from=null", "from"),
    ("networkPolicy.from[0].podSelector=null", "/networkPolicy/from/0"),
];

fn refusals(rendered: &Rendered<'_>) -> Result<()> {
    for (value, named) in REFUSED {
        let Err(error) = rendered.with(&["--set", value]) else {
            bail!("helm takes --set {value}");
        };
        let said = format!("{error:#}");
        ensure!(said.contains("schema") && said.contains(named), "--set {value}: {said}");
    }
    println!("    ok      {} values are refused", REFUSED.len());
    // As part of another chart it is given this.
    rendered.with(&["--set", "global.registry=x"])?;
    Ok(())
}

/// Packs it, and looks into the package.
fn package(helm: &Helm, chart: &Path) -> Result<()> {
    let dir = paths::work("chart")?;
    let destination = dir.to_str().context("a path that is no text")?;
    helm.output(&["package", "--destination", destination], chart)?;
    let path = dir.join(concat!("podvitals-", env!("CARGO_PKG_VERSION"), ".tgz"));
    let bytes = fs::metadata(&path).with_context(|| format!("stat {}", path.display()))?.len();
    let file = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut names = Vec::new();
    for entry in archive.entries().context("read the package")? {
        names.push(entry?.path()?.to_string_lossy().into_owned());
    }
    let has = |name: &str| names.iter().any(|it| it.strip_prefix("podvitals/") == Some(name));
    for name in ["Chart.yaml", "values.schema.json", "files/podvitals.rules.yaml", "README.md"] {
        ensure!(has(name), "the package has no {name}: {names:?}");
    }
    let tests = names.iter().find(|name| name.contains("/ci/"));
    ensure!(tests.is_none(), "the package has {tests:?}");
    ensure!(bytes <= PACKAGE_MAX, "the package has {bytes} bytes; {PACKAGE_MAX} are allowed");
    println!("    ok      a package of {} files, {bytes} bytes", names.len());
    Ok(())
}
