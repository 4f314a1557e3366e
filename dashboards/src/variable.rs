//! Variables of a board. Each list comes from a label query, which reads no samples.

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Name, as queries have it.
    pub name: &'static str,
    /// Name for people.
    pub label: &'static str,
    /// Where its values come from.
    pub values: Values,
}

/// Values of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// Data sources of type Prometheus.
    Datasources,
    /// Data sources of a store of traces. There may be none, so the variable is not shown.
    TraceStores(TraceStore),
    /// Values of a label: any number of them, all at first. "All" is `.*`, however many there are,
    /// so that a query stays short; it also holds where the label is absent.
    Any {
        /// Series that have the label.
        series: String,
        /// Label whose values can be chosen.
        of: &'static str,
    },
    /// Values of a label, one of which is chosen.
    One {
        /// Series that have the label.
        series: String,
        /// Label whose values can be chosen.
        of: &'static str,
    },
    /// A fixed list, with those that are chosen at first.
    Fixed {
        /// All values.
        all: &'static [&'static str],
        /// Values chosen at first.
        chosen: &'static [&'static str],
    },
}

/// A store of traces that Grafana can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceStore {
    /// Grafana Tempo.
    Tempo,
    /// Jaeger.
    Jaeger,
}

impl TraceStore {
    /// Type of the data source, and name of the variable for it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Tempo => "tempo",
            Self::Jaeger => "jaeger",
        }
    }
}

impl Variable {
    fn any(name: &'static str, label: &'static str, series: &str) -> Self {
        Self { name, label, values: Values::Any { series: series.to_owned(), of: name } }
    }

    fn one(name: &'static str, label: &'static str, series: &str) -> Self {
        Self { name, label, values: Values::One { series: series.to_owned(), of: name } }
    }

    /// Data source.
    #[must_use]
    pub const fn datasource() -> Self {
        Self { name: "datasource", label: "Data source", values: Values::Datasources }
    }

    /// Variables of a board that goes down to workloads, from the data source on.
    #[must_use]
    pub fn down_to_workloads() -> [Self; 5] {
        [Self::datasource(), Self::cluster(), Self::nodes(), Self::namespaces(), Self::workloads()]
    }

    /// Stores of traces, for links.
    #[must_use]
    pub const fn trace_stores() -> [Self; 2] {
        [
            Self {
                name: TraceStore::Tempo.kind(),
                label: "Tempo",
                values: Values::TraceStores(TraceStore::Tempo),
            },
            Self {
                name: TraceStore::Jaeger.kind(),
                label: "Jaeger",
                values: Values::TraceStores(TraceStore::Jaeger),
            },
        ]
    }

    /// Cluster: an external label that may be absent.
    #[must_use]
    pub fn cluster() -> Self {
        Self::any("cluster", "Cluster", "podvitals_build_info")
    }

    /// Nodes.
    #[must_use]
    pub fn nodes() -> Self {
        Self::any("node", "Node", NODES)
    }

    /// One node.
    #[must_use]
    pub fn one_node() -> Self {
        Self::one("node", "Node", NODES)
    }

    /// Namespaces.
    #[must_use]
    pub fn namespaces() -> Self {
        Self::any("namespace", "Namespace", NAMESPACES)
    }

    /// One namespace. Pods of two namespaces may have the same name.
    #[must_use]
    pub fn one_namespace() -> Self {
        Self::one("namespace", "Namespace", NAMESPACES)
    }

    /// Workloads of the namespaces.
    #[must_use]
    pub fn workloads() -> Self {
        Self::any("workload", "Workload", WORKLOADS)
    }

    /// One Pod.
    #[must_use]
    pub fn one_pod() -> Self {
        Self::one("pod", "Pod", PODS)
    }

    /// Containers of the Pod.
    #[must_use]
    pub fn containers() -> Self {
        Self::any("container", "Container", CONTAINERS)
    }

    /// Causes of death. Ordinary ends are left out at first.
    #[must_use]
    pub const fn causes() -> Self {
        Self {
            name: "cause",
            label: "Cause",
            values: Values::Fixed { all: CAUSES, chosen: UNUSUAL_CAUSES },
        }
    }
}

const NODES: &str = r#"podvitals_build_info{cluster=~"$cluster"}"#;
const NAMESPACES: &str = r#"podvitals_container_info{cluster=~"$cluster", node=~"$node"}"#;
const WORKLOADS: &str =
    r#"podvitals_container_info{cluster=~"$cluster", node=~"$node", namespace=~"$namespace"}"#;
const PODS: &str = r#"podvitals_container_info{cluster=~"$cluster", node=~"$node", namespace="$namespace", workload=~"$workload"}"#;
const CONTAINERS: &str = r#"podvitals_container_info{cluster=~"$cluster", node=~"$node", namespace="$namespace", pod="$pod"}"#;

const CAUSES: &[&str] = &[
    "oom",
    "killed_after_grace",
    "killed_without_stop_signal",
    "signal",
    "error",
    "unknown",
    "completed",
];
const UNUSUAL_CAUSES: &[&str] =
    &["oom", "killed_after_grace", "killed_without_stop_signal", "signal", "error", "unknown"];
