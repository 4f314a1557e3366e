//! Links from a value to the board that tells more, and to a Pod's traces. They carry variables and
//! the time range.

use serde_json::{Value, json};

use crate::variable::TraceStore;

/// A link from a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Text of the link.
    pub title: &'static str,
    /// Where it leads to.
    pub to: To,
}

/// Where a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The board of this uid, with variables of it and where their values come from.
    Board(&'static str, &'static [(&'static str, Source)]),
    /// Explore, with the traces of a Pod: its namespace and its name.
    Traces(TraceStore, [Source; 2]),
}

/// Where the value of a passed variable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The variable of the same name on this board, all its values.
    Same,
    /// Another field of the same table row, by its title.
    Field(&'static str),
    /// A label of the series.
    Label(&'static str),
}

impl Source {
    /// The value itself. Left to itself, Grafana leaves what separates in an address as it is (`&`, `#`,
    /// `+`), and a name may have it.
    fn value(self, name: &str) -> String {
        match self {
            Self::Same => format!("${{{name}:percentencode}}"),
            Self::Field(title) => format!("${{__data.fields[\"{title}\"]:percentencode}}"),
            Self::Label(label) => format!("${{__field.labels.{label}:percentencode}}"),
        }
    }
}

impl Link {
    /// The address, for Grafana to fill in.
    #[must_use]
    pub fn url(&self) -> String {
        match self.to {
            To::Board(uid, pass) => {
                let variables = pass.iter().map(|(name, source)| match source {
                    Source::Same => format!("${{{name}:queryparam}}"),
                    source => format!("var-{name}={}", source.value(name)),
                });
                let query: Vec<_> = variables.chain(["${__url_time_range}".to_owned()]).collect();
                format!("/d/{uid}?{}", query.join("&"))
            }
            To::Traces(store, [namespace, pod]) => {
                let [namespace, pod] = [namespace.value("namespace"), pod.value("pod")];
                let panes = panes(store, &namespace, &pod).to_string();
                format!("/explore?schemaVersion=1&panes={}", escaped(&panes))
            }
        }
    }
}

/// What Explore shows: one pane, with the Pod's traces in the board's time range.
fn panes(store: TraceStore, namespace: &str, pod: &str) -> Value {
    let source = format!("${{{}}}", store.kind());
    let mut query = match store {
        TraceStore::Tempo => json!({
            "queryType": "traceql",
            "query": format!(
                "{{resource.k8s.namespace.name=\"{namespace}\" && resource.k8s.pod.name=\"{pod}\"}}"
            ),
            "tableType": "traces",
        }),
        // Jaeger searches among those of one service.
        TraceStore::Jaeger => json!({
            "queryType": "search",
            "service": "podvitals",
            "tags": format!("k8s.namespace.name={namespace} k8s.pod.name={pod}"),
        }),
    };
    if let Some(query) = query.as_object_mut() {
        query.insert("refId".to_owned(), "A".into());
        query.insert("limit".to_owned(), 20.into());
        let kind = store.kind();
        query.insert("datasource".to_owned(), json!({ "type": kind, "uid": source }));
    }
    json!({ "pod": {
        "datasource": source,
        "queries": [query],
        "range": { "from": "${__from}", "to": "${__to}" },
    } })
}

/// A text of JSON as a value in an address, but for what Grafana fills in. Quotes in there are not the
/// text's own.
fn escaped(json: &str) -> String {
    let mut out = String::new();
    let mut rest = json;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, after) = after.split_once('}').unwrap_or((after, ""));
        escape(&mut out, before);
        out.push_str("${");
        out.push_str(&inside.replace("\\\"", "\""));
        out.push('}');
        rest = after;
    }
    escape(&mut out, rest);
    out
}

fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// The traces of the Pod of a table row, in either store.
pub const TRACES: [Link; 2] = traces([Source::Field("Namespace"), Source::Field("Pod")]);

/// The traces of the board's Pod.
pub const TRACES_OF_POD: [Link; 2] = traces([Source::Same, Source::Same]);

const fn traces(pod: [Source; 2]) -> [Link; 2] {
    [
        Link { title: "Traces of this Pod, in Tempo", to: To::Traces(TraceStore::Tempo, pod) },
        Link { title: "Traces of this Pod, in Jaeger", to: To::Traces(TraceStore::Jaeger, pod) },
    ]
}

/// The Pod of a table row.
pub const POD: Link = Link {
    title: "Pod vitals of this Pod",
    to: To::Board(
        "podvitals-pod",
        &[
            ("datasource", Source::Same),
            ("cluster", Source::Same),
            ("node", Source::Field("Node")),
            ("namespace", Source::Field("Namespace")),
            ("pod", Source::Field("Pod")),
        ],
    ),
};

/// The Pod of a table row on a board of one node.
pub const POD_OF_NODE: Link = Link {
    title: "Pod vitals of this Pod",
    to: To::Board(
        "podvitals-pod",
        &[
            ("datasource", Source::Same),
            ("cluster", Source::Same),
            ("node", Source::Same),
            ("namespace", Source::Field("Namespace")),
            ("pod", Source::Field("Pod")),
        ],
    ),
};

/// The node of a table row.
pub const NODE: Link = Link {
    title: "Node of this row",
    to: To::Board(
        "podvitals-node",
        &[("datasource", Source::Same), ("cluster", Source::Same), ("node", Source::Field("Node"))],
    ),
};

/// The workload of a table row, and its shutdowns.
pub const SHUTDOWNS: Link = Link {
    title: "Shutdowns and restarts of this workload",
    to: To::Board(
        "podvitals-shutdowns",
        &[
            ("datasource", Source::Same),
            ("cluster", Source::Same),
            ("namespace", Source::Field("Namespace")),
            ("workload", Source::Field("Workload")),
        ],
    ),
};

/// The workload of a table row, and its deaths.
pub const DEATHS: Link = Link {
    title: "Deaths of this workload",
    to: To::Board(
        "podvitals-why",
        &[
            ("datasource", Source::Same),
            ("cluster", Source::Same),
            ("namespace", Source::Field("Namespace")),
            ("workload", Source::Field("Workload")),
        ],
    ),
};

/// The Pod of a series.
pub const POD_OF_SERIES: Link = Link {
    title: "Pod vitals of this Pod",
    to: To::Board(
        "podvitals-pod",
        &[
            ("datasource", Source::Same),
            ("cluster", Source::Same),
            ("node", Source::Label("node")),
            ("namespace", Source::Label("namespace")),
            ("pod", Source::Label("pod")),
        ],
    ),
};

/// The workload of a series, and its deaths.
pub const DEATHS_OF_SERIES: Link = Link {
    title: "Deaths of this workload",
    to: To::Board(
        "podvitals-why",
        &[
            ("datasource", Source::Same),
            ("cluster", Source::Same),
            ("namespace", Source::Label("namespace")),
            ("workload", Source::Label("workload")),
        ],
    ),
};

/// The node of a series.
pub const NODE_OF_SERIES: Link = Link {
    title: "This node",
    to: To::Board(
        "podvitals-node",
        &[("datasource", Source::Same), ("cluster", Source::Same), ("node", Source::Label("node"))],
    ),
};
