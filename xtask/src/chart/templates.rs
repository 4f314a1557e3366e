//! The templates that are manifests of `deploy/`, opened where the values decide.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use super::edit::{self, Edit};
use crate::paths;

const FULLNAME: &str = r#"{{ include "podvitals.fullname" . }}"#;
const ACCOUNT: &str = r#"{{ include "podvitals.serviceAccountName" . | quote }}"#;
/// Quoted: a namespace may be called `123` or `true`.
const NAMESPACE: &str = "{{ .Release.Namespace | quote }}";

/// Where the receiver's authority is mounted.
const CA_FILE: &str = "/etc/podvitals/otlp/ca.crt";

const RBAC: &str = "deploy/base/rbac.yaml";
const KUBELET: &str = "deploy/components/kubelet-source/kustomization.yaml";
const OTLP: &str = "deploy/components/otlp/kustomization.yaml";
const SELINUX: &str = "deploy/components/selinux/kustomization.yaml";

/// A template, and what it is made from.
struct Template {
    name: &'static str,
    source: &'static str,
    text: String,
    edits: Vec<Edit>,
    /// The value that switches it on; empty for what is always there.
    when: &'static str,
}

/// Path below the chart and text of each template that is made.
pub(super) fn all() -> Result<BTreeMap<String, String>> {
    let rbac = read(RBAC)?;
    let (account, roles) =
        rbac.split_once("---\n").context("one object in deploy/base/rbac.yaml")?;
    let all = [
        Template {
            name: "serviceaccount",
            source: RBAC,
            text: account.to_owned(),
            edits: service_account(),
            when: "serviceAccount.create",
        },
        Template {
            name: "rbac",
            source: RBAC,
            text: roles.to_owned(),
            edits: cluster_role(&rbac)?,
            when: "",
        },
        whole("daemonset", "deploy/base/daemonset.yaml", daemon_set()?, "")?,
        whole("podmonitor", "deploy/podmonitor.yaml", pod_monitor(), "podMonitor.enabled")?,
        whole("networkpolicy", "deploy/networkpolicy.yaml", policy(), "networkPolicy.enabled")?,
    ];
    all.iter()
        .map(|it| {
            let text = it.made().with_context(|| format!("{}, for the chart", it.source))?;
            Ok((format!("templates/{}.yaml", it.name), text))
        })
        .collect()
}

fn whole(
    name: &'static str,
    source: &'static str,
    edits: Vec<Edit>,
    when: &'static str,
) -> Result<Template> {
    Ok(Template { name, source, text: read(source)?, edits, when })
}

impl Template {
    fn made(&self) -> Result<String> {
        let Self { source, when, .. } = self;
        let mut text = self.text.clone();
        if !when.is_empty() {
            // What a file says of itself is for those who apply it.
            let said = |line: &&str| line.starts_with('#');
            let head: usize = text.split_inclusive('\n').take_while(said).map(str::len).sum();
            text.replace_range(..head, "");
        }
        for edit in common().iter().chain(&self.edits) {
            text = edit.apply(&text)?;
        }
        let written = format!(
            "{{{{- /* Written by `cargo xtask chart` from {source}; a change by hand is lost. */ -}}}}\n"
        );
        Ok(if when.is_empty() {
            written + &text
        } else {
            format!("{written}{{{{- if .Values.{when} }}}}\n{text}{{{{- end }}}}\n")
        })
    }
}

/// What every manifest has.
fn common() -> [Edit; 1] {
    let labels = r#"{{- include "podvitals.labels" . | nindent +0 }}"#;
    [Edit::lines("app.kubernetes.io/name: podvitals", labels)]
}

/// Names of an object in the release's namespace.
fn names(name: &str) -> [Edit; 2] {
    [
        Edit::lines("name: podvitals", format!("name: {name}")),
        Edit::lines("namespace: podvitals", format!("namespace: {NAMESPACE}")),
    ]
}

fn service_account() -> Vec<Edit> {
    let mut edits = Vec::from(names(ACCOUNT));
    edits.push(Edit::after("labels:", edit::with("serviceAccount.annotations", "annotations")));
    edits
}

fn cluster_role(rbac: &str) -> Result<Vec<Edit>> {
    let api = deeper(&edit::block(rbac, "rules:")?);
    let kubelet = deeper(&edit::block(&read(KUBELET)?, "value:")?);
    let rules = format!(
        "rules:\n  {{{{- if eq .Values.pods.source \"kubelet\" }}}}\n{kubelet}\n  {{{{- else }}}}\n\
         {api}\n  {{{{- end }}}}"
    );
    let subject = format!("- kind: ServiceAccount\n  name: {ACCOUNT}\n  namespace: {NAMESPACE}");
    Ok(vec![
        Edit::block("rules:", rules),
        Edit::block("- kind: ServiceAccount", subject),
        Edit::lines("name: podvitals", format!("name: {FULLNAME}")),
    ])
}

fn daemon_set() -> Result<Vec<Edit>> {
    let kubelet = deeper(&edit::block(&read(KUBELET)?, "env:")?);
    let env = format!(
        "  {{{{- if eq .Values.pods.source \"kubelet\" }}}}\n{kubelet}\n  {{{{- end }}}}\n{}\n{}",
        traces()?,
        deeper(&edit::more("extraEnv"))
    );
    let ca_mount = format!(
        "- name: otlp-ca\n  mountPath: {}\n  readOnly: true",
        CA_FILE.rsplit_once('/').map_or("", |(folder, _)| folder)
    );
    let ca_volume =
        "- name: otlp-ca\n  configMap:\n    name: {{ .Values.traces.caConfigMap | quote }}";
    let selinux = edit::block(&read(SELINUX)?, "securityContext:")?;
    let args = "\
args:
  - agent
  {{- range $name, $on := .Values.collectors }}
  {{- if eq $name \"probe_phases\" }}
  {{- if $on }}
  - --collector.{{ $name }}
  {{- end }}
  {{- else if not $on }}
  - --no-collector.{{ $name }}
  {{- end }}
  {{- end }}
  {{- if ne (int .Values.port) 9550 }}
  - --web.listen-address=:{{ .Values.port }}
  {{- end }}
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent +2 }}
  {{- end }}";
    let mut edits = Vec::from(names(FULLNAME));
    edits.extend([
        Edit::value("updateStrategy:", "updateStrategy"),
        Edit::before("annotations:", deeper(&edit::more("podLabels"))),
        Edit::after("annotations:", deeper(&edit::more("podAnnotations"))),
        Edit::lines("serviceAccountName: podvitals", format!("serviceAccountName: {ACCOUNT}")),
        Edit::before(
            "priorityClassName: system-node-critical",
            edit::with("image.pullSecrets", "imagePullSecrets"),
        ),
        Edit::block(
            "priorityClassName: system-node-critical",
            "{{- with .Values.priorityClassName }}\npriorityClassName: {{ . | quote }}\n{{- end }}",
        ),
        Edit::value("tolerations:", "tolerations"),
        Edit::block(
            "nodeSelector:",
            edit::with("nodeSelector", "nodeSelector") + "\n" + &edit::with("affinity", "affinity"),
        ),
        Edit::block(
            "image: localhost/podvitals:0.1.0",
            r#"image: {{ include "podvitals.image" . | quote }}"#,
        ),
        Edit::lines(
            "imagePullPolicy: IfNotPresent",
            "imagePullPolicy: {{ .Values.image.pullPolicy }}",
        ),
        Edit::block("args: [agent]", args),
        Edit::after("env:", env),
        Edit::lines("containerPort: 9550", "containerPort: {{ .Values.port }}"),
        Edit::before(
            "allowPrivilegeEscalation: false",
            format!("{{{{- if .Values.selinux.enabled }}}}\n{selinux}\n{{{{- end }}}}"),
        ),
        Edit::lines(
            "add: [BPF, PERFMON, NET_ADMIN]",
            "{{- $netAdmin := and .Values.netAdmin.enabled .Values.collectors.probes }}\n\
             add: [BPF, PERFMON{{ if $netAdmin }}, NET_ADMIN{{ end }}]",
        ),
        Edit::value("resources:", "resources"),
        Edit::after("volumeMounts:", with_ca(&ca_mount)),
        Edit::after("volumes:", with_ca(ca_volume)),
    ]);
    Ok(edits)
}

/// The variables about traces, as the overlay has them, with what else the values can say.
fn traces() -> Result<String> {
    let mut env = edit::block(&read(OTLP)?, "env:")? + "\n";
    for edit in [
        Edit::lines(
            "value: http://otel-collector.observability:4317",
            "value: {{ .Values.traces.endpoint | quote }}",
        ),
        Edit::lines("value: grpc", "value: {{ .Values.traces.protocol | quote }}"),
    ] {
        env = edit.apply(&env)?;
    }
    let headers = "- name: OTEL_EXPORTER_OTLP_HEADERS\n  valueFrom:\n    secretKeyRef:\n      \
                   name: {{ . | quote }}\n      key: headers";
    let all = format!(
        "{{{{- if .Values.traces.endpoint }}}}\n{env}\
         {{{{- with .Values.traces.headersSecret }}}}\n{headers}\n{{{{- end }}}}\n\
         {{{{- if .Values.traces.caConfigMap }}}}\n\
         - name: OTEL_EXPORTER_OTLP_CERTIFICATE\n  value: {CA_FILE}\n{{{{- end }}}}\n\
         {{{{- end }}}}"
    );
    Ok(deeper(&all))
}

/// What is there where traces go to a receiver whose authority is named.
fn with_ca(text: &str) -> String {
    deeper(&format!(
        "{{{{- if and .Values.traces.endpoint .Values.traces.caConfigMap }}}}\n{text}\n{{{{- end }}}}"
    ))
}

fn pod_monitor() -> Vec<Edit> {
    let mut edits = Vec::from(names(FULLNAME));
    edits.extend([
        Edit::after("labels:", deeper(&edit::more("podMonitor.labels"))),
        Edit::after(
            "honorLabels: true",
            "{{- with .Values.podMonitor.interval }}\ninterval: {{ . | quote }}\n{{- end }}\n"
                .to_owned()
                + &edit::with("podMonitor.metricRelabelings", "metricRelabelings"),
        ),
    ]);
    edits
}

fn policy() -> Vec<Edit> {
    let mut edits = Vec::from(names(FULLNAME));
    edits.push(Edit::value("from:", "networkPolicy.from"));
    edits
}

/// Each line two deeper.
fn deeper(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(paths::root().join(path)).with_context(|| format!("read {path}"))
}
